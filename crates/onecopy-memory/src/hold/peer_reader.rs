//! The writer's look at a reader of another process. Nothing found there is trusted: a chain that no honest
//! reader makes ends the walk along it.

use super::chain::CHAIN_BLOCKS_MAX;
#[cfg(loom)]
use super::reader_state::ReaderState;
use crate::layout::{BLOCKS_MAX, Block, HEADER_BYTES};
use crate::segment::View;
use crate::sync::{Futex, Ordering, fence, load_acquire};
use crate::window::Window;

/// The writer's look at one reader of another process. Nothing in it is trusted.
///
/// ```
/// # use onecopy_memory::{hold::{PeerReader, ReaderTable}, layout::SegmentKind, segment::View};
/// # use onecopy_memory::ring::{Geometry, MessageParts, RingReader, RingWriter};
/// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(1 << 16), 0)?;
/// # let mut pool = writer.create_pool(1 << 16);
/// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
/// # let table = ReaderTable::create()?;
/// # let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
/// let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
/// let open = || PeerReader::open(&state, reader.state().block()).ok_or("it has that block");
/// let (attached, peer) = (open()?, open()?);
/// reader.start(writer.readers().attach((1, 1), attached));
/// # let chunk = pool.allocate(1000).ok_or("there is room")?;
/// writer.publish_chunk(chunk, 0, 1000, 1);
/// # let mut held = None;
/// # let mut parts = MessageParts { header: &mut [], payload: &mut [], exact: false, chunk: &mut held };
/// reader.receive(&mut parts)?;
/// // It is done with message 0, except that it holds it.
/// let mut positions = Vec::new();
/// assert!(peer.for_each_held(|position| positions.push(position)));
/// assert_eq!((peer.cursor(), positions), (1, vec![0]));
///
/// reader.prepare_sleep(false);
/// assert!(peer.sleeping() != 0 && peer.sleeps() == 1);
/// reader.cancel_sleep();
/// assert!(peer.sleeping() == 0 && peer.sleeps() == 1);
///
/// // A writer that sleeps until there is space sleeps on this word.
/// let before = peer.space().value();
/// let _wait = writer.expect_space().ok_or("there is a reader")?;
/// drop(held);
/// assert_ne!(peer.space().value(), before);
/// # writer.stop_expecting_space();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        Self { blocks: state.table().blocks_for_model(), block: state.block() as usize }
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
                // Pairs with the release in `Chain::clear`: seeing the entry empty, we may overwrite the chunk.
                let held = load_acquire(entry);
                if held != 0 {
                    visit(held - 1);
                }
            }
            let next = block.next.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
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
