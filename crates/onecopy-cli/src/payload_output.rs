//! Payloads on standard output: as they are, in hexadecimal, or in JSON. The forms are the same for messages,
//! answers and values of regions.

use std::fmt::Write;

use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;

/// How payloads are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As they are, with nothing between them.
    Raw,
    /// As they are, with the end of a line after each.
    Lines,
    /// In hexadecimal, a line each.
    Hex,
    /// A JSON object each, a line each.
    Json,
}

/// A payload in JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum JsonPayload<'p> {
    Text { payload: &'p str },
    Bytes { payload_hex: String },
}

impl<'p> From<&'p [u8]> for JsonPayload<'p> {
    fn from(payload: &'p [u8]) -> Self {
        match std::str::from_utf8(payload) {
            Ok(payload) => Self::Text { payload },
            Err(_) => Self::Bytes { payload_hex: hex(payload) },
        }
    }
}

impl Format {
    /// Writes one payload.
    pub(crate) fn write(self, payload: &[u8], output: &mut Output) -> Result<(), Failure> {
        match self {
            Self::Raw => output.write(payload),
            Self::Lines => {
                output.write(payload)?;
                output.write(b"\n")
            }
            Self::Hex => output.line(&hex(payload)),
            Self::Json => output.json_line(&JsonPayload::from(payload)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_two_digits_a_byte() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
