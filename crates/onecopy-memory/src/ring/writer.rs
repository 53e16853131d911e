//! The publishing side: fill a slot, store its sequence, wake whoever sleeps. The cost does not depend on the number
//! of readers, unless some announced that they may sleep, nor on the size of a chunk.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::eviction::Blocked;
use super::reclaim::Reclaim;
use super::{Geometry, Ring};
use crate::kernel;
use crate::layout::{KIND_CHUNK, KIND_INLINE, Meta, SLOT_HEADER_WORDS, SegmentKind, WRITING};
use crate::pool::{Chunk, Pool};
use crate::readers::{AttachedReader, Readers, sleepers};
use crate::segment::{Segment, SegmentError};
use crate::sync::{Arc, AtomicU64, Barrier, Ordering, fence};
use crate::words::store_bytes;

/// The one writer of a ring.
///
/// ```
/// use onecopy_memory::ring::{Geometry, RingWriter};
///
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, true), 0)?;
/// let message = b"hello";
/// // Larger ones go into chunks, and this ring waits for readers that are slow.
/// if message.len() <= writer.geometry().inline_bytes_max() && writer.has_room(1) {
///     writer.publish_inline(&[], message);
/// }
/// assert_eq!((writer.head(), writer.readers().count()), (1, 0));
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct RingWriter {
    pub(super) ring: Ring,
    segment: Option<Segment>,
    /// Position of the next message; the shared copy is for others.
    pub(super) head: u64,
    /// Reliable: the next message must stay below this. Behind the slowest reader's cursor by design; looked up again
    /// when it is reached.
    pub(super) limit: u64,
    /// Towards the thread of this process that attaches readers, and towards sleepers.
    barrier: Barrier,
    pub(super) readers: Arc<Readers>,
    pub(super) version: u64,
    pub(super) attached: Vec<Arc<AttachedReader>>,
    sleepers: Vec<Arc<AttachedReader>>,
    pub(super) reclaim: Reclaim,
    pub(super) space_ticket: u64,
    /// Waits for space that have not stopped.
    pub(super) expecting: usize,
    /// Position + 1 of the last message that found the ring full.
    full_at: u64,
    pub(super) blocked: Blocked,
    /// Slots below this were taken back from their readers already, or nobody has read them yet.
    pub(super) taken_back: u64,
}

impl RingWriter {
    /// Makes the segment and an empty ring in it. `layout_hash` describes the payload type.
    ///
    /// # Errors
    ///
    /// What [`Segment::create`] says.
    pub fn create(geometry: Geometry, layout_hash: u64) -> Result<Self, SegmentError> {
        let segment = Segment::create(SegmentKind::Ring, geometry.total_bytes(), layout_hash)?;
        let ring = Ring::over(segment.mapping(), geometry).expect("the segment has the ring's size");
        Ok(Self::over(ring, Some(segment), kernel::features().membarrier))
    }

    /// The same on the heap, with the ring for readers to share, for models.
    #[cfg(loom)]
    pub fn heap(geometry: Geometry) -> Self {
        Self::over(Ring::heap(geometry), None, true)
    }

    fn over(ring: Ring, segment: Option<Segment>, asymmetric: bool) -> Self {
        ring.geometry.write_to(ring.header(), asymmetric);
        let readers =
            Arc::new(Readers::new(ring.header.clone(), ring.geometry.history, ring.geometry.batch_max()));
        Self {
            head: 0,
            limit: u64::MAX,
            barrier: if asymmetric { Barrier::Asymmetric } else { Barrier::Full },
            readers,
            version: 0,
            attached: Vec::new(),
            sleepers: Vec::new(),
            reclaim: Reclaim::default(),
            space_ticket: 0,
            expecting: 0,
            full_at: 0,
            blocked: Blocked::default(),
            // Models take back where they say so: each store more makes many more orders of events.
            taken_back: if cfg!(loom) { u64::MAX } else { ring.geometry.capacity },
            segment,
            ring,
        }
    }

