//! A reliable writer that found the ring full, or its memory held, can sleep until readers have moved on. It leaves a
//! ticket in its own header and sleeps on a word in each reader's block; a reader that makes space and sees a ticket
//! it has not served yet bumps its word. All readers are waited for, not only the slowest: the one that holds the
//! memory may be a quick one.

use std::time::Instant;

use super::{RingReader, RingWriter};
use crate::hold::OnSpace;
use crate::readers::{AttachedReader, Readers};
use crate::sync::{Arc, Futex, Ordering, full_barrier, heavy_barrier};
use crate::wait::{Woken, wait_any};

/// A writer about to sleep until its readers have made space. It stands apart from the writer, so that
/// threads that share one need not keep the others from it while they sleep. There may be several for a ring,
/// which notes the ticket of the last: a reader that serves it wakes them all.
///
/// ```
/// use onecopy_memory::ring::{RingWriter, SpaceWait};
/// use onecopy_memory::wait::Woken;
/// use std::time::Instant;
///
/// /// Sleeps until there is room for a message; whether there is, in time.
/// fn wait_for_room(writer: &mut RingWriter, deadline: Instant) -> bool {
///     while let Some(wait) = writer.expect_space() {
///         // Between saying so and sleeping: what a reader does from now on ends the sleep.
///         let has_room = writer.has_room(1);
///         let woken = if has_room { Woken::Maybe } else { wait.sleep(Some(deadline)) };
///         writer.stop_expecting_space();
///         if has_room || woken == Woken::TimedOut {
///             return has_room;
///         }
///     }
///     writer.has_room(1)
/// }
/// # let geometry = onecopy_memory::ring::Geometry::new(16, 0, 48, true);
/// # let mut writer = RingWriter::create(geometry, 0)?;
/// # assert!(wait_for_room(&mut writer, Instant::now()));
/// # Ok::<(), onecopy_memory::segment::SegmentError>(())
/// ```
#[derive(Debug)]
pub struct SpaceWait {
    list: Arc<Readers>,
    changed: u32,
    /// With the values of their words to sleep with.
    attached: Vec<(Arc<AttachedReader>, u32)>,
    version: u64,
}

impl SpaceWait {
    /// Sleeps until a reader has made space, came or went since [`RingWriter::expect_space`], or until `deadline`.
    pub fn sleep(&self, deadline: Option<Instant>) -> Woken {
        let mut words = vec![(&self.list.changed, self.changed)];
        words.extend(self.attached.iter().map(|(reader, value)| (reader.peer.space(), *value)));
        sleep_on(&words, deadline).by(deadline)
    }

    /// Whether [`Self::sleep`] would end at once: for whoever is woken in another way ([`RingReader::ring_on_space`]).
    ///
    /// See [`RingWriter::have_waits_look_again`] for an example.
    pub fn is_over(&self) -> bool {
        self.list.changed.value() != self.changed
            || self.attached.iter().any(|(reader, value)| reader.peer.space().value() != *value)
    }
}

impl RingWriter {
    /// Whether anybody reads the ring.
    ///
    /// See [`Self::have_waits_look_again`] for an example.
    #[inline]
    pub fn has_readers(&mut self) -> bool {
        self.refresh_readers();
        !self.attached.is_empty()
    }

    /// Says that the writer is about to sleep until there is space; `None` if there is no reader to wait for. Look once
    /// more for the space, [`SpaceWait::sleep`] if there is none, and then, once for each wait,
    /// [`Self::stop_expecting_space`].
    pub fn expect_space(&mut self) -> Option<SpaceWait> {
        if !self.has_readers() {
            return None;
        }
        let list = Arc::clone(&self.readers);
        // The values before the ticket, the ticket before the last look: whatever a reader does after our look, it
        // does to a word whose old value we go to sleep with.
        let changed = list.changed.value();
        let attached =
            self.attached.iter().map(|reader| (Arc::clone(reader), reader.peer.space().value())).collect();
        self.space_ticket += 1;
        self.expecting += 1;
        self.ring.header().waits.store(self.space_ticket, Ordering::Relaxed);
        self.ring.header().space_wanted.store(self.space_ticket, Ordering::Relaxed);
        // Pairs with the barrier in `ReaderState::wake_waiting_writer`.
        if self.ring.geometry.reliable {
            full_barrier()
        } else {
            heavy_barrier()
        }
        Some(SpaceWait { list, changed, attached, version: self.version })
    }

