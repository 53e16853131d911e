//! `onecopy dataset list`: all datasets, a line each.

use clap::Args;

use crate::dataset_json::{self, DatasetSummary};
use crate::failure::Failure;
use crate::output;
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
A dataset is there as long as somebody has it open, or `onecopy serve` keeps it.

JSON: one array
  [{name, version, backing, content_bytes, sections, publisher_pid, viewers, kept}]
  of the newest version; backing is \"memory\" or \"file\"; sections is how many there are. version, backing,
  content_bytes and sections are null while somebody waits for the first version; publisher_pid is null if the process
  that published it has let go of it.

Examples:
  onecopy dataset list
  onecopy dataset list --json | jq -r '.[] | select(.kept).name'";

/// List the datasets
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let inventory = scope.visit()?.node.inventory()?;
    let datasets = dataset_json::summaries(&inventory.datasets);
    output::list(arguments.json, "datasets", &datasets, &DatasetSummary::HEADINGS, DatasetSummary::cells)
}
