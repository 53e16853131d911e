//! `onecopy region list`: all regions, a line each.

use clap::Args;

use crate::failure::Failure;
use crate::output;
use crate::region_json::{self, RegionSummary};
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
A region is there as long as somebody has it open, or `onecopy serve` keeps it.

JSON: one array
  [{name, mode, payload, writer_pid, readers, version, capacity_bytes, kept, memory_bytes, lock_waits}]
  mode is \"single-writer\" or \"shared\"; payload is null until somebody says what it is; writer_pid is null if the
  region has no single writer now; version and capacity_bytes are null until the region has memory.

Examples:
  onecopy region list
  onecopy region list --json | jq -r '.[] | select(.kept).name'";

/// List the regions
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let inventory = scope.visit()?.node.inventory()?;
    let regions = region_json::summaries(&inventory.regions);
    output::list(arguments.json, "regions", &regions, &RegionSummary::HEADINGS, RegionSummary::cells)
}