    /// A sleep is over, or there was no need for it.
    pub fn stop_expecting_space(&mut self) {
        self.expecting -= 1;
        // The ticket of those who go on waiting stays, whether or not it was served: whoever it was served to
        // looks again.
        if self.expecting == 0 {
            self.ring.header().space_wanted.store(0, Ordering::Relaxed);
        }
    }

    /// Ends the waits that there are: something has changed at this end, like memory that was given back, of which no
    /// reader tells. Says whether there are any: those that are woken in another way ([`SpaceWait::is_over`]) are not yet.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View};
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(1 << 16), 0)?;
    /// # let mut pool = writer.create_pool(1 << 16);
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// assert!(!writer.has_readers() && writer.expect_space().is_none());
    /// writer.readers().attach((1, 1), peer);
    /// assert!(writer.has_readers());
    ///
    /// let chunk = pool.allocate(60_000).ok_or("there is room")?;
    /// // Another thread is about to sleep until readers give memory back ...
    /// let wait = writer.expect_space().ok_or("there is a reader now")?;
    /// assert!(!wait.is_over());
    /// // ... and here is some that is not published after all.
    /// pool.free(chunk);
    /// assert!(writer.have_waits_look_again() && wait.is_over());
    /// writer.stop_expecting_space();
    /// assert!(!writer.have_waits_look_again());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn have_waits_look_again(&self) -> bool {
        let is_awaited = self.expecting > 0;
        if is_awaited {
            self.readers.changed.bump_and_wake();
        }
        is_awaited
    }

    /// Sleeps until `ready` (looked at before each sleep) or until `deadline`. `ready` is something that readers bring
    /// about by reading or by dropping messages: room in the ring, chunks in the pool.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::ring::{Geometry, MessageParts, RingReader, RingWriter};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View, wait::Woken};
    /// # let mut writer = RingWriter::create(Geometry::new(16, 0, 48, true).with_arena(1 << 16), 0)?;
    /// # let mut pool = writer.create_pool(1 << 16);
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let mut reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// # reader.start(writer.readers().attach((1, 1), peer));
    /// let chunk = pool.allocate(60_000).ok_or("there is room")?;
    /// writer.publish_chunk(chunk, 0, 60_000, 1);
    /// # let mut held = None;
    /// # let mut parts = MessageParts { header: &mut [], payload: &mut [], exact: false, chunk: &mut held };
    /// reader.receive(&mut parts)?;
    /// // All memory is in a message that the reader holds.
    /// assert!(!writer.may_allocate(&mut pool, 60_000));
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| drop(held));
    ///     let woken = writer.wait_for_readers(None, |writer| writer.may_allocate(&mut pool, 60_000));
    ///     assert_eq!(woken, Woken::Maybe);
    /// });
    /// assert!(pool.allocate(60_000).is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for_readers(
        &mut self,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Self) -> bool,
    ) -> Woken {
        loop {
            let Some(wait) = self.expect_space() else {
                return if ready(self) { Woken::Maybe } else { Woken::TimedOut };
            };
            let woken = if ready(self) {
                None
            } else if self.version != wait.version {
                // The look took in a reader whose word is not among ours.
                Some(Woken::Maybe.by(deadline))
            } else {
                let until = [deadline, self.evicts_at()].into_iter().flatten().min();
                // The end of somebody's time is a reason to look again, like any other.
                let (Woken::TimedOut | Woken::Maybe) = wait.sleep(until);
                Some(Woken::Maybe.by(deadline))
            };
            self.stop_expecting_space();
            match woken {
                None => return Woken::Maybe,
                Some(Woken::TimedOut) => return if ready(self) { Woken::Maybe } else { Woken::TimedOut },
                Some(Woken::Maybe) => {}
            }
        }
    }
}

