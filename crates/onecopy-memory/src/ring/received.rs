//! What a reader received, and where it is put.

use super::held_chunk::HeldChunk;
#[cfg(doc)]
use super::reader::RingReader;

/// What [`RingReader::receive`] found.
///
/// See [`RingReader`] for an example.
#[derive(Debug)]
pub enum Received {
    /// No further message yet.
    Empty,
    /// A message was copied into the caller's parts; its payload has this many bytes.
    Inline {
        /// Payload bytes of the message, which may be more or fewer than the caller has room for.
        length: usize,
    },
    /// One or several messages, held where they are: in [`MessageParts::chunk`].
    Chunk {
        /// How many messages.
        count: u64,
        /// How many of them, from the first on, lie before the place where this reader was to start.
        skip: u64,
    },
    /// The next message lies in a segment that this reader has not been given yet.
    SegmentMissing {
        /// Its index.
        index: u32,
    },
}

/// Where [`RingReader::receive`] puts a message: copied, if it travels in its slot, or else held.
///
/// See [`HeldChunk`] and [`RingReader`] for examples.
#[derive(Debug)]
pub struct MessageParts<'a> {
    /// The user header; its length is fixed per topic.
    pub header: &'a mut [u8],
    /// The payload.
    pub payload: &'a mut [u8],
    /// The payload has the length of `payload` always: copy that much, without looking at the slot's length first.
    pub exact: bool,
    /// What is held. It is written in its place, since moving it costs more than all else
    /// (docs/decisions/store-forwarding.md); whatever was there is let go.
    pub chunk: &'a mut Option<HeldChunk>,
}
