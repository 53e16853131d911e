//! The method: peers take turns in short slices, many times over, with a probe of the machine before and after each
//! slice. A slice during which the cores moved is thrown away and measured again, and so is one in which other
//! programs kept the other process from its work, unless that goes on: then the best try counts, and is told. In the
//! end each row is reported for the one regime that most of its slices saw, the same for every peer: only so is a
//! ratio between peers a ratio.

use std::time::Duration;

use anyhow::Context;

use crate::idle::{self, Idle};
use crate::job::{Job, Peer, Row};
use crate::options::CommonOptions;
use crate::pin;
use crate::probe::Regime;
use crate::report::{Record, Report};
use crate::samples::{Samples, Summary};
use crate::watchdog::Watchdog;

/// How often a disturbed slice is measured again before its peer passes this round.
const RETRIES: usize = 3;

/// The command line of every subject.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// Measure only the rows of this name; may be given several times
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,
    /// Measure only these peers
    #[arg(long, value_delimiter = ',', value_name = "PEER,...")]
    peers: Vec<Peer>,
    /// What idle processors do meanwhile [default: poll if this user may arrange that, else halt]
    #[arg(long, value_name = "WHAT", hide_default_value = true)]
    idle: Option<Idle>,
}

impl Options {
    fn rounds(&self) -> usize {
        if self.common.quick { 5 } else { 15 }
    }

    fn slice(&self) -> Duration {
        Duration::from_millis(if self.common.quick { 100 } else { 300 })
    }
}

/// A slice in which the other side did less of its work than this, in per cent, is measured again.
const ENOUGH_SHARE: u64 = 90;

/// What one slice gave.
pub(crate) struct Slice {
    pub(crate) samples: Samples,
    /// The probes around it, in nanoseconds, or none if the regime plays no part
    pub(crate) probes: Vec<f64>,
}

impl Slice {
    /// The regime that held from its beginning to its end, if one did.
    fn regime(&self) -> Option<Regime> {
        let mut regimes = self.probes.iter().map(|&line_ns| Regime::of(line_ns));
        let Some(first) = regimes.next() else { return Some(Regime::Any) };
        regimes.all(|regime| regime == first).then_some(first)
    }
}

/// The rows of a subject, and how to measure a slice of one.
pub(crate) struct Suite {
    /// Every row, in the order of the table
    pub(crate) rows: Vec<Row>,
    /// Whether a peer can do a row
    pub(crate) offers: fn(&Row, Peer) -> bool,
    /// Measures one slice
    pub(crate) measure: fn(Job) -> anyhow::Result<Slice>,
    /// The peers that the table gives ratios to
    pub(crate) bases: &'static [Peer],
}

/// Slices of one row, with who and when.
struct Measured {
    peer: Peer,
    regime: Regime,
    samples: Samples,
    probes: Vec<f64>,
}

/// Measures `suite` and reports it.
pub(crate) fn run(suite: &Suite, options: &Options) -> anyhow::Result<()> {
    for name in &options.only {
        anyhow::ensure!(suite.rows.iter().any(|row| row.bench == name), "there is no row {name}");
    }
    for peer in &options.peers {
        let is_offered = suite.rows.iter().any(|row| (suite.offers)(row, *peer));
        anyhow::ensure!(is_offered, "no row of this subject has the peer {}", peer.name());
    }
    let [parent_core, child_core] = pin::two_cores()?;
    pin::pin_to(parent_core)?;
    let _awake = idle::arrange(options.idle)?;
    let mut report = Report::new(options.common.json.as_deref(), suite.bases)?;
    report.add(crate::report::timer_record()?)?;
    let rows = suite
        .rows
        .iter()
        .filter(|row| options.only.is_empty() || options.only.iter().any(|name| name == row.bench));
    for (number, row) in rows.enumerate() {
        let peers: Vec<Peer> = Peer::ALL
            .into_iter()
            .filter(|peer| {
                (options.peers.is_empty() || options.peers.contains(peer)) && (suite.offers)(row, *peer)
            })
            .collect();
        eprintln!("{} {} B, {} reader(s): {} peer(s)", row.bench, row.payload, row.readers, peers.len());
        let job = Job {
            bench: row.bench.to_owned(),
            peer: Peer::Raw,
            payload: row.payload,
            readers: row.readers,
            duration: options.slice(),
            instance: format!("{}-{number}", std::process::id()),
            child_core,
            parent_pid: std::process::id(),
            memory_fd: 0,
        };
        for record in measure_row(suite, row, &peers, &job, options.rounds())? {
            report.add(record)?;
        }
    }
    report.finish()
}

