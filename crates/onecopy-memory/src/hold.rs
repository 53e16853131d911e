//! What a reader tells a writer: where its cursor stands, which messages it holds, that it sleeps. The reader writes
//! it into lines of its own; the writer maps them read-only and looks when it wants its chunks back.
//!
//! Holding a message is a hazard pointer across processes (Maged M. Michael, "Hazard Pointers", 2004): the reader
//! first writes the message's position into its held table, then makes sure that the writer had not given the chunk
//! up already. Dropping the message clears the entry. All readers of a process share one segment, so that a writer
//! that looks at many readers touches few pages.

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;

use crate::counters::NodeCounters;
use crate::fork::ForkGuard;
use crate::kernel;
use crate::layout::{
    BLOCKS_MAX, Block, FLAG_ASYMMETRIC, FLAG_RELIABLE, HEADER_BYTES, HELD_PER_BLOCK, READERS_BYTES,
    ReaderCounters, RingHeader, SegmentKind,
};
use crate::segment::{Segment, SegmentError, View};
use crate::sync::{Arc, AtomicU64, Barrier, Futex, Mutex, Ordering, full_barrier, load_acquire, lock};
use crate::window::{Pane, Window};

/// Most blocks in one reader's chain: 65,535 held messages. A writer walks the chain when it reclaims, so a reader
/// must not be able to make it endless.
pub const CHAIN_BLOCKS_MAX: usize = 65_535 / HELD_PER_BLOCK;

/// The reader state of this process ran out of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// One subscriber holds as many messages of one publisher as can be told to it.
    #[error("65535 messages of one publisher are held already: drop some, or copy() what is to be kept")]
    TooManyHeld,
    /// All lines of the process's reader segment are in use.
    #[error("this process has a million subscriptions and blocks of held messages already: drop some")]
    TableFull,
}

/// The reader state of one process: a segment of [`Block`]s.
#[derive(Debug)]
pub struct ReaderTable {
    segment: Option<Segment>,
    blocks: Window<Block>,
    pub(crate) counters: NodeCounters,
    unused: Mutex<UnusedBlocks>,
    /// Absent in a model only.
    fork: Option<ForkGuard>,
}

#[derive(Debug, Default)]
struct UnusedBlocks {
    returned: Vec<u32>,
    never_used: u32,
}

impl ReaderTable {
    /// Makes the segment. It is sparse: only the lines in use take memory.
    ///
    /// # Errors
    ///
    /// What [`Segment::create`] says.
    pub fn create() -> Result<Arc<Self>, SegmentError> {
        let segment = Segment::create(SegmentKind::Readers, READERS_BYTES, 0)?;
        let blocks =
            Window::new(segment.mapping(), HEADER_BYTES, BLOCKS_MAX).expect("the blocks fit their segment");
        let counters = NodeCounters::over(segment.mapping()).expect("the counters fit their segment");
        let fork = ForkGuard::new().map_err(|source| SegmentError::System { call: "mmap", source })?;
        let unused = Mutex::default();
        Ok(Arc::new(Self { segment: Some(segment), blocks, counters, unused, fork: Some(fork) }))
    }

    /// The same on the heap, for models.
    #[cfg(loom)]
    pub fn heap(count: usize) -> Arc<Self> {
        let blocks = Window::heap((0..count).map(|_| Block::default()).collect());
        let unused = Mutex::new(UnusedBlocks::default());
        Arc::new(Self { segment: None, blocks, counters: NodeCounters::heap(count), unused, fork: None })
    }

    /// Whether this process got the table by `fork`. Then it is the parent's: what ends here has not ended there.
    pub(crate) fn is_inherited(&self) -> bool {
        self.fork.as_ref().is_some_and(ForkGuard::is_child)
    }

