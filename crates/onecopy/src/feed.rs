//! One publisher, as a subscriber hears it: the reader of its ring, and how it wakes the subscriber.

mod doorbell;

use std::os::fd::OwnedFd;

use onecopy_memory::layout::{INLINE_BYTES_MAX, LINE_BYTES};
use onecopy_memory::pool::SegmentSet;
use onecopy_memory::ring::{HeldChunk, MessageParts, Received, RingFault, RingReader};
use onecopy_memory::segment::SegmentError;

use self::doorbell::PublisherBell;
use crate::broker::protocol::{PortId, Route};
use crate::error::{ReceiveError, WaitError};
use crate::inbox::NewFeed;
use crate::node::handle::NodeHandle;
use crate::readiness::Readiness;

/// One publisher, as a subscriber hears it.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) publisher: PortId,
    /// The client or server that it is, if this is what subscribes here.
    pub(crate) from: Option<PortId>,
    pub(crate) reader: RingReader,
    /// Bytes of the user header of this publisher's messages.
    header_bytes: usize,
    pub(crate) accepts_any: bool,
    /// The user's header of the last message, where any type is taken.
    any_header: Vec<u8>,
    gone: bool,
    /// The next message lies in a segment that has not arrived yet.
    starved: bool,
    pub(crate) bell: PublisherBell,
    /// The user was told that it has no doorbell.
    pub(crate) is_known_deaf: bool,
    /// Value of the ring's wake word to sleep with.
    pub(crate) wake_value: u32,
}

impl Feed {
    pub(crate) fn new(new: NewFeed) -> Self {
        let NewFeed { publisher, from, reader, header_bytes, accepts_any } = new;
        Self {
            publisher,
            from,
            reader,
            header_bytes,
            accepts_any,
            any_header: Vec::new(),
            gone: false,
            starved: false,
            bell: PublisherBell::default(),
            is_known_deaf: false,
            wake_value: 0,
        }
    }

    pub(crate) fn chunk_header_bytes(&self) -> usize {
        self.header_bytes.next_multiple_of(LINE_BYTES)
    }

    /// Takes the user's header from the start of a chunk that has room for it.
    pub(crate) fn take_header(&mut self, chunk: &[u8]) {
        self.any_header.clear();
        self.any_header.extend_from_slice(chunk.get(..self.header_bytes).unwrap_or_default());
    }

    /// Gives the user's header of the last message away, where any type is taken; the buffer of an older one comes back.
    pub(crate) fn swap_header(&mut self, header: &mut Vec<u8>) {
        if self.accepts_any {
            std::mem::swap(header, &mut self.any_header);
        }
    }

    /// Receives with lengths known only at run time; a header of unknown type goes into `any_header`.
    pub(crate) fn receive_any(
        &mut self,
        header: &mut [u8],
        payload: &mut [u8],
        chunk: &mut Option<HeldChunk>,
    ) -> Result<Received, RingFault> {
        if !self.accepts_any {
            return self.reader.receive(&mut MessageParts { header, payload, exact: false, chunk });
        }
        self.any_header.resize(self.header_bytes.min(INLINE_BYTES_MAX), 0);
        let header = &mut self.any_header[..];
        self.reader.receive(&mut MessageParts { header, payload, exact: false, chunk })
    }

    /// The publisher has ended; what it published before is still to be received.
    pub(crate) fn end(&mut self) {
        self.gone = true;
    }

    /// The next message lies in a segment that is on its way.
    pub(crate) fn starve(&mut self) {
        self.starved = true;
    }

    /// Takes a segment that has come, in place of those in `replaced`.
    pub(crate) fn take_segment(
        &mut self,
        index: u32,
        replaced: SegmentSet,
        descriptor: OwnedFd,
    ) -> Result<(), SegmentError> {
        self.starved = false;
        self.reader.forget_segments(replaced);
        self.reader.add_segment(index, descriptor)
    }

    /// Whether there is something to receive, or the end of it to be noticed.
    #[inline]
    pub(crate) fn is_ready(&self) -> bool {
        self.gone || (self.reader.is_ready() && !self.starved)
    }

    /// Whether nothing more will come from it.
    #[inline]
    pub(crate) fn is_exhausted(&self) -> bool {
        self.gone && (self.starved || !self.reader.is_ready())
    }

    /// Whether the publisher has no doorbell, and could be sent one.
    #[inline]
    pub(crate) fn wants_doorbell(&self) -> bool {
        !self.gone && self.bell.is_wanted()
    }

    /// Sends the publisher a doorbell, unless it has one. `subscriber` is who is to be woken.
    pub(crate) fn hand_out_doorbell(
        &mut self,
        node: &NodeHandle,
        subscriber: PortId,
        readiness: &Readiness,
    ) -> Result<(), WaitError> {
        if !self.wants_doorbell() {
            return Ok(());
        }
        self.bell.hand_out(node, Route { publisher: self.publisher, subscriber }, readiness)
    }

    /// Tells the publisher that `subscriber` may sleep on a futex, unless it knows of some sleep already.
    pub(crate) fn announce_futex(&mut self, node: &NodeHandle, subscriber: PortId) -> Result<(), WaitError> {
        self.bell.announce_futex(node, Route { publisher: self.publisher, subscriber })
    }
}

/// What a subscriber is told of a publisher that went on without it.
pub(crate) fn evicted(publisher: PortId, reader: &RingReader, missed: u64) -> ReceiveError {
    let after = reader.geometry().evict_after().unwrap_or_default();
    ReceiveError::EvictedByPublisher { publisher: publisher.to_string(), after, missed }
}
