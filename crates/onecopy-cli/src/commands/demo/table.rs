//! The demo's results for people.

use super::leftovers::Leftovers;
use super::memory::SharedMemory;
use super::plan::{
    CALLS, LARGE_PACED, LARGE_STREAM, Plan, SMALL_PACED, SMALL_STREAM, SUBSCRIBERS, SURVIVORS, VALUES,
};
use super::report::Reception;
use crate::output::{Style, stdout_has_colour, styled};

const LABEL_WIDTH: usize = 30;
const CELL_WIDTH: usize = 14;

/// A stage over one transport.
#[derive(Debug, Clone, Default)]
pub(super) struct Measurement {
    pub(super) started_nanoseconds: u64,
    /// One of each survivor.
    pub(super) receptions: Vec<Reception>,
}

impl Measurement {
    /// From the first message until the slowest subscriber has read the last.
    fn seconds(&self) -> f64 {
        let finished = self.receptions.iter().map(|reception| reception.finished_nanoseconds).max();
        finished.unwrap_or(0).saturating_sub(self.started_nanoseconds).max(1) as f64 / 1e9
    }

    /// Of all messages to all survivors, the latency that so many parts of a hundred don't exceed.
    fn percentile_nanoseconds(&self, percent: usize) -> u64 {
        let latencies = self.receptions.iter().flat_map(|reception| &reception.latencies_nanoseconds);
        percentile(latencies.copied().collect(), percent)
    }
}

/// The time of each call of the service, in nanoseconds.
#[derive(Debug)]
pub(super) struct RoundTrips {
    pub(super) onecopy: Vec<u64>,
    pub(super) socket: Vec<u64>,
}

/// What became of the region's values.
#[derive(Debug)]
pub(super) struct Watched {
    /// How many the watcher saw as they came.
    pub(super) seen: u64,
    /// The time in which all were written.
    pub(super) write_nanoseconds: u64,
}

/// What so many parts of a hundred don't exceed.
fn percentile(mut values: Vec<u64>, percent: usize) -> u64 {
    values.sort_unstable();
    let index = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(index).copied().unwrap_or(0)
}

/// The measurements side by side.
pub(super) fn comparison(
    plan: &Plan,
    onecopy: &[Measurement],
    socket: &[Measurement],
    round_trips: &RoundTrips,
) -> Vec<String> {
    let colour = stdout_has_colour();
    let heading = format!("{:<LABEL_WIDTH$}{:>CELL_WIDTH$}{:>CELL_WIDTH$}", "", "onecopy", "Unix socket");
    let mut lines = vec![styled(&heading, Style::Strong, colour)];
    let mut row = |label: &str, cell: &dyn Fn(&[Measurement]) -> String| {
        let (ours, theirs) = (cell(onecopy), cell(socket));
        lines.push(format!("{label:<LABEL_WIDTH$}{ours:>CELL_WIDTH$}{theirs:>CELL_WIDTH$}"));
    };
    let rate = |measurements: &[Measurement], stage: usize| {
        let count = plan.stages().get(stage).map_or(0, |stage| stage.count);
        count as f64 / measurements.get(stage).map_or(f64::INFINITY, Measurement::seconds)
    };
    let bytes = plan.stages().map(|stage| stage.message_bytes as f64);
    row("1 MiB messages: GB/s", &|it| format!("{:.2}", rate(it, LARGE_STREAM) * bytes[LARGE_STREAM] / 1e9));
    row("1 MiB messages: messages/s", &|it| grouped(rate(it, LARGE_STREAM)));
    row("64 B messages: messages/s", &|it| grouped(rate(it, SMALL_STREAM)));
    for (label, stage) in [("latency of 1 MiB", LARGE_PACED), ("latency of 64 B", SMALL_PACED)] {
        for percent in [50, 99] {
            row(&format!("{label}: p{percent}"), &|it| {
                in_words(it.get(stage).map_or(0, |it| it.percentile_nanoseconds(percent)))
            });
        }
    }
    for percent in [50, 99] {
        let cell = |nanoseconds: &[u64]| in_words(percentile(nanoseconds.to_vec(), percent));
        let (label, ours, theirs) =
            (format!("call of 64 B: p{percent}"), cell(&round_trips.onecopy), cell(&round_trips.socket));
        lines.push(format!("{label:<LABEL_WIDTH$}{ours:>CELL_WIDTH$}{theirs:>CELL_WIDTH$}"));
    }
    lines.push(styled(
        &format!(
            "{SURVIVORS} subscribers; every byte written once and read by each; GB/s to each; latency from the first byte written\n\
             until the last read, by subscribers that sleep until a message comes; a call is the round trip to a service in a\n\
             second process: {} of them, every answer right",
            grouped(CALLS as f64)
        ),
        Style::Faint,
        colour,
    ));
    lines
}

/// What the kernel says of the memory, and of what is left.
pub(super) fn memory(memory: &SharedMemory) -> String {
    let processes = SUBSCRIBERS + 1;
    format!(
        "memory       {} used once by {processes} processes; a copy for each would be {}",
        mebibytes(memory.once_bytes),
        mebibytes(memory.each_bytes)
    )
}

/// What the region showed.
pub(super) fn region(watched: &Watched) -> String {
    format!(
        "region       {} values written in {:.0} ms; a second process, watching, saw {} as they came, none torn, and the last: {}",
        grouped(VALUES as f64),
        watched.write_nanoseconds as f64 / 1e6,
        grouped(watched.seen as f64),
        styled("agrees", Style::Good, stdout_has_colour())
    )
}

/// What is left.
pub(super) fn leftovers(leftovers: &Leftovers) -> String {
    let colour = stdout_has_colour();
    let (before, after) = leftovers.shmem_kibibytes;
    let machine = format!(
        "machine's shared memory: {} before, {} after",
        mebibytes(before << 10),
        mebibytes(after << 10)
    );
    if leftovers.found.is_empty() {
        let nothing = styled("nothing", Style::Good, colour);
        format!("left behind: {nothing} (no process, no memory, no file; {machine})")
    } else {
        let found = styled(&leftovers.found.join("; "), Style::Bad, colour);
        format!("left behind: {found} ({machine})")
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn in_words(nanoseconds: u64) -> String {
    match nanoseconds {
        0..10_000 => format!("{:.2} µs", nanoseconds as f64 / 1e3),
        10_000..10_000_000 => format!("{:.0} µs", nanoseconds as f64 / 1e3),
        _ => format!("{:.1} ms", nanoseconds as f64 / 1e6),
    }
}

/// Bytes for people.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_take_all_survivors_together() {
        let reception =
            |latencies_nanoseconds| Reception { sum: 0, finished_nanoseconds: 0, latencies_nanoseconds };
        let receptions = vec![reception((1..=50).collect()), reception((51..=100).rev().collect())];
        let measurement = Measurement { started_nanoseconds: 0, receptions };
        assert_eq!(measurement.percentile_nanoseconds(50), 50);
        assert_eq!(measurement.percentile_nanoseconds(99), 99);
        assert_eq!(Measurement::default().percentile_nanoseconds(99), 0);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            ["0", "999", "1,000", "1,234,568"],
            [0.0, 999.0, 1000.0, 1_234_567.9].map(grouped).each_ref().map(String::as_str)
        );
    }
}