    /// What a writer needs to look at the readers.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.segment.as_ref().expect("only a model has no segment").descriptor()
    }

    // Not a method: loom's `Arc` can't be the type of `self`.
    pub(crate) fn add_reader(
        table: &Arc<Self>,
        ring: &Pane<RingHeader>,
        writer_waits: bool,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Arc<ReaderState>, HoldError> {
        let flags = ring.flags.load(Ordering::Relaxed);
        // The writer's membarrier reaches this process only if both sides registered.
        let asymmetric = flags & FLAG_ASYMMETRIC != 0 && kernel::features().membarrier;
        let block = table.take_block()?;
        table.block(block).cursor.store(0, Ordering::Relaxed);
        Ok(Arc::new(ReaderState {
            block,
            chain: Mutex::new(Vec::new()),
            hint: AtomicU64::new(0),
            held_in_chain: AtomicU64::new(0),
            ring: ring.clone(),
            barrier: if asymmetric { Barrier::Asymmetric } else { Barrier::Full },
            reliable: flags & FLAG_RELIABLE != 0,
            writer_waits,
            space_served: AtomicU64::new(0),
            on_space: OnceLock::new(),
            table: Arc::clone(table),
            _token: token,
        }))
    }

    fn take_block(&self) -> Result<u32, HoldError> {
        let mut unused = lock(&self.unused);
        if let Some(index) = unused.returned.pop() {
            return Ok(index);
        }
        if unused.never_used as usize >= self.blocks.len() {
            return Err(HoldError::TableFull);
        }
        unused.never_used += 1;
        self.counters.blocks_in_use(unused.never_used);
        Ok(unused.never_used - 1)
    }

    fn block(&self, index: u32) -> &Block {
        &self.blocks[index as usize]
    }

    fn return_block(&self, index: u32) {
        if self.is_inherited() {
            return;
        }
        self.counters.reader(index).reader.store(0, Ordering::Relaxed);
        let block = self.block(index);
        block.sleeping.store(0, Ordering::Relaxed);
        block.sleeps.store(0, Ordering::Relaxed);
        // Release, as in `advance` and `Hold::drop`: a writer that finds the cursor moved on, a link cut or an entry
        // empty by these stores may overwrite chunks that were read before. It must not wait for a reader that is gone.
        block.cursor.store(u64::MAX, Ordering::Release);
        for entry in &block.held {
            entry.store(0, Ordering::Release);
        }
        block.next.store(0, Ordering::Release);
        lock(&self.unused).returned.push(index);
    }
}

/// One reader of one ring: its own side of the handshake with the writer. Shared with the messages it holds.
#[derive(Debug)]
pub struct ReaderState {
    table: Arc<ReaderTable>,
    block: u32,
    /// Further blocks, in the order of their links.
    chain: Mutex<Vec<u32>>,
    /// Index into the chain (0 is `block`) where the last free entry was found.
    hint: AtomicU64,
    /// Entries in use in the chain's blocks: a full chain is not searched.
    held_in_chain: AtomicU64,
    ring: Pane<RingHeader>,
    barrier: Barrier,
    reliable: bool,
    /// Whether the writer may be asleep until something is let go. A region's never is.
    writer_waits: bool,
    space_served: AtomicU64,
    /// How else the writer is told that it has space.
    on_space: OnceLock<OnSpace>,
    /// Dropped after the blocks are returned.
    _token: Box<dyn Any + Send + Sync>,
}

/// What a reader does besides bumping its word when a writer waits for space.
pub(crate) struct OnSpace(pub(crate) Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for OnSpace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OnSpace")
    }
}

/// One message held; dropped, its chunk may be reused.
#[derive(Debug)]
pub struct Hold {
    state: Arc<ReaderState>,
    block: u32,
    entry: usize,
}

#[cfg(loom)]
impl Hold {
    /// A second hold on the same message, as [`crate::ring::HeldChunk::part`] takes one.
    pub fn again_for_model(&self) -> Self {
        let entered = self.state.enter_again(self.block, self.entry);
        let (block, entry) = entered.expect("the model's table is large enough");
        Self { state: Arc::clone(&self.state), block, entry }
    }
}

