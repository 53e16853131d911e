//! The writer's chunks: memory for messages too large for a slot. Only the writer allocates and frees, so this is
//! ordinary private code over segments that others map read-only. The pool grows by whole segments up to a byte
//! budget; segments are sparse, so what counts in memory is what messages touched.
//!
//! A freed chunk first goes onto a stack of its size class: the next message of that size gets the chunk that is
//! still in the cache. Only when a class is empty do the coalescing `ranges` come into play.

mod ranges;

use std::collections::BTreeMap;
use std::ptr::NonNull;

use ranges::FreeRanges;

use crate::layout::{HEADER_BYTES, LINE_BYTES};
use crate::mapping::Mapping;
use crate::prefetch::prefetch_for_writing;
use crate::segment::Segment;
use crate::sync::{Arc, AtomicU64};
use crate::window::Window;

/// First segment of a pool; each further one doubles the total.
const FIRST_SEGMENT_BYTES: usize = 1 << 20;
/// Steps per doubling of size among the size classes: at most a quarter of a chunk is slack.
const CLASSES_PER_DOUBLING: usize = 4;

/// Bytes that [`Pool::prefetch_next`] fetches at most: 64 lines are several times what a core can have under way at once,
/// and what follows comes while these are written.
const PREFETCH_BYTES_MAX: usize = 4096;

/// Where a chunk lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkAddress {
    /// Index of the segment within its pool.
    pub segment: u32,
    /// Bytes from the segment's start; a multiple of a line.
    pub offset: u64,
}

/// Memory that nobody else may touch: the writer's, from [`Pool::allocate`] until it is published or freed.
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
// SAFETY: as above; `&Chunk` gives no access to the bytes.
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
/// let mut chunk = pool.allocate(5000).expect("there is room now");
/// chunk.bytes_mut()[..5].copy_from_slice(b"hello");
/// pool.free(chunk);
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    budget_bytes: usize,
    committed_bytes: usize,
    /// Each segment's mapping, and where its chunks begin.
    segments: Vec<(Arc<Mapping>, usize)>,
    recent: BTreeMap<usize, Vec<Chunk>>,
    recent_bytes: usize,
    ranges: FreeRanges,
}

impl Pool {
    /// An empty pool that may grow to `budget_bytes` of segments.
    pub fn new(budget_bytes: usize) -> Self {
        Self {
            budget_bytes,
            committed_bytes: 0,
            segments: Vec::new(),
            recent: BTreeMap::new(),
            recent_bytes: 0,
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

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// A chunk of the right size that was freed not long ago.
    #[inline]
    pub fn allocate_recent(&mut self, length: usize) -> Option<Chunk> {
        let class = size_class(length)?;
        let chunk = self.recent.get_mut(&class)?.pop()?;
        self.recent_bytes -= class;
        Some(chunk)
    }

    /// Fetches the chunk that the next [`Self::allocate`] of `length` bytes is likely to return. Its last readers still
    /// have its lines; taking these back one by one while the message is written would cost a round trip for each few.
    #[inline]
    pub fn prefetch_next(&self, length: usize) {
        let next = size_class(length).and_then(|class| self.recent.get(&class)?.last());
        if let Some(chunk) = next {
            prefetch_for_writing(chunk.base.as_ptr(), chunk.capacity.min(PREFETCH_BYTES_MAX));
        }
    }

    /// A chunk from the memory there is, or `None`: then [`Self::growth`] tells whether the pool may grow.
    pub fn allocate(&mut self, length: usize) -> Option<Chunk> {
        if let Some(chunk) = self.allocate_recent(length) {
            return Some(chunk);
        }
        let class = size_class(length)?;
        if let Some(address) = self.ranges.take(class) {
            return Some(self.chunk(address, class));
        }
        // Chunks of other sizes, and what is free beside them, may make one together. Putting them back costs time, so
        // it is done only if they are worth it, or if there is no other way.
        let is_worth_it = self.recent_bytes >= class && self.recent_bytes * 2 >= self.committed_bytes;
        if self.recent_bytes == 0 || (!is_worth_it && self.growth(length).is_some()) {
            return None;
        }
        self.merge_recent();
        self.ranges.take(class).map(|address| self.chunk(address, class))
    }

    /// Size of the segment to add so that a chunk of `length` bytes fits; `None` if the budget forbids it.
    pub fn growth(&self, length: usize) -> Option<usize> {
        let least = size_class(length)?.checked_add(HEADER_BYTES)?;
        let left = self.budget_bytes.checked_sub(self.committed_bytes)?;
        if least > left {
            return None;
        }
        Some(least.max(self.committed_bytes).max(FIRST_SEGMENT_BYTES).min(left))
    }

    /// Whether a chunk of `length` bytes fits into one of the segments, were it empty.
    pub fn may_ever_hold(&self, length: usize) -> bool {
        size_class(length)
            .is_some_and(|class| self.segments.iter().any(|(mapping, start)| mapping.len() - start >= class))
    }

    /// Adds a segment and returns its index, the number by which slots refer to it.
    pub fn add(&mut self, segment: &Segment) -> u32 {
        self.add_range(segment.mapping(), HEADER_BYTES)
    }

    /// Adds what lies behind `start` in a mapping of this process.
    pub(crate) fn add_range(&mut self, mapping: &Arc<Mapping>, start: usize) -> u32 {
        let index = self.segments.len() as u32;
        let usable = (mapping.len() - start) / LINE_BYTES * LINE_BYTES;
        self.committed_bytes += mapping.len() - start;
        self.segments.push((Arc::clone(mapping), start));
        self.ranges.put(ChunkAddress { segment: index, offset: start as u64 }, usable);
        index
    }

    /// Takes a chunk back.
    ///
    /// # Panics
    ///
    /// If the chunk is another pool's: two owners of one range would follow.
    pub fn free(&mut self, chunk: Chunk) {
        if !cfg!(loom) {
            let (own, _) = &self.segments[chunk.address.segment as usize];
            assert!(chunk.mapping.as_ref().is_some_and(|mapping| Arc::ptr_eq(mapping, own)));
        }
        self.recent_bytes += chunk.capacity;
        self.recent.entry(chunk.capacity).or_default().push(chunk);
    }

    fn chunk(&self, address: ChunkAddress, capacity: usize) -> Chunk {
        let (mapping, _) = &self.segments[address.segment as usize];
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

/// The size of the chunk for `length` bytes: whole lines, four sizes per doubling. `None` past what can be addressed.
fn size_class(length: usize) -> Option<usize> {
    let length = length.max(LINE_BYTES);
    let doubling = length.checked_next_power_of_two()?;
    let step = (doubling / 2 / CLASSES_PER_DOUBLING).max(LINE_BYTES);
    length.checked_next_multiple_of(step)
}

#[cfg(all(test, not(loom)))]
mod tests;
