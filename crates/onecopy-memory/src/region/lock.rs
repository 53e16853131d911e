//! Who may write a shared region: a futex whose value names the holder, so that the survivors of a death know whether
//! it was the holder who died.
//!
//! ```text
//! 0                    free
//! seat                 held
//! ABANDONED            free, but the last holder died: who takes it is told
//! RETIRED              never to be had again: the value has moved to another segment
//! any of them | CONTENDED      somebody may be asleep on it: whoever lets go wakes one
//! ```
//!
//! Nothing has to be repaired when a holder dies: what it wrote is in a copy that never became current. So a death is
//! handled by [`Region::seat_gone`] alone, which takes the lock from the dead, and then wakes everyone: the dead may
//! have been the one that was to wake the next, or the next that had just been woken. Sleepers look again and mark the
//! lock again.
//!
//! A locker that was passed over [`PATIENCE`] times writes its name into `starving`, and from then on nobody else may
//! take the lock. Others sleep even on a free lock then; the letting-go wakes all, since one that is not the starving
//! one could not do anything with it.

use std::time::Instant;

use super::{LockError, Region, RegionFault, Seat};
use crate::sync::{Ordering, full_barrier};
use crate::wait;

const CONTENDED: u32 = 1 << 31;
const ABANDONED: u32 = 1 << 30;
const RETIRED: u32 = ABANDONED | 1;

/// How often a locker is woken in vain before it reserves the lock.
#[cfg(not(loom))]
const PATIENCE: u32 = 4;
/// So few that a model comes there.
#[cfg(loom)]
const PATIENCE: u32 = 1;

/// What a locker sees in the word.
enum State {
    Free { abandoned: bool },
    Held(Seat),
    Retired,
    Corrupt,
}

fn state(word: u32) -> State {
    match word & !CONTENDED {
        0 => State::Free { abandoned: false },
        ABANDONED => State::Free { abandoned: true },
        RETIRED => State::Retired,
        holder => Seat::from_bits(holder).map_or(State::Corrupt, State::Held),
    }
}

fn is_free(word: u32) -> bool {
    matches!(state(word), State::Free { .. })
}

impl Region {
    /// Who has the lock while others may be asleep for it.
    pub(super) fn contended_holder(&self) -> Option<Seat> {
        let word = self.header().lock.value();
        match state(word) {
            State::Held(holder) if word & CONTENDED != 0 => Some(holder),
            _ => None,
        }
    }

