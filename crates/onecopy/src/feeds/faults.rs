//! Publishers that cost themselves their place: what a reader found in the ring is no message, or nothing
//! more is to come.

use onecopy_memory::ring::{Received, RingFault};

use super::Feeds;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::feed::{Feed, evicted};

impl Feeds {
    /// The current publisher's reader found neither a message nor nothing.
    #[cold]
    pub(crate) fn stumble(&mut self, found: Result<Received, RingFault>) -> Result<(), ReceiveError> {
        match found {
            Ok(Received::SegmentMissing { .. }) => {
                if let Some(feed) = self.current() {
                    feed.starve();
                }
                Ok(())
            }
            Ok(_) => Err(self.drop_misfit()),
            Err(RingFault::Hold(error)) => Err(ReceiveError::TooManyHeld(error)),
            Err(RingFault::Evicted { missed }) => Err(self.drop_evicted(missed)),
            Err(fault) => Err(self.drop_because(&fault.to_string())),
        }
    }

    pub(crate) fn drop_misfit(&mut self) -> ReceiveError {
        self.drop_because("a message has not the size of the topic's payload")
    }

    /// A client or server sent what makes no sense.
    pub(crate) fn drop_peer(&mut self, peer: PortId, reason: &str) {
        if let Some(index) = self.feeds.iter().position(|feed| feed.from == Some(peer)) {
            self.current = index;
            self.drop_because(reason);
        }
    }

    /// The current publisher has gone on without this subscriber.
    fn drop_evicted(&mut self, missed: u64) -> ReceiveError {
        let Some(Feed { publisher, reader, .. }) = self.feeds.get(self.current) else {
            return self.drop_misfit();
        };
        let error = evicted(*publisher, reader, missed);
        self.forget_current(Some(&error));
        error
    }

    pub(super) fn drop_because(&mut self, reason: &str) -> ReceiveError {
        let publisher =
            self.feeds.get(self.current).map(|feed| feed.publisher.to_string()).unwrap_or_default();
        let error = ReceiveError::Publisher { publisher, reason: reason.to_owned() };
        if self.current < self.feeds.len() {
            self.forget_current(Some(&error));
        }
        error
    }
}