    /// What readers need to map the ring.
    ///
    /// See [`RingReader`](super::RingReader) for an example.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.segment.as_ref().expect("only a model has no segment").descriptor()
    }

    /// The same, for somebody who hands it out again later.
    ///
    /// ```
    /// use onecopy_memory::ring::{Geometry, Observer, RingWriter};
    ///
    /// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
    /// let kept = writer.share_descriptor();
    /// writer.publish_inline(&[], b"hello");
    /// drop(writer);
    /// // Whoever comes late is given it still.
    /// assert_eq!(Observer::open(kept.try_clone()?)?.messages(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        self.segment.as_ref().expect("only a model has no segment").share_descriptor()
    }

    /// A pool of up to `budget_bytes` for this ring's chunks, which begins with the arena behind the slots.
    ///
    /// See [`Self::publish_chunk`] for an example.
    pub fn create_pool(&self, budget_bytes: usize) -> Pool {
        let mut pool = Pool::new(budget_bytes);
        let geometry = self.ring.geometry;
        if let (Some(segment), 1..) = (&self.segment, geometry.arena_bytes()) {
            pool.add_arena(segment.mapping(), geometry.arena_offset());
        }
        self.ring.header().budget_bytes.store(budget_bytes as u64, Ordering::Relaxed);
        self.show_pool(&pool);
        pool
    }

    /// Shows observers how large the pool is, and how much of it is out.
    ///
    /// ```
    /// # use onecopy_memory::ring::{Geometry, Observer, RingWriter};
    /// # use onecopy_memory::{layout::SegmentKind, segment::Segment};
    /// # let writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
    /// # let observer = Observer::open(writer.descriptor().try_clone_to_owned()?)?;
    /// let mut pool = writer.create_pool(4 << 20);
    /// pool.add(&Segment::create(SegmentKind::Pool, 1 << 20, 0)?);
    /// assert_eq!(observer.counters().pool_bytes, 0);
    /// writer.show_pool(&pool);
    /// assert_eq!(observer.counters().pool_bytes, pool.committed_bytes() as u64);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn show_pool(&self, pool: &Pool) {
        let header = self.ring.header();
        header.pool_bytes.store(pool.committed_bytes() as u64, Ordering::Relaxed);
        header.chunks_out.store(self.reclaim.out() as u64, Ordering::Relaxed);
    }

    /// The list of readers, for the thread that attaches and detaches them.
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Sizes and rules of the ring.
    pub fn geometry(&self) -> Geometry {
        self.ring.geometry
    }

    /// Position of the next message, which is the number of messages so far.
    pub fn head(&self) -> u64 {
        self.head
    }

    /// Whether `count` more messages may be published now. Always true on a ring that overwrites.
    #[inline]
    pub fn has_room(&mut self, count: u64) -> bool {
        self.refresh_readers();
        if !self.ring.geometry.reliable || self.head + count <= self.limit {
            return true;
        }
        self.look_for_room(count)
    }

    fn look_for_room(&mut self, count: u64) -> bool {
        let (end, capacity) = (self.head + count, self.ring.geometry.capacity);
        if self.is_below_limit(end) {
            return true;
        }
        self.count_full();
        // Evicts nobody if the one that was in the way has moved on just now, and then there is room as well.
        self.outwait(|cursor| cursor + capacity < end);
        self.is_below_limit(end)
    }

    /// Looks the limit up again.
    fn is_below_limit(&mut self, end: u64) -> bool {
        let has_evicted = self.has_evicted();
        self.limit = self.slowest_cursor().map_or(u64::MAX, |cursor| cursor + self.ring.geometry.capacity);
        let is_below = end <= self.limit;
        if is_below && has_evicted {
            // One that comes back is to be waited for from the next message on.
            self.limit = end;
        }
        is_below
    }

    /// Once a message, however often it is tried.
    #[cold]
    fn count_full(&mut self) {
        if self.full_at != self.head + 1 {
            self.full_at = self.head + 1;
            let full = &self.ring.header().full;
            full.store(full.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Publishes a message whose payload travels in the slot.
    ///
    /// # Panics
    ///
    /// If header and payload are larger than a slot takes.
    // Always inlined, so that a payload of known size is stored by straight code.
    #[inline(always)]
    pub fn publish_inline(&mut self, header: &[u8], payload: &[u8]) {
        let header_words = header.len().div_ceil(8);
        assert!(
            header_words * 8 + payload.len() <= self.ring.geometry.inline_bytes_max(),
            "payload fits its slot"
        );
        self.retire_lapped(1);
        let slot = self.ring.slot(self.head);
        open_slot(slot, self.head);
        let meta = Meta { length: payload.len() as u32, count: 1, kind: KIND_INLINE };
        slot[1].store(meta.pack(), Ordering::Relaxed);
        let words = &slot[SLOT_HEADER_WORDS..];
        store_bytes(words, header);
        store_bytes(&words[header_words..], payload);
        close_slot(slot, self.head);
        self.finish(1, payload.len());
        if self.head >= self.taken_back {
            self.take_back_slots(SLOT_HEADER_WORDS + header_words + payload.len().div_ceil(8));
        }
    }

    /// Publishes `count` messages that lie one after the other in `chunk`: `payload_bytes` behind a header of
    /// `header_bytes`.
    ///
    /// ```
    /// # use onecopy_memory::ring::{Geometry, RingWriter};
    /// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false).with_arena(1 << 16), 0)?;
    /// let mut pool = writer.create_pool(1 << 16);
    /// let mut chunk = pool.allocate(300).ok_or("the arena has room")?;
    /// for (message, number) in chunk.bytes_mut().chunks_exact_mut(100).zip(1..=3) {
    ///     message.fill(number);
    /// }
    /// // Three messages, for which readers look at one slot.
    /// writer.publish_chunk(chunk, 0, 300, 3);
    /// assert_eq!(writer.head(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If `count` is 0 or beyond [`Geometry::batch_max`], or the bytes beyond the chunk.
    pub fn publish_chunk(&mut self, chunk: Chunk, header_bytes: usize, payload_bytes: usize, count: u64) {
        let length = header_bytes + payload_bytes;
        assert!((1..=self.ring.geometry.batch_max()).contains(&count) && length <= chunk.capacity());
        self.retire_lapped(count);
        let address = chunk.address();
        let slot = self.ring.slot(self.head);
        open_slot(slot, self.head);
        let meta = Meta { length: 0, count: count as u16, kind: KIND_CHUNK };
        let fields = [meta.pack(), u64::from(address.segment), address.offset, length as u64];
        for (word, field) in slot[1..].iter().zip(fields) {
            word.store(field, Ordering::Relaxed);
        }
        close_slot(slot, self.head);
        self.reclaim.published(self.head, count, chunk);
        self.finish(count, payload_bytes);
    }

    #[inline(always)]
    fn finish(&mut self, count: u64, bytes: usize) {
        self.head += count;
        let header = self.ring.header();
        // Nobody else stores it. Read back rather than kept beside, for each store of a message takes room in the store
        // buffer, where it waits behind those to lines that readers have.
        let published_bytes = header.published_bytes.load(Ordering::Relaxed);
        header.published_bytes.store(published_bytes + bytes as u64, Ordering::Relaxed);
        // Release: a late joiner that reads the head finds the slots below it filled.
        header.head.store(self.head, Ordering::Release);
        // Pairs with `heavy_barrier` in `Readers::{attach, may_sleep}`: either we see the new list, or they see our
        // message.
        self.barrier.light();
        self.refresh_readers();
        if !self.sleepers.is_empty() {
            self.wake_sleepers();
        }
    }

    #[cold]
    fn wake_sleepers(&self) {
        // Pairs with the fence of a reader between its ticket and its last look (`RingReader::prepare_sleep`'s caller):
        // either we see the ticket, or it sees our message. A full fence on both sides: a membarrier on the reader's
        // would interrupt every publisher that runs (docs/decisions/membarrier.md).
        fence(Ordering::SeqCst);
        // Not `any`: each doorbell has to be rung.
        let on_futex = self.sleepers.iter().filter(|reader| reader.wants_wake()).count();
        if on_futex > 0 {
            self.ring.header().wake.bump_and_wake();
        }
    }

    #[inline]
    pub(super) fn refresh_readers(&mut self) {
        if self.readers.version() != self.version {
            self.take_readers();
        }
    }

    #[cold]
    fn take_readers(&mut self) {
        self.version = self.readers.version();
        self.attached = self.readers.snapshot();
        self.sleepers = sleepers(&self.attached);
        // Look the limit up again at the next message.
        self.limit = if self.attached.is_empty() { u64::MAX } else { self.head };
    }

    /// The lowest cursor of all readers that are waited for; `None` without those.
    pub(super) fn slowest_cursor(&self) -> Option<u64> {
        let (head, capacity) = (self.head, self.ring.geometry.capacity);
        let readers = self.attached.iter().filter(|reader| !reader.is_evicted(head, capacity));
        readers.map(|reader| reader.cursor(head)).min()
    }
}

/// Marks the slot as being written, so that whoever still reads its old message notices.
#[inline]
fn open_slot(slot: &[AtomicU64], position: u64) {
    slot[0].store((position + 1) | WRITING, Ordering::Relaxed);
    // Pairs with the acquire fence in `RingReader` between copying a payload and looking at the sequence again: who
    // has read any of our new words then also sees this mark or what follows it.
    fence(Ordering::Release);
}

#[inline]
fn close_slot(slot: &[AtomicU64], position: u64) {
    // Pairs with `load_acquire` of the sequence in `RingReader::receive`.
    slot[0].store(position + 1, Ordering::Release);
}
