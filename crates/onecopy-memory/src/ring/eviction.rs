//! A reliable writer that does not wait for ever: a reader that has kept it from going on for longer than it
//! was told to wait is *evicted*. From then on the writer overwrites what that reader has not read, as it
//! would on a ring that overwrites, and the reader learns of it when it finds its message gone
//! ([`super::RingFault::Evicted`]): from its slot's sequence, or from the floor that was raised above its
//! chunk. No further word between the two is needed, so nothing can get lost between them, and nobody has to
//! be alive but the writer.
//!
//! What an evicted reader *holds* stays as it is until it lets go or its process ends: its `&T` are as good
//! as any. Only its cursor counts no more. If it goes on before anything that it needs was overwritten, it is
//! waited for again, and never learns that it was given up.

use std::time::{Duration, Instant};

use super::RingWriter;
use crate::readers::ReaderKey;
use crate::sync::Ordering;

/// Who keeps a writer from publishing its next message.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    /// Position of that message.
    head: u64,
    readers: Vec<Laggard>,
}

/// A reader in the way, which has not moved since it was first seen there.
#[derive(Debug)]
struct Laggard {
    key: ReaderKey,
    cursor: u64,
    since: Instant,
}

impl Blocked {
    /// Notes who is in the way now; a reader that has moved, or was not in the way, begins anew.
    fn update(&mut self, head: u64, blocking: impl Iterator<Item = (ReaderKey, u64)>) {
        let before = if self.head == head { std::mem::take(&mut self.readers) } else { Vec::new() };
        let now = Instant::now();
        self.head = head;
        self.readers.clear();
        self.readers.extend(blocking.map(|(key, cursor)| {
            let known = before.iter().find(|laggard| (laggard.key, laggard.cursor) == (key, cursor));
            Laggard { key, cursor, since: known.map_or(now, |laggard| laggard.since) }
        }));
    }
}

impl RingWriter {
    /// The message at the head finds no room, or no memory, because of the readers for which `blocks` holds,
    /// given their cursors. Evicts those that have been in the way for long enough; says whether there was
    /// one.
    #[cold]
    pub(super) fn outwait(&mut self, blocks: impl Fn(u64) -> bool) -> bool {
        let (head, capacity) = (self.head, self.ring.geometry.capacity);
        self.ring.header().blocked_at.store(head + 1, Ordering::Relaxed);
        let Some(evict_after) = self.ring.geometry.evict_after() else { return false };
        let waited_for = self.attached.iter().filter(|reader| !reader.is_evicted(head, capacity));
        let cursors = waited_for.map(|reader| (reader.key(), reader.cursor(head)));
        self.blocked.update(head, cursors.filter(|(_, cursor)| blocks(*cursor)));
        let mut evicted = 0;
        for laggard in self.blocked.readers.extract_if(.., |laggard| laggard.since.elapsed() >= evict_after) {
            for reader in self.attached.iter().filter(|reader| reader.key() == laggard.key) {
                reader.evict(laggard.cursor);
                evicted += 1;
            }
        }
        let evictions = &self.ring.header().evictions;
        evictions.store(evictions.load(Ordering::Relaxed) + evicted, Ordering::Relaxed);
        evicted > 0
    }

    /// When a writer that sleeps until there is space has to look whom it evicts. Where only held messages
    /// are in the way there is nobody to evict, and nothing to wake up for.
    pub(super) fn evicts_at(&self) -> Option<Instant> {
        let evict_after = self.ring.geometry.evict_after()?;
        let laggards = self.blocked.readers.iter().filter(|_| self.blocked.head == self.head);
        laggards.map(|laggard| laggard.since).min()?.checked_add(evict_after)
    }

    /// Readers that this writer has gone on without, so far.
    ///
    /// ```
    /// # use onecopy_memory::{hold::{PeerReader, ReaderTable}, layout::SegmentKind, segment::View};
    /// use onecopy_memory::ring::{Geometry, MessageParts, RingFault, RingReader, RingWriter};
    /// use std::time::Duration;
    ///
    /// // Two slots, and no patience at all.
    /// let geometry = Geometry::new(2, 0, 48, true).with_evict_after(Duration::ZERO);
    /// let mut writer = RingWriter::create(geometry, 0)?;
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// reader.start(writer.readers().attach((1, 1), peer));
    /// writer.publish_inline(&[], b"one");
    /// writer.publish_inline(&[], b"two");
    /// // The reader has read neither, and is given up.
    /// assert!(writer.has_room(1));
    /// assert_eq!(writer.evictions(), 1);
    /// writer.publish_inline(&[], b"three");
    /// # let (mut payload, mut chunk) = ([0; 48], None);
    /// # let mut parts = MessageParts { header: &mut [], payload: &mut payload, exact: false, chunk: &mut chunk };
    /// assert_eq!(reader.receive(&mut parts).err(), Some(RingFault::Evicted { missed: 3 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn evictions(&self) -> u64 {
        self.ring.header().evictions.load(Ordering::Relaxed)
    }
}

/// Nanoseconds as a ring's header has them; 0 for a writer that waits for ever.
pub(super) fn to_word(evict_after: Option<Duration>) -> u64 {
    evict_after.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1))
}

pub(super) fn from_word(nanoseconds: u64) -> Option<Duration> {
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}