/// A hold for the length of a look: nothing has to be kept for it.
#[derive(Debug)]
pub(crate) struct BriefHold<'a> {
    state: &'a ReaderState,
    block: u32,
    entry: usize,
}

impl BriefHold<'_> {
    /// Makes it last. `state` is the one it borrows.
    #[inline]
    pub(crate) fn keep(self, state: &Arc<ReaderState>) -> Hold {
        let (block, entry) = self.leave(state);
        Hold { state: Arc::clone(state), block, entry }
    }

    /// Leaves its entry to somebody who will release it.
    #[inline]
    pub(crate) fn leave(self, state: &ReaderState) -> (u32, usize) {
        debug_assert!(std::ptr::eq(self.state, state), "a hold stays with its reader");
        let Self { block, entry, .. } = *std::mem::ManuallyDrop::new(self);
        (block, entry)
    }
}

impl Drop for BriefHold<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.release(self.block, self.entry);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.state.release(self.block, self.entry);
    }
}

impl ReaderState {
    /// The end of a hold.
    #[inline]
    pub(crate) fn release(&self, block: u32, entry: usize) {
        if self.table.is_inherited() {
            return;
        }
        // Release pairs with the acquire in `PeerReader::for_each_held`: our reads of the chunk come before its reuse.
        self.table.block(block).held[entry].store(0, Ordering::Release);
        if block != self.block {
            self.held_in_chain.fetch_sub(1, Ordering::Relaxed);
        }
        // Also on a ring that overwrites: its writer may wait for memory that is held.
        if self.writer_waits {
            self.wake_waiting_writer();
        }
    }

    /// Index of this reader's block: what its writer is told.
    pub fn block(&self) -> u32 {
        self.block
    }

    /// Whether this process got the reader by `fork`.
    pub(crate) fn is_inherited(&self) -> bool {
        self.table.is_inherited()
    }

    /// The kind of fence this reader uses towards its writer.
    pub fn barrier(&self) -> Barrier {
        self.barrier
    }

    /// What is counted of this reader beside its block.
    pub(crate) fn counters(&self) -> &ReaderCounters {
        self.table.counters.reader(self.block)
    }

    /// Says where the reader begins, which may be beyond the place from which its writer counted it until now: that writer
    /// may have filled its ring meanwhile, and sleep.
    pub(crate) fn start(&self, position: u64) {
        self.advance(position);
    }

    /// Moves the cursor: the writer may take back everything below it that is not held.
    #[inline]
    pub(crate) fn advance(&self, cursor: u64) {
        // Release pairs with the acquire in `PeerReader::cursor`: whoever sees the new cursor sees the holds that were
        // written before it, and our reads of what lies below it are done.
        self.table.block(self.block).cursor.store(cursor, Ordering::Release);
        self.made_space();
    }

    /// The reader ends: only what it holds counts from now on.
    pub(crate) fn finish(&self) {
        if !self.table.is_inherited() {
            self.counters().reader.store(0, Ordering::Relaxed);
            self.advance(u64::MAX);
        }
    }

