//! `onecopy region remove`: a region that is kept no longer.

use clap::Args;

use crate::failure::Failure;
use crate::scope::Scope;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Undoes `onecopy region create --keep`: the region ends at once if nobody has it open, else when the last process closes
it. Nobody's memory is taken away. A file that the value is kept in (--file) stays.

Examples:
  onecopy region remove notes";

/// Have a region kept no longer
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit()?.node;
    let name = &arguments.name;
    let entry = super::entry(&node, name)?;
    if !entry.is_kept {
        let writer = entry.writer_pid.map_or_else(String::new, |pid| format!(" (process {pid} writes it)"));
        return Err(Failure::NotKept { what: "region", name: name.clone(), writer });
    }
    node.keep_region(name, false)?;
    if node.region_entry(name)?.is_some() {
        eprintln!("onecopy: region {name:?} is kept no longer, and ends when the last process closes it");
    }
    Ok(())
}
