//! `onecopy region read`: the value as it is now, to standard output.

use clap::Args;

use super::reading::{FormatArguments, Reading};
use crate::failure::Failure;
use crate::output::Output;
use crate::payload_output::Format;
use crate::scope::Scope;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Regions of any type can be read, as the bytes of their value, which go to standard output as they are, with nothing
added. A value is always whole: never a mixture of two, whatever is being written.

JSON: one line
  {\"version\": 3, \"payload\": \"text\"}          if the value is UTF-8
  {\"version\": 3, \"payload_hex\": \"00ff\"}      otherwise
  version is what `onecopy region write --if-version` takes.

Examples:
  onecopy region read settings > settings.json
  onecopy region read gains --hex
  onecopy region read notes --json | jq .version";

/// Print the value of a region
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    #[command(flatten)]
    format: FormatArguments,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit_as("onecopy region read")?.node;
    let reading = Reading::copy(&node.any_region(&arguments.name)?.open()?.read()?);
    let mut output = Output::new();
    reading.print(arguments.format.format(Format::Raw), &mut output)?;
    output.flush()
}
