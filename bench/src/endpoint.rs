//! One side of a channel between the two processes, as the rows see it: whoever the peer, it sends messages whose
//! words count up, and reads what comes in full.

use crate::payload::Received;

/// One side's way to send messages to the other side and to receive from it.
pub(crate) trait Endpoint {
    /// Sends a message whose words count up from `first`, writing every byte. In a batch row: as many messages as a
    /// batch holds, the next one beginning with `first + 1`, and so on.
    fn send(&mut self, first: u64) -> anyhow::Result<()>;

    /// Receives the next message, waiting as the row asks, and reads every byte.
    fn receive(&mut self) -> anyhow::Result<Received>;
}

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first one, which measures
    Parent,
    /// The second one
    Child,
}

impl Side {
    /// The names of the channel that this side writes and of the one that it reads.
    pub(crate) fn directions(self) -> (&'static str, &'static str) {
        match self {
            Self::Parent => ("there", "back"),
            Self::Child => ("back", "there"),
        }
    }
}
