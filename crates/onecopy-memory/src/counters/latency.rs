//! Latencies in buckets: eight to each doubling, so that a latency is known to an eighth from a nanosecond to eighteen
//! minutes, in 304 words. (The idea is that of Gil Tene's HdrHistogram.)

use crate::layout::LATENCY_BUCKETS;

/// Buckets to each doubling, as a power of two.
const STEP_BITS: u32 = 3;
const STEPS: u64 = 1 << STEP_BITS;

/// The longest latency that is told from longer ones: 2⁴⁰ ns.
///
/// See [`bucket_bounds_ns`] for an example.
pub const LATENCY_MAX_NS: u64 = 1 << 40;

/// The bucket of a latency.
pub(super) fn bucket(nanoseconds: u64) -> usize {
    let nanoseconds = nanoseconds.min(LATENCY_MAX_NS - 1);
    if nanoseconds < STEPS {
        return nanoseconds as usize;
    }
    let exponent = nanoseconds.ilog2() - STEP_BITS;
    let step = (nanoseconds >> exponent) & (STEPS - 1);
    (u64::from(exponent + 1) * STEPS + step) as usize
}

/// Shortest latency of a bucket, and the shortest of the next.
///
/// ```
/// use onecopy_memory::counters::{LATENCY_MAX_NS, bucket_bounds_ns};
/// use onecopy_memory::layout::LATENCY_BUCKETS;
///
/// assert_eq!(bucket_bounds_ns(0), (0, 1));
/// assert_eq!(bucket_bounds_ns(LATENCY_BUCKETS - 1).1, LATENCY_MAX_NS);
/// // Each begins where the one before ends, and is an eighth as wide as it is long at most.
/// let ((_, end), (least, next)) = (bucket_bounds_ns(79), bucket_bounds_ns(80));
/// assert_eq!(end, least);
/// assert!((next - least) * 8 <= least);
/// ```
pub fn bucket_bounds_ns(bucket: usize) -> (u64, u64) {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return (bucket, bucket + 1);
    }
    let exponent = bucket / STEPS - 1;
    let least = (STEPS + bucket % STEPS) << exponent;
    (least, least + (1 << exponent))
}

/// Calls by their latency, at one moment.
///
/// ```
/// use onecopy_memory::counters::{ClientTally, Latencies, NodeObserver, bucket_bounds_ns};
/// use onecopy_memory::hold::ReaderTable;
///
/// let table = ReaderTable::create()?;
/// let mut tally = ClientTally::new(&table, 7).expect("there are no 4096 clients yet");
/// tally.record_latency(100, 99);
/// tally.record_latency(1_000_000, 1);
/// let observer = NodeObserver::open(table.descriptor().try_clone_to_owned()?)?;
/// let latencies = &observer.clients()[0].latencies;
/// assert_eq!((latencies.count(), latencies.quantile_ns(0.99)), (100, Some(103)));
/// assert!(latencies.quantile_ns(1.0) >= Some(1_000_000));
/// // A histogram of all clients.
/// let mut all = Latencies::default();
/// all.merge(latencies);
/// all.merge(latencies);
/// let most = all.buckets().iter().enumerate().max_by_key(|(_, calls)| **calls);
/// assert_eq!(most.map(|(bucket, calls)| (bucket_bounds_ns(bucket), *calls)), Some(((96, 104), 198)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latencies {
    pub(super) buckets: Vec<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: vec![0; LATENCY_BUCKETS] }
    }
}

impl Latencies {
    /// How many calls.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How many calls in each bucket; what a bucket is, [`bucket_bounds_ns`] tells.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// The latency that the part `quantile` (0 to 1) of all calls did not exceed, in nanoseconds, rounded up
    /// to the end of its bucket; `None` without calls.
    ///
    /// ```
    /// use onecopy_memory::counters::Latencies;
    ///
    /// assert_eq!(Latencies::default().quantile_ns(0.99), None);
    /// ```
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * quantile).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        let found = self.buckets.iter().position(|calls| {
            seen = seen.saturating_add(*calls);
            seen >= wanted
        });
        found.map(|bucket| bucket_bounds_ns(bucket).1 - 1)
    }

    /// Adds another client's calls.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.saturating_add(*more);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn buckets_meet_and_cover_everything() {
        let mut end = 0;
        for index in 0..LATENCY_BUCKETS {
            let (least, next) = bucket_bounds_ns(index);
            assert_eq!(least, end, "bucket {index}");
            assert_eq!((bucket(least), bucket(next - 1)), (index, index));
            end = next;
        }
        assert_eq!(end, LATENCY_MAX_NS);
        assert_eq!(bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }

    #[test]
    fn a_latency_is_known_to_an_eighth() {
        for nanoseconds in [9, 100, 1_234, 56_789, 1_000_000_007] {
            let (least, next) = bucket_bounds_ns(bucket(nanoseconds));
            assert!(least <= nanoseconds && nanoseconds < next && (next - least) * 8 <= least);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let mut latencies = Latencies::default();
        latencies.buckets[bucket(100)] = 99;
        latencies.buckets[bucket(1_000_000)] = 1;
        let near = |quantile, expected: u64| {
            let found = latencies.quantile_ns(quantile).unwrap();
            assert!(found >= expected && found - expected <= expected / 8, "{found} is not about {expected}");
        };
        near(0.0, 100);
        near(0.5, 100);
        near(0.99, 100);
        near(0.999, 1_000_000);
        near(1.0, 1_000_000);
        let mut both = latencies.clone();
        both.merge(&latencies);
        assert_eq!(both.count(), 200);
    }
}
