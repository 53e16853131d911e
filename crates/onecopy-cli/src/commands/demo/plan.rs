//! What the demo does, fixed before its processes start: they all get the same plan.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Name of the demo's private instance.
pub(super) const INSTANCE: &str = "demo";
/// The topic that carries the file.
pub(super) const TOPIC: &str = "demo/stream";
/// The topic on which subscribers say that they are done.
pub(super) const ACKNOWLEDGEMENTS: &str = "demo/acknowledgements";
/// The service that a second process serves.
pub(super) const SERVICE: &str = "demo/service";
/// The region that a second process watches.
pub(super) const REGION: &str = "demo/region";

/// How many subscribers begin, and how many of them live to the end.
pub(super) const SUBSCRIBERS: usize = 3;
pub(super) const SURVIVORS: usize = 2;
/// The number of the subscriber that is killed.
pub(super) const VICTIM: usize = 2;

/// Size of a message with a piece of the file.
pub(super) const MESSAGE_BYTES: usize = 1 << 20;
/// Memory that the publisher may have out with subscribers: enough that nobody waits for the other to finish a message.
pub(super) const BUDGET_BYTES: usize = 32 << 20;
/// Bytes of the source from which the measured messages are cut.
pub(super) const SAMPLE_BYTES: usize = 16 << 20;

/// How often the service is asked.
pub(super) const CALLS: u64 = 5_000;
/// How many values the region gets after its first.
pub(super) const VALUES: u64 = 1_000_000;

const SMALL_MESSAGE_BYTES: usize = 64;
const SMALL_MESSAGES: u64 = 1_000_000;
const LARGE_ROUNDS: u64 = 200;
const SMALL_ROUNDS: u64 = 2_000;

/// The plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The private runtime directory.
    pub(super) directory: PathBuf,
    /// The file that is streamed.
    pub(super) file: PathBuf,
    pub(super) file_bytes: u64,
    /// How often it is streamed.
    pub(super) copies: u64,
    /// Messages of the measurement at full size.
    pub(super) large_messages: u64,
}

/// A measurement, made once over onecopy and once over Unix sockets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage {
    pub(super) message_bytes: usize,
    pub(super) count: u64,
    /// Each message is sent when the last was acknowledged by all; otherwise as fast as they are taken.
    pub(super) paced: bool,
}

/// Places of the stages in [`Plan::stages`].
pub(super) const LARGE_STREAM: usize = 0;
pub(super) const SMALL_STREAM: usize = 1;
pub(super) const LARGE_PACED: usize = 2;
pub(super) const SMALL_PACED: usize = 3;

impl Plan {
    /// Bytes of the file, all copies together.
    pub(super) fn total_bytes(&self) -> u64 {
        self.file_bytes * self.copies
    }

    /// Messages that carry the file.
    pub(super) fn messages(&self) -> u64 {
        self.total_bytes().div_ceil(MESSAGE_BYTES as u64)
    }

    /// The message at which the victim is killed while it holds it.
    pub(super) fn half_way(&self) -> u64 {
        self.messages() / 2
    }

    /// Bytes of message number `sequence` of the file.
    pub(super) fn message_bytes(&self, sequence: u64) -> usize {
        let left = self.total_bytes().saturating_sub(sequence * MESSAGE_BYTES as u64);
        usize::try_from(left).unwrap_or(MESSAGE_BYTES).min(MESSAGE_BYTES)
    }

    pub(super) fn stages(&self) -> [Stage; 4] {
        [
            Stage { message_bytes: MESSAGE_BYTES, count: self.large_messages, paced: false },
            Stage { message_bytes: SMALL_MESSAGE_BYTES, count: SMALL_MESSAGES, paced: false },
            Stage { message_bytes: MESSAGE_BYTES, count: LARGE_ROUNDS, paced: true },
            Stage { message_bytes: SMALL_MESSAGE_BYTES, count: SMALL_ROUNDS, paced: true },
        ]
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.directory.join("comparison.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_takes_the_rest() {
        let (directory, file) = <(PathBuf, PathBuf)>::default();
        let plan = Plan { directory, file, file_bytes: 3 << 19, copies: 3, large_messages: 1 };
        assert_eq!(plan.messages(), 5);
        assert_eq!(plan.message_bytes(3), MESSAGE_BYTES);
        assert_eq!(plan.message_bytes(4), MESSAGE_BYTES / 2);
        assert_eq!(
            (0..5).map(|sequence| plan.message_bytes(sequence) as u64).sum::<u64>(),
            plan.total_bytes()
        );
    }
}
