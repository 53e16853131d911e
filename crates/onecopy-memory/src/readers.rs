//! The writer's list of attached readers. The thread that talks to the broker attaches and detaches; the publishing
//! thread looks at a version number on each message and takes a new copy of the list only when it changed, so no lock
//! and no shared reference count is on the message path.

use crate::hold::PeerReader;
use crate::layout::RingHeader;
use crate::sync::{
    Arc, AtomicBool, AtomicU32, AtomicU64, Futex, Mutex, Ordering, heavy_barrier, load_acquire, lock,
};
use crate::wait::Ringer;
use crate::window::Pane;

/// Names a reader among the readers of one ring.
///
/// See [`crate::ring::RingReader`] for an example.
pub type ReaderKey = (u64, u32);

/// Lowest bit of a sleep ticket: the sleeper waits for its doorbell, not on the futex.
pub(crate) const TICKET_DOORBELL: u32 = 1;

/// A reader as its writer knows it.
#[derive(Debug)]
pub(crate) struct AttachedReader {
    key: ReaderKey,
    pub(crate) peer: PeerReader,
    /// Where the first message that it may need begins; below this its cursor means nothing.
    start: AtomicU64,
    /// Highest cursor seen: a broken reader whose cursor runs back gains nothing.
    furthest: AtomicU64,
    /// Its cursor + 1 when the writer gave up waiting for it; 0 while that waits. Used by the writer's thread only.
    evicted_at: AtomicU64,
    may_sleep: AtomicBool,
    ringer: Mutex<Option<Ringer>>,
    /// Ticket of the sleep that was ended last.
    woken_ticket: AtomicU32,
}

impl AttachedReader {
    pub(crate) fn key(&self) -> ReaderKey {
        self.key
    }

    /// Everything below this position the reader is done with, save what it holds.
    pub(crate) fn cursor(&self, head: u64) -> u64 {
        let claimed = self.peer.cursor().min(head);
        let least = self.start.load(Ordering::Relaxed).max(self.furthest.load(Ordering::Relaxed));
        let cursor = claimed.max(least);
        self.furthest.store(cursor, Ordering::Relaxed);
        cursor
    }

    /// Gives up waiting for it: what it has not read may be overwritten. What it holds may not.
    pub(crate) fn evict(&self, cursor: u64) {
        self.evicted_at.store(cursor + 1, Ordering::Relaxed);
    }

    /// Whether the writer has given up waiting for it. One that has moved on since, and needs nothing that was
    /// overwritten in a ring of `capacity` slots, is waited for again.
    pub(crate) fn is_evicted(&self, head: u64, capacity: u64) -> bool {
        let evicted_at = self.evicted_at.load(Ordering::Relaxed);
        if evicted_at == 0 {
            return false;
        }
        let cursor = self.cursor(head);
        let is_back = cursor >= evicted_at && cursor + capacity >= head;
        if is_back {
            self.evicted_at.store(0, Ordering::Relaxed);
        }
        !is_back
    }

    /// Whether the reader sleeps on the ring's futex and has to be woken; a doorbell is rung right here.
    #[inline]
    pub(crate) fn wants_wake(&self) -> bool {
        let ticket = self.peer.sleeping();
        if ticket == 0 || ticket == self.woken_ticket.load(Ordering::Relaxed) {
            return false;
        }
        // Once per sleep: until the reader is up, each further message would cost a system call.
        self.woken_ticket.store(ticket, Ordering::Relaxed);
        if ticket & TICKET_DOORBELL == 0 {
            return true;
        }
        self.ring();
        false
    }

    fn ring(&self) {
        if let Some(ringer) = &*lock(&self.ringer) {
            ringer.ring();
        }
    }
}

/// The readers of one ring.
///
/// ```
/// # use onecopy_memory::hold::{PeerReader, ReaderTable};
/// # use onecopy_memory::ring::{Geometry, RingWriter};
/// # use onecopy_memory::{layout::SegmentKind, segment::View, wait::Doorbell};
/// let mut writer = RingWriter::create(Geometry::new(16, 2, 48, false), 0)?;
/// for message in [b"one", b"two", b"six"] {
///     writer.publish_inline(&[], message);
/// }
/// # let table = ReaderTable::create()?;
/// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
/// # let peer = PeerReader::open(&state, 0).ok_or("it has blocks")?;
/// let readers = std::sync::Arc::clone(writer.readers());
/// // A late joiner may start two messages back.
/// assert_eq!((readers.attach((1, 1), peer), readers.count()), (1, 1));
/// let (doorbell, ringer) = Doorbell::pair()?;
/// readers.may_sleep((1, 1), Some(ringer));
/// assert!(doorbell.was_rung(), "once in any case");
/// // Something that is no message, and the end of the writer.
/// readers.ring_doorbells();
/// assert!(doorbell.was_rung());
/// readers.wake_all();
/// assert!(doorbell.was_rung());
///
/// readers.detach((1, 1));
/// assert_eq!(readers.count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Readers {
    ring: Pane<RingHeader>,
    history: u64,
    /// Most messages that one slot announces.
    batch_max: u64,
    version: AtomicU64,
    list: Mutex<Vec<Arc<AttachedReader>>>,
    /// Bumped when a reader goes: a writer that waits for its space must look again.
    pub(crate) changed: Futex,
}

