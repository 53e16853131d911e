//! What a broker's death costs, under full load: a broker is killed, inside a program (`kill-embedded`) and on its own
//! (`kill-serve`), while processes publish, receive, call, answer, write and read a value without pause.
//!
//! | row | time from the kill until |
//! |---|---|
//! | `…-role` | another process listens in the broker's place |
//! | `…-announced` | somebody new is told of everything that was there before |
//! | `…-join` | two new nodes have joined and one has received a message of the other |
//! | `…-gap-messages`, `-calls`, `-reads` | the longest pause of any subscriber, client or reader in the half second that follows |
//!
//! `quiet-gap-…` is the longest pause in half a second before it, in the same processes: with more processes than
//! processors a pause is mostly the scheduler's. `take-over` is the half second in which `onecopy serve` takes the
//! place of a broker inside a program, and `replace` the one in which another one takes its place. The column `readers`
//! is the number of processes. Each round starts all of them anew; `mean` is the median of the rounds, `p999` the
//! worst.

mod actor;
mod processes;
mod succession;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use self::actor::Gauge;
pub(crate) use self::actor::{Role, run as act};
use self::processes::{Broker, Crowd};
pub(crate) use self::processes::{BrokerKind, serve_broker};
use crate::job::{Peer, Row, Unit};
use crate::options::CommonOptions;
use crate::probe::Regime;
use crate::report::{Record, Report};
use crate::samples::{Samples, Summary};

/// The command line of this subject.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// How many processes there are beside the broker's
    #[arg(long, value_delimiter = ',', value_name = "NUMBER,...", default_value = "8,32,64")]
    nodes: Vec<usize>,
}

/// For how long pauses are looked for.
const WINDOW: Duration = Duration::from_millis(500);
/// What everything but the pauses is to take at most.
const GOAL: Duration = Duration::from_millis(200);

/// Measures and reports.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let rounds = if options.common.quick { 5 } else { 20 };
    let mut report = Report::new(options.common.json.as_deref(), &[Peer::Raw])?;
    for &nodes in &options.nodes {
        let mut table = Table::default();
        for round in 0..rounds {
            eprintln!("{nodes} processes, round {} of {rounds}", round + 1);
            embedded(nodes, &mut table)?;
            on_its_own(nodes, &mut table)?;
        }
        table.tell(nodes);
        for (bench, slices) in table.rows {
            let row = Row { bench, payload: 0, readers: nodes, unit: Unit::Milliseconds };
            let slices: Vec<&Samples> = slices.iter().collect();
            let summary = Summary::of(&slices, row.unit)?.context("no rounds")?;
            report.add(Record::new(&row, Peer::Onecopy, Regime::Any, &summary))?;
        }
    }
    report.finish()
}

/// A broker inside a program is killed.
fn embedded(nodes: usize, table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let broker = Broker::start(BrokerKind::Embedded, folder.path())?;
    let mut crowd = Crowd::start(nodes, folder.path())?;
    quiet(&mut crowd, table)?;
    kill(broker, &mut crowd, folder.path(), table, &EMBEDDED)
}

/// A broker of its own takes over from one inside a program, is replaced by another, and that is killed.
fn on_its_own(nodes: usize, table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let _first = Broker::start(BrokerKind::Embedded, folder.path())?;
    let mut crowd = Crowd::start(nodes, folder.path())?;
    quiet(&mut crowd, table)?;
    crowd.begin_window()?;
    let second = Broker::start(BrokerKind::Serve, folder.path())?;
    table.add_gaps(&TAKE_OVER, &crowd.end_window(WINDOW)?)?;
    crowd.begin_window()?;
    let third = Broker::start(BrokerKind::Replace, folder.path())?;
    table.add_gaps(&REPLACE, &crowd.end_window(WINDOW)?)?;
    drop(second);
    kill(third, &mut crowd, folder.path(), table, &SERVE)
}

fn quiet(crowd: &mut Crowd, table: &mut Table) -> anyhow::Result<()> {
    crowd.begin_window()?;
    table.add_gaps(&QUIET, &crowd.end_window(WINDOW)?)
}

fn kill(
    broker: Broker,
    crowd: &mut Crowd,
    directory: &Path,
    table: &mut Table,
    names: &KillNames,
) -> anyhow::Result<()> {
    crowd.begin_window()?;
    let times = succession::measure(broker, directory, WINDOW)?;
    let gaps = crowd.end_window(Duration::ZERO)?;
    for (name, time) in names.times.into_iter().zip([times.role, times.announced, times.join]) {
        table.add(name, time)?;
    }
    table.add_gaps(&names.gaps, &gaps)
}

struct KillNames {
    times: [&'static str; 3],
    gaps: [&'static str; 3],
}

const EMBEDDED: KillNames = KillNames {
    times: ["kill-embedded-role", "kill-embedded-announced", "kill-embedded-join"],
    gaps: ["kill-embedded-gap-messages", "kill-embedded-gap-calls", "kill-embedded-gap-reads"],
};
const SERVE: KillNames = KillNames {
    times: ["kill-serve-role", "kill-serve-announced", "kill-serve-join"],
    gaps: ["kill-serve-gap-messages", "kill-serve-gap-calls", "kill-serve-gap-reads"],
};
const QUIET: [&str; 3] = ["quiet-gap-messages", "quiet-gap-calls", "quiet-gap-reads"];
const TAKE_OVER: [&str; 3] = ["take-over-gap-messages", "take-over-gap-calls", "take-over-gap-reads"];
const REPLACE: [&str; 3] = ["replace-gap-messages", "replace-gap-calls", "replace-gap-reads"];

/// The rows, in the order in which they came up, with a slice for each round.
#[derive(Default)]
struct Table {
    rows: Vec<(&'static str, Vec<Samples>)>,
    /// The times that have a goal.
    timed: Vec<(&'static str, Duration)>,
}

impl Table {
    fn add(&mut self, name: &'static str, time: Duration) -> anyhow::Result<()> {
        if !name.contains("-gap-") {
            self.timed.push((name, time));
        }
        let mut slice = Samples::new()?;
        slice.set_mean(time.as_secs_f64() * 1e3);
        slice.record_time(time, 1);
        match self.rows.iter_mut().find(|(row, _)| *row == name) {
            Some((_, slices)) => slices.push(slice),
            None => self.rows.push((name, vec![slice])),
        }
        Ok(())
    }

    fn add_gaps(&mut self, names: &[&'static str; 3], gaps: &[Duration; 3]) -> anyhow::Result<()> {
        names.iter().zip(gaps).try_for_each(|(name, gap)| self.add(name, *gap))
    }

    fn tell(&self, nodes: usize) {
        let late = self.timed.iter().filter(|(_, time)| *time > GOAL);
        let late: Vec<String> = late.map(|(name, time)| format!("{name} {time:.1?}")).collect();
        let (count, all) = (late.len(), self.timed.len());
        match late.is_empty() {
            true => eprintln!("{nodes} processes: all {all} times within {GOAL:?}"),
            false => {
                eprintln!("{nodes} processes: {count} of {all} times beyond {GOAL:?}: {}", late.join(", "))
            }
        }
    }
}

/// The kinds of pauses, as rows name them.
const GAUGES: [Gauge; 3] = [Gauge::Messages, Gauge::Calls, Gauge::Reads];
