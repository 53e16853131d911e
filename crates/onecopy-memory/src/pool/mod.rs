//! The writer's chunks: memory for messages too large for a slot. Only the writer allocates and frees, so this is
//! ordinary private code over segments that others map read-only. The pool grows by whole segments up to a byte
//! budget; segments are sparse, so what counts in memory is what messages touched. A message larger than any segment
//! gets one that replaces those that are free, so that whatever is within the budget fits once nothing is held
//! (docs/decisions/arena.md).
//!
//! A freed chunk first goes onto a stack of its size class: the next message of that size gets the chunk that is
//! still in the cache. Only when a class is empty do the coalescing `ranges` come into play.

mod ranges;
mod segment_set;

use std::collections::BTreeMap;
use std::ptr::NonNull;

use ranges::FreeRanges;
pub use segment_set::SegmentSet;

use crate::layout::{HEADER_BYTES, LINE_BYTES, SEGMENTS_MAX};
use crate::mapping::Mapping;
use crate::segment::Segment;
use crate::sync::{Arc, AtomicU64};
use crate::window::Window;

/// First segment of a pool; each further one doubles the total.
const FIRST_SEGMENT_BYTES: usize = 1 << 20;
/// Steps per doubling of size among the size classes: at most a quarter of a chunk is slack.
const CLASSES_PER_DOUBLING: usize = 4;

/// Bytes that [`Pool::take_back_next`] takes back at most: 64 lines are about as many stores as a core can have under
/// way without waiting for them, and several times as many transfers.
const TAKE_BACK_BYTES_MAX: usize = 4096;

/// Where a chunk lies.
///
/// ```
/// use onecopy_memory::layout::{LINE_BYTES, SegmentKind};
/// use onecopy_memory::{pool::Pool, segment::Segment};
///
/// let mut pool = Pool::new(64 << 20);
/// let index = pool.add(&Segment::create(SegmentKind::Pool, 1 << 20, 0)?);
/// let (one, other) = (pool.allocate(100).ok_or("full")?, pool.allocate(100).ok_or("full")?);
/// assert_eq!((one.address().segment, other.address().segment), (index, index));
/// let apart = one.address().offset.abs_diff(other.address().offset);
/// assert!(apart >= 100 && apart.is_multiple_of(LINE_BYTES as u64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkAddress {
    /// Index of the segment within its pool.
    pub segment: u32,
    /// Bytes from the segment's start; a multiple of a line.
    pub offset: u64,
}

/// Memory that nobody else may touch: the writer's, from [`Pool::allocate`] until it is published or freed.
///
/// See [`Pool`] for an example.
#[derive(Debug)]
pub struct Chunk {
    address: ChunkAddress,
    capacity: usize,
    base: NonNull<u8>,
    /// Keeps the memory; absent in a model only.
    mapping: Option<Arc<Mapping>>,
}

// SAFETY: a chunk is the only handle to its bytes within this process (the pool hands each range out once until it is
// freed), like a `Box<[u8]>`.
unsafe impl Send for Chunk {}
// SAFETY: `&Chunk` gives shared access to the bytes only, and writing them takes `&mut Chunk`, so no two threads can do
// both at a time, as with a `Box<[u8]>`.
unsafe impl Sync for Chunk {}

impl Chunk {
    /// Where it lies.
    pub fn address(&self) -> ChunkAddress {
        self.address
    }

    /// How many bytes it has; at least what was asked for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The bytes, as earlier messages left them.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the range lies inside the mapping that `mapping` keeps alive; memfd pages are initialised. It is
        // exclusive: within this process the pool gave the range to this chunk alone, and readers of other processes
        // keep off it until it is published, which takes the chunk by value. `collect` returns it to the pool only
        // after it found no hold on it.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.capacity) }
    }

    /// Shared view of the same bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as for `bytes_mut`; nobody writes while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.capacity) }
    }

    /// Stores a byte into each of the first lines, the one that is there. Nothing less makes a line this core's own
    /// everywhere: some processors take a prefetch for writing as done where they have the line to read
    /// (docs/decisions/prefetch.md).
    fn take_back_lines(&mut self) {
        if self.mapping.is_none() {
            return;
        }
        for first in self.bytes_mut().iter_mut().take(TAKE_BACK_BYTES_MAX).step_by(LINE_BYTES) {
            let first = std::ptr::from_mut(first);
            // SAFETY: a reference gives the place, and nobody else has it. Volatile, because to the compiler a
            // store of what is there would be none.
            unsafe { first.write_volatile(first.read_volatile()) };
        }
    }

    /// The chunk as words that others may look at while it is not a message. `None` in a model.
    pub(crate) fn words(&self) -> Option<Window<AtomicU64>> {
        let count = self.capacity / size_of::<AtomicU64>();
        Window::new(self.mapping.as_ref()?, self.address.offset as usize, count)
    }

    /// A chunk without memory, for models that look at addresses only.
    #[cfg(loom)]
    pub fn model(offset: u64) -> Self {
        Self {
            address: ChunkAddress { segment: 0, offset },
            capacity: LINE_BYTES,
            base: NonNull::dangling(),
            mapping: None,
        }
    }
}

