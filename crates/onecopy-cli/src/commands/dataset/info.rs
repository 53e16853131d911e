//! `onecopy dataset info`: one dataset in full.

use clap::Args;
use onecopy::Node;

use crate::dataset_json::{DatasetDetails, SectionDetails};
use crate::failure::Failure;
use crate::inventory_json::unknown;
use crate::output::{self, Output, Style, stdout_has_colour, styled};
use crate::scope::Scope;
use crate::units::{count, process};
use crate::values::parse_name;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
JSON: one document, of the newest version
  name, version
  backing                              \"memory\" or \"file\"
  content_bytes
  blake3                               of the content, as b3sum prints it; null if it was not taken
  file: {path, device, inode, modified_seconds, modified_nanoseconds}
                                       as it was when it was published; null if the content is in memory
  sections: [{name, type, element_bytes, align_bytes, offset_bytes, bytes, elements}]
  publisher_pid                        null if the process that published it has let go of it
  viewers                              how many have the dataset open to look at it
  kept                                 whether `onecopy serve` keeps it while nobody has it open
  problem                              why it can't be opened, such as a file that was changed; null if it can
  What can't be known is null.

Examples:
  onecopy dataset info reads.bri
  onecopy dataset info reads.bri --json | jq -r .blake3";

/// Show one dataset: its size, hash, sections, and who has it open
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The dataset, such as genomes/human
    #[arg(value_parser = parse_name)]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit()?.node;
    // Before this command itself has it open.
    let entry = super::entry(&node, &arguments.name)?;
    let details = DatasetDetails::new(&entry, problem(&node, &arguments.name));
    output::info(arguments.json, &details, print)
}

/// One that can't be opened has the more need to be looked at.
fn problem(node: &Node, name: &str) -> Option<String> {
    let opened = node.dataset(name).and_then(|dataset| dataset.open());
    opened.err().map(|error| Failure::from(error).explanation())
}

fn print(dataset: &DatasetDetails, output: &mut Output) -> Result<(), Failure> {
    let kept = if dataset.kept {
        "yes, until `onecopy dataset remove`"
    } else {
        "no, ends with the last that has it open"
    };
    let mut fields = vec![
        ("dataset", dataset.name.clone()),
        ("version", count(dataset.version)),
        ("content", dataset.content_bytes.map_or_else(unknown, |bytes| counted(bytes, "byte").to_string())),
        ("backing", dataset.backing.map_or_else(unknown, str::to_owned)),
    ];
    fields.extend(dataset.file.as_ref().map(|file| ("file", file.path.clone())));
    fields.extend([
        ("blake3", dataset.blake3.clone().unwrap_or_else(unknown)),
        ("publisher", process(dataset.publisher_pid)),
        ("viewers", dataset.viewers.to_string()),
        ("kept", kept.to_owned()),
    ]);
    let problem = dataset.problem.as_ref();
    fields.extend(problem.map(|problem| ("problem", styled(problem, Style::Bad, stdout_has_colour()))));
    output.fields(&fields)?;
    let sections: Vec<_> = dataset.sections.iter().map(SectionDetails::cells).collect();
    output.section(&SectionDetails::HEADINGS, &sections, "no sections")
}
