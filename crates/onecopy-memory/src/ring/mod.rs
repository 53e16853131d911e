//! Slots with sequence numbers: one writer, any number of readers, in one segment that the writer owns.
//!
//! Message number `p` (its *position*) stands in slot `p mod capacity`, whose sequence word is then `p + 1`. A reader
//! waits for the sequence it wants; it never writes to the ring. Small payloads travel in the slot itself and are
//! copied out, with a second look at the sequence to notice that the writer came round (a seqlock per slot); larger
//! ones stay where they are, in a chunk, and are held (see [`crate::hold`]). A batch takes one slot for many messages
//! and skips the positions between: positions stay message numbers, so that a reader that was lapped knows exactly
//! how many messages it lost.
//!
//! [`RingWriter`] publishes, `reclaim` takes chunks back, `space` waits for slow readers, `eviction` ends that,
//! [`RingReader`] receives, `reader/lapped.rs` finds its place again when its message is gone, [`Observer`] looks on.

mod eviction;
mod fault;
mod held_chunk;
mod observer;
mod reader;
mod received;
mod reclaim;
mod space;
mod take_back;
mod writer;

pub use fault::{OpenError, RingFault};
pub use held_chunk::HeldChunk;
pub use observer::{Observer, WriterCounters};
pub use reader::RingReader;
pub use received::{MessageParts, Received};
pub use reclaim::{Allocation, BudgetExhausted};
pub use space::SpaceWait;
pub use writer::RingWriter;

use std::time::Duration;

use crate::layout::{
    BATCH_MESSAGES_MAX, CAPACITY_MAX, FLAG_ASYMMETRIC, FLAG_RELIABLE, INLINE_BYTES_MAX, LINE_BYTES,
    RING_HEADER_OFFSET, RingHeader, SLOT_BYTES_MAX, SLOT_BYTES_MIN, SLOT_HEADER_WORDS, SLOTS_OFFSET,
};
use crate::mapping::Mapping;
use crate::segment::{SegmentError, View};
use crate::sync::{Arc, AtomicU64, Ordering};
use crate::window::{Pane, Window};

/// Sizes and rules of a ring, fixed when it is made.
///
/// ```
/// use onecopy_memory::{layout::BATCH_MESSAGES_MAX, ring::Geometry};
///
/// let geometry = Geometry::new(1000, 8, 100, true).with_arena(1 << 20);
/// assert_eq!((geometry.capacity(), geometry.history()), (1024, 8));
/// assert_eq!(geometry.batch_max(), BATCH_MESSAGES_MAX);
/// // Two lines a slot, of which the sequence and the length take 16 bytes.
/// assert_eq!((geometry.slot_bytes(), geometry.inline_bytes_max()), (128, 112));
/// assert!(geometry.is_reliable() && geometry.evict_after().is_none());
/// assert_eq!(geometry.arena_bytes(), 1 << 20);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    capacity: u64,
    slot_bytes: usize,
    history: u64,
    reliable: bool,
    arena_bytes: usize,
    evict_after: Option<Duration>,
}

impl Geometry {
    /// A ring of at least `depth` slots that keeps `history` messages for late joiners, with slots that carry up to
    /// `inline_bytes` of payload themselves. Payloads beyond [`INLINE_BYTES_MAX`] go into chunks, so then the slots
    /// need only a line.
    ///
    /// ```
    /// use onecopy_memory::layout::{CAPACITY_MAX, INLINE_BYTES_MAX, SLOT_BYTES_MAX, SLOT_BYTES_MIN};
    /// use onecopy_memory::ring::Geometry;
    ///
    /// let slot_bytes = |inline_bytes| Geometry::new(1024, 8, inline_bytes, false).slot_bytes();
    /// assert_eq!((slot_bytes(48), slot_bytes(INLINE_BYTES_MAX)), (SLOT_BYTES_MIN, SLOT_BYTES_MAX));
    /// // In a chunk, so the slot only says where.
    /// assert_eq!(slot_bytes(INLINE_BYTES_MAX + 1), SLOT_BYTES_MIN);
    /// assert_eq!(Geometry::new(u64::MAX, 8, 48, false).capacity(), CAPACITY_MAX);
    /// ```
    pub fn new(depth: u64, history: u64, inline_bytes: usize, reliable: bool) -> Self {
        let slot_bytes = if inline_bytes > INLINE_BYTES_MAX {
            SLOT_BYTES_MIN
        } else {
            (inline_bytes + SLOT_HEADER_WORDS * 8).next_multiple_of(LINE_BYTES)
        };
        let history = history.min(CAPACITY_MAX / 2);
        let capacity = depth.max(2 * history).clamp(2, CAPACITY_MAX).next_power_of_two();
        Self { capacity, slot_bytes, history, reliable, arena_bytes: 0, evict_after: None }
    }

    /// With `bytes` behind the slots for chunks, as the pool's first segment: every reader has them from the beginning,
    /// and a publisher whose messages fit needs one descriptor only. Memory is taken as it is touched.
    pub fn with_arena(self, bytes: usize) -> Self {
        Self { arena_bytes: bytes.next_multiple_of(LINE_BYTES), ..self }
    }

    /// With a writer that goes on without a reader that has kept it from publishing for so long, if it is reliable.
    ///
    /// ```
    /// use onecopy_memory::ring::Geometry;
    /// use std::time::Duration;
    ///
    /// let patience = Duration::from_secs(5);
    /// let geometry = |reliable| Geometry::new(16, 0, 48, reliable).with_evict_after(patience);
    /// assert_eq!(geometry(true).evict_after(), Some(patience));
    /// // One that overwrites waits for nobody, whatever it is told.
    /// assert_eq!(geometry(false).evict_after(), None);
    /// ```
    pub fn with_evict_after(self, evict_after: Duration) -> Self {
        Self { evict_after: Some(evict_after).filter(|_| self.reliable), ..self }
    }

