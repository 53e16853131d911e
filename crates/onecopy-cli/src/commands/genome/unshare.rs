//! `onecopy genome unshare`: an index that is shared no longer.

use std::path::PathBuf;

use clap::Args;
use onecopy_genome::{FileIdentity, dataset_name};

use super::background;
use crate::failure::Failure;
use crate::scope::Scope;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
Ends what `onecopy genome share --detach` has begun: the process in the background, and that `onecopy serve` keeps the
index. Jobs that use the index keep it until they end; the memory is gone when the last of them has. The index file stays.

A `share` that somebody started without --detach is not ended; this command then says which process it
is.

Exit codes:
  0    it was ended
  1    it is still shared: by a process that was not started with --detach, or that does not end
  3    nobody shares it

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
    let bam = || arguments.bam.display().to_string();
    let dataset = dataset_name(&FileIdentity::of(&arguments.bam)?);
    let node = match scope.visit_as("onecopy genome unshare") {
        Ok(visit) => visit.node,
        Err(Failure::NoBroker { .. }) => return Err(Failure::NobodyShares { bam: bam() }),
        Err(other) => return Err(other),
    };
    let sharers = background::pids(&node, &dataset)?;
    let entry = node.dataset_entry(&dataset)?.ok_or_else(|| Failure::NobodyShares { bam: bam() })?;
    if entry.is_kept {
        node.keep_dataset(&dataset, false)?;
        eprintln!("onecopy: `onecopy serve` keeps the index of {} no longer", bam());
    }
    for pid in &sharers {
        if !background::end(&node, &dataset, *pid)? {
            return Err(Failure::StillShares { bam: bam(), pid: *pid });
        }
        eprintln!("onecopy: process {pid} has ended, which shared the index of {}", bam());
    }
    // Of what is left: who published it, if that is none of those that were ended, and those who look at it.
    let publisher = entry.publisher_pid.filter(|pid| !sharers.contains(pid));
    if let Some(pid) = publisher {
        return Err(Failure::SharedByOther { bam: bam(), pid });
    }
    let held = sharers.iter().filter(|pid| entry.publisher_pid != Some(**pid)).count();
    match (entry.viewers as usize).saturating_sub(held) {
        0 => {}
        others => {
            eprintln!("onecopy: still open in {}, until closed there", counted(others, "other place"));
        }
    }
    if !entry.is_kept && sharers.is_empty() {
        return Err(Failure::NobodyShares { bam: bam() });
    }
    Ok(())
}
