//! One reader, in what it says to its writer: its own side of the handshake.

use std::any::Any;
use std::sync::OnceLock;

use super::chain::{Chain, Entry};
use super::error::HoldError;
use super::table::ReaderTable;
use crate::kernel;
use crate::layout::{FLAG_ASYMMETRIC, FLAG_RELIABLE, ReaderCounters, RingHeader};
use crate::sync::{Arc, AtomicU64, Barrier, Ordering, full_barrier};
use crate::window::Pane;

/// One reader of one ring: its own side of the handshake with the writer. Shared with the messages it holds.
///
/// See [`crate::ring::RingReader`] for an example of how its writer is told of it.
#[derive(Debug)]
pub struct ReaderState {
    chain: Chain,
    ring: Pane<RingHeader>,
    barrier: Barrier,
    reliable: bool,
    /// Whether the writer may be asleep until something is let go. A region's never is.
    writer_waits: bool,
    space_served: AtomicU64,
    /// How else the writer is told that it has space.
    on_space: OnceLock<OnSpace>,
    /// Dropped after the blocks are returned, since it comes after the chain.
    _token: Box<dyn Any + Send + Sync>,
}

/// What a reader does besides bumping its word when a writer waits for space.
pub(crate) struct OnSpace(pub(crate) Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for OnSpace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("OnSpace")
    }
}

impl ReaderState {
    /// Enters a reader into the table of its process.
    pub(crate) fn new(
        table: &Arc<ReaderTable>,
        ring: &Pane<RingHeader>,
        writer_waits: bool,
        token: Box<dyn Any + Send + Sync>,
    ) -> Result<Arc<Self>, HoldError> {
        let flags = ring.flags.load(Ordering::Relaxed);
        // The writer's membarrier reaches this process only if both sides registered.
        let asymmetric = flags & FLAG_ASYMMETRIC != 0 && kernel::features().membarrier;
        let chain = Chain::new(table)?;
        chain.first_block().cursor.store(0, Ordering::Relaxed);
        Ok(Arc::new(Self {
            chain,
            ring: ring.clone(),
            barrier: if asymmetric { Barrier::Asymmetric } else { Barrier::Full },
            reliable: flags & FLAG_RELIABLE != 0,
            writer_waits,
            space_served: AtomicU64::new(0),
            on_space: OnceLock::new(),
            _token: token,
        }))
    }

    /// Index of this reader's block: what its writer is told.
    ///
    /// See [`RingReader`](crate::ring::RingReader) for an example.
    pub fn block(&self) -> u32 {
        self.chain.first()
    }

    /// Whether this process got the reader by `fork`.
    #[inline]
    pub(crate) fn is_inherited(&self) -> bool {
        self.chain.table().is_inherited()
    }

    /// The table that this reader is in, for a writer in the same model.
    #[cfg(loom)]
    pub(super) fn table(&self) -> &ReaderTable {
        self.chain.table()
    }

    /// The kind of fence this reader uses towards its writer.
    ///
    /// ```
    /// # use onecopy_memory::{hold::ReaderTable, layout::SegmentKind, segment::View};
    /// # use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
    /// use onecopy_memory::{kernel::features, sync::Barrier};
    ///
    /// # let writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// let reader = RingReader::open(&ring, &ReaderTable::create()?, Box::new(()))?;
    /// // Writer and reader are one process here, so both may have the kernel's barrier, or neither.
    /// let cheap = reader.state().barrier() == Barrier::Asymmetric;
    /// assert_eq!(cheap, features().membarrier);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn barrier(&self) -> Barrier {
        self.barrier
    }

    /// Says where the reader begins, which may be beyond the place from which its writer counted it until
    /// now: that writer may have filled its ring meanwhile, and sleep.
    pub(crate) fn start(&self, position: u64) {
        self.advance(position);
    }

    /// Moves the cursor: the writer may take back everything below it that is not held.
    #[inline]
    pub(crate) fn advance(&self, cursor: u64) {
        // Release pairs with the acquire in `PeerReader::cursor`: whoever sees the new cursor sees the holds that were
        // written before it, and our reads of what lies below it are done.
        self.chain.first_block().cursor.store(cursor, Ordering::Release);
        self.made_space();
    }

    /// The reader ends: only what it holds counts from now on.
    pub(crate) fn finish(&self) {
        if !self.is_inherited() {
            self.counters().reader.store(0, Ordering::Relaxed);
            self.advance(u64::MAX);
        }
    }

    /// Notes that the message at `position` is held.
    #[inline]
    pub(super) fn enter(&self, position: u64) -> Result<Entry, HoldError> {
        let entry = self.chain.enter(position)?;
        // Pairs with the writer's `heavy_barrier` between raising the floor and reading the held tables: either it
        // sees our entry, or our next load of the floor sees that we are too late.
        self.barrier.light();
        Ok(entry)
    }

    /// Notes the message of `entry` once more. It is protected already, so there is nothing to check.
    pub(crate) fn enter_again(&self, entry: Entry) -> Result<Entry, HoldError> {
        self.chain.enter_again(entry)
    }

    /// The end of a hold.
    #[inline]
    pub(crate) fn release(&self, entry: Entry) {
        if self.is_inherited() {
            return;
        }
        self.chain.clear(entry);
        // Also on a ring that overwrites: its writer may wait for memory that is held.
        if self.writer_waits {
            self.wake_waiting_writer();
        }
    }

    /// Tells the writer that this reader is about to sleep (`ticket` is not 0), or that it is awake again (0).
    pub(crate) fn set_sleeping(&self, ticket: u32) {
        let block = self.chain.first_block();
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
        // Pairs with the writer's barrier after it stored `space_wanted` (`RingWriter::expect_space`):
        // either we see its ticket, or it sees the space that we just made. A reliable writer waits often;
        // one that overwrites waits only for memory that is held, so there the writer pays for both.
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
            self.chain.first_block().space.bump_and_wake();
            // After the word: who is rung for looks whether it has moved.
            if let Some(OnSpace(tell)) = self.on_space.get() {
                tell();
            }
        }
    }

    /// What is counted of this reader beside its block.
    fn counters(&self) -> &ReaderCounters {
        self.chain.table().counters.reader(self.block())
    }

    /// Says whose reader this is: the number of its subscriber within the node (not 0), and its writer's node
    /// and number. From then on observers see it.
    ///
    /// See [`ReaderProbe`](crate::counters::ReaderProbe) for an example.
    pub fn identify(&self, reader: u32, (writer_node, writer): (u64, u32)) {
        let counters = self.counters();
        counters.writer_node.store(writer_node, Ordering::Relaxed);
        counters.writer.store(u64::from(writer), Ordering::Relaxed);
        counters.lost.store(0, Ordering::Relaxed);
        // Until it is told where to start it has nothing to read, and so has received nothing.
        counters.start.store(u64::MAX, Ordering::Relaxed);
        // Release: who sees the number sees what belongs to it.
        counters.reader.store(u64::from(reader), Ordering::Release);
    }

    /// The first message that is for this reader.
    pub(crate) fn count_from(&self, position: u64) {
        self.counters().start.store(position, Ordering::Relaxed);
    }

    /// How many messages were lost by now.
    pub(crate) fn count_lost(&self, lost: u64) {
        self.counters().lost.store(lost, Ordering::Relaxed);
    }
}
