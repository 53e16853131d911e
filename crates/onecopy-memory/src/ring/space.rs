//! A reliable writer that found the ring full can sleep until readers have moved on. It leaves a ticket in its own
//! header and sleeps on a word in the slowest reader's block; a reader that makes space and sees a ticket it has not
//! served yet bumps that word.

use std::time::Instant;

use super::RingWriter;
use crate::readers::AttachedReader;
use crate::sync::{Arc, Ordering, heavy_barrier};
use crate::wait::Woken;

impl RingWriter {
    /// Sleeps until `ready` (looked at before each sleep) or until `deadline`. `ready` is something that readers bring
    /// about by reading or by dropping messages: room in the ring, chunks in the pool.
    pub fn wait_for_readers(
        &mut self,
        deadline: Option<Instant>,
        mut ready: impl FnMut(&mut Self) -> bool,
    ) -> Woken {
        loop {
            self.refresh_readers();
            let Some(slowest) = self.slowest_reader() else {
                return if ready(self) { Woken::Maybe } else { Woken::TimedOut };
            };
            // The values before the ticket, the ticket before the last look: whatever a reader does after our look, it
            // does to a word whose old value we go to sleep with.
            let space = slowest.peer.space().value();
            let changed = self.readers.changed.value();
            self.space_ticket += 1;
            self.ring.header().space_wanted.store(self.space_ticket, Ordering::Relaxed);
            // Pairs with the light barrier in `ReaderState::made_space`.
            heavy_barrier();
            let woken =
                if ready(self) { None } else { Some(self.sleep_on(&slowest, space, changed, deadline)) };
            self.ring.header().space_wanted.store(0, Ordering::Relaxed);
            match woken {
                None => return Woken::Maybe,
                Some(Woken::TimedOut) => return if ready(self) { Woken::Maybe } else { Woken::TimedOut },
                Some(Woken::Maybe) => {}
            }
        }
    }

    fn slowest_reader(&self) -> Option<Arc<AttachedReader>> {
        self.attached.iter().min_by_key(|reader| reader.cursor(self.head)).cloned()
    }

    #[cfg(not(loom))]
    fn sleep_on(
        &self,
        reader: &AttachedReader,
        space: u32,
        changed: u32,
        deadline: Option<Instant>,
    ) -> Woken {
        use crate::wait::{wait, wait_any};
        if crate::kernel::features().futex_waitv {
            return wait_any(&[(reader.peer.space(), space), (&self.readers.changed, changed)], deadline);
        }
        // One futex only: `Readers::detach` wakes it for as long as this flag stands.
        self.readers.writer_waits_alone.store(true, Ordering::SeqCst);
        let woken = if reader.gone.load(Ordering::SeqCst) {
            Woken::Maybe
        } else {
            wait(reader.peer.space(), space, deadline)
        };
        self.readers.writer_waits_alone.store(false, Ordering::SeqCst);
        woken
    }

    #[cfg(loom)]
    fn sleep_on(
        &self,
        reader: &AttachedReader,
        space: u32,
        _changed: u32,
        _deadline: Option<Instant>,
    ) -> Woken {
        reader.peer.space().wait(space);
        Woken::Maybe
    }
}