    /// Enters `position` into the held table, for no longer than `state` is borrowed. The caller must then check that the
    /// writer had not given it up.
    #[inline]
    pub(crate) fn hold(state: &Self, position: u64) -> Result<BriefHold<'_>, HoldError> {
        let (block, entry) = state.enter(position)?;
        // Pairs with the writer's `heavy_barrier` between raising the floor and reading the held tables: either it
        // sees our entry, or our next load of the floor sees that we are too late.
        state.barrier.light();
        Ok(BriefHold { state, block, entry })
    }

    /// Enters `position` into a free entry. Only the reader's own thread enters into the first block, without a lock; the
    /// chain's blocks are filled under its lock.
    #[inline]
    fn enter(&self, position: u64) -> Result<(u32, usize), HoldError> {
        if self.hint.load(Ordering::Relaxed) == 0
            && let Some(entry) = self.enter_in(self.block, 0, position)
        {
            return Ok((self.block, entry));
        }
        self.enter_chain(position)
    }

    #[cold]
    fn enter_chain(&self, position: u64) -> Result<(u32, usize), HoldError> {
        let mut chain = lock(&self.chain);
        if self.held_in_chain.load(Ordering::Relaxed) == (chain.len() * HELD_PER_BLOCK) as u64 {
            if let Some(entry) = self.enter_in(self.block, 0, position) {
                self.hint.store(0, Ordering::Relaxed);
                return Ok((self.block, entry));
            }
            let added = self.enter_added(&mut chain, position)?;
            self.hint.store(chain.len() as u64, Ordering::Relaxed);
            return Ok((added, 0));
        }
        let count = chain.len() + 1;
        let hint = self.hint.load(Ordering::Relaxed) as usize;
        for step in 0..count {
            let link = (hint + step) % count;
            let block = if link == 0 { self.block } else { chain[link - 1] };
            if let Some(entry) = self.enter_in(block, 0, position) {
                self.hint.store(link as u64, Ordering::Relaxed);
                return Ok((block, entry));
            }
        }
        let added = self.enter_added(&mut chain, position)?;
        self.hint.store(chain.len() as u64, Ordering::Relaxed);
        Ok((added, 0))
    }

    /// Enters the position of the first entry once more, behind it, in the order in which the writer looks. In front of
    /// it, a writer could find the new entry still empty, and by the time it comes to the old one find that empty too.
    pub(crate) fn enter_again(
        &self,
        first_block: u32,
        first_entry: usize,
    ) -> Result<(u32, usize), HoldError> {
        let position = self.table.block(first_block).held[first_entry].load(Ordering::Relaxed) - 1;
        let mut chain = lock(&self.chain);
        let mut behind = 0;
        if let Some(link) = chain.iter().position(|block| *block == first_block) {
            if let Some(entry) = self.enter_in(first_block, first_entry + 1, position) {
                return Ok((first_block, entry));
            }
            behind = link + 1;
        }
        for &block in &chain[behind..] {
            if let Some(entry) = self.enter_in(block, 0, position) {
                return Ok((block, entry));
            }
        }
        Ok((self.enter_added(&mut chain, position)?, 0))
    }

    #[inline]
    fn enter_in(&self, block: u32, from: usize, position: u64) -> Option<usize> {
        let held = &self.table.block(block).held;
        // Another thread may clear entries meanwhile. Acquire: a writer that sees what we put there instead of that
        // thread's 0 must still see that thread's reads of the chunk as done.
        let free = (from..held.len()).find(|entry| held[*entry].load(Ordering::Acquire) == 0)?;
        held[free].store(position + 1, Ordering::Release);
        if block != self.block {
            self.held_in_chain.fetch_add(1, Ordering::Relaxed);
        }
        Some(free)
    }

    fn enter_added(&self, chain: &mut Vec<u32>, position: u64) -> Result<u32, HoldError> {
        if chain.len() + 1 >= CHAIN_BLOCKS_MAX {
            return Err(HoldError::TooManyHeld);
        }
        let added = self.table.take_block()?;
        self.table.block(added).held[0].store(position + 1, Ordering::Release);
        self.held_in_chain.fetch_add(1, Ordering::Relaxed);
        let last = chain.last().copied().unwrap_or(self.block);
        // Release: a writer that follows the link finds the block as `return_block` left it, but for our entry.
        self.table.block(last).next.store(added + 1, Ordering::Release);
        chain.push(added);
        Ok(added)
    }

    /// Tells the writer that this reader is about to sleep (`ticket` is not 0), or that it is awake again (0).
    pub(crate) fn set_sleeping(&self, ticket: u32) {
        let block = self.table.block(self.block);
        block.sleeping.store(ticket, Ordering::Relaxed);
        if ticket != 0 {
            // Tickets are numbers of sleeps behind the bit that says how.
            block.sleeps.store(ticket >> 1, Ordering::Relaxed);
        }
    }

    /// From now on `on_space` is called as well whenever a writer that waits is told. Only the first one counts.
    pub(crate) fn set_on_space(&self, on_space: OnSpace) {
        let _ = self.on_space.set(on_space);
    }

    /// Wakes a reliable writer that waits for room in the ring.
    #[inline]
    pub(crate) fn made_space(&self) {
        if self.reliable {
            self.wake_waiting_writer();
        }
    }

    fn wake_waiting_writer(&self) {
        // Pairs with the writer's barrier after it stored `space_wanted` (`RingWriter::wait_for_readers`): either we see
        // its ticket, or it sees the space that we just made. A reliable writer waits often; one that overwrites waits
        // only for memory that is held, so there the writer pays for both.
        if self.reliable {
            full_barrier();
        } else {
            self.barrier.light();
        }
        let ticket = self.ring.space_wanted.load(Ordering::Relaxed);
        if ticket != 0 {
            self.serve_space(ticket);
        }
    }

    #[cold]
    fn serve_space(&self, ticket: u64) {
        // Once per ticket: until the writer is up and clears it, each further message would cost a system call.
        if self.space_served.swap(ticket, Ordering::Relaxed) != ticket {
            self.table.block(self.block).space.bump_and_wake();
            // After the word: who is rung for looks whether it has moved.
            if let Some(OnSpace(tell)) = self.on_space.get() {
                tell();
            }
        }
    }
}