/// The chunks of one writer.
///
/// ```
/// use onecopy_memory::{layout::SegmentKind, pool::Pool, segment::Segment};
///
/// let mut pool = Pool::new(64 << 20);
/// let bytes = pool.growth(5000).expect("5000 bytes fit the budget");
/// pool.add(&Segment::create(SegmentKind::Pool, bytes, 0)?);
/// assert!(pool.segments() == 1 && pool.committed_bytes() <= pool.budget_bytes());
///
/// let mut chunk = pool.allocate(5000).expect("there is room now");
/// chunk.bytes_mut()[..5].copy_from_slice(b"hello");
/// let address = chunk.address();
/// assert_eq!(pool.used_bytes(), chunk.capacity());
/// pool.free(chunk);
/// assert_eq!(pool.used_bytes(), 0);
/// // The next message of that size gets the same chunk, with its lines already on this core.
/// pool.take_back_next(5000);
/// let next = pool.allocate_recent(5000).expect("it was freed just now");
/// assert_eq!((next.address(), &next.bytes()[..5]), (address, b"hello".as_slice()));
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    budget_bytes: usize,
    committed_bytes: usize,
    /// By index, which is never used again; `None` when it was replaced.
    segments: Vec<Option<PoolSegment>>,
    may_grow: bool,
    recent: BTreeMap<usize, Vec<Chunk>>,
    recent_bytes: usize,
    used_bytes: usize,
    ranges: FreeRanges,
}

/// Memory that chunks are cut from.
#[derive(Debug)]
struct PoolSegment {
    mapping: Arc<Mapping>,
    /// Where the chunks begin.
    start: usize,
    /// It lies in another segment, which stays.
    is_arena: bool,
}

impl PoolSegment {
    fn bytes(&self) -> usize {
        self.mapping.len() - self.start
    }

    /// Bytes for chunks: whole lines.
    fn usable_bytes(&self) -> usize {
        self.bytes() / LINE_BYTES * LINE_BYTES
    }
}

