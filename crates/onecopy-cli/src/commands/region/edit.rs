//! `onecopy region edit`: the value in an editor, and back if nobody wrote it meanwhile.

use std::path::PathBuf;

use clap::Args;
use onecopy::Node;
use onecopy::region::RegionError;

use super::change::Change;
use super::editor::EditedText;
use crate::failure::Failure;
use crate::scope::Scope;
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Runs $VISUAL, else $EDITOR, else vi, on a copy of the value, which must be text. When the editor ends, the text is
written if the region is still at the version that was edited. If somebody wrote it meanwhile, or it can't be written for
another reason, the region stays as it is, and the text is kept in a file that standard error names, with what to do next.

Nothing is written if the text is unchanged, or the editor fails. Where the value had no end of line at its end, one that
the editor adds is taken off again. As for `onecopy region write`, a region with a single writer is refused while another
process writes it; nobody is kept from writing while the editor is open.

Exit codes:
  0    written, or unchanged
  1    failed; standard error says where the text is
  3    there is no such region
  7    the region was written meanwhile; standard error says where the text is

Examples:
  onecopy region edit notes
  EDITOR='code --wait' onecopy region edit settings
  EDITOR='sed -i s/slow/fast/' onecopy region edit settings";

/// Edit the value of a region
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    /// The file that keeps the region's value; need not be named if the region has a single writer
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let node = scope.visit_as("onecopy region edit")?.node;
    let name = &arguments.name;
    let entry = super::entry(&node, name)?;
    if let Some(pid) = entry.writer_pid.filter(|_| !entry.is_shared) {
        // Better now than after the work.
        return Err(RegionError::ReadOnly { region: name.clone(), pid }.into());
    }
    // Open until the end, so that the region is still there to be written.
    let region = node.any_region(name)?.open()?;
    let value = region.read()?;
    let (version, before) = (value.version(), value.as_text()?.to_owned());
    // Held, it would be in the way of who writes.
    drop(value);
    let text = EditedText::new(name, before)?;
    eprintln!("onecopy: editing version {version} of region {name:?} in {}", text.path().display());
    match edit(arguments, &node, &text, version) {
        Ok(Some(version)) => eprintln!("onecopy: region {name:?} has version {version} now"),
        Ok(None) => eprintln!("onecopy: unchanged: nothing was written"),
        Err(failure) => return Err(keep_text(name, text, failure)),
    }
    Ok(())
}

/// The new version, unless nothing changed.
fn edit(arguments: &Arguments, node: &Node, text: &EditedText, version: u64) -> Result<Option<u64>, Failure> {
    let status = text.edit()?;
    if !status.success() {
        return Err(Failure::Editor { status });
    }
    let Some(value) = text.changed()? else { return Ok(None) };
    let (region, file) = (arguments.name.as_str(), arguments.file.as_deref());
    Change { region, value: &value, if_version: Some(version), file }.write(node).map(Some)
}

fn keep_text(name: &str, text: EditedText, reason: Failure) -> Failure {
    if matches!(text.changed(), Ok(None)) || !text.path().exists() {
        // There is no work in it, or the editor has removed it.
        return reason;
    }
    let path = text.keep().display().to_string();
    let advice = match &reason {
        Failure::Region(RegionError::Conflict { current }) => format!(
            "bring it together with `onecopy region read {name}`, then `onecopy region write {name} --if-version {current} < {path}`"
        ),
        _ => format!("`onecopy region write {name} < {path}` tries again"),
    };
    Failure::TextKept { reason: Box::new(reason), path, advice }
}
