//! Processes that connect again and again and never become a node: they are turned away as soon as they are accepted. To let one
//! in and see it go costs the broker ten times what it costs to connect, so the line before it would grow, and everybody
//! else would stand in it.
//!
//! Whoever stops trying is forgotten after a moment, so a number that the kernel gives to another process does no harm.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::limits::{OFFENCES_MAX, OFFENCES_PERIOD};

/// How often each process did so, in this period and in the last.
#[derive(Debug)]
pub(super) struct Offenders {
    now: BTreeMap<u32, u32>,
    before: BTreeMap<u32, u32>,
    since: Instant,
}

impl Default for Offenders {
    fn default() -> Self {
        Self { now: BTreeMap::new(), before: BTreeMap::new(), since: Instant::now() }
    }
}

impl Offenders {
    /// A connection of this process has ended that never was a node's.
    pub(super) fn note(&mut self, pid: u32, at: Instant) {
        self.pass_time(at);
        let count = self.now.entry(pid).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether this process is to be turned away. If so, that it tried counts as well.
    pub(super) fn is_known(&mut self, pid: u32, at: Instant) -> bool {
        if self.now.is_empty() && self.before.is_empty() {
            return false;
        }
        self.pass_time(at);
        let count = |counts: &BTreeMap<u32, u32>| counts.get(&pid).copied().unwrap_or(0);
        let is_known = count(&self.now).max(count(&self.before)) >= OFFENCES_MAX;
        if is_known {
            // One who goes on is known in the next period as well.
            self.now.insert(pid, OFFENCES_MAX);
        }
        is_known
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
            offenders.note(7, begin);
        }
        assert!(!offenders.is_known(7, begin));
        offenders.note(7, begin);
        assert!(offenders.is_known(7, begin) && !offenders.is_known(8, begin));
        // It tries once in each period.
        for period in 1..5 {
            assert!(offenders.is_known(7, begin + period * OFFENCES_PERIOD));
        }
        assert!(!offenders.is_known(7, begin + 7 * OFFENCES_PERIOD));
        for _ in 0..OFFENCES_MAX {
            offenders.note(9, begin + 7 * OFFENCES_PERIOD);
        }
        assert!(offenders.is_known(9, begin + 8 * OFFENCES_PERIOD));
        assert!(!offenders.is_known(9, begin + 20 * OFFENCES_PERIOD));
    }
}
