//! The results: JSON lines for programs, written as each row is done, and a table for people at the end, with ratios
//! to the rivals and to the bare hardware.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

use crate::job::{Peer, Row, Unit};
use crate::probe::Regime;
use crate::samples::{Samples, Summary};

/// One result.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Record {
    bench: &'static str,
    peer: Peer,
    payload: usize,
    readers: usize,
    mean: f64,
    p50: Option<f64>,
    p99: Option<f64>,
    p999: Option<f64>,
    unit: Unit,
    regime: Regime,
}

impl Record {
    pub(crate) fn new(row: &Row, peer: Peer, regime: Regime, summary: &Summary) -> Self {
        let parts =
            if matches!(row.unit, Unit::Seconds | Unit::Milliseconds | Unit::Percent) { 1e4 } else { 10.0 };
        let tenths = |value: f64| (value * parts).round() / parts;
        let percentile =
            |index: usize| summary.percentiles.and_then(|all| all.get(index).copied()).map(tenths);
        Self {
            bench: row.bench,
            peer,
            payload: row.payload,
            readers: row.readers,
            mean: tenths(summary.mean),
            p50: percentile(0),
            p99: percentile(1),
            p999: percentile(2),
            unit: row.unit,
            regime,
        }
    }

    fn is_in_row_of(&self, other: &Self) -> bool {
        (self.bench, self.payload, self.readers) == (other.bench, other.payload, other.readers)
    }
}

/// What reading the clock costs: every singly timed sample holds this much of it, whoever the peer.
pub(crate) fn timer_record() -> anyhow::Result<Record> {
    let mut samples = Samples::new()?;
    let begin = Instant::now();
    let mut mark = begin;
    const READINGS: u64 = 100_000;
    for _ in 0..READINGS {
        let now = Instant::now();
        samples.record_time(now - mark, 1);
        mark = now;
    }
    samples.add_to_mean(mark - begin, READINGS);
    let row = Row { bench: "timer", payload: 0, readers: 0, unit: Unit::Nanoseconds };
    let summary = Summary::of(&[&samples], row.unit)?.context("the clock gave no samples")?;
    Ok(Record::new(&row, Peer::Raw, Regime::Any, &summary))
}

/// Gathers the records.
pub(crate) struct Report {
    records: Vec<Record>,
    bases: &'static [Peer],
    json: Option<Box<dyn Write>>,
    is_table_on_stderr: bool,
}

impl Report {
    /// Results for the table, with ratios to `bases`, and for the file `json`.
    pub(crate) fn new(json: Option<&Path>, bases: &'static [Peer]) -> anyhow::Result<Self> {
        let is_table_on_stderr = json == Some(Path::new("-"));
        let json: Option<Box<dyn Write>> = match json {
            None => None,
            Some(_) if is_table_on_stderr => Some(Box::new(std::io::stdout())),
            Some(path) => Some(Box::new(
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
            )),
        };
        Ok(Self { records: Vec::new(), bases, json, is_table_on_stderr })
    }

    pub(crate) fn add(&mut self, record: Record) -> anyhow::Result<()> {
        if let Some(json) = &mut self.json {
            writeln!(json, "{}", serde_json::to_string(&record)?).context("cannot write the results")?;
        }
        self.records.push(record);
        Ok(())
    }

    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let table = table(&self.records, self.bases);
        if self.is_table_on_stderr {
            eprint!("{table}");
            return Ok(());
        }
        std::io::stdout().write_all(table.as_bytes()).context("cannot write the table")
    }
}

fn table(records: &[Record], bases: &[Peer]) -> String {
    let peers: Vec<Peer> =
        Peer::ALL.into_iter().filter(|&peer| records.iter().any(|record| record.peer == peer)).collect();
    // Ratios are this project's where it was measured, else the rival's, which then has none to itself.
    let subject = if peers.contains(&Peer::Onecopy) { Peer::Onecopy } else { Peer::Iceoryx2 };
    let mut text =
        format!("{:<17}{:>9}{:>8}{:>12}{:>7} {:<5}", "bench", "payload", "readers", "unit", "regime", "");
    for peer in &peers {
        let _ = write!(text, "{:>13}", peer.name());
    }
    let bases: Vec<Peer> = bases.iter().copied().filter(|&base| base != subject).collect();
    for base in &bases {
        let _ = write!(text, "{:>22}", format!("{}/{}", subject.name(), base.name()));
    }
    text.push('\n');
    for (index, record) in records.iter().enumerate() {
        if records[..index].iter().any(|earlier| earlier.is_in_row_of(record)) {
            continue;
        }
        let row: Vec<&Record> = records.iter().filter(|other| other.is_in_row_of(record)).collect();
        let ratios: Vec<Option<f64>> =
            bases.iter().map(|&base| ratio(records, &row, subject, base)).collect();
        write_line(&mut text, &peers, &row, "mean", |record| Some(record.mean), &ratios);
        write_line(&mut text, &peers, &row, "p50", |record| record.p50, &[]);
        write_line(&mut text, &peers, &row, "p99", |record| record.p99, &[]);
        write_line(&mut text, &peers, &row, "p99.9", |record| record.p999, &[]);
    }
    text
}

