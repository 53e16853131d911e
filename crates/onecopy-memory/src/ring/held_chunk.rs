//! A message that stays where its publisher wrote it, for as long as somebody looks at it.

use crate::hold::{BriefHold, Entry, HoldError, ReaderState};
use crate::layout::{HEADER_BYTES, LINE_BYTES};
use crate::mapping::Mapping;
use crate::sync::Arc;

/// Where a chunk lies in its mapping, checked.
#[derive(Clone, Copy)]
pub(super) struct Location {
    offset: usize,
    pub(super) length: usize,
    /// Of the bytes, to be fetched.
    pub(super) start: *const u8,
}

/// A segment that a reader receives from: what all chunks held in it need, so that holding one counts one reference.
#[derive(Debug)]
pub(super) struct HeldSegment {
    mapping: Arc<Mapping>,
    state: Arc<ReaderState>,
}

impl HeldSegment {
    pub(super) fn new(mapping: &Arc<Mapping>, state: &Arc<ReaderState>) -> Arc<Self> {
        Arc::new(Self { mapping: Arc::clone(mapping), state: Arc::clone(state) })
    }

    pub(super) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Where bytes lie; `None` if that is not inside the mapping.
    #[inline]
    pub(super) fn locate(&self, offset: u64, length: u64) -> Option<Location> {
        let offset = usize::try_from(offset).ok()?;
        let length = usize::try_from(length).ok()?;
        let start = self.mapping.range(offset, length)?;
        // Chunks start at line boundaries behind the header; typed payloads rely on the alignment.
        if offset < HEADER_BYTES || offset % LINE_BYTES != 0 {
            return None;
        }
        Some(Location { offset, length, start: start.as_ptr() })
    }
}

/// A chunk message of another process, held: its bytes stay as they are until this is dropped.
///
/// ```
/// # use onecopy_memory::hold::ReaderTable;
/// # use onecopy_memory::layout::SegmentKind;
/// # use onecopy_memory::pool::Pool;
/// # use onecopy_memory::ring::{Geometry, MessageParts, RingReader, RingWriter};
/// # use onecopy_memory::segment::{Segment, View};
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let mut pool = Pool::new(1 << 20);
/// let segment = Segment::create(SegmentKind::Pool, 1 << 16, 0)?;
/// pool.add(&segment);
///
/// let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// let mut reader = RingReader::open(&ring, &ReaderTable::create()?, Box::new(()))?;
/// reader.add_segment(0, segment.descriptor().try_clone_to_owned()?)?;
/// reader.start(0);
///
/// let mut large = pool.allocate(1000).ok_or("there is room")?;
/// large.bytes_mut()[..1000].fill(7);
/// writer.publish_chunk(large, 0, 1000, 1);
/// let mut held = None;
/// reader.receive(&mut MessageParts { header: &mut [], payload: &mut [], exact: false, chunk: &mut held })?;
/// // Where the writer wrote it, until it is dropped.
/// let held = held.ok_or("it was published")?;
/// assert_eq!(held.bytes(), [7; 1000]);
/// assert_eq!(held.part(10, 5)?.bytes(), [7; 5]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeldChunk {
    segment: Arc<HeldSegment>,
    offset: usize,
    length: usize,
    entry: Entry,
}

impl HeldChunk {
    /// What lies there, held from now on by itself. `hold` is one of the segment's reader.
    #[inline]
    pub(super) fn new(segment: &Arc<HeldSegment>, location: Location, hold: BriefHold<'_>) -> Self {
        let entry = hold.leave(&segment.state);
        let Location { offset, length, .. } = location;
        Self { segment: Arc::clone(segment), offset, length, entry }
    }

    /// A part of the same messages, held on its own. The whole is protected already, so there is nothing to
    /// check; but see `Chain::enter_again`.
    ///
    /// # Errors
    ///
    /// [`HoldError`] if no further hold can be noted.
    ///
    /// # Panics
    ///
    /// If the part does not lie inside.
    pub fn part(&self, offset: usize, length: usize) -> Result<Self, HoldError> {
        assert!(
            offset.checked_add(length).is_some_and(|end| end <= self.length),
            "a part lies inside the whole"
        );
        let entry = self.segment.state.enter_again(self.entry)?;
        let segment = Arc::clone(&self.segment);
        Ok(Self { segment, offset: self.offset + offset, length, entry })
    }

    /// The message's bytes.
    ///
    /// A writer that keeps the protocol leaves them unchanged while they are held. One that breaks it can change
    /// their values under the reader's eyes; it cannot make them vanish. Copy them first if the sender is not trusted.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        let base = self.segment.mapping.range(self.offset, self.length);
        let base = base.expect("checked when the chunk was held");
        // SAFETY: the range lies inside the mapping, which `self` keeps alive and whose size is sealed. It is
        // initialised memory (pages of a memfd start as zeros). The hold keeps the writer from changing it: the writer
        // reuses a chunk only after it found no reader's hold on it (`RingWriter::collect`).
        unsafe { std::slice::from_raw_parts(base.as_ptr(), self.length) }
    }
}

impl Drop for HeldChunk {
    #[inline]
    fn drop(&mut self) {
        self.segment.state.release(self.entry);
    }
}
