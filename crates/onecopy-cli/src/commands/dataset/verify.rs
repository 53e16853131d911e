//! `onecopy dataset verify`: is the content what was published?

use clap::Args;

use crate::failure::Failure;
use crate::output::Output;
use crate::progress::ProgressBar;
use crate::scope::Scope;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Reads all of the newest version and compares its BLAKE3 with the one that was taken when it was published, which goes to
standard output as b3sum prints it: the hash and the name.

Exit codes:
  0    it is
  1    it can't be known: no hash was taken (--no-hash), or it can't be read
  3    there is no such dataset
  8    it is not: the file was changed since, or its publisher is broken

Examples:
  onecopy dataset verify reads.bri
  onecopy dataset verify reads.bri | cut -d' ' -f1";

/// Check that the content of a dataset is what was published
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The dataset, such as genomes/human
    #[arg(value_parser = parse_name)]
    name: String,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit_as("onecopy dataset verify")?.node;
    let view = node.dataset(&arguments.name)?.open()?;
    let bar = ProgressBar::new()?;
    let verified = view.verify_with(|progress| bar.show(progress));
    bar.clear();
    let mut output = Output::new();
    output.line(&format!("{}  {}", verified?, arguments.name))?;
    output.flush()
}
