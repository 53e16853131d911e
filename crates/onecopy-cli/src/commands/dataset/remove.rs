//! `onecopy dataset remove`: a dataset that is kept no longer.

use clap::Args;

use crate::failure::Failure;
use crate::scope::Scope;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Undoes `onecopy dataset publish --keep`: the dataset ends at once if nobody has it open, else when the last process
closes it. Nobody's memory is taken away. A file (--backing file) stays.

Examples:
  onecopy dataset remove reads.bri";

/// Have a dataset kept no longer
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The dataset, such as genomes/human
    #[arg(value_parser = parse_name)]
    name: String,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit()?.node;
    let name = &arguments.name;
    let entry = super::entry(&node, name)?;
    if !entry.is_kept {
        let holder = entry.publisher_pid.map_or_else(String::new, |pid| format!(" (process {pid} holds it)"));
        return Err(Failure::NotKept { what: "dataset", name: name.clone(), writer: holder });
    }
    node.keep_dataset(name, false)?;
    if node.dataset_entry(name)?.is_some() {
        eprintln!("onecopy: dataset {name:?} is kept no longer, and ends when the last process closes it");
    }
    Ok(())
}
