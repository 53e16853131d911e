//! The reader state of a process: one segment for all its readers, and who has which of its blocks.

use std::os::fd::BorrowedFd;

use super::error::HoldError;
use crate::counters::NodeCounters;
use crate::fork::ForkGuard;
use crate::free_list::FreeList;
use crate::layout::{BLOCKS_MAX, Block, HEADER_BYTES, READERS_BYTES, SegmentKind};
use crate::segment::{Segment, SegmentError};
use crate::sync::{Arc, Ordering};
use crate::window::Window;

/// The reader state of one process: a segment of [`Block`]s.
///
/// See [`crate::ring::RingReader`] for an example of how a reader is entered and made known to its writer.
///
/// ```
/// use onecopy_memory::hold::{PeerReader, ReaderTable};
/// use onecopy_memory::layout::{BLOCKS_MAX, READERS_BYTES, SegmentKind};
/// use onecopy_memory::segment::View;
///
/// // One for all readers of a process; its writers map it once, and find each reader by its block.
/// let table = ReaderTable::create()?;
/// let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
/// assert_eq!(state.total_bytes(), READERS_BYTES);
/// assert!(PeerReader::open(&state, BLOCKS_MAX as u32 - 1).is_some());
/// assert!(PeerReader::open(&state, BLOCKS_MAX as u32).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReaderTable {
    segment: Option<Segment>,
    blocks: Window<Block>,
    pub(crate) counters: NodeCounters,
    free_blocks: FreeList,
    /// Absent in a model only.
    fork: Option<ForkGuard>,
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
        let free_blocks = FreeList::of(BLOCKS_MAX);
        Ok(Arc::new(Self { segment: Some(segment), blocks, counters, free_blocks, fork: Some(fork) }))
    }

    /// The same on the heap, for models.
    #[cfg(loom)]
    pub fn heap(count: usize) -> Arc<Self> {
        let blocks = Window::heap((0..count).map(|_| Block::default()).collect());
        let (counters, free_blocks) = (NodeCounters::heap(count), FreeList::of(count));
        Arc::new(Self { segment: None, blocks, counters, free_blocks, fork: None })
    }

    /// All blocks, for a writer in the same model.
    #[cfg(loom)]
    pub(super) fn blocks_for_model(&self) -> Window<Block> {
        self.blocks.clone()
    }

    /// Whether this process got the table by `fork`. Then it is the parent's: what ends here has not ended there.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.fork.as_ref().is_some_and(ForkGuard::is_child)
    }

    /// What a writer needs to look at the readers.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.segment.as_ref().expect("only a model has no segment").descriptor()
    }

    pub(super) fn take_block(&self) -> Result<u32, HoldError> {
        self.free_blocks.take(|end| self.counters.blocks_in_use(end)).ok_or(HoldError::TableFull)
    }

    #[inline]
    pub(super) fn block(&self, index: u32) -> &Block {
        &self.blocks[index as usize]
    }

    pub(super) fn return_block(&self, index: u32) {
        if self.is_inherited() {
            return;
        }
        self.counters.reader(index).reader.store(0, Ordering::Relaxed);
        let block = self.block(index);
        block.sleeping.store(0, Ordering::Relaxed);
        block.sleeps.store(0, Ordering::Relaxed);
        // Release, as in `ReaderState::advance` and `Chain::clear`: a writer that finds the cursor moved on,
        // a link cut or an entry empty by these stores may overwrite chunks that were read before. It must
        // not wait for a reader that is gone.
        block.cursor.store(u64::MAX, Ordering::Release);
        for entry in &block.held {
            entry.store(0, Ordering::Release);
        }
        block.next.store(0, Ordering::Release);
        self.free_blocks.give_back(index);
    }
}