fn measure_row(
    suite: &Suite,
    row: &Row,
    peers: &[Peer],
    job: &Job,
    rounds: usize,
) -> anyhow::Result<Vec<Record>> {
    let mut measured = Vec::new();
    for round in 0..rounds {
        measure_round(suite, peers, job, round, &mut measured)?;
    }
    // A peer may have missed the regime that the others saw: a few more rounds for all give it its chance.
    for round in rounds..rounds + rounds / 2 {
        if has_all(&measured, peers, row_regime(&measured, peers)) {
            break;
        }
        measure_round(suite, peers, job, round, &mut measured)?;
    }
    let regime = row_regime(&measured, peers);
    tell_probes(&measured, regime);
    tell_flaws(&measured, peers);
    let mut records = Vec::new();
    for &peer in peers {
        let slices: Vec<&Samples> = measured
            .iter()
            .filter(|slice| slice.peer == peer && slice.regime == regime)
            .map(|slice| &slice.samples)
            .collect();
        match Summary::of(&slices, row.unit)? {
            Some(summary) => records.push(Record::new(row, peer, regime, &summary)),
            None => eprintln!("  {}: no undisturbed slice in the regime {}", peer.name(), regime.name()),
        }
    }
    Ok(records)
}

fn measure_round(
    suite: &Suite,
    peers: &[Peer],
    job: &Job,
    round: usize,
    measured: &mut Vec<Measured>,
) -> anyhow::Result<()> {
    // Each round begins with another peer, so that none always follows the same one.
    for &peer in peers.iter().cycle().skip(round % peers.len().max(1)).take(peers.len()) {
        let mut best: Option<Measured> = None;
        for attempt in 0..RETRIES {
            let what = format!("{} with {}", job.bench, peer.name());
            let _watchdog = Watchdog::start(what.clone());
            let instance = format!("{}-{}-{round}-{attempt}", job.instance, peer.name());
            let slice =
                (suite.measure)(Job { peer, instance, ..job.clone() }).with_context(|| what.clone())?;
            let Some(regime) = slice.regime() else {
                eprintln!("  {what}: the cores moved meanwhile; again");
                continue;
            };
            let share = slice.samples.share();
            if best.as_ref().is_none_or(|best| best.samples.share() < share) {
                best = Some(Measured { peer, regime, samples: slice.samples, probes: slice.probes });
            }
            if share >= ENOUGH_SHARE {
                break;
            }
        }
        measured.extend(best);
    }
    Ok(())
}

/// How far the cores were from each other, within the regime.
fn tell_probes(measured: &[Measured], regime: Regime) {
    let in_regime = measured.iter().filter(|slice| slice.regime == regime);
    let mut probes: Vec<f64> = in_regime.flat_map(|slice| slice.probes.iter().copied()).collect();
    probes.sort_by(f64::total_cmp);
    if let (Some(least), Some(median), Some(most)) =
        (probes.first(), probes.get(probes.len() / 2), probes.last())
    {
        eprintln!("  {}: a cache line took {median:.0} ns one way ({least:.0} to {most:.0})", regime.name());
    }
}

/// What a peer's numbers do not show.
fn tell_flaws(measured: &[Measured], peers: &[Peer]) {
    for &peer in peers {
        let own = || measured.iter().filter(|slice| slice.peer == peer).map(|slice| &slice.samples);
        let torn: u64 = own().map(Samples::torn).sum();
        if torn > 0 {
            eprintln!("  {}: {torn} of the values read were torn", peer.name());
        }
        if let Some(share) = own().map(Samples::share).min().filter(|&share| share < ENOUGH_SHARE) {
            eprintln!("  {}: in one slice the other process did only {share} % of its work", peer.name());
        }
    }
}

fn count(measured: &[Measured], peer: Peer, regime: Regime) -> usize {
    measured.iter().filter(|slice| slice.peer == peer && slice.regime == regime).count()
}

fn has_all(measured: &[Measured], peers: &[Peer], regime: Regime) -> bool {
    peers.iter().all(|&peer| count(measured, peer, regime) > 0)
}

/// The regime in which the peer with the fewest slices has the most, then the one with the most slices of all.
fn row_regime(measured: &[Measured], peers: &[Peer]) -> Regime {
    let weight = |regime: Regime| {
        let counts = peers.iter().map(|&peer| count(measured, peer, regime));
        (counts.clone().min().unwrap_or(0), counts.sum::<usize>())
    };
    [Regime::Any, Regime::Far, Regime::Near]
        .into_iter()
        .max_by_key(|&regime| weight(regime))
        .unwrap_or(Regime::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(slices: &[(Peer, Regime)]) -> Vec<Measured> {
        slices
            .iter()
            .map(|&(peer, regime)| Measured {
                peer,
                regime,
                samples: Samples::new().unwrap(),
                probes: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn peers_are_compared_in_the_regime_that_all_of_them_saw() {
        let slices = measured(&[
            (Peer::Raw, Regime::Near),
            (Peer::Raw, Regime::Near),
            (Peer::Raw, Regime::Far),
            (Peer::Pipe, Regime::Far),
        ]);
        assert_eq!(row_regime(&slices, &[Peer::Raw, Peer::Pipe]), Regime::Far);
        assert_eq!(row_regime(&slices, &[Peer::Raw]), Regime::Near);
    }

    #[test]
    fn a_slice_during_which_the_cores_moved_has_no_regime() {
        let slice = |probes: &[f64]| Slice { samples: Samples::new().unwrap(), probes: probes.to_vec() };
        assert_eq!(slice(&[60.0, 290.0]).regime(), None);
        assert_eq!(slice(&[290.0, 280.0]).regime(), Some(Regime::Far));
        assert_eq!(slice(&[]).regime(), Some(Regime::Any));
    }
}
