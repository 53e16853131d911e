//! `onecopy genome unshare`: an index that is shared no longer.

use std::path::PathBuf;

use clap::Args;
use onecopy_genome::{FileIdentity, dataset_name};
use rustix::process::{Pid, Signal, kill_process};

use crate::failure::Failure;
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
Jobs that use the index keep it until they end; the memory is gone when the last of them has. The file stays.

Examples:
  onecopy genome unshare reads.bam";

/// Share the index of a BAM file no longer
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The BAM file
    bam: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let name = dataset_name(&FileIdentity::of(&arguments.bam)?);
    let nobody = || Failure::NobodyShares { bam: arguments.bam.display().to_string() };
    let node = match scope.visit_as("onecopy genome unshare") {
        Ok(visit) => visit.node,
        Err(Failure::NoBroker { .. }) => return Err(nobody()),
        Err(other) => return Err(other),
    };
    let entry = node.dataset_entry(&name)?.ok_or_else(nobody)?;
    if entry.is_kept {
        node.keep_dataset(&name, false)?;
    }
    // The broker knows the process by its connection, so it is alive, and the same one.
    let publisher = entry.publisher_pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(publisher) = publisher {
        match kill_process(publisher, Signal::TERM) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => {
                return Err(Failure::system("ask the process to end that shares the index")(error.into()));
            }
        }
    }
    eprintln!("onecopy: the index of {} is shared no longer", arguments.bam.display());
    Ok(())
}
