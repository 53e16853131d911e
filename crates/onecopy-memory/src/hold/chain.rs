//! The blocks of one reader. Each has entries for some held messages; when all are in use, another block is
//! linked behind the last, up to [`CHAIN_BLOCKS_MAX`]. The writer follows the links. Nothing is ever moved or
//! unlinked while the reader lives, so it may look at any time.

use super::error::HoldError;
use super::table::ReaderTable;
use crate::layout::{Block, HELD_PER_BLOCK};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, lock};

/// Most blocks in one reader's chain: 65,535 held messages. A writer walks the chain when it reclaims, so a reader
/// must not be able to make it endless.
///
/// See [`HoldError`] for an example.
pub const CHAIN_BLOCKS_MAX: usize = 65_535 / HELD_PER_BLOCK;

/// The place in a chain where one held message is noted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    block: u32,
    index: usize,
}

/// The blocks of one reader, which go back to their table when this is dropped.
#[derive(Debug)]
pub(super) struct Chain {
    table: Arc<ReaderTable>,
    first: u32,
    /// The others, in the order of their links.
    further: Mutex<Vec<u32>>,
    /// Number of the block (0 is the first) where the last free entry was found.
    hint: AtomicU64,
    /// Entries in use in further blocks: if all are, they are not searched.
    held_in_further: AtomicU64,
}

impl Chain {
    pub(super) fn new(table: &Arc<ReaderTable>) -> Result<Self, HoldError> {
        Ok(Self {
            first: table.take_block()?,
            table: Arc::clone(table),
            further: Mutex::new(Vec::new()),
            hint: AtomicU64::new(0),
            held_in_further: AtomicU64::new(0),
        })
    }

    #[inline]
    pub(super) fn table(&self) -> &ReaderTable {
        &self.table
    }

    /// Index of the first block.
    #[inline]
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    #[inline]
    pub(super) fn first_block(&self) -> &Block {
        self.table.block(self.first)
    }

    /// Notes `position` in a free entry. Only the reader's own thread enters into the first block, without a lock; the
    /// further blocks are filled under theirs.
    #[inline]
    pub(super) fn enter(&self, position: u64) -> Result<Entry, HoldError> {
        if self.hint.load(Ordering::Relaxed) == 0
            && let Some(entry) = self.enter_in(self.first, 0, position)
        {
            return Ok(entry);
        }
        self.enter_further(position)
    }

    #[cold]
    fn enter_further(&self, position: u64) -> Result<Entry, HoldError> {
        let mut further = lock(&self.further);
        if self.held_in_further.load(Ordering::Relaxed) == (further.len() * HELD_PER_BLOCK) as u64 {
            if let Some(entry) = self.enter_in(self.first, 0, position) {
                self.hint.store(0, Ordering::Relaxed);
                return Ok(entry);
            }
            let entry = self.enter_added(&mut further, position)?;
            self.hint.store(further.len() as u64, Ordering::Relaxed);
            return Ok(entry);
        }
        let count = further.len() + 1;
        let hint = self.hint.load(Ordering::Relaxed) as usize;
        for step in 0..count {
            let link = (hint + step) % count;
            let block = if link == 0 { self.first } else { further[link - 1] };
            if let Some(entry) = self.enter_in(block, 0, position) {
                self.hint.store(link as u64, Ordering::Relaxed);
                return Ok(entry);
            }
        }
        let entry = self.enter_added(&mut further, position)?;
        self.hint.store(further.len() as u64, Ordering::Relaxed);
        Ok(entry)
    }

    /// Notes what is in `entry` once more, behind it, in the order in which the writer looks. In front of it, a writer
    /// could find the new entry still empty, and by the time it comes to the old one find that empty too.
    pub(super) fn enter_again(&self, entry: Entry) -> Result<Entry, HoldError> {
        let position = self.table.block(entry.block).held[entry.index].load(Ordering::Relaxed) - 1;
        let mut further = lock(&self.further);
        let mut behind = 0;
        if let Some(link) = further.iter().position(|block| *block == entry.block) {
            if let Some(again) = self.enter_in(entry.block, entry.index + 1, position) {
                return Ok(again);
            }
            behind = link + 1;
        }
        for &block in &further[behind..] {
            if let Some(again) = self.enter_in(block, 0, position) {
                return Ok(again);
            }
        }
        self.enter_added(&mut further, position)
    }

    #[inline]
    fn enter_in(&self, block: u32, from: usize, position: u64) -> Option<Entry> {
        let held = &self.table.block(block).held;
        // Another thread may clear entries meanwhile. Acquire: a writer that sees what we put there instead of that
        // thread's 0 must still see that thread's reads of the chunk as done.
        let index = (from..held.len()).find(|index| held[*index].load(Ordering::Acquire) == 0)?;
        held[index].store(position + 1, Ordering::Release);
        if block != self.first {
            self.held_in_further.fetch_add(1, Ordering::Relaxed);
        }
        Some(Entry { block, index })
    }

    fn enter_added(&self, further: &mut Vec<u32>, position: u64) -> Result<Entry, HoldError> {
        if further.len() + 1 >= CHAIN_BLOCKS_MAX {
            return Err(HoldError::TooManyHeld);
        }
        let block = self.table.take_block()?;
        self.table.block(block).held[0].store(position + 1, Ordering::Release);
        self.held_in_further.fetch_add(1, Ordering::Relaxed);
        let last = further.last().copied().unwrap_or(self.first);
        // Release: a writer that follows the link finds the block as `ReaderTable::return_block` left it, but for our
        // entry.
        self.table.block(last).next.store(block + 1, Ordering::Release);
        further.push(block);
        Ok(Entry { block, index: 0 })
    }

    /// Empties an entry: what was noted there may change from now on.
    #[inline]
    pub(super) fn clear(&self, entry: Entry) {
        // Release pairs with the acquire in `PeerReader::for_each_held`: our reads of the chunk come before its reuse.
        self.table.block(entry.block).held[entry.index].store(0, Ordering::Release);
        if entry.block != self.first {
            self.held_in_further.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let further = std::mem::take(&mut *lock(&self.further));
        self.table.return_block(self.first);
        for block in further {
            self.table.return_block(block);
        }
    }
}
