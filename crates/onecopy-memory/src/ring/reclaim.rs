//! How the writer gets its chunks back. A published chunk is *outstanding* until every reader's cursor has passed it
//! and it has left the history; then it is *retired*: the floor is raised above it, so nobody can take hold of it any
//! more. A retired chunk that no reader holds goes back to the pool.
//!
//! If memory runs short on a topic that overwrites, chunks are retired under the eyes of slow readers. Only then is
//! the expensive barrier needed: a reader enters a hold and looks at the floor, the writer raises the floor and looks
//! at the holds, and one of them must see the other.

use std::collections::VecDeque;

use super::RingWriter;
use crate::counted::counted;
use crate::pool::{Chunk, Pool};
use crate::sync::{Ordering, heavy_barrier};

/// Chunks in flight before the writer looks at its readers for the first time: looking costs a cache miss a reader,
/// so it is done for several chunks at once, as long as these few chunks stay in the core's own cache.
const COLLECT_BATCH_MAX: usize = 16;
/// Bytes in flight at which it looks even if the batch is not full: an eighth of a common 2 MiB second-level cache.
const COLLECT_BYTES: usize = 256 << 10;

/// What [`RingWriter::allocate`] found.
///
/// ```
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::pool::{Chunk, Pool};
/// use onecopy_memory::ring::{Allocation, RingWriter};
/// use onecopy_memory::segment::Segment;
///
/// /// Memory for a message: that of others which nobody needs any more, or else further memory.
/// fn allocate(
///     writer: &mut RingWriter,
///     pool: &mut Pool,
///     bytes: usize,
/// ) -> Result<Chunk, Box<dyn std::error::Error>> {
///     loop {
///         match writer.allocate(pool, bytes)? {
///             Allocation::Chunk(chunk) => return Ok(chunk),
///             // Readers have to be given it too.
///             Allocation::Grow(bytes) => drop(pool.add(&Segment::create(SegmentKind::Pool, bytes, 0)?)),
///         }
///     }
/// }
/// ```
#[derive(Debug)]
pub enum Allocation {
    /// Memory to write into.
    Chunk(Chunk),
    /// The pool wants a further segment of so many bytes first ([`Pool::add`]), which may replace others
    /// ([`Pool::replaced_by`]).
    Grow(usize),
}

/// All of the budget is in messages that readers hold or have not read yet.
///
/// ```
/// use onecopy_memory::pool::Pool;
/// use onecopy_memory::ring::{BudgetExhausted, Geometry, RingWriter};
///
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let mut pool = Pool::new(1 << 20);
/// // A message that no pool of this size can ever hold.
/// let exhausted = writer.allocate(&mut pool, 2 << 20).expect_err("it is too large");
/// assert_eq!(exhausted, BudgetExhausted { requested_bytes: 2 << 20, budget_bytes: 1 << 20 });
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of {} does not fit into the byte budget of {budget_bytes}: readers hold the rest, or it is too large; raise the budget, lower the history, or let readers drop messages sooner",
    counted(*requested_bytes, "byte")
)]
pub struct BudgetExhausted {
    /// Size of the message.
    pub requested_bytes: usize,
    /// The publisher's budget.
    pub budget_bytes: usize,
}

#[derive(Debug)]
struct Published {
    position: u64,
    count: u64,
    chunk: Chunk,
}

/// The writer's chunks that are out with readers.
#[derive(Debug, Default)]
pub(super) struct Reclaim {
    outstanding: VecDeque<Published>,
    retired: Vec<Published>,
    /// Some retired chunk was taken from readers that had not passed it.
    forced: bool,
    /// Chunks out at which readers are looked at again. Slow readers keep many out; looking at them for every message
    /// would cost each message a cache miss a reader.
    collect_at: usize,
    /// Scratch space of `sweep`.
    held: Vec<u64>,
    /// Position + 1 of the last message that found no memory.
    exhausted_at: u64,
}

impl Reclaim {
    pub(super) fn published(&mut self, position: u64, count: u64, chunk: Chunk) {
        self.outstanding.push_back(Published { position, count, chunk });
    }

    pub(super) fn out(&self) -> usize {
        self.outstanding.len() + self.retired.len()
    }

    /// Retires from the front while `keep_going` says so; returns the new floor, if it moved.
    fn retire_while(&mut self, keep_going: impl Fn(&Published) -> bool) -> Option<u64> {
        let mut floor = None;
        while let Some(published) = self.outstanding.pop_front_if(|published| keep_going(published)) {
            floor = Some(published.position + published.count);
            self.retired.push(published);
        }
        floor
    }
}

