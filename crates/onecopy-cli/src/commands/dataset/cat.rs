//! `onecopy dataset cat`: the content, to standard output.

use clap::Args;
use onecopy::dataset::{DatasetError, DatasetView};

use crate::failure::Failure;
use crate::output::Output;
use crate::scope::Scope;
use crate::values::parse_name;

/// Bytes that are read of a file at once.
const PIECE_BYTES: usize = 1 << 20;

const AFTER_LONG_HELP: &str = "\
The bytes go to standard output as they are, with nothing added. They are those of the newest version at the start,
whatever is published meanwhile.

Exit codes:
  0    done; also if the reader of the output ended first
  3    there is no such dataset
  8    its file was changed since it was published; what was printed so far is as it was published

Examples:
  onecopy dataset cat table | head
  onecopy dataset cat reads.bri --section names | tr '\\0' '\\n'";

/// Print the content of a dataset
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The dataset, such as genomes/human
    #[arg(value_parser = parse_name)]
    name: String,

    /// Only this section
    #[arg(long, value_name = "NAME")]
    section: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit_as("onecopy dataset cat")?.node;
    let view = node.dataset(&arguments.name)?.open()?;
    let (start, end) = range(&view, arguments.section.as_deref())?;
    let mut output = Output::new();
    match view.bytes() {
        // Both ends were checked when it was opened.
        Ok(bytes) => output.write(bytes.get(start as usize..end as usize).unwrap_or_default())?,
        Err(DatasetError::NotMapped { .. }) => copy(&view, start, end, &mut output)?,
        Err(error) => return Err(error.into()),
    }
    output.flush()
}

fn range(view: &DatasetView, section: Option<&str>) -> Result<(u64, u64), Failure> {
    let Some(name) = section else { return Ok((0, view.content_bytes())) };
    let found = view.sections().iter().find(|section| section.name == name);
    let found = found.ok_or_else(|| DatasetError::NoSection {
        dataset: view.name().to_owned(),
        section: name.to_owned(),
        existing: view.sections().iter().map(|section| section.name.clone()).collect(),
    })?;
    Ok((found.offset, found.end()))
}

fn copy(view: &DatasetView, mut at: u64, end: u64, output: &mut Output) -> Result<(), Failure> {
    let mut buffer = vec![0; PIECE_BYTES];
    while at < end {
        let bytes = usize::try_from(end - at).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let piece = buffer.get_mut(..bytes).unwrap_or_default();
        view.read_at(at, piece)?;
        output.write(piece)?;
        at += bytes as u64;
    }
    Ok(())
}
