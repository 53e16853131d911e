//! What a node's control thread leaves for a subscriber: publishers that came, grew or ended.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::fork::ForkGuard;
use onecopy_memory::mailbox::Mailbox;
use onecopy_memory::pool::SegmentSet;
use onecopy_memory::region::RegionReader;
use onecopy_memory::ring::{RingReader, RingWriter};
use onecopy_memory::wait::Ringer;

use crate::broker::protocol::{PortId, Refusal, ServiceType};
use crate::error::ReceiveError;

/// News for a subscriber from its node's control thread.
#[derive(Debug)]
pub(crate) enum News {
    /// A publisher attached the reader.
    Attached(NewFeed),
    /// A publisher has a further segment, which takes the place of those in `replaced`.
    Segment { publisher: PortId, index: u32, replaced: SegmentSet, descriptor: OwnedFd },
    /// A publisher has a further segment, and this process could not take it in.
    MemoryLost { publisher: PortId, reason: String },
    /// A publisher ended. What it published before is still to be received.
    Gone { publisher: PortId },
    /// To a client or a server: something about its counterparts.
    Peer(PeerNews),
    /// To a region.
    Region(RegionNews),
    /// A publisher cannot be heard, or not fully.
    Refused(ReceiveError),
    /// The broker has ended this node's connection. Publishers know this subscriber until it lets go of them.
    Evicted(Refusal),
}

/// A publisher that is heard from now on.
#[derive(Debug)]
pub(crate) struct NewFeed {
    pub(crate) publisher: PortId,
    /// The client or server that it is, where that is what subscribes.
    pub(crate) from: Option<PortId>,
    pub(crate) reader: RingReader,
    pub(crate) header_bytes: usize,
    pub(crate) accepts_any: bool,
}

/// What a client or a server learns of its counterparts.
#[derive(Debug)]
pub(crate) enum PeerNews {
    /// There is one, and this ring was announced to it.
    Met { peer: PortId, pid: u32, payload: ServiceType, publisher: PortId, writer: Box<RingWriter> },
    /// It reads what `publisher` sends from now on.
    Hears { publisher: PortId },
    /// All who were there at first have been named.
    AllMet,
    /// It ended.
    Parted { peer: PortId },
    /// There is one, and no memory to reach it.
    OutOfReach { peer: PortId, reason: String },
}

/// What a region learns.
#[derive(Debug)]
pub(crate) enum RegionNews {
    /// The memory of its single writer, or, without a `publisher`, what the last writer left.
    Value { publisher: Option<PortId>, reader: RegionReader },
    /// The memory that several may write.
    Shared(OwnedFd),
}

/// Where the control thread leaves news, and how it gets a subscriber's event loop to look.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) news: Mailbox<News>,
    pub(crate) ringer: std::sync::OnceLock<Ringer>,
    /// Its mark moves with news for any port of the node.
    pub(crate) fork: Arc<ForkGuard>,
}

impl Inbox {
    pub(crate) fn new(fork: Arc<ForkGuard>) -> Self {
        Self { news: Mailbox::default(), ringer: std::sync::OnceLock::new(), fork }
    }

    pub(crate) fn post(&self, news: News) {
        self.news.post(news);
        self.fork.move_mark();
        self.ring();
    }

    /// Has an event loop look, at something that is no news.
    pub(crate) fn ring(&self) {
        if let Some(ringer) = self.ringer.get() {
            ringer.ring();
        }
    }
}