fn write_line(
    text: &mut String,
    peers: &[Peer],
    row: &[&Record],
    label: &str,
    value: impl Fn(&Record) -> Option<f64>,
    ratios: &[Option<f64>],
) {
    let Some(record) = row.first() else { return };
    if row.iter().all(|record| value(record).is_none()) {
        return;
    }
    // The row is named once; its percentiles stand below its mean.
    let named = if label == "mean" {
        let (payload, readers, regime) = (record.payload, record.readers, record.regime.name());
        format!("{:<17}{payload:>9}{readers:>8}{:>12}{regime:>7}", record.bench, unit_name(record.unit))
    } else {
        " ".repeat(53)
    };
    let _ = write!(text, "{named} {label:<5}");
    for &peer in peers {
        let cell = row.iter().find(|record| record.peer == peer).and_then(|record| value(record));
        let _ = write!(text, "{:>13}", cell.map_or_else(|| "-".to_owned(), figure));
    }
    for ratio in ratios {
        let _ = write!(text, "{:>22}", ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x")));
    }
    text.push('\n');
}

/// `subject` as a multiple of `base`, which for a row that the rival does not offer is its row of single messages.
fn ratio(records: &[Record], row: &[&Record], subject: Peer, base: Peer) -> Option<f64> {
    let own = row.iter().find(|record| record.peer == subject)?;
    let same = row.iter().copied().find(|record| record.peer == base);
    let single = || {
        let bench = own.bench.strip_suffix("-batch")?;
        records.iter().find(|other| {
            (other.bench, other.payload, other.readers, other.peer) == (bench, own.payload, own.readers, base)
        })
    };
    Some(own.mean / same.or_else(single)?.mean)
}

fn unit_name(unit: Unit) -> &'static str {
    match unit {
        Unit::Nanoseconds => "ns",
        Unit::MessagesPerSecond => "messages/s",
        Unit::Bytes => "B",
        Unit::Mebibytes => "MiB",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::PerSecond => "1/s",
        Unit::Percent => "%",
        Unit::Positions => "positions",
    }
}

/// About four significant digits, in thousands or millions where they are that large.
fn figure(value: f64) -> String {
    match value {
        value if value >= 1e7 => format!("{:.2} M", value / 1e6),
        value if value >= 1e5 => format!("{:.1} k", value / 1e3),
        value if value < 1.0 => format!("{value:.3}"),
        value => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bench: &'static str, peer: Peer, mean: f64) -> Record {
        let row = Row { bench, payload: 64, readers: 1, unit: Unit::Nanoseconds };
        Record::new(&row, peer, Regime::Near, &Summary { mean, percentiles: None })
    }

    #[test]
    fn a_record_has_exactly_the_promised_fields() {
        let json = serde_json::to_string(&record("latency-spin", Peer::UnixSocket, 2.5)).unwrap();
        assert_eq!(
            json,
            r#"{"bench":"latency-spin","peer":"unix-socket","payload":64,"readers":1,"mean":2.5,"p50":null,"p99":null,"p999":null,"unit":"ns","regime":"near"}"#
        );
    }

    #[test]
    fn a_row_without_the_rival_is_compared_with_its_single_messages() {
        let records =
            [record("throughput", Peer::Iceoryx2, 4.0), record("throughput-batch", Peer::Onecopy, 60.0)];
        assert_eq!(ratio(&records, &[&records[1]], Peer::Onecopy, Peer::Iceoryx2), Some(15.0));
        assert_eq!(ratio(&records, &[&records[1]], Peer::Onecopy, Peer::Raw), None);
    }
}
