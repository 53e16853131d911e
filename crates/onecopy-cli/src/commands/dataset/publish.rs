//! `onecopy dataset publish`: a file becomes a dataset's newest version.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onecopy::Node;
use onecopy::dataset::{Backing, DatasetError, PublishedDataset};

use crate::failure::Failure;
use crate::progress::ProgressBar;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::values::parse_name;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
Whoever opens the dataset from now on gets this version, at once and whatever its size; whoever has an older one open
keeps it. Nothing is published before all of it is there: ended early, this command leaves no trace.

A dataset is there as long as any process has it open. So this command stays until SIGINT or SIGTERM ends it (exit code
0); the dataset lives on if others have it open by then. With --keep it returns at once, and `onecopy serve` keeps the
dataset until `onecopy dataset remove`.

Backing:
  memory   copied once into memory that nobody can change, not even this command. Takes as much memory as the file has
           bytes, for all readers together, and they read at the speed of memory. The file is not needed any more.
  file     nothing is loaded: readers read the file, and the kernel's page cache is the one copy. Each read is a system
           call, and if the file was changed since, it says so instead of giving wrong bytes (exit code 8). Replace such
           a file by renaming a new one over it, and publish again. Where a file can never change (fs-verity, squashfs,
           EROFS), readers have it mapped, at the speed of memory.

--hugepages needs no pages set aside, only Linux 6.1 or later; where it can't be done, standard error says so and
ordinary pages are used. --lock is bounded by `ulimit -l`.

Examples:
  onecopy dataset publish reads.bri reads.bri &
  onecopy dataset publish reads.bri reads.bri --keep --hugepages
  onecopy dataset publish genome /data/genome.fa --keep --backing file
  zcat table.gz | onecopy dataset publish table - --keep";

/// Publish a file as the newest version of a dataset
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The dataset, such as genomes/human
    #[arg(value_parser = parse_name)]
    name: String,

    /// The file; - for standard input
    file: PathBuf,

    /// Have `onecopy serve` keep it, and return
    #[arg(long)]
    keep: bool,

    /// Where the bytes are to be
    #[arg(long, value_enum, default_value = "memory")]
    backing: BackingArgument,

    /// Put pages of 2 MiB behind the memory, for readers that jump about in it
    #[arg(long)]
    hugepages: bool,

    /// Keep the memory from being swapped out while this command holds it
    #[arg(long, conflicts_with = "keep")]
    lock: bool,

    /// Take no BLAKE3 of the content; there will be nothing to verify it with
    #[arg(long)]
    no_hash: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackingArgument {
    Memory,
    File,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    check(arguments)?;
    let signals = Signals::install()?;
    let node = join(arguments, scope)?;
    // It may take minutes; a signal ends it at once, and nothing was published then.
    let published = signals.unless_signalled(|| publish(arguments, &node)).ok_or(Failure::Interrupted)??;
    let Arguments { name, keep, .. } = arguments;
    if let Some(error) = published.huge_pages_error() {
        eprintln!("onecopy: {error}");
    }
    let size = counted(published.catalog().content_bytes, "byte");
    let version = published.version();
    if *keep {
        node.keep_dataset(name, true)?;
        eprintln!(
            "onecopy: version {version} of dataset {name:?} ({size}) is kept by `onecopy serve`, until `onecopy dataset remove {name}`"
        );
        return Ok(());
    }
    eprintln!(
        "onecopy: version {version} of dataset {name:?} ({size}) is held until this command ends, by SIGINT or SIGTERM"
    );
    signals.wait(&[], None)?;
    drop(published);
    Ok(())
}

fn check(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.backing == BackingArgument::Memory {
        return Ok(());
    }
    let refuse = |reason| Err(Failure::CommandLine(reason));
    match arguments {
        Arguments { hugepages: true, .. } => {
            refuse("--hugepages is about memory, and --backing file takes none")
        }
        Arguments { lock: true, .. } => refuse("--lock is about memory, and --backing file takes none"),
        Arguments { file, .. } if file.as_os_str() == "-" => {
            refuse("--backing file needs a file, and standard input is none that others could open")
        }
        _ => Ok(()),
    }
}

/// Who holds the dataset may be the first of the instance; a broker inside this command could keep nothing.
fn join(arguments: &Arguments, scope: &Scope) -> Result<Node, Failure> {
    const NAME: &str = "onecopy dataset publish";
    if !arguments.keep {
        return scope.join(NAME);
    }
    match scope.visit_as(NAME) {
        Err(Failure::NoBroker { .. }) => {
            Err(Failure::NothingKeeps { what: "dataset", name: arguments.name.clone() })
        }
        visit => Ok(visit?.node),
    }
}

fn publish(arguments: &Arguments, node: &Node) -> Result<PublishedDataset, Failure> {
    let mut dataset = node.dataset(&arguments.name)?;
    if arguments.backing == BackingArgument::File {
        dataset = dataset.backing(Backing::File);
    }
    if arguments.hugepages {
        dataset = dataset.huge_pages();
    }
    if arguments.lock {
        dataset = dataset.lock_memory();
    }
    if arguments.no_hash {
        dataset = dataset.without_hash();
    }
    if arguments.file.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(Failure::system("read standard input"))?;
        return Ok(dataset.publish_bytes(&bytes)?);
    }
    let bar = ProgressBar::new()?;
    let published: Result<_, DatasetError> =
        dataset.publish_file_with(&arguments.file, |progress| bar.show(progress));
    bar.clear();
    Ok(published?)
}
