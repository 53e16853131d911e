//! The samples of one slice, and of all slices of a peer in one regime.
//!
//! The mean of a slice comes from timing many operations at a time, because the clock itself costs some 25 ns; the
//! percentiles come from whatever the row times singly. Over slices, `mean` is the median of the slices' means, so
//! that a slice in which the hypervisor took a core away does not decide; the percentiles are over all samples.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::job::Unit;

/// Percentiles are exact to this many digits.
const DIGITS: u8 = 3;
/// The largest sample, in picoseconds or messages a second; what is beyond counts as this. A fixed range, so that no
/// sample is the one that pays for a larger histogram.
const LARGEST: u64 = 100_000_000_000_000;
const PICOSECONDS: f64 = 1000.0;

/// The samples of one slice.
pub(crate) struct Samples {
    histogram: Histogram<u64>,
    total: f64,
    count: f64,
    /// How much of its work the other side of the measurement did, in per cent
    share: u64,
    /// Values that came as a mixture of two
    torn: u64,
}

impl Samples {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { histogram: histogram()?, total: 0.0, count: 0.0, share: 100, torn: 0 })
    }

    /// `elapsed` over `count` operations, for the mean.
    #[inline]
    pub(crate) fn add_to_mean(&mut self, elapsed: Duration, count: u64) {
        self.total += elapsed.as_nanos() as f64;
        self.count += count as f64;
    }

    /// `elapsed` over `count` operations, for the percentiles, in picoseconds an operation.
    #[inline]
    pub(crate) fn record_time(&mut self, elapsed: Duration, count: u64) {
        self.record(elapsed.as_nanos() as u64 * PICOSECONDS as u64 / count);
    }

    /// A rate or an amount, for the percentiles.
    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        self.histogram.saturating_record(value.max(1));
    }

    /// A rate or an amount that is the mean of this slice.
    pub(crate) fn set_mean(&mut self, value: f64) {
        (self.total, self.count) = (value, 1.0);
    }

    /// Where the other side's work is the point of the row, and other programs may have kept it from that:
    /// how much of it was done, in per cent.
    pub(crate) fn set_share(&mut self, percent: u64) {
        self.share = percent;
    }

    pub(crate) fn share(&self) -> u64 {
        self.share
    }

    /// Counts values that came as a mixture of two.
    pub(crate) fn add_torn(&mut self, count: u64) {
        self.torn += count;
    }

    pub(crate) fn torn(&self) -> u64 {
        self.torn
    }

    pub(crate) fn mean(&self) -> f64 {
        self.total / self.count.max(1.0)
    }
}

/// What all slices of a peer in one regime come to.
pub(crate) struct Summary {
    /// Median of the slices' means
    pub(crate) mean: f64,
    /// Percentiles, none if nothing was sampled: 50, 99 and 99.9 % of the samples are at least this good
    pub(crate) percentiles: Option<[f64; 3]>,
}

impl Summary {
    pub(crate) fn of(slices: &[&Samples], unit: Unit) -> anyhow::Result<Option<Self>> {
        let mut means: Vec<f64> = slices.iter().map(|slice| slice.mean()).collect();
        means.sort_by(f64::total_cmp);
        let Some(mean) = median(&means) else { return Ok(None) };
        let mut all = histogram()?;
        for slice in slices {
            all.add(&slice.histogram)?;
        }
        // "99 % are at least this good": good is below for a time, above for a rate.
        let (quantiles, scale) = match unit {
            Unit::Nanoseconds => ([0.5, 0.99, 0.999], PICOSECONDS),
            Unit::Milliseconds => ([0.5, 0.99, 0.999], PICOSECONDS * 1e6),
            Unit::MessagesPerSecond | Unit::PerSecond => ([0.5, 0.01, 0.001], 1.0),
            _ => return Ok(Some(Self { mean, percentiles: None })),
        };
        let at = |quantile| all.value_at_quantile(quantile) as f64 / scale;
        Ok(Some(Self { mean, percentiles: (!all.is_empty()).then(|| quantiles.map(at)) }))
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LARGEST, DIGITS)?)
}

fn median(sorted: &[f64]) -> Option<f64> {
    let upper = sorted.get(sorted.len() / 2)?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((upper + lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(nanoseconds: u64) -> Samples {
        let mut samples = Samples::new().unwrap();
        samples.add_to_mean(Duration::from_nanos(nanoseconds * 10), 10);
        samples.record_time(Duration::from_nanos(nanoseconds), 1);
        samples
    }

    #[test]
    fn one_disturbed_slice_does_not_decide_the_mean() {
        let slices = [slice(50), slice(52), slice(9000)];
        let summary = Summary::of(&slices.each_ref(), Unit::Nanoseconds).unwrap().unwrap();
        assert_eq!(summary.mean, 52.0);
        let [p50, p99, _] = summary.percentiles.unwrap();
        assert!((51.0..53.0).contains(&p50), "{p50}");
        assert!(p99 > 8900.0, "{p99}");
    }

    #[test]
    fn the_percentiles_of_a_rate_look_at_the_slow_side() {
        let mut samples = Samples::new().unwrap();
        (0..99).for_each(|_| samples.record(1000));
        samples.record(10);
        let summary = Summary::of(&[&samples], Unit::MessagesPerSecond).unwrap().unwrap();
        assert_eq!(summary.percentiles.unwrap()[2], 10.0);
    }

    #[test]
    fn nothing_measured_is_nothing_reported() {
        assert!(Summary::of(&[], Unit::Bytes).unwrap().is_none());
    }
}