impl RingReader {
    /// Wakes a reliable writer that waits for this reader, if there is one: for whoever tells it by a word of a
    /// [`crate::board::Board`], just set, that it may go on.
    ///
    /// See [`Self::ring_on_space`] for an example.
    pub fn made_space(&self) {
        self.state().made_space();
    }

    /// Whenever this reader wakes a writer that waits for space, it also rings the doorbells of
    /// `counterpart`: the readers of a ring of this process, which the writer's process listens to. Only the
    /// first call counts.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View, wait::Doorbell};
    /// # let geometry = Geometry::new(16, 0, 48, true);
    /// # let (mut writer, answers) = (RingWriter::create(geometry, 0)?, RingWriter::create(geometry, 0)?);
    /// # let ring = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Ring)?;
    /// # let table = ReaderTable::create()?;
    /// # let reader = RingReader::open(&ring, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// # writer.readers().attach((1, 1), peer);
    /// # let other = PeerReader::open(&state, 9).ok_or("it has that block")?;
    /// // The writer reads answers to what it writes, and has an event loop for them.
    /// let (doorbell, ringer) = Doorbell::pair()?;
    /// answers.readers().attach((2, 1), other);
    /// answers.readers().may_sleep((2, 1), Some(ringer));
    /// assert!(doorbell.was_rung(), "once in any case");
    ///
    /// reader.ring_on_space(answers.readers());
    /// let wait = writer.expect_space().ok_or("there is a reader")?;
    /// assert!(!wait.is_over() && !doorbell.was_rung());
    /// reader.made_space();
    /// assert!(wait.is_over() && doorbell.was_rung());
    /// # writer.stop_expecting_space();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ring_on_space(&self, counterpart: &Arc<Readers>) {
        let counterpart = Arc::clone(counterpart);
        self.state().set_on_space(OnSpace(Box::new(move || counterpart.ring_doorbells())));
    }
}

/// Sleeps on all `words`, the first of which is this process's own.
#[cfg(not(loom))]
fn sleep_on(words: &[(&Futex, u32)], deadline: Option<Instant>) -> Woken {
    let at_once = if crate::kernel::features().futex_waitv { crate::wait::FUTEXES_MAX } else { 1 };
    if words.len() <= at_once { wait_any(words, deadline) } else { sleep_on_relays(words, at_once, deadline) }
}

#[cfg(loom)]
fn sleep_on(words: &[(&Futex, u32)], deadline: Option<Instant>) -> Woken {
    wait_any(words, deadline)
}

/// More words than the kernel waits on with one call: threads wait on the rest and bump the first word.
#[cfg(not(loom))]
fn sleep_on_relays(words: &[(&Futex, u32)], at_once: usize, deadline: Option<Instant>) -> Woken {
    let sleep = |words: &[(&Futex, u32)]| match words {
        [(futex, value)] => crate::wait::wait(futex, *value, deadline),
        several => wait_any(several, deadline),
    };
    let (direct, relayed) = words.split_at(at_once);
    std::thread::scope(|scope| {
        let mut relays = Vec::new();
        let mut woken = None;
        for group in relayed.chunks(at_once) {
            let relay = move || {
                sleep(group);
                direct[0].0.bump_and_wake();
            };
            match std::thread::Builder::new().spawn_scoped(scope, relay) {
                Ok(relay) => relays.push((relay, group[0].0)),
                // No thread to be had: looking again at once costs time, but misses nothing.
                Err(_) => woken = Some(Woken::Maybe),
            }
        }
        let woken = woken.unwrap_or_else(|| sleep(direct));
        for (relay, word) in relays {
            // We cannot change a reader's word, so one wake-up could come before the relay sleeps. The loop
            // ends as soon as the woken thread has run.
            while !relay.is_finished() {
                word.wake();
                std::thread::yield_now();
            }
        }
        woken
    })
}
