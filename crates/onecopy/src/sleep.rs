//! Going to sleep without missing a message. All of a sleeper's rings are told, then one barrier, then a last look;
//! whatever is published after that look changes a word that we sleep with, or rings a doorbell.

use std::time::Instant;

use onecopy_memory::kernel;
use onecopy_memory::sync::{Futex, full_barrier};
use onecopy_memory::wait::{FUTEXES_MAX, Woken, poll_readable, wait_any};

use crate::error::WaitError;

/// Something that can be waited for: the feeds of a subscriber.
pub(crate) trait Sleeper {
    /// How many futexes it sleeps on.
    fn words(&self) -> usize;
    /// Makes sure that every publisher knows that this reader may sleep, and how it is woken.
    fn announce(&mut self, on_doorbell: bool) -> Result<(), WaitError>;
    /// Says that it is about to sleep.
    fn prepare(&mut self, on_doorbell: bool);
    /// Whether there is something to do.
    fn is_ready(&self) -> bool;
    /// The words to sleep on, with their values as of [`Self::prepare`].
    fn futexes<'a>(&'a self, futexes: &mut Vec<(&'a Futex, u32)>);
    /// The descriptor to sleep on, after [`Self::announce`] with a doorbell.
    fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>>;
    /// Says that it is awake.
    fn cancel(&mut self);
}

/// Sleeps until one of the sleepers is ready (`true`) or the deadline has passed (`false`). May wake up too early, but
/// never says so after the deadline: whoever makes us look for nothing does not make us look for ever.
pub(crate) fn until_ready(
    sleepers: &mut [&mut dyn Sleeper],
    deadline: Option<Instant>,
) -> Result<bool, WaitError> {
    let words: usize = sleepers.iter().map(|sleeper| sleeper.words()).sum();
    // Nothing to wait for is a wait until the deadline, which the kernel does on no descriptors but not on no futexes.
    let on_doorbell = words == 0 || words > FUTEXES_MAX || !kernel::features().futex_waitv;
    let mut prepared = 0;
    let announced = sleepers.iter_mut().try_for_each(|sleeper| {
        sleeper.announce(on_doorbell)?;
        sleeper.prepare(on_doorbell);
        prepared += 1;
        Ok(())
    });
    let woken = announced.and_then(|()| sleep(sleepers, on_doorbell, deadline));
    // Those that were not prepared have said nothing, and have nothing to take back.
    for sleeper in &mut sleepers[..prepared] {
        sleeper.cancel();
    }
    Ok(woken?.by(deadline) == Woken::Maybe)
}

/// Sleeps, everyone having been told.
fn sleep(
    sleepers: &[&mut dyn Sleeper],
    on_doorbell: bool,
    deadline: Option<Instant>,
) -> Result<Woken, WaitError> {
    // Pairs with the fence of every publisher between storing a message and looking at our tickets.
    full_barrier();
    if sleepers.iter().any(|sleeper| sleeper.is_ready()) {
        return Ok(Woken::Maybe);
    }
    if on_doorbell {
        let descriptors: Vec<_> = sleepers.iter().filter_map(|sleeper| sleeper.descriptor()).collect();
        return Ok(poll_readable(&descriptors, deadline)?);
    }
    let words = sleepers.iter().map(|sleeper| sleeper.words()).sum();
    let mut futexes = Vec::with_capacity(words);
    sleepers.iter().for_each(|sleeper| sleeper.futexes(&mut futexes));
    Ok(wait_any(&futexes, deadline))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A subscriber whose publisher claims to have a message, and has none.
    #[derive(Default)]
    struct Deceived {
        /// Its publishers can't be told that it sleeps.
        is_cut_off: bool,
        /// It has said that it sleeps, and not taken that back.
        is_prepared: bool,
        cancelled: usize,
    }

    impl Sleeper for Deceived {
        fn words(&self) -> usize {
            1
        }
        fn announce(&mut self, _on_doorbell: bool) -> Result<(), WaitError> {
            if self.is_cut_off { Err(WaitError::NoDoorbell) } else { Ok(()) }
        }
        fn prepare(&mut self, _on_doorbell: bool) {
            self.is_prepared = true;
        }
        fn is_ready(&self) -> bool {
            true
        }
        fn futexes<'a>(&'a self, _futexes: &mut Vec<(&'a Futex, u32)>) {}
        fn descriptor(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
            None
        }
        fn cancel(&mut self) {
            self.is_prepared = false;
            self.cancelled += 1;
        }
    }

    #[test]
    fn the_deadline_holds_whoever_claims_to_be_ready() {
        let mut sleeper = Deceived::default();
        assert!(matches!(until_ready(&mut [&mut sleeper], None), Ok(true)));
        assert!(matches!(until_ready(&mut [&mut sleeper], Some(Instant::now())), Ok(false)));
    }

    #[test]
    fn who_had_said_that_it_sleeps_takes_it_back_when_another_cannot() {
        let (mut first, mut second) =
            (Deceived::default(), Deceived { is_cut_off: true, ..Deceived::default() });
        let mut third = Deceived::default();
        let slept = until_ready(&mut [&mut first, &mut second, &mut third], None);
        assert!(matches!(slept, Err(WaitError::NoDoorbell)));
        assert_eq!((first.is_prepared, first.cancelled), (false, 1));
        // They had nothing to take back; in a forked child it would be the parent's.
        assert_eq!((second.cancelled, third.cancelled), (0, 0));
    }
}
