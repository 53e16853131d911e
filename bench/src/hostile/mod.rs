//! How long a node takes to join while a process that may connect does what it can against it: `join-quiet`
//! and one row for each [attack](attack::Attack), in turns with the quiet one. The broker is a process of its
//! own, and its memory is told on standard error: before, at its most, and after.
//!
//! The goal is that the slowest hundredth of joins takes at most three times as long as in peace. What that
//! takes on a machine whose processors are all busy with something else is the row `join-busy`: the attacker
//! keeps one processor busy, and the broker another one, so with two processors no join can be faster.

mod attack;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use onecopy::Node;
use onecopy::instance::Instance;

use crate::job::{Peer, Row, Unit};
use crate::options::CommonOptions;
use crate::probe::Regime;
use crate::report::{Record, Report};
use crate::samples::{Samples, Summary};

pub(crate) use attack::{Attack, run as attack};

/// The command line of this subject.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// Only these attacks
    #[arg(long, value_name = "ATTACK")]
    only: Vec<Attack>,
}

/// Joins in a turn.
const JOINS: usize = 250;
const QUIET: &str = "join-quiet";

/// Measures and reports.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let turns = if options.common.quick { 4 } else { 12 };
    let attacks = if options.only.is_empty() { Attack::ALL.to_vec() } else { options.only.clone() };
    let mut report = Report::new(options.common.json.as_deref(), &[Peer::Raw])?;
    let mut quiet = Vec::new();
    for attack in attacks {
        let folder = tempfile::tempdir()?;
        let broker = Helper::start(&["hostile-broker"], folder.path())?;
        let before = memory_kibibytes(broker.child.id())?;
        let (begin, mut attacked) = (quiet.len(), Vec::new());
        for _ in 0..turns {
            quiet.push(joins(folder.path())?);
            let hostile = Helper::start(&["hostile-attack", attack.argument()], folder.path())?;
            attacked.push(joins(folder.path())?);
            drop(hostile);
            // Until the broker is done with what is left of it.
            joins(folder.path())?;
        }
        let after = memory_kibibytes(broker.child.id())?;
        let p99 = |slices: &[Samples]| -> anyhow::Result<f64> {
            let summary = summary(slices)?;
            summary.percentiles.map(|all| all[1]).context("no percentiles")
        };
        let ratio = p99(&attacked)? / p99(&quiet[begin..])?;
        eprintln!(
            "{}: p99 {ratio:.2} x quiet; broker's memory {} KiB before, {} KiB at most, {} KiB after",
            attack.name(),
            before.0,
            after.1,
            after.0
        );
        report.add(record(attack.name(), &attacked)?)?;
    }
    report.add(record(QUIET, &quiet)?)?;
    report.finish()
}

fn summary(slices: &[Samples]) -> anyhow::Result<Summary> {
    let slices: Vec<&Samples> = slices.iter().collect();
    Summary::of(&slices, Unit::Nanoseconds)?.context("no samples")
}

fn record(bench: &'static str, slices: &[Samples]) -> anyhow::Result<Record> {
    let row = Row { bench, payload: 0, readers: 0, unit: Unit::Nanoseconds };
    Ok(Record::new(&row, Peer::Onecopy, Regime::Any, &summary(slices)?))
}

fn joins(directory: &Path) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    for _ in 0..JOINS {
        let start = Instant::now();
        let node = Node::builder().directory(directory).name("join").open()?;
        let elapsed = start.elapsed();
        ensure!(!node.is_broker(), "the broker has ended");
        samples.add_to_mean(elapsed, 1);
        samples.record_time(elapsed, 1);
    }
    Ok(samples)
}

/// What the broker's process has in memory, now and at its most.
fn memory_kibibytes(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).context("no such field")
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// The broker, until its standard input ends.
pub(crate) fn serve(directory: &Path) -> anyhow::Result<()> {
    onecopy::open_files::raise_limit().context("cannot have many files open")?;
    let server = Instance::in_directory(directory, "default")?.serve()?.spawn()?;
    use std::io::Write as _;
    std::io::stdout().write_all(b"!")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(server.stop()?)
}

/// Another process of this program; killed when dropped.
struct Helper {
    child: Child,
}

impl Helper {
    /// Returns when it has begun.
    fn start(arguments: &[&str], directory: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a helper")?;
        let mut mark = [0];
        let begun = child.stdout.take().context("it was piped")?.read_exact(&mut mark);
        let helper = Self { child };
        begun.with_context(|| format!("{arguments:?} ended early"))?;
        Ok(helper)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
