//! `onecopy genome share`: the index of a BAM file, published for every job on the machine.

use std::path::{Path, PathBuf};

use clap::Args;
use onecopy::Node;
use onecopy::broker::protocol::KeepError;
use onecopy::dataset::{DatasetError, PublishedDataset};
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{FileIdentity, GenomeError, NameIndex, SharedIndex, dataset_name, default_index_path};

use super::{background, opening};
use crate::failure::Failure;
use crate::progress::ProgressBar;
use crate::scope::Scope;
use crate::signals::Signals;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
The index is loaded into memory once, with a table that finds a name in a few looks at memory. Every `onecopy genome
get` and `convert` for this BAM file then uses that memory, read-only, and starts at once. They find it by the
content of the BAM file, whatever its path. An index file beside the BAM file is used; if there is none, it is made.
What is shared already is not loaded a second time: this command then keeps it there as well.

This command stays, and shares the index, until SIGINT or SIGTERM ends it. With --detach it returns when the index is
shared: `onecopy serve` keeps it, if that runs; else a process in the background does. `onecopy genome unshare` ends
either. However a sharer or a job ends, nothing is left behind, and no other job notices.

`onecopy genome server BAM -d` and `stop-server BAM` do the same as share and unshare.

Examples:
  onecopy genome share reads.bam --detach
  onecopy genome unshare reads.bam";

/// Share the index of a BAM file with every job on this machine
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The BAM file
    bam: PathBuf,
    /// The index of read names, if it is not beside the BAM file as BAM.bri
    #[arg(short, long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Return when the index is shared
    #[arg(short, long)]
    detach: bool,
    /// This is the process in the background.
    #[arg(long, hide = true)]
    background: bool,
}

/// What keeps the index shared, for as long as it lives.
enum Holding {
    Published(Box<PublishedDataset>),
    /// Somebody else has published it; it stays there as long as anybody has it open.
    Opened(SharedIndex),
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    if arguments.detach {
        return detach(arguments, scope);
    }
    let dataset = dataset_name(&FileIdentity::of(&arguments.bam)?);
    let name = if arguments.background {
        background::enter()?;
        background::node_name(&dataset)
    } else {
        "onecopy genome share".to_owned()
    };
    let signals = Signals::install()?;
    let node = scope.join(&name)?;
    let holding = signals.unless_signalled(|| hold(&node, arguments)).ok_or(Failure::Interrupted)??;
    let until = if arguments.background { "from now on" } else { "until this command ends" };
    match &holding {
        Holding::Published(published) => tell(published, &arguments.bam, until),
        Holding::Opened(shared) => eprintln!(
            "onecopy: the index of {} is shared already{}, and by this process as well {until}",
            arguments.bam.display(),
            by_whom(&node, shared.name())?
        ),
    }
    if arguments.background {
        background::announce()?;
    }
    signals.wait(&[], None)?;
    drop(holding);
    Ok(())
}

/// Opens the index that is shared, or publishes it; one that is broken is replaced.
fn hold(node: &Node, arguments: &Arguments) -> Result<Holding, Failure> {
    match SharedIndex::open(node, &arguments.bam) {
        Ok(Some(shared)) => Ok(Holding::Opened(shared)),
        Ok(None) | Err(GenomeError::Index { .. } | GenomeError::Dataset(_)) => {
            Ok(Holding::Published(Box::new(publish(node, &arguments.bam, &made(arguments)?)?)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The process that has published it, if that is still there.
fn by_whom(node: &Node, dataset: &str) -> Result<String, Failure> {
    let publisher = node.dataset_entry(dataset)?.and_then(|entry| entry.publisher_pid);
    Ok(publisher.map_or_else(String::new, |pid| format!(" by process {pid}")))
}

/// The index file, made if it is not there.
fn made(arguments: &Arguments) -> Result<PathBuf, Failure> {
    let path = arguments.index.clone().unwrap_or_else(|| default_index_path(&arguments.bam));
    if !path.exists() {
        eprintln!("onecopy: makes the index {}", path.display());
        opening::build(&arguments.bam, &path, &BuildOptions::default())?;
    }
    Ok(path)
}

fn publish(node: &Node, bam: &Path, index: &Path) -> Result<PublishedDataset, Failure> {
    let bar = ProgressBar::new()?;
    let shared = onecopy_genome::share(node, bam, index, |done_bytes, total_bytes| {
        bar.show(onecopy::dataset::Progress { done_bytes, total_bytes });
    });
    bar.clear();
    Ok(shared?)
}

fn tell(published: &PublishedDataset, bam: &Path, until: &str) {
    let bytes = counted(published.catalog().content_bytes, "byte");
    eprintln!("onecopy: the index of {} ({bytes} in memory) is shared {until}", bam.display());
}

/// Has `onecopy serve` keep the index, or a process in the background hold it.
fn detach(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let bam = &arguments.bam;
    let dataset = dataset_name(&FileIdentity::of(bam)?);
    match scope.visit_as("onecopy genome share") {
        Ok(visit) => {
            if let Some(pid) = background::pids(&visit.node, &dataset)?.first() {
                eprintln!("onecopy: process {pid} shares the index of {} already", bam.display());
                return Ok(());
            }
            // Asked first, so that nothing is loaded in vain.
            match visit.node.keep_dataset(&dataset, true) {
                Ok(()) => eprintln!(
                    "onecopy: the index of {} is shared already, and `onecopy serve` keeps it, until `onecopy genome unshare`",
                    bam.display()
                ),
                Err(DatasetError::Keep { source: KeepError::Embedded, .. }) => {
                    return in_background(arguments, scope);
                }
                Err(_) => {
                    let published = publish(&visit.node, bam, &made(arguments)?)?;
                    visit.node.keep_dataset(&dataset, true)?;
                    tell(&published, bam, "by `onecopy serve`, until `onecopy genome unshare`");
                }
            }
            Ok(())
        }
        Err(Failure::NoBroker { .. }) => in_background(arguments, scope),
        Err(other) => Err(other),
    }
}

fn in_background(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let (bam, index) = (&arguments.bam, made(arguments)?);
    // Whatever is wrong with the files is told here, by this process.
    NameIndex::open_file(bam, &index)?;
    let pid = background::start(bam, &index, scope)?;
    eprintln!("onecopy: process {pid} shares it, until `onecopy genome unshare {}`", bam.display());
    Ok(())
}