    /// Takes the lock for `seat`, sleeping until `deadline` if need be. Gives whether its last holder died.
    pub(super) fn lock(&self, seat: Seat, deadline: Option<Instant>) -> Result<bool, LockError> {
        let lock = self.header().lock.word();
        // Without a look at the clock, for the usual case.
        if self.header().starving.load(Ordering::Relaxed) == 0
            && lock.compare_exchange(0, seat.to_bits(), Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return Ok(false);
        }
        let taken = self.lock_slowly(seat, deadline);
        let header = self.header();
        // Whether we have it or gave up: the others need not stand back any more.
        let _ = header.starving.compare_exchange(seat.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_err() {
            // We may have been the one that was woken, or the one that the others stood back for.
            self.rouse_lockers();
        }
        taken
    }

    #[cold]
    fn lock_slowly(&self, seat: Seat, deadline: Option<Instant>) -> Result<bool, LockError> {
        let header = self.header();
        let lock = header.lock.word();
        let mut sleeps = 0;
        let mut last_holder = None;
        loop {
            let word = lock.load(Ordering::Relaxed);
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            match state(word) {
                State::Free { abandoned } if self.may_take(seat) => {
                    // Who has slept does not know whether others still do.
                    let contended = if sleeps > 0 { CONTENDED } else { word & CONTENDED };
                    let mine = seat.to_bits() | contended;
                    if lock.compare_exchange(word, mine, success, failure).is_ok() {
                        return Ok(abandoned);
                    }
                }
                State::Retired => return Err(LockError::Retired),
                State::Corrupt => return Err(RegionFault::CorruptLock { word }.into()),
                State::Held(holder) if !self.is_seated(holder) => self.abandon(holder),
                State::Free { .. } | State::Held(_) => {
                    if let State::Held(holder) = state(word) {
                        last_holder = Some(holder);
                    }
                    if sleeps >= PATIENCE {
                        self.reserve(seat);
                    }
                    if let Some(marked) = self.mark(word)
                        && !(is_free(word) && self.may_take(seat))
                    {
                        self.count_lock_wait(seat);
                        // The kernel looks at the word once more: letting go or dying changes it, and wakes
                        // us after that.
                        wait::wait(&header.lock, marked, deadline);
                        sleeps += 1;
                    }
                }
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return self.lock_at_last(seat, last_holder);
            }
        }
    }

    /// Marks the word that was found, before sleeping on it; `None` if it changed. On a free lock, the caller must look
    /// again whether it is still reserved. If it was taken and let go meanwhile, then the mark came after that (or
    /// failed), and acquires what the last holder did before: that it ended its reservation.
    fn mark(&self, word: u32) -> Option<u32> {
        let marked = word | CONTENDED;
        let lock = self.header().lock.word();
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        if word != marked && lock.compare_exchange(word, marked, success, failure).is_err() {
            return None;
        }
        // Pairs with the barrier in `rouse_lockers`: either it finds our mark, or we find the reservation ended.
        full_barrier();
        Some(marked)
    }

    /// Makes all lockers look again: those who sleep, and by taking the mark from a free lock those who are about to.
    fn rouse_lockers(&self) {
        // Pairs with the barrier in `mark`: our caller has just ended a reservation.
        full_barrier();
        let lock = self.header().lock.word();
        for free in [0, ABANDONED] {
            let _ = lock.compare_exchange(free | CONTENDED, free, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.header().lock.wake();
    }

    /// One more try at the deadline: whoever let go just now may have woken us, and nobody else, for it.
    fn lock_at_last(&self, seat: Seat, holder: Option<Seat>) -> Result<bool, LockError> {
        let lock = self.header().lock.word();
        let word = lock.load(Ordering::Relaxed);
        if let State::Free { abandoned } = state(word)
            && self.may_take(seat)
        {
            let mine = seat.to_bits() | CONTENDED;
            if lock.compare_exchange(word, mine, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Ok(abandoned);
            }
        }
        let now = match state(lock.load(Ordering::Relaxed)) {
            State::Held(holder) => Some(holder),
            State::Retired => return Err(LockError::Retired),
            State::Free { .. } | State::Corrupt => holder,
        };
        Err(LockError::Timeout { holder: now })
    }

    /// Whether a free lock is not reserved for somebody else.
    fn may_take(&self, seat: Seat) -> bool {
        let starving = self.header().starving.load(Ordering::Relaxed);
        if starving == 0 || starving == seat.to_bits() {
            return true;
        }
        // Of one who is gone, or of nobody: it must not keep us.
        let gone = Seat::from_bits(starving).is_none_or(|starving| !self.is_seated(starving));
        if gone {
            let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
            let _ = self.header().starving.compare_exchange(starving, 0, success, failure);
        }
        gone
    }

    pub(super) fn reserve(&self, seat: Seat) {
        let starving = &self.header().starving;
        // Not for long if it is somebody else's: that one gets the lock next.
        let _ = starving.compare_exchange(0, seat.to_bits(), Ordering::AcqRel, Ordering::Relaxed);
        // Pairs with the barrier in `unlock`: either it sees the reservation and wakes us, or we see the free
        // lock when the kernel compares it.
        full_barrier();
    }

    /// Lets the lock go.
    pub(super) fn unlock(&self) {
        self.unlock_as_found(false);
    }

    /// Lets the lock go, abandoned by its last holder or not.
    pub(super) fn unlock_as_found(&self, abandoned: bool) {
        let header = self.header();
        let word = header.lock.word().swap(if abandoned { ABANDONED } else { 0 }, Ordering::Release);
        if word & CONTENDED != 0 {
            self.wake_locker();
        }
    }

    /// Lets the lock go for good: all who come for it, or wait for it, are told.
    pub(super) fn retire(&self) {
        let header = self.header();
        // Release: who learns of it knows what was done under the lock.
        header.lock.word().swap(RETIRED, Ordering::AcqRel);
        header.lock.wake();
        self.waking.wake.bump_and_wake();
    }

    #[cold]
    fn wake_locker(&self) {
        full_barrier();
        if self.header().starving.load(Ordering::Relaxed) == 0 {
            self.header().lock.wake_one();
        } else {
            self.header().lock.wake();
        }
    }

    /// The first half of a locker's round.
    #[cfg(loom)]
    pub(super) fn sleep_for_model(&self) -> bool {
        let header = self.header();
        let lock = header.lock.word();
        let word = lock.load(Ordering::Relaxed);
        let marked = word | CONTENDED;
        let held = matches!(state(word), State::Held(_));
        if held && lock.compare_exchange(word, marked, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            wait::wait(&header.lock, marked, None);
            return true;
        }
        false
    }

    /// Takes the lock from a holder that is gone.
    fn abandon(&self, holder: Seat) {
        let lock = self.header().lock.word();
        for contended in [0, CONTENDED, 0] {
            let (held, abandoned) = (holder.to_bits() | contended, ABANDONED | contended);
            // Release: what is known of the holder's death is known to whoever takes the lock next.
            let taken = lock.compare_exchange(held, abandoned, Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                return;
            }
        }
    }

    /// Ends everything that `seat` had: its holds, its lock, its reservation. Every survivor calls it; each
    /// step is done once, by whoever comes first, and then does nothing any more, also when the line has a
    /// new occupant.
    pub(super) fn seat_gone(&self, seat: Seat) {
        self.vacate(seat);
        self.abandon(seat);
        let header = self.header();
        let _ = header.starving.compare_exchange(seat.to_bits(), 0, Ordering::AcqRel, Ordering::Relaxed);
        self.rouse_lockers();
        // Also those who sleep until the value changes: it may have been about to tell them.
        self.waking.wake.bump_and_wake();
    }

    /// Wakes those who sleep until the value changes.
    pub(super) fn wake_watchers(&self) {
        // Pairs with the fence of a sleeper between its mark and its last look at the version: either we see
        // the mark, or it sees our value.
        full_barrier();
        let header = self.header();
        if header.sleepers.load(Ordering::Relaxed) != 0 {
            // First the mark, then the word: a sleeper that marks itself in between has read the word before that.
            header.sleepers.swap(0, Ordering::AcqRel);
            self.waking.wake.bump_and_wake();
        }
    }
}