impl Pool {
    /// An empty pool that may grow to `budget_bytes` of segments.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            committed_bytes: 0,
            segments: Vec::new(),
            may_grow: true,
            recent: BTreeMap::new(),
            recent_bytes: 0,
            used_bytes: 0,
            ranges: FreeRanges::default(),
        }
    }

    /// Most bytes of segments the pool may have.
    pub fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    /// Bytes of the segments it has.
    pub fn committed_bytes(&self) -> usize {
        self.committed_bytes
    }

    /// Bytes of the chunks that are in use: being written, or with readers.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Number of segments that it has had: the index of the next one.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Whether it may have further segments, however large the budget is: `false` if readers can't be given
    /// any. Returns what was so before.
    ///
    /// ```
    /// # use onecopy_memory::pool::Pool;
    /// let mut pool = Pool::new(64 << 20);
    /// // While a reader has no descriptor left for a further segment.
    /// let before = pool.set_growth(false);
    /// assert!(!pool.may_grow() && pool.growth(5000).is_none() && !pool.may_ever_hold(5000));
    /// pool.set_growth(before);
    /// assert!(pool.may_grow() && pool.growth(5000).is_some() && pool.may_ever_hold(5000));
    /// ```
    pub fn set_growth(&mut self, may_grow: bool) -> bool {
        std::mem::replace(&mut self.may_grow, may_grow)
    }

    /// Whether it may have further segments.
    ///
    /// See [`Self::set_growth`] for an example.
    pub fn may_grow(&self) -> bool {
        self.may_grow
    }

    /// A chunk of the right size that was freed not long ago.
    #[inline]
    pub fn allocate_recent(&mut self, length: usize) -> Option<Chunk> {
        let class = size_class(length)?;
        let chunk = self.recent.get_mut(&class)?.pop()?;
        self.recent_bytes -= class;
        self.used_bytes += class;
        Some(chunk)
    }

    /// Takes the lines of the chunk that the next [`Self::allocate`] of `length` bytes is likely to return back
    /// from the caches of its last readers, while nobody waits for it: the stores that fill it later would wait for
    /// them one after the other. It changes nothing in it.
    #[inline]
    pub fn take_back_next(&mut self, length: usize) {
        if let Some(chunk) = size_class(length).and_then(|class| self.recent.get_mut(&class)?.last_mut()) {
            chunk.take_back_lines();
        }
    }

    /// A chunk from the memory there is, or `None`: then [`Self::growth`] tells whether the pool may grow.
    pub fn allocate(&mut self, length: usize) -> Option<Chunk> {
        if let Some(chunk) = self.allocate_recent(length) {
            return Some(chunk);
        }
        let class = size_class(length)?;
        if let Some(chunk) = self.take(class) {
            return Some(chunk);
        }
        // Chunks of other sizes, and what is free beside them, may make one together. Putting them back costs time, so
        // it is done only if they are worth it, or if there is no other way.
        let may_grow = self.growth(length).is_some();
        let is_worth_it = self.recent_bytes >= class && self.recent_bytes * 2 >= self.committed_bytes;
        if self.recent_bytes > 0 && (is_worth_it || !may_grow) {
            self.merge_recent();
            if let Some(chunk) = self.take(class) {
                return Some(chunk);
            }
        }
        // Without slack, if there is no other way.
        if may_grow { None } else { self.take(whole_lines(length)?) }
    }

    /// Size of the segment to add within the budget so that a chunk of `length` bytes fits; `None` if there is none.
    pub fn growth(&self, length: usize) -> Option<usize> {
        let least = size_class(length)?.checked_add(HEADER_BYTES)?;
        let left = self.budget_bytes.checked_sub(self.committed_bytes)?;
        if least > left || !self.may_add() {
            return None;
        }
        Some(least.max(self.committed_bytes).max(FIRST_SEGMENT_BYTES).min(left))
    }

    /// The least that a segment needs for a chunk of `length` bytes: [`Self::growth`] and
    /// [`Self::replacement`] ask for more than that, so that there are few of them.
    ///
    /// See [`Self::replacement`] for an example.
    pub fn growth_least(&self, length: usize) -> Option<usize> {
        // What takes the place of others has no room for slack.
        let room = if self.growth(length).is_some() { size_class(length) } else { whole_lines(length) };
        room?.checked_add(HEADER_BYTES)
    }

    /// Size of the segment to add instead of all segments that are free, for a chunk of `length` bytes that is larger
    /// than any of them; `None` if too much is in use. The arena can't be replaced, and is not counted here: else no
    /// message could be as large as the budget.
    ///
    /// Takes all that the budget leaves. So there are ever fewer segments, and their indices don't run out.
    ///
    /// ```
    /// # use onecopy_memory::{layout::SegmentKind, pool::{Pool, SegmentSet}, segment::Segment};
    /// let mut pool = Pool::new(1 << 20);
    /// let bytes = pool.growth(5000).ok_or("the budget has room")?;
    /// pool.add(&Segment::create(SegmentKind::Pool, bytes, 0)?);
    /// // All of the budget is in a segment whose header takes some of it.
    /// let whole = pool.budget_bytes();
    /// assert!(pool.may_ever_hold(whole) && !pool.may_ever_hold(whole + 1));
    /// let chunk = pool.allocate(5000).ok_or("there is room")?;
    /// assert_eq!(pool.replacement(whole), None, "a message is in it");
    /// pool.free(chunk);
    /// assert!(pool.allocate(whole).is_none() && pool.growth(whole).is_none());
    /// let bytes = pool.replacement(whole).ok_or("nothing is in use")?;
    /// assert!(pool.growth_least(whole).is_some_and(|least| least <= bytes));
    /// assert_eq!(pool.replaced_by(bytes), SegmentSet::from_iter([0]));
    /// pool.add(&Segment::create(SegmentKind::Pool, bytes, 0)?);
    /// assert!(pool.allocate(whole).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replacement(&self, length: usize) -> Option<usize> {
        if self.fits_a_segment(length) || !self.may_add() {
            return None;
        }
        let is_kept = |(_, segment, is_free): &(usize, &PoolSegment, bool)| !segment.is_arena && !is_free;
        let kept: usize = self.present().filter(is_kept).map(|(_, segment, _)| segment.bytes()).sum();
        let left = self.budget_bytes.checked_sub(kept)?;
        if left > 0 && length <= left { whole_lines(left)?.checked_add(HEADER_BYTES) } else { None }
    }

    /// The segments that go when one of `bytes` bytes is added: those that are free, if there is no room in
    /// the budget for all.
    ///
    /// See [`Self::replacement`] for an example.
    pub fn replaced_by(&self, bytes: usize) -> SegmentSet {
        if self.committed_bytes.saturating_add(bytes) <= self.budget_bytes {
            return SegmentSet::EMPTY;
        }
        let free = self.present().filter(|(_, segment, is_free)| *is_free && !segment.is_arena);
        free.map(|(index, ..)| index as u32).collect()
    }

    /// Whether a chunk of `length` bytes fits once nothing is in use.
    ///
    /// See [`Self::replacement`] for an example.
    pub fn may_ever_hold(&self, length: usize) -> bool {
        let fits_the_budget = length <= self.budget_bytes && self.budget_bytes > 0;
        self.fits_a_segment(length) || (fits_the_budget && self.may_add() && whole_lines(length).is_some())
    }

    /// Adds a segment in place of [`Self::replaced_by`] it and returns its index, by which slots refer to it.
    pub fn add(&mut self, segment: &Segment) -> u32 {
        self.replace(self.replaced_by(segment.mapping().len()));
        self.add_range(segment.mapping(), HEADER_BYTES, false)
    }

    /// Adds what lies behind `start` in a mapping of this process that stays.
    pub(crate) fn add_arena(&mut self, mapping: &Arc<Mapping>, start: usize) -> u32 {
        self.add_range(mapping, start, true)
    }

    fn add_range(&mut self, mapping: &Arc<Mapping>, start: usize, is_arena: bool) -> u32 {
        let index = self.segments.len() as u32;
        let segment = PoolSegment { mapping: Arc::clone(mapping), start, is_arena };
        self.committed_bytes += segment.bytes();
        self.ranges.put(ChunkAddress { segment: index, offset: start as u64 }, segment.usable_bytes());
        self.segments.push(Some(segment));
        index
    }

    /// Lets go of some segments.
    fn replace(&mut self, replaced: SegmentSet) {
        for (index, place) in self.segments.iter_mut().enumerate() {
            if replaced.contains(index as u32)
                && let Some(segment) = place.take()
            {
                self.committed_bytes -= segment.bytes();
                self.ranges.remove(whole_range(index, &segment), segment.usable_bytes());
            }
        }
    }

    fn may_add(&self) -> bool {
        self.may_grow && self.segments.len() < SEGMENTS_MAX as usize
    }

    /// The segments there are, with their indices and whether they are free altogether.
    fn present(&self) -> impl Iterator<Item = (usize, &PoolSegment, bool)> {
        self.segments.iter().enumerate().filter_map(|(index, segment)| {
            let segment = segment.as_ref()?;
            let is_free = self.ranges.contains(whole_range(index, segment), segment.usable_bytes());
            Some((index, segment, is_free))
        })
    }

    fn fits_a_segment(&self, length: usize) -> bool {
        whole_lines(length).is_some_and(|length| {
            self.segments.iter().flatten().any(|segment| segment.usable_bytes() >= length)
        })
    }

    fn take(&mut self, length: usize) -> Option<Chunk> {
        let address = self.ranges.take(length)?;
        self.used_bytes += length;
        Some(self.chunk(address, length))
    }

    /// Takes a chunk back.
    ///
    /// # Panics
    ///
    /// If the chunk is another pool's: two owners of one range would follow.
    pub fn free(&mut self, chunk: Chunk) {
        if !cfg!(loom) {
            let own = self.segments[chunk.address.segment as usize].as_ref();
            assert!(chunk.mapping.as_ref().zip(own).is_some_and(|(its, own)| Arc::ptr_eq(its, &own.mapping)));
            // The chunks of a model come from no pool.
            self.used_bytes -= chunk.capacity;
        }
        self.recent_bytes += chunk.capacity;
        self.recent.entry(chunk.capacity).or_default().push(chunk);
    }

    fn chunk(&self, address: ChunkAddress, capacity: usize) -> Chunk {
        let segment = self.segments[address.segment as usize].as_ref();
        let mapping = &segment.expect("a free range lies in a segment that is there").mapping;
        let base = mapping.range(address.offset as usize, capacity).expect("ranges lie inside their segment");
        Chunk { address, capacity, base, mapping: Some(Arc::clone(mapping)) }
    }

    fn merge_recent(&mut self) {
        for (class, chunks) in &mut self.recent {
            for chunk in chunks.drain(..) {
                self.ranges.put(chunk.address, *class);
            }
        }
        self.recent_bytes = 0;
    }
}

/// Where a segment's only range stands if it is free.
fn whole_range(index: usize, segment: &PoolSegment) -> ChunkAddress {
    ChunkAddress { segment: index as u32, offset: segment.start as u64 }
}

/// The least memory for `length` bytes. `None` past what can be addressed.
fn whole_lines(length: usize) -> Option<usize> {
    length.max(LINE_BYTES).checked_next_multiple_of(LINE_BYTES)
}

/// The size of the chunk for `length` bytes: whole lines, four sizes per doubling. `None` past what can be addressed.
fn size_class(length: usize) -> Option<usize> {
    let length = length.max(LINE_BYTES);
    let doubling = length.checked_next_power_of_two()?;
    let step = (doubling / 2 / CLASSES_PER_DOUBLING).max(LINE_BYTES);
    length.checked_next_multiple_of(step)
}

#[cfg(all(test, not(loom)))]
mod tests;
