//! What the demo's processes tell the one that started them, a JSON object a line on their standard output.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// News from a process of the demo.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Report {
    /// It is set up: the next process may start.
    Ready,
    /// It has received so many messages of the file.
    Progress { messages: u64 },
    /// It holds the message that is half-way, and waits to be killed.
    Holding { sequence: u64 },
    /// It has received all of the file.
    Digest { blake3: String, bytes: u64 },
    /// The publisher begins a stage.
    Started { stage: usize, nanoseconds: u64 },
    /// A subscriber has received all of a stage.
    Received { stage: usize, reception: Reception },
    /// It has seen the region's last value.
    Watched {
        /// How many values it saw as they came.
        seen: u64,
        /// The last one's number.
        last: u64,
    },
    /// It has done all that it has to do.
    Finished,
}

/// What a subscriber has to say of a stage.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reception {
    /// Sum of all bytes, as 64-bit words.
    pub(super) sum: u64,
    /// When the last byte was read.
    pub(super) finished_nanoseconds: u64,
    /// Of a paced stage, for each message: time from before its first byte was written until its last byte was read.
    pub(super) latencies_nanoseconds: Vec<u64>,
}

impl Report {
    pub(super) fn send(&self) -> Result<(), Failure> {
        let mut line = serde_json::to_vec(self).map_err(|error| Failure::output(error.into()))?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line).and_then(|()| stdout.flush()).map_err(Failure::output)
    }
}

/// Waits until the process that started this one closes our standard input.
pub(super) fn wait_for_dismissal() -> Result<(), Failure> {
    io::stdin().lock().read_to_end(&mut Vec::new()).map_err(Failure::system("read standard input"))?;
    Ok(())
}
