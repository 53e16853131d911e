//! `onecopy region info`: one region in full.

use clap::Args;
use onecopy::Node;
use onecopy::region::RegionError;

use crate::failure::Failure;
use crate::inventory_json::unknown;
use crate::output::{self, Output};
use crate::region_json::{Opened, RegionDetails};
use crate::scope::Scope;
use crate::units::{count, process};
use crate::values::parse_name;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
JSON: one document
  name
  mode                                 \"single-writer\" or \"shared\"
  payload: {kind, element: {name, size_bytes, align_bytes}, header, description}
                                       kind is \"value\" or \"slice\"; header is null; payload is null if not known yet
  writer_pid                           null if there is no single writer now
  readers                              how many have the region open
  version                              how often it was written, counting its first value as 1
  length_bytes                         of the value as it is now
  capacity_bytes                       most that a value can have
  kept                                 whether `onecopy serve` keeps it while nobody has it open
  file                                 what keeps its value when nobody has it open, if anything does
  What can't be known is null.

Examples:
  onecopy region info settings
  onecopy region info settings --json | jq .version";

/// Show one region: its type, mode, size, version, and who writes it
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit()?.node;
    // Before this command itself takes part in the region.
    let entry = super::entry(&node, &arguments.name)?;
    let details = RegionDetails::new(&entry, look_into(&node, &arguments.name));
    output::info(arguments.json, &details, print)
}

/// A region that can't be read has the more need to be looked at.
fn look_into(node: &Node, name: &str) -> Option<Opened> {
    let warn = |error: &RegionError| tracing::warn!(%error, "the value can't be read");
    let region = node.any_region(name).and_then(|region| region.open());
    let region = region.inspect_err(warn).ok()?;
    let file = region.file().ok()?.map(|path| path.display().to_string());
    let length_bytes = region.read().inspect_err(warn).ok().map(|value| value.as_bytes().len());
    Some(Opened { length_bytes, file })
}

fn print(region: &RegionDetails, output: &mut Output) -> Result<(), Failure> {
    let bytes = |bytes: Option<usize>| bytes.map_or_else(unknown, |bytes| counted(bytes, "byte").to_string());
    let value = region.payload.as_ref().map_or_else(unknown, |payload| payload.description.clone());
    let kept = if region.kept {
        "yes, until `onecopy region remove`"
    } else {
        "no, ends with the last that has it open"
    };
    // Whoever writes the region has said so, and may have meant the terminal.
    let file = match &region.file {
        Some(file) => file.escape_debug().to_string(),
        None if region.is_opened => "none".to_owned(),
        None => unknown(),
    };
    output.fields(&[
        ("region", region.name.clone()),
        ("mode", region.mode.to_string()),
        ("value", value),
        ("version", count(region.version)),
        ("length", bytes(region.length_bytes)),
        ("capacity", bytes(region.capacity_bytes)),
        ("writer", process(region.writer_pid)),
        ("readers", region.readers.to_string()),
        ("kept", kept.to_owned()),
        ("file", file),
    ])
}
