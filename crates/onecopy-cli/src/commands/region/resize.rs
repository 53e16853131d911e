//! `onecopy region resize`: room for larger values.

use std::path::PathBuf;

use clap::Args;
use onecopy::payload_type::PayloadKind;

use super::change::open_to_write;
use crate::failure::Failure;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::values::parse_name;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
The value stays as it is, and whoever has the region open follows without reopening it. Regions never shrink: where there
is room enough already, nothing happens. As for `onecopy region write`, a region with a single writer is refused while
another process writes it.

Examples:
  onecopy region resize notes 1048576";

/// Make room for larger values
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    /// Most bytes that a value can have from now on
    #[arg(value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    bytes: u64,

    /// The file that keeps the region's value; need not be named if the region has a single writer
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.visit_as("onecopy region resize")?.node;
    let name = &arguments.name;
    let entry = super::entry(&node, name)?;
    if let Some(payload) = entry.payload.as_ref().filter(|payload| payload.kind == PayloadKind::Value) {
        return Err(Failure::FixedSize { name: name.clone(), payload: payload.to_string() });
    }
    let bytes = usize::try_from(arguments.bytes).unwrap_or(usize::MAX);
    if let Some(capacity_bytes) = entry.capacity_bytes().filter(|capacity_bytes| *capacity_bytes >= bytes) {
        let room = counted(capacity_bytes, "byte");
        eprintln!("onecopy: region {name:?} has room for {room} already");
        return Ok(());
    }
    let resize = || {
        // Keeps the region from ending while we come to write it.
        let _reader = node.any_region(name)?.open()?;
        Ok(open_to_write(&node, &entry, &[], arguments.file.as_deref())?.resize(bytes)?)
    };
    signals.unless_signalled(resize).unwrap_or(Err(Failure::Interrupted))
}
