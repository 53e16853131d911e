//! `onecopy region write`: standard input becomes the value.

use std::path::PathBuf;

use clap::Args;

use super::change::Change;
use super::input::ValueArguments;
use crate::failure::Failure;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
All of standard input is the value, as it is. Any region can be written: one whose values have a fixed size takes just
that size. Readers see the value before or the value after, never a part.

A region with a single writer is refused while another process writes it; where that has ended, this command is the
writer for its moment, which readers may see as one version more. A --shared region is written by turns: a process that
does not let go of the lock is waited for for 5 s, and then named.

If the region was created with a file, the value is written there as well. Another user's file, and that of a --shared
region, must be named with --file; without it, nothing is written, and the error says which file it is.

With --if-version the value is written only if that version is still the current one, so that nothing is overwritten
that was not read before. `onecopy region read --json` tells the version.

Exit codes:
  0    written
  1    failed: among others, another process is the region's single writer, or the value is no value of this region
  3    there is no such region
  7    the region is at another version than --if-version says; nothing was written
  130  a signal came before the end of the input; nothing was written

Examples:
  onecopy region write settings < settings.json
  onecopy region write mode --text auto
  onecopy region write settings --if-version 3 < settings.json || test $? -ne 7 || echo 'read it again'";

/// Write a region
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    /// Write only if this is the current version; else end with exit code 7
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,

    /// The file that keeps the region's value; need not be named if the region has a single writer
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    #[command(flatten)]
    value: ValueArguments,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.visit_as("onecopy region write")?.node;
    let value = arguments.value.read(&signals)?;
    let change = Change {
        region: &arguments.name,
        value: &value,
        if_version: arguments.if_version,
        file: arguments.file.as_deref(),
    };
    // It may wait for others to let go of the lock.
    let version = signals.unless_signalled(|| change.write(&node)).unwrap_or(Err(Failure::Interrupted))?;
    tracing::info!(region = arguments.name, version, "written");
    Ok(())
}
