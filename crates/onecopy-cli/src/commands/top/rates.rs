//! What two snapshots say of the time between them: how much each counter went up a second. And how a topic's rate went
//! lately.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::snapshot::Snapshot;

/// Looks back that a course shows.
pub(super) const COURSE_LENGTH: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Rates {
    /// When the last snapshot was taken.
    taken: Option<Instant>,
    counters: HashMap<String, u64>,
    per_second: HashMap<String, f64>,
    courses: HashMap<String, VecDeque<f64>>,
}

impl Rates {
    /// Takes in a snapshot.
    pub(super) fn update(&mut self, snapshot: &Snapshot, now: Instant) {
        let counters: HashMap<_, _> = snapshot.counters().collect();
        let seconds = self.taken.map(|taken| now.saturating_duration_since(taken).as_secs_f64());
        self.per_second.clear();
        if let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) {
            for (name, count) in &counters {
                // Counters of somebody who came since the last look began at 0.
                let before = self.counters.get(name).copied().unwrap_or(0);
                let rate = count.saturating_sub(before) as f64 / seconds;
                self.per_second.insert(name.clone(), rate);
            }
        }
        (self.counters, self.taken) = (counters, Some(now));
        self.courses.retain(|name, _| snapshot.topics.iter().any(|topic| topic.name == *name));
        for topic in &snapshot.topics {
            let rate = self.of(topic.publishers.iter().map(|publisher| &*publisher.id), "messages");
            let course = self.courses.entry(topic.name.clone()).or_default();
            course.push_back(rate);
            if course.len() > COURSE_LENGTH {
                course.pop_front();
            }
        }
    }

    /// How much a counter of several went up a second, together.
    pub(super) fn of<'i>(&self, ids: impl IntoIterator<Item = &'i str>, counter: &str) -> f64 {
        let rates = ids.into_iter().filter_map(|id| self.per_second.get(&format!("{id}/{counter}")));
        // Not `sum`, whose zero is a negative one.
        rates.fold(0.0, |sum, rate| sum + rate)
    }

    /// The messages a second of a topic at the last looks, as bars: the highest is the most that there was.
    pub(super) fn course(&self, topic: &str) -> String {
        const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let Some(course) = self.courses.get(topic) else { return String::new() };
        let most = course.iter().copied().fold(0.0, f64::max);
        let bar = |rate: &f64| match *rate {
            rate if rate > 0.0 => BARS[((rate / most * 8.0).ceil() as usize).clamp(1, 8) - 1],
            _ => ' ',
        };
        let bars: String = course.iter().map(bar).collect();
        format!("{bars:>COURSE_LENGTH$}")
    }
}
