//! What the machine is like at this moment: the time that one cache line takes from one core to the other. A virtual
//! machine's cores are moved between neighbours on the die and strangers, which changes every other number by up to
//! five times, so a number means something only beside the probe that was taken around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Serialize;

/// One way, in nanoseconds: between what was seen of neighbours (about 60) and of strangers (about 290).
const FAR_NS: f64 = 150.0;
const CHUNKS: usize = 15;
const ROUND_TRIPS: u64 = 100;

/// The two cores' distance during a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Regime {
    /// A cache line crosses in less than 150 ns
    #[serde(rename = "near")]
    Near,
    /// It takes longer
    #[serde(rename = "far")]
    Far,
    /// The distance plays no part
    #[serde(rename = "-")]
    Any,
}

impl Regime {
    pub(crate) fn of(line_ns: f64) -> Self {
        if line_ns < FAR_NS { Self::Near } else { Self::Far }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
            Self::Any => "-",
        }
    }
}

/// Bounces `line` to the process that runs [`answer`], and returns the time one way, in nanoseconds: the median of
/// several chunks, so that an interruption does not pass for distance.
pub(crate) fn ask(line: &AtomicU64) -> f64 {
    let mut value = line.load(Ordering::Relaxed);
    let mut chunks = [0.0; CHUNKS];
    for chunk in &mut chunks {
        let start = Instant::now();
        for _ in 0..ROUND_TRIPS {
            value += 1;
            line.store(value, Ordering::Release);
            value += 1;
            while line.load(Ordering::Acquire) != value {}
        }
        *chunk = start.elapsed().as_nanos() as f64 / (2 * ROUND_TRIPS) as f64;
    }
    chunks.sort_by(f64::total_cmp);
    chunks[CHUNKS / 2]
}

/// The other side of [`ask`].
pub(crate) fn answer(line: &AtomicU64) {
    let rounds = CHUNKS as u64 * ROUND_TRIPS;
    // The line counts up over all probes of a slice, two steps a round trip: where the next one starts is known from
    // the whole rounds so far, even if the other side's first store is already there.
    let mut value = line.load(Ordering::Relaxed) / (2 * rounds) * (2 * rounds);
    for _ in 0..rounds {
        value += 1;
        while line.load(Ordering::Acquire) != value {}
        value += 1;
        line.store(value, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_probes_in_a_row_keep_in_step() {
        let line = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                answer(&line);
                answer(&line);
            });
            assert!(ask(&line) > 0.0);
            assert!(ask(&line) > 0.0);
        });
        assert_eq!(line.into_inner(), 4 * CHUNKS as u64 * ROUND_TRIPS);
    }
}
