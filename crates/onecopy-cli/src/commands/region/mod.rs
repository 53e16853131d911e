//! `onecopy region …`: look at regions, read, write, edit and watch their values.
//!
//! | file | one concept |
//! |---|---|
//! | `list.rs`, `info.rs`, `create.rs`, … | a command each |
//! | `input.rs` | where a command gets a value from |
//! | `change.rs` | a value on its way into a region that is there |
//! | `reading.rs` | a value read to be printed, and how |
//! | `editor.rs` | text in the user's editor, which is not lost whatever happens |

mod change;
mod create;
mod edit;
mod editor;
mod info;
mod input;
mod list;
mod read;
mod reading;
mod remove;
mod resize;
mod watch;
mod write;

use clap::Subcommand;
use onecopy::region::RegionError;
use onecopy::{Node, RegionEntry};

use crate::failure::Failure;
use crate::scope::Scope;

/// What to do with regions.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(list::Arguments),
    Info(info::Arguments),
    Create(create::Arguments),
    Read(read::Arguments),
    Write(write::Arguments),
    Edit(edit::Arguments),
    Watch(watch::Arguments),
    Resize(resize::Arguments),
    Remove(remove::Arguments),
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list::run(&arguments, scope),
        Command::Info(arguments) => info::run(&arguments, scope),
        Command::Create(arguments) => create::run(&arguments, scope),
        Command::Read(arguments) => read::run(&arguments, scope),
        Command::Write(arguments) => write::run(&arguments, scope),
        Command::Edit(arguments) => edit::run(&arguments, scope),
        Command::Watch(arguments) => watch::run(&arguments, scope),
        Command::Resize(arguments) => resize::run(&arguments, scope),
        Command::Remove(arguments) => remove::run(&arguments, scope),
    }
}

/// The region, as the broker describes it.
fn entry(node: &Node, name: &str) -> Result<RegionEntry, Failure> {
    let entry = node.region_entry(name)?;
    Ok(entry.ok_or_else(|| RegionError::NotFound { region: name.to_owned() })?)
}
