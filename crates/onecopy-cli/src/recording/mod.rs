//! Recordings of topics: MCAP files (<https://mcap.dev>) whose messages are bytes as they travelled. Why
//! MCAP, and what a file holds, is told in docs/decisions/recording.md.
//!
//! | MCAP | here |
//! |---|---|
//! | profile | `onecopy` |
//! | schema | a payload type: encoding `onecopy`, data its description in JSON |
//! | channel | a topic: message encoding `onecopy`, metadata `delivery` |
//! | message | the payload, and behind it the user's header; times are those of receipt, in nanoseconds since 1970 |
//! | chunk | not compressed, with its CRC: what is lost at most when the end of a file is missing |

mod reader;
mod record;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use onecopy::Delivery;
use onecopy::payload_type::PayloadType;

use onecopy::counted;

pub(crate) use self::reader::{Recorded, RecordingReader};
pub(crate) use self::writer::RecordingWriter;

/// The profile of a file, the encoding of its schemas and that of its messages.
const ENCODING: &str = "onecopy";
/// Key of a channel's metadata.
const DELIVERY: &str = "delivery";

/// A topic, as a recording keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedTopic {
    pub(crate) name: String,
    pub(crate) payload: PayloadType,
    pub(crate) delivery: Delivery,
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    /// There is one already.
    #[error("{path} is there already: choose another name, or --force to replace it")]
    Exists { path: String },
    /// It can't be opened, read or written.
    #[error("cannot {operation} {path}")]
    File {
        operation: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
    /// Some of it is not as it was written.
    #[error("{path} is damaged after {}; up to there it is whole", counted(*messages, "message"))]
    Damaged {
        path: String,
        messages: u64,
        #[source]
        source: mcap::McapError,
    },
    /// It can't be written as the format wants it.
    #[error("cannot write {path}")]
    Write {
        path: String,
        #[source]
        source: mcap::McapError,
    },
    /// It is no recording, or not one of this program's.
    #[error("{path} is no recording of `onecopy topic record`: {what}")]
    Foreign { path: String, what: String },
}