impl Readers {
    pub(crate) fn new(ring: Pane<RingHeader>, history: u64, batch_max: u64) -> Self {
        Self {
            ring,
            history,
            batch_max,
            version: AtomicU64::new(0),
            list: Mutex::new(Vec::new()),
            changed: Futex::default(),
        }
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        // Pairs with the release in `publish_list`.
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> Vec<Arc<AttachedReader>> {
        lock(&self.list).clone()
    }

    /// Number of attached readers.
    pub fn count(&self) -> usize {
        lock(&self.list).len()
    }

    /// Adds a reader and returns the position where it may start: up to `history` messages back. That may be inside a
    /// batch, whose only slot is the one of its first message; so until the reader says itself where it is, it counts as
    /// being a batch further back.
    ///
    /// The publishing thread may be in the middle of a publish that knows nothing of the reader yet. It is counted in
    /// with a start that is too low rather than too high until every later publish must see it. The one publish under way
    /// overwrites the slot a whole ring back, and reclaims nothing that reaches into the history; `history` and the batch
    /// that it begins in are three quarters of a ring at most.
    pub fn attach(&self, key: ReaderKey, peer: PeerReader) -> u64 {
        let earliest = load_acquire(&self.ring.head).saturating_sub(self.history);
        let reader = Arc::new(AttachedReader {
            key,
            peer,
            start: AtomicU64::new(self.first_needed(earliest)),
            furthest: AtomicU64::new(0),
            evicted_at: AtomicU64::new(0),
            may_sleep: AtomicBool::new(false),
            ringer: Mutex::new(None),
            woken_ticket: AtomicU32::new(0),
        });
        {
            let mut list = lock(&self.list);
            list.push(Arc::clone(&reader));
            self.publish_list();
        }
        // Pairs with the publishing thread's light barrier before it looks at the version.
        heavy_barrier();
        let start = load_acquire(&self.ring.head).saturating_sub(self.history).max(earliest);
        reader.start.store(self.first_needed(start), Ordering::Relaxed);
        start
    }

    /// Where the batch may begin that the message at `start` is of.
    fn first_needed(&self, start: u64) -> u64 {
        start.saturating_sub(self.batch_max - 1)
    }

    /// Forgets a reader: what it held is free, what waits for it goes on.
    pub fn detach(&self, key: ReaderKey) {
        {
            let mut list = lock(&self.list);
            list.retain(|reader| reader.key != key);
            self.publish_list();
        }
        self.changed.bump_and_wake();
    }

    /// From now on the publisher looks whether this reader sleeps. Whoever never announces it costs a publish nothing.
    ///
    /// Ends with one wake-up in any case: a message published just before the publisher knew is then found by the
    /// reader itself.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View};
    /// # use onecopy_memory::ring::{Geometry, RingWriter};
    /// use onecopy_memory::{ring::RingReader, sync::full_barrier, wait::wait};
    ///
    /// /// Sleeps until there is a message.
    /// fn wait_for_message(reader: &mut RingReader) {
    ///     while !reader.is_ready() {
    ///         let value = reader.prepare_sleep(false);
    ///         full_barrier();
    ///         if !reader.is_ready() {
    ///             wait(reader.wake_word(), value, None);
    ///         }
    ///         reader.cancel_sleep();
    ///     }
    /// }
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// # reader.start(writer.readers().attach((1, 1), peer));
    /// // Only those that have said so are woken.
    /// writer.readers().may_sleep((1, 1), None);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| writer.publish_inline(&[], b"hello"));
    ///     wait_for_message(&mut reader);
    /// });
    /// assert_eq!(reader.head(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn may_sleep(&self, key: ReaderKey, ringer: Option<Ringer>) {
        {
            let list = lock(&self.list);
            let Some(reader) = list.iter().find(|reader| reader.key == key) else { return };
            if let Some(ringer) = ringer {
                *lock(&reader.ringer) = Some(ringer);
            }
            reader.may_sleep.store(true, Ordering::Relaxed);
            self.publish_list();
        }
        // Pairs with the light barrier between a publish's store and its look at the version: either that publish
        // sees the reader on the list, or the reader, woken below, sees what it published.
        heavy_barrier();
        self.ring.wake.bump_and_wake();
        let list = lock(&self.list);
        for reader in list.iter().filter(|reader| reader.key == key) {
            reader.ring();
        }
    }

    /// Wakes every sleeping reader: for a writer that ends.
    pub fn wake_all(&self) {
        self.ring.wake.bump_and_wake();
        self.ring_doorbells();
    }

    /// Rings the doorbell of every reader that has given one, for something that is no message.
    pub fn ring_doorbells(&self) {
        for reader in lock(&self.list).iter() {
            reader.ring();
        }
    }

    /// Makes the publishing thread take a new copy. Called with the list locked.
    fn publish_list(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }
}

pub(crate) fn sleepers(readers: &[Arc<AttachedReader>]) -> Vec<Arc<AttachedReader>> {
    readers.iter().filter(|reader| reader.may_sleep.load(Ordering::Relaxed)).cloned().collect()
}
