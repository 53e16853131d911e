//! What a reader received, and where it is put.

use super::held_chunk::HeldChunk;
#[cfg(doc)]
use super::reader::RingReader;

/// What [`RingReader::receive`] found.
///
/// ```
/// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, pool::{Pool, SegmentSet}};
/// # use onecopy_memory::ring::{Geometry, MessageParts, Received, RingReader, RingWriter};
/// # use onecopy_memory::segment::{Segment, View};
/// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// # let mut pool = Pool::new(1 << 20);
/// # let segment = Segment::create(SegmentKind::Pool, 1 << 16, 0)?;
/// # let index = pool.add(&segment);
/// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// # let mut reader = RingReader::open(&ring, &ReaderTable::create()?, Box::new(()))?;
/// # reader.start(0);
/// # let mut large = pool.allocate(1000).ok_or("there is room")?;
/// # large.bytes_mut().fill(7);
/// # let mut held = None;
/// # let mut parts = MessageParts { header: &mut [], payload: &mut [], exact: false, chunk: &mut held };
/// assert!(matches!(reader.receive(&mut parts)?, Received::Empty));
/// writer.publish_chunk(large, 0, 1000, 1);
/// // It stays to be received until the writer has sent the memory that it lies in.
/// assert!(matches!(reader.receive(&mut parts)?, Received::SegmentMissing { index: 0 }));
/// reader.add_segment(index, segment.descriptor().try_clone_to_owned()?)?;
/// assert!(matches!(reader.receive(&mut parts)?, Received::Chunk { count: 1, skip: 0 }));
/// // The memory of what is held stays for as long as that.
/// reader.forget_segments(SegmentSet::from_iter([index]));
/// assert_eq!(held.ok_or("it was received")?.bytes(), [7; 1000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