impl Drop for ReaderState {
    fn drop(&mut self) {
        let chain = std::mem::take(&mut *lock(&self.chain));
        self.table.return_block(self.block);
        for block in chain {
            self.table.return_block(block);
        }
    }
}

/// The writer's look at one reader of another process. Nothing in it is trusted.
#[derive(Debug)]
pub struct PeerReader {
    blocks: Window<Block>,
    block: usize,
}

impl PeerReader {
    /// The reader whose state is block `block` of `view`; `None` if there is no such block.
    pub fn open(view: &View, block: u32) -> Option<Self> {
        let count = ((view.total_bytes() - HEADER_BYTES) / size_of::<Block>()).min(BLOCKS_MAX);
        let blocks = Window::new(view.mapping(), HEADER_BYTES, count)?;
        ((block as usize) < count).then_some(Self { blocks, block: block as usize })
    }

    /// A reader of this very process, for models.
    #[cfg(loom)]
    pub fn of(state: &ReaderState) -> Self {
        Self { blocks: state.table.blocks.clone(), block: state.block as usize }
    }

    fn own(&self) -> &Block {
        &self.blocks[self.block]
    }

    /// Position of the next message the reader will take.
    #[inline]
    pub fn cursor(&self) -> u64 {
        // Pairs with the release in `ReaderState::advance`.
        load_acquire(&self.own().cursor)
    }

    /// How often it went to sleep, modulo 2³¹.
    pub fn sleeps(&self) -> u32 {
        self.own().sleeps.load(Ordering::Relaxed)
    }

    /// Ticket of its current sleep, or 0.
    #[inline]
    pub fn sleeping(&self) -> u32 {
        self.own().sleeping.load(Ordering::Relaxed)
    }

    /// Bumped by the reader when a waiting writer has room again.
    pub fn space(&self) -> &Futex {
        &self.own().space
    }

    /// Calls `visit` with each held position. Returns `false` if the chain is not one an honest reader makes.
    pub fn for_each_held(&self, mut visit: impl FnMut(u64)) -> bool {
        let mut block = self.own();
        for _ in 0..=CHAIN_BLOCKS_MAX {
            for entry in &block.held {
                // Pairs with the release in `Hold::drop`: seeing the entry empty, we may overwrite the chunk.
                let held = load_acquire(entry);
                if held != 0 {
                    visit(held - 1);
                }
            }
            let next = block.next.load(Ordering::Relaxed);
            crate::sync::fence(Ordering::Acquire);
            if next == 0 {
                return true;
            }
            match self.blocks.get(next as usize - 1) {
                Some(linked) => block = linked,
                None => return false,
            }
        }
        false
    }
}
