//! `onecopy region create`: a region of bytes, held by this command or kept by `onecopy serve`.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use onecopy::Node;
use onecopy::region::{Region, RegionError};

use super::input::ValueArguments;
use crate::failure::Failure;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
A region is there as long as any process has it open. So this command stays, and holds the region, until SIGINT or
SIGTERM ends it (exit code 0); the region lives on if others have it open by then. With --keep it returns at once, and
`onecopy serve` keeps the region until `onecopy region remove`.

The region carries [u8]. Its first value is TEXT, else standard input, else (at a terminal) empty. This command does not
write it again: the first program that opens it with open_or_create() becomes its single writer, and so does each
`onecopy region write` and `edit` for its moment. In a --shared region all may write, by turns; they have its memory
writable, so they must trust each other.

--file keeps the value across restarts: if the file is there, the region begins with what it holds, instead of the first
value. The region knows its file: `onecopy region write`, `edit` and `resize`, run by the same user, keep the value there
without being told. Writers of a --shared region must name it, as in `onecopy region write NAME --file PATH`; who does not
is refused, and told its path.

Examples:
  onecopy region create settings < settings.json &
  onecopy region create notes --keep --text 'remember the milk'
  onecopy region create scratch --shared --capacity 1048576 < /dev/null
  onecopy region create calibration --keep --file calibration.region < defaults";

/// Create a region, and hold it
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    /// Several processes may write it, by turns
    #[arg(long)]
    shared: bool,

    /// Most bytes that a value can have, until it is resized [default: 65536, or as many as the first value has]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    capacity: Option<u64>,

    /// Have `onecopy serve` keep it, and return
    #[arg(long)]
    keep: bool,

    /// Keep its value in this file
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,

    #[command(flatten)]
    value: ValueArguments,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = join(arguments, scope)?;
    let value = first_value(arguments, &signals)?;
    let region = create(arguments, &node, &value)?;
    let name = &arguments.name;
    if arguments.keep {
        node.keep_region(name, true)?;
        eprintln!(
            "onecopy: region {name:?} is kept by `onecopy serve`, until `onecopy region remove {name}`"
        );
        return Ok(());
    }
    let held = node.any_region(name)?.open()?;
    // Now others can become its writer.
    drop(region);
    eprintln!("onecopy: region {name:?} is held until this command ends, by SIGINT or SIGTERM");
    signals.wait(&[], None)?;
    drop(held);
    Ok(())
}

/// Who holds the region may be the first of the instance; a broker inside this command could keep nothing.
fn join(arguments: &Arguments, scope: &Scope) -> Result<Node, Failure> {
    if !arguments.keep {
        return scope.join("onecopy region create");
    }
    match scope.visit_as("onecopy region create") {
        Err(Failure::NoBroker { .. }) => {
            Err(Failure::NothingKeeps { what: "region", name: arguments.name.clone() })
        }
        visit => Ok(visit?.node),
    }
}

fn first_value(arguments: &Arguments, signals: &Signals) -> Result<Vec<u8>, Failure> {
    if !arguments.value.is_given() && std::io::stdin().is_terminal() {
        return Ok(Vec::new());
    }
    arguments.value.read(signals)
}

fn create(arguments: &Arguments, node: &Node, value: &[u8]) -> Result<Region<[u8]>, Failure> {
    let Arguments { name, shared, capacity, file, .. } = arguments;
    let capacity_bytes = match capacity {
        // More than there are addresses is refused like all that is too much.
        Some(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
        None => onecopy::limits::REGION_BYTES_DEFAULT.max(value.len()),
    };
    let builder = node.region_bytes(name)?.capacity(capacity_bytes);
    let builder = if *shared { builder.shared() } else { builder };
    let builder = if let Some(file) = file { builder.file(file) } else { builder };
    builder.create(value).map_err(|error| match error {
        RegionError::Exists { region } => Failure::RegionExists { name: region },
        error => error.into(),
    })
}
