//! Processes that connect again and again and never become a node: they are turned away as soon as they are
//! accepted. To let one in and see it go costs the broker ten times what it costs to connect, so the line
//! before it would grow, and everybody else would stand in it.
//!
//! Whoever stops trying is forgotten after a moment, so a number that the kernel gives to another process does no harm.

use std::collections::BTreeMap;
use std::time::Instant;

use super::transport::Credentials;
use crate::limits::{OFFENCES_MAX, OFFENCES_PERIOD, OFFENCES_TOLD_MAX};

/// Whose attempts are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Visitor {
    Process(u32),
    /// Those of a user's processes that have no number here, being in other name spaces: they can't be told apart, and
    /// must not stand for those of another user.
    Unnumbered {
        uid: u32,
    },
}

impl From<Credentials> for Visitor {
    fn from(Credentials { pid, uid }: Credentials) -> Self {
        if pid == 0 { Self::Unnumbered { uid } } else { Self::Process(pid) }
    }
}

/// How often each did so, in this period and in the last.
#[derive(Debug)]
pub(super) struct Offenders {
    now: BTreeMap<Visitor, u32>,
    before: BTreeMap<Visitor, u32>,
    since: Instant,
}

/// What is to be done with a process that connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Welcome,
    /// It is told that it tried too often.
    Refused,
    /// It was told often enough, and telling it costs more than it costs to connect.
    Ignored,
}

impl Default for Offenders {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new(), since: Instant::now() }
    }
}

impl Offenders {
    /// A connection of this visitor has ended that never was a node's.
    pub(super) fn note(&mut self, visitor: Visitor, at: Instant) {
        self.pass_time(at);
        let count = self.now.entry(visitor).or_default();
        *count = count.saturating_add(1);
    }

    /// What is to be done with one who connects. If it is to be turned away, that it tried counts as well.
    pub(super) fn judge(&mut self, visitor: Visitor, at: Instant) -> Verdict {
        if self.now.is_empty() && self.before.is_empty() {
            return Verdict::Welcome;
        }
        self.pass_time(at);
        let count = |counts: &BTreeMap<Visitor, u32>| counts.get(&visitor).copied().unwrap_or(0);
        let offences = count(&self.now).max(count(&self.before));
        if offences < OFFENCES_MAX {
            return Verdict::Welcome;
        }
        // One who goes on is known in the next period as well.
        self.now.insert(visitor, offences.saturating_add(1));
        if offences < OFFENCES_TOLD_MAX { Verdict::Refused } else { Verdict::Ignored }
    }

    fn pass_time(&mut self, at: Instant) {
        let elapsed = at.saturating_duration_since(self.since);
        if elapsed >= OFFENCES_PERIOD {
            self.before = std::mem::take(&mut self.now);
            self.since = at;
        }
        if elapsed >= 2 * OFFENCES_PERIOD {
            self.before.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_goes_on_stays_known_and_who_stops_is_forgotten() {
        let begin = Instant::now();
        let mut offenders = Offenders { since: begin, ..Offenders::default() };
        for _ in 1..OFFENCES_MAX {
            offenders.note(Visitor::Process(7), begin);
        }
        assert_eq!(offenders.judge(Visitor::Process(7), begin), Verdict::Welcome);
        offenders.note(Visitor::Process(7), begin);
        assert_eq!(offenders.judge(Visitor::Process(7), begin), Verdict::Refused);
        assert_eq!(offenders.judge(Visitor::Process(8), begin), Verdict::Welcome);
        // It tries once in each period.
        for period in 1..5 {
            assert_eq!(
                offenders.judge(Visitor::Process(7), begin + period * OFFENCES_PERIOD),
                Verdict::Refused
            );
        }
        assert_eq!(offenders.judge(Visitor::Process(7), begin + 7 * OFFENCES_PERIOD), Verdict::Welcome);
        for _ in 0..OFFENCES_MAX {
            offenders.note(Visitor::Process(9), begin + 7 * OFFENCES_PERIOD);
        }
        assert_eq!(offenders.judge(Visitor::Process(9), begin + 8 * OFFENCES_PERIOD), Verdict::Refused);
        assert_eq!(offenders.judge(Visitor::Process(9), begin + 20 * OFFENCES_PERIOD), Verdict::Welcome);
    }

    #[test]
    fn who_has_no_number_here_is_not_taken_for_another_user() {
        let now = Instant::now();
        let mut offenders = Offenders { since: now, ..Offenders::default() };
        let [noisy, quiet] = [1000, 1001].map(|uid| Visitor::from(Credentials { pid: 0, uid }));
        (0..OFFENCES_MAX).for_each(|_| offenders.note(noisy, now));
        assert_eq!(offenders.judge(noisy, now), Verdict::Refused);
        assert_eq!(offenders.judge(quiet, now), Verdict::Welcome);
        let numbered = Visitor::from(Credentials { pid: 7, uid: 1000 });
        assert_eq!(offenders.judge(numbered, now), Verdict::Welcome);
    }

    #[test]
    fn who_does_not_listen_is_not_answered_any_more() {
        let now = Instant::now();
        let mut offenders = Offenders { since: now, ..Offenders::default() };
        (0..OFFENCES_MAX).for_each(|_| offenders.note(Visitor::Process(7), now));
        for _ in OFFENCES_MAX..OFFENCES_TOLD_MAX {
            assert_eq!(offenders.judge(Visitor::Process(7), now), Verdict::Refused);
        }
        assert_eq!(offenders.judge(Visitor::Process(7), now), Verdict::Ignored);
        assert_eq!(offenders.judge(Visitor::Process(7), now + OFFENCES_PERIOD), Verdict::Ignored);
        assert_eq!(offenders.judge(Visitor::Process(7), now + 4 * OFFENCES_PERIOD), Verdict::Welcome);
    }
}
