//! A value of a region, read to be printed, and how.

use clap::Args;
use onecopy::region::Value;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::payload_output::{Format, JsonPayload};

/// How values are printed.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct FormatArguments {
    /// The value in hexadecimal, a line
    #[arg(long)]
    hex: bool,
    /// A JSON object with the value and its version
    #[arg(long)]
    json: bool,
}

impl FormatArguments {
    /// `plain` is for want of an option.
    pub(super) fn format(&self, plain: Format) -> Format {
        match self {
            Self { hex: true, .. } => Format::Hex,
            Self { json: true, .. } => Format::Json,
            _ => plain,
        }
    }
}

/// A copy of a value: printing may take as long as the reader of our output pleases, and a value that is held
/// would be in the writer's way.
pub(super) struct Reading {
    version: u64,
    value: Vec<u8>,
}

#[derive(Debug, Serialize)]
struct JsonReading<'r> {
    version: u64,
    #[serde(flatten)]
    payload: JsonPayload<'r>,
}

impl Reading {
    pub(super) fn copy(value: &Value<[u8]>) -> Self {
        Self { version: value.version(), value: value.to_vec() }
    }

    /// Whether the values are the same, whatever their versions.
    pub(super) fn is_same_value(&self, other: &Self) -> bool {
        self.value == other.value
    }

    pub(super) fn print(&self, format: Format, output: &mut Output) -> Result<(), Failure> {
        match format {
            Format::Json => {
                let payload = JsonPayload::from(self.value.as_slice());
                output.json_line(&JsonReading { version: self.version, payload })
            }
            format => format.write(&self.value, output),
        }
    }
}
