//! Who keeps the broker busy has to rest, so that the broker's processor is free most of the time, whatever
//! anybody does: somebody who joins finds the broker asleep, and a processor to run on.
//!
//! A process that used a whole turn, which takes more packets under way than anybody has who waits for answers, is not
//! heard for a while. All who do so share one account: together they take a fifth of the broker's time at most. At the
//! door, those who were turned away too often can't be told from others before they are accepted, so it is the door
//! that is shut for a moment: the broker then turns all of them away in one go, instead of waking up for each.
//!
//! Nobody rests without a flood, and then a timer ends each rest: nothing here runs when nothing happens.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::peers::PeerId;
use super::server::Server;
use super::watch::{Source, Watch};
use crate::limits::{DOOR_REST, FLOOD_REST_FACTOR};

/// Who is not heard for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Resting {
    /// Whoever connects.
    Door,
    Peer(PeerId),
    /// The further connections of this process.
    Group(u32),
}

/// Who rests, and until when.
#[derive(Debug)]
pub(super) struct Throttle {
    until: BTreeMap<Resting, Instant>,
    /// When the time is made up for that all floods have taken.
    made_up: Instant,
    timer: OwnedFd,
    /// What the timer is set to.
    rings: Option<Instant>,
}

impl Throttle {
    pub(super) fn new(watch: &Watch) -> io::Result<Self> {
        // Not a time limit of `epoll_wait`, which is in milliseconds on older kernels, and rounded up.
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        watch.add(&timer, Source::Timer)?;
        Ok(Self { until: BTreeMap::new(), made_up: Instant::now(), timer, rings: None })
    }

    pub(super) fn is_resting(&self, resting: Resting) -> bool {
        self.until.contains_key(&resting)
    }

    /// Until when somebody has to rest who has kept the broker busy from `begin` until `now`.
    fn charge(&mut self, begin: Instant, now: Instant) -> Instant {
        let taken = now.saturating_duration_since(begin);
        self.made_up = self.made_up.max(now) + FLOOD_REST_FACTOR * taken;
        self.made_up
    }

    /// Sets the timer to the end of the next rest.
    fn set_timer(&mut self, now: Instant) -> io::Result<()> {
        let next = self.until.values().min().copied();
        if next == self.rings {
            return Ok(());
        }
        self.rings = next;
        // Zero would mean never.
        let within = next.map(|end| end.saturating_duration_since(now).max(Duration::from_nanos(1)));
        let it_value = within.and_then(|within| Timespec::try_from(within).ok()).unwrap_or_default();
        let setting = Itimerspec { it_interval: Timespec::default(), it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting)?;
        Ok(())
    }

    /// The timer has rung: unread, it would go on to be ready.
    fn has_rung(&mut self) -> io::Result<()> {
        self.rings = None;
        match rustix::io::read(&self.timer, &mut [0; 8]) {
            // It was set anew meanwhile.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Those whose rest is over.
    fn take_rested(&mut self, now: Instant) -> Vec<Resting> {
        let over = self.until.iter().filter(|(_, end)| **end <= now).map(|(resting, _)| *resting);
        let over: Vec<Resting> = over.collect();
        self.until.retain(|resting, _| !over.contains(resting));
        over
    }
}

impl Server {
    /// Does not hear somebody who has kept the broker busy since `begin`, for some time.
    pub(super) fn rest(&mut self, resting: Resting, begin: Instant) -> io::Result<()> {
        // Those who come back to a new broker have much to tell, and all of them wait for the last one, who
        // may wait for this processor.
        if self.broker.is_gathering() {
            std::thread::yield_now();
            return Ok(());
        }
        let now = Instant::now();
        let end = match resting {
            Resting::Door => now + DOOR_REST,
            Resting::Peer(_) | Resting::Group(_) => self.throttle.charge(begin, now),
        };
        self.throttle.until.insert(resting, end);
        self.hear(resting)?;
        self.throttle.set_timer(now)
    }

    /// The timer has rung.
    pub(super) fn end_rests(&mut self) -> io::Result<()> {
        let now = Instant::now();
        self.throttle.has_rung()?;
        for rested in self.throttle.take_rested(now) {
            self.hear(rested)?;
        }
        self.throttle.set_timer(now)
    }

    /// Has epoll report this one exactly if it does not rest.
    fn hear(&mut self, who: Resting) -> io::Result<()> {
        match who {
            Resting::Door => return self.set_accepting(!self.throttle.is_resting(who)),
            Resting::Peer(peer) => self.update_interest(peer),
            Resting::Group(pid) => {
                let is_heard = !self.throttle.is_resting(who);
                let flags = if is_heard { EventFlags::IN } else { EventFlags::empty() };
                self.watch.modify_group(pid, flags)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Resting = Resting::Peer(PeerId(7));
    const SECOND: Resting = Resting::Group(8);

    #[test]
    fn all_who_flood_rest_for_what_all_have_taken() {
        let mut throttle = Throttle::new(&Watch::new().unwrap()).unwrap();
        let begin = throttle.made_up;
        let turn = Duration::from_micros(100);
        let (first_end, second_end) = (begin + turn, begin + 2 * turn);
        let first = throttle.charge(begin, first_end);
        let second = throttle.charge(first_end, second_end);
        assert_eq!(first, first_end + FLOOD_REST_FACTOR * turn);
        assert_eq!(second, first + FLOOD_REST_FACTOR * turn);
        throttle.until.extend([(FIRST, first), (SECOND, second)]);
        assert_eq!(throttle.take_rested(second_end), []);
        assert_eq!(throttle.take_rested(first), [FIRST]);
        assert!(!throttle.is_resting(FIRST) && throttle.is_resting(SECOND));
        assert_eq!(throttle.take_rested(second), [SECOND]);
        // What is made up for does not count any more.
        let later = second + 10 * turn;
        assert_eq!(throttle.charge(later - turn, later), later + FLOOD_REST_FACTOR * turn);
    }

    #[test]
    fn the_timer_rings_for_the_one_who_may_go_first() {
        let watch = Watch::new().unwrap();
        let mut throttle = Throttle::new(&watch).unwrap();
        let now = Instant::now();
        throttle.until.insert(SECOND, now + Duration::from_secs(3600));
        throttle.set_timer(now).unwrap();
        throttle.until.insert(FIRST, now);
        throttle.set_timer(now).unwrap();
        let mut ready = Vec::new();
        watch.wait(&mut ready, None).unwrap();
        assert!(matches!(Source::of(&ready[0]), Source::Timer));
        assert_eq!(throttle.take_rested(now), [FIRST]);
        throttle.set_timer(now).unwrap();
        watch.wait(&mut ready, Some(&Timespec::default())).unwrap();
        assert!(ready.is_empty(), "set anew, it does not ring until then");
        throttle.until.clear();
        throttle.until.insert(FIRST, now);
        throttle.set_timer(now).unwrap();
        watch.wait(&mut ready, None).unwrap();
        throttle.has_rung().unwrap();
        assert_eq!(throttle.take_rested(now), [FIRST]);
        throttle.set_timer(now).unwrap();
        watch.wait(&mut ready, Some(&Timespec::default())).unwrap();
        assert!(ready.is_empty(), "with nobody left it does not ring again");
    }
}
