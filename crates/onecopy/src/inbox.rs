//! What a node's control thread leaves for a subscriber: publishers that came, grew or ended.

use std::os::fd::OwnedFd;

use onecopy_memory::mailbox::Mailbox;
use onecopy_memory::ring::RingReader;
use onecopy_memory::wait::Ringer;

use crate::broker::protocol::{PortId, Refusal};
use crate::error::ReceiveError;

/// News for a subscriber from its node's control thread.
#[derive(Debug)]
pub(crate) enum News {
    /// A publisher attached the reader.
    Attached { publisher: PortId, reader: RingReader, header_bytes: usize, accepts_any: bool },
    /// A publisher has a further segment.
    Segment { publisher: PortId, index: u32, descriptor: OwnedFd },
    /// A publisher ended. What it published before is still to be received.
    Gone { publisher: PortId },
    /// A publisher cannot be heard, or not fully.
    Refused(ReceiveError),
    /// The broker has told all publishers that this subscriber is gone.
    Evicted(Refusal),
}

/// Where the control thread leaves news, and how it gets a subscriber's event loop to look.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) news: Mailbox<News>,
    pub(crate) ringer: std::sync::OnceLock<Ringer>,
}

impl Inbox {
    pub(crate) fn post(&self, news: News) {
        self.news.post(news);
        if let Some(ringer) = self.ringer.get() {
            ringer.ring();
        }
    }
}
