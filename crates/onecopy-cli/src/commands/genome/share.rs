//! `onecopy genome share`: the index of a BAM file, published for every job on the machine.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use onecopy::Node;
use onecopy::broker::protocol::KeepError;
use onecopy::dataset::{DatasetError, PublishedDataset};
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{FileIdentity, NameIndex, dataset_name, default_index_path};

use super::opening;
use crate::failure::Failure;
use crate::own_program::OWN_PROGRAM;
use crate::progress::ProgressBar;
use crate::scope::Scope;
use crate::signals::Signals;

/// What the process in the background writes when the index is shared.
const SHARED: &str = "shared";

const AFTER_LONG_HELP: &str = "\
The index is loaded into memory once, with a table that finds a name in a few looks at memory. Every `onecopy genome
get` and `convert` for this BAM file then uses that memory, read-only, and starts at once. They find it by the
content of the BAM file, whatever its path. An index file beside the BAM file is used; if there is none, it is made.

This command stays, and shares the index, until SIGINT or SIGTERM ends it. With --detach it returns when the index is
shared: `onecopy serve` keeps it, if that runs; else a process in the background does. `onecopy genome unshare` ends it
either way. However a sharer or a job ends, nothing is left behind, and no other job notices.

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

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let index = made(arguments)?;
    if arguments.detach {
        return detach(arguments, &index, scope);
    }
    if arguments.background {
        rustix::process::setsid()
            .map_err(|error| Failure::system("leave the terminal's session")(error.into()))?;
    }
    let signals = Signals::install()?;
    let node = scope.join("onecopy genome share")?;
    let published =
        signals.unless_signalled(|| publish(&node, &arguments.bam, &index)).ok_or(Failure::Interrupted)??;
    tell(&published, &arguments.bam, "until this command ends");
    if arguments.background {
        println!("{SHARED}");
        io::stdout().flush().map_err(Failure::output)?;
        leave_output()?;
    }
    signals.wait(&[], None)?;
    drop(published);
    Ok(())
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
    let bytes = published.catalog().content_bytes;
    eprintln!("onecopy: the index of {} ({bytes} bytes in memory) is shared {until}", bam.display());
}

/// Has `onecopy serve` keep the index, or a process in the background hold it.
fn detach(arguments: &Arguments, index: &Path, scope: &Scope) -> Result<(), Failure> {
    match scope.visit_as("onecopy genome share") {
        Ok(visit) => {
            let name = dataset_name(&FileIdentity::of(&arguments.bam)?);
            // Asked first, so that nothing is loaded in vain.
            let keeps = visit.node.keep_dataset(&name, true);
            if !matches!(keeps, Err(DatasetError::Keep { source: KeepError::Embedded, .. })) {
                let published = publish(&visit.node, &arguments.bam, index)?;
                visit.node.keep_dataset(&name, true)?;
                tell(&published, &arguments.bam, "by `onecopy serve`, until `onecopy genome unshare`");
                return Ok(());
            }
        }
        Err(Failure::NoBroker { .. }) => {}
        Err(other) => return Err(other),
    }
    // Whatever is wrong with the files is told here, by this process.
    NameIndex::open_file(&arguments.bam, index)?;
    in_background(&arguments.bam, index, scope)
}

fn in_background(bam: &Path, index: &Path, scope: &Scope) -> Result<(), Failure> {
    let mut child = Command::new(OWN_PROGRAM)
        .args(["--instance", scope.instance_name(), "genome", "share", "--background"])
        .arg("--index")
        .args([index, Path::new("--"), bam])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::system("start the process that shares the index"))?;
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut answer)
            .map_err(Failure::system("hear from the process that shares the index"))?;
    }
    if answer.trim_end() == SHARED {
        eprintln!(
            "onecopy: process {} shares it, until `onecopy genome unshare {}`",
            child.id(),
            bam.display()
        );
        return Ok(());
    }
    let status = child.wait().map_err(Failure::system("wait for the process that shares the index"))?;
    Err(Failure::NotShared { status })
}

/// Lets go of the terminal, or of the pipe that somebody waits at for its end.
fn leave_output() -> Result<(), Failure> {
    let failed = |error: rustix::io::Errno| Failure::system("let go of the terminal")(error.into());
    let nowhere =
        std::fs::File::options().write(true).open("/dev/null").map_err(Failure::system("open /dev/null"))?;
    rustix::stdio::dup2_stdout(&nowhere).map_err(failed)?;
    rustix::stdio::dup2_stderr(&nowhere).map_err(failed)
}