    /// For how long one reader may keep the writer from publishing; `None`: for ever, or not at all.
    pub fn evict_after(&self) -> Option<Duration> {
        self.evict_after
    }

    /// Bytes behind the slots, for chunks.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Number of slots.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of a slot.
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Largest payload that fits into a slot.
    pub fn inline_bytes_max(&self) -> usize {
        self.slot_bytes - SLOT_HEADER_WORDS * 8
    }

    /// How many messages back a late joiner may start.
    pub fn history(&self) -> u64 {
        self.history
    }

    /// Whether the writer waits for slow readers.
    pub fn is_reliable(&self) -> bool {
        self.reliable
    }

    /// Most messages in one batch: together with the history they leave a quarter of the ring free, which
    /// [`crate::readers::Readers::attach`] relies on.
    pub fn batch_max(&self) -> u64 {
        (self.capacity / 4).clamp(1, BATCH_MESSAGES_MAX)
    }

    pub(crate) fn arena_offset(&self) -> usize {
        SLOTS_OFFSET + self.capacity as usize * self.slot_bytes
    }

    pub(crate) fn total_bytes(&self) -> usize {
        self.arena_offset() + self.arena_bytes
    }

    fn slot_words(&self) -> usize {
        self.slot_bytes / size_of::<u64>()
    }

    pub(crate) fn write_to(&self, header: &RingHeader, asymmetric: bool) {
        let reliable = if self.reliable { FLAG_RELIABLE } else { 0 };
        let asymmetric = if asymmetric { FLAG_ASYMMETRIC } else { 0 };
        header.capacity.store(self.capacity, Ordering::Relaxed);
        header.slot_bytes.store(self.slot_bytes as u64, Ordering::Relaxed);
        header.history.store(self.history, Ordering::Relaxed);
        header.flags.store(reliable | asymmetric, Ordering::Relaxed);
        header.evict_after_ns.store(eviction::to_word(self.evict_after), Ordering::Relaxed);
    }

    /// Reads each field once and checks the copies against each other and the size of the memory.
    fn read_from(header: &RingHeader, total_bytes: usize) -> Result<Self, SegmentError> {
        let capacity = header.capacity.load(Ordering::Relaxed);
        let slot_bytes = header.slot_bytes.load(Ordering::Relaxed);
        let history = header.history.load(Ordering::Relaxed);
        let reliable = header.flags.load(Ordering::Relaxed) & FLAG_RELIABLE != 0;
        let possible = capacity.is_power_of_two()
            && (2..=CAPACITY_MAX).contains(&capacity)
            && (SLOT_BYTES_MIN as u64..=SLOT_BYTES_MAX as u64).contains(&slot_bytes)
            && slot_bytes.is_multiple_of(LINE_BYTES as u64)
            && history <= capacity / 2;
        let evict_after = eviction::from_word(header.evict_after_ns.load(Ordering::Relaxed));
        let slots_only = Self {
            capacity,
            slot_bytes: slot_bytes as usize,
            history,
            reliable,
            arena_bytes: 0,
            evict_after: evict_after.filter(|_| reliable),
        };
        // The slots' end cannot overflow if the geometry is possible, and is not computed if it is not.
        match possible.then(|| total_bytes.checked_sub(slots_only.arena_offset())).flatten() {
            Some(arena_bytes) => Ok(Self { arena_bytes, ..slots_only }),
            None => {
                let total_bytes = total_bytes as u64;
                Err(SegmentError::Geometry { capacity, slot_bytes, history, total_bytes })
            }
        }
    }
}

/// The shared words of one ring, as its writer or a reader has them mapped.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    header: Pane<RingHeader>,
    slots: Window<AtomicU64>,
    geometry: Geometry,
}

impl Ring {
    fn over(mapping: &Arc<Mapping>, geometry: Geometry) -> Option<Self> {
        let header = Pane::new(mapping, RING_HEADER_OFFSET)?;
        let words = geometry.capacity as usize * geometry.slot_words();
        let slots = Window::new(mapping, SLOTS_OFFSET, words)?;
        Some(Self { header, slots, geometry })
    }

    fn of_view(view: &View) -> Result<Self, SegmentError> {
        let header = Pane::<RingHeader>::new(view.mapping(), RING_HEADER_OFFSET);
        let header = header.ok_or(SegmentError::NotASegment)?;
        let geometry = Geometry::read_from(&header, view.total_bytes())?;
        Self::over(view.mapping(), geometry).ok_or(SegmentError::NotASegment)
    }

    #[cfg(loom)]
    fn heap(geometry: Geometry) -> Self {
        let words = geometry.capacity as usize * geometry.slot_words();
        Self {
            header: Pane::heap(RingHeader::default()),
            slots: Window::heap((0..words).map(|_| AtomicU64::new(0)).collect()),
            geometry,
        }
    }

    #[inline]
    fn header(&self) -> &RingHeader {
        &self.header
    }

    /// The words of the slot in which the message at `position` stands.
    #[inline]
    fn slot(&self, position: u64) -> &[AtomicU64] {
        let words = self.geometry.slot_words();
        let index = (position & (self.geometry.capacity - 1)) as usize * words;
        &self.slots[index..index + words]
    }
}