impl RingWriter {
    /// Memory for a message of `length` bytes: one that readers have given back, or fresh memory within the budget.
    ///
    /// # Errors
    ///
    /// [`BudgetExhausted`] if readers hold so much that the rest does not suffice.
    pub fn allocate(&mut self, pool: &mut Pool, length: usize) -> Result<Allocation, BudgetExhausted> {
        if let Some(chunk) = pool.allocate_recent(length) {
            return Ok(Allocation::Chunk(chunk));
        }
        let batch = (COLLECT_BYTES / length.max(1)).clamp(1, COLLECT_BATCH_MAX);
        if self.reclaim.out() >= self.reclaim.collect_at.max(batch) {
            self.collect(pool);
            let out = self.reclaim.out();
            self.reclaim.collect_at = out + batch.max(out / 4);
        }
        if let Some(chunk) = pool.allocate(length) {
            return Ok(Allocation::Chunk(chunk));
        }
        if let Some(bytes) = pool.growth(length) {
            return Ok(Allocation::Grow(bytes));
        }
        self.reclaim(pool, length)
    }

    /// Like [`Self::allocate`], from the memory that there is: for when the pool could not grow.
    ///
    /// ```
    /// # use onecopy_memory::ring::{Allocation, Geometry, RingWriter};
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false).with_arena(1 << 16), 0)?;
    /// let mut pool = writer.create_pool(8 << 20);
    /// // The budget has room for it, the arena of 64 KiB has not.
    /// assert!(matches!(writer.allocate(&mut pool, 1 << 20)?, Allocation::Grow(_)));
    /// // If there is no descriptor to be had, what fits the arena is still published.
    /// assert!(writer.allocate_without_growth(&mut pool, 1 << 20).is_err());
    /// let chunk = writer.allocate_without_growth(&mut pool, 1000)?;
    /// assert!(chunk.capacity() >= 1000 && pool.may_grow());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::allocate`].
    pub fn allocate_without_growth(
        &mut self,
        pool: &mut Pool,
        length: usize,
    ) -> Result<Chunk, BudgetExhausted> {
        let may_grow = pool.set_growth(false);
        let allocation = self.reclaim(pool, length);
        pool.set_growth(may_grow);
        match allocation? {
            Allocation::Chunk(chunk) => Ok(chunk),
            Allocation::Grow(_) => unreachable!("growth was ruled out"),
        }
    }

    fn reclaim(&mut self, pool: &mut Pool, length: usize) -> Result<Allocation, BudgetExhausted> {
        self.collect(pool);
        loop {
            if let Some(chunk) = pool.allocate(length) {
                return Ok(Allocation::Chunk(chunk));
            }
            if let Some(bytes) = pool.replacement(length) {
                return Ok(Allocation::Grow(bytes));
            }
            // Readers must not lose their messages to one that is too large in any case.
            if !pool.may_ever_hold(length) || !(self.revoke(pool) || self.outwait_unread(pool)) {
                self.count_exhausted();
                return Err(BudgetExhausted { requested_bytes: length, budget_bytes: pool.budget_bytes() });
            }
        }
    }

    /// Whether [`Self::allocate`] would find memory now.
    ///
    /// See [`Self::wait_for_readers`] for an example.
    pub fn may_allocate(&mut self, pool: &mut Pool, length: usize) -> bool {
        match self.allocate(pool, length) {
            Ok(Allocation::Chunk(chunk)) => {
                pool.free(chunk);
                true
            }
            Ok(Allocation::Grow(_)) => true,
            Err(BudgetExhausted { .. }) => false,
        }
    }

    /// Takes back every chunk that all readers have passed, that the history does not need and that nobody holds.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::ring::{Geometry, MessageParts, RingReader, RingWriter};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View};
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false).with_arena(1 << 16), 0)?;
    /// # let mut pool = writer.create_pool(1 << 16);
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// # reader.start(writer.readers().attach((1, 1), peer));
    /// let chunk = pool.allocate(1000).ok_or("there is room")?;
    /// writer.publish_chunk(chunk, 0, 1000, 1);
    /// # let mut held = None;
    /// # let mut parts = MessageParts { header: &mut [], payload: &mut [], exact: false, chunk: &mut held };
    /// reader.receive(&mut parts)?;
    /// writer.collect(&mut pool);
    /// assert!(pool.used_bytes() >= 1000, "the reader holds it");
    /// drop(held);
    /// writer.collect(&mut pool);
    /// assert_eq!(pool.used_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn collect(&mut self, pool: &mut Pool) {
        self.refresh_readers();
        // Before the cursors: a reader that comes back between the two must not have been passed over without the barrier.
        let has_evicted = self.has_evicted();
        let passed = self.slowest_cursor().unwrap_or(self.head);
        let done = passed.min(self.head.saturating_sub(self.ring.geometry.history));
        let floor = self.reclaim.retire_while(|published| published.position + published.count <= done);
        self.reclaim.forced |= floor.is_some() && has_evicted;
        self.raise_floor(floor);
        self.sweep(pool);
        self.show_pool(pool);
    }

    /// Evicts the readers that have not read the oldest message whose memory is out, if they have kept a reliable writer
    /// from going on for long enough. Returns `false` if there is nothing to be had by it.
    fn outwait_unread(&mut self, pool: &mut Pool) -> bool {
        if !self.ring.geometry.reliable {
            return false;
        }
        let Some(oldest) = self.reclaim.outstanding.front() else { return false };
        let end = oldest.position + oldest.count;
        if !self.outwait(|cursor| cursor < end) {
            return false;
        }
        self.collect(pool);
        true
    }

    /// Evicts as a shortage of memory would, for models.
    #[cfg(loom)]
    pub fn outwait_for_model(&mut self, pool: &mut Pool) -> bool {
        self.outwait_unread(pool)
    }

    /// Whether there are readers that are not waited for.
    pub(super) fn has_evicted(&self) -> bool {
        let (head, capacity) = (self.head, self.ring.geometry.capacity);
        self.attached.iter().any(|reader| reader.is_evicted(head, capacity))
    }

    /// Once a message, however often it is tried.
    #[cold]
    fn count_exhausted(&mut self) {
        if self.reclaim.exhausted_at != self.head + 1 {
            self.reclaim.exhausted_at = self.head + 1;
            let exhausted = &self.ring.header().exhausted;
            exhausted.store(exhausted.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Takes the older half of the outstanding chunks from readers that have not read them. Returns `false` if there
    /// is nothing to take, or the ring is reliable and must not.
    fn revoke(&mut self, pool: &mut Pool) -> bool {
        if self.ring.geometry.reliable {
            return false;
        }
        let outstanding = &self.reclaim.outstanding;
        let Some(last) =
            outstanding.len().div_ceil(2).checked_sub(1).and_then(|index| outstanding.get(index))
        else {
            return false;
        };
        let last = last.position;
        let floor = self.reclaim.retire_while(|published| published.position <= last);
        self.reclaim.forced = true;
        self.raise_floor(floor);
        self.sweep(pool);
        true
    }

    /// Takes chunks from readers as a shortage of memory would, for models.
    #[cfg(loom)]
    pub fn revoke_for_model(&mut self, pool: &mut Pool) -> bool {
        self.revoke(pool)
    }

    /// Retires chunks whose positions fall out of the ring when `count` messages are added.
    #[inline]
    pub(super) fn retire_lapped(&mut self, count: u64) {
        // Most rings of small messages have no chunk out, ever.
        if !self.reclaim.outstanding.is_empty() {
            self.retire_below(self.head + count);
        }
    }

    fn retire_below(&mut self, end: u64) {
        let capacity = self.ring.geometry.capacity;
        if self.reclaim.outstanding.front().is_some_and(|oldest| oldest.position + capacity < end) {
            let floor = self.reclaim.retire_while(|published| published.position + capacity < end);
            self.reclaim.forced = true;
            self.raise_floor(floor);
        }
    }

    fn raise_floor(&self, floor: Option<u64>) {
        if let Some(floor) = floor {
            // A reader that matters is either past it already (its cursor said so), or is caught by the barrier in
            // `sweep`. Release: a reader that sees the floor above its message also sees the head above it.
            self.ring.header().floor.store(floor, Ordering::Release);
        }
    }

    /// Gives retired chunks that nobody holds back to the pool.
    fn sweep(&mut self, pool: &mut Pool) {
        let Reclaim { retired, forced, held, .. } = &mut self.reclaim;
        if retired.is_empty() {
            return;
        }
        if std::mem::take(forced) {
            // Pairs with the light barrier in `ReaderState::enter`: a reader that entered its hold before this is seen
            // below; one that enters it later sees the raised floor and lets go.
            heavy_barrier();
        }
        // Without force no barrier is needed: the cursor that let us retire a chunk was stored (release) after the
        // hold was entered, and we have loaded it (acquire).
        held.clear();
        for reader in &self.attached {
            // A chain that makes no sense is its reader's loss: that reader's messages lose their protection.
            let _honest = reader.peer.for_each_held(|position| held.push(position));
        }
        held.sort_unstable();
        for published in retired.extract_if(.., |published| held.binary_search(&published.position).is_err())
        {
            pool.free(published.chunk);
        }
    }
}
