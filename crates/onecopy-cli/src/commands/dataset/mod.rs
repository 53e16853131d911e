//! `onecopy dataset …`: publish files, look at datasets, print and check them.

mod cat;
mod info;
mod list;
mod publish;
mod remove;
mod verify;

use clap::Subcommand;
use onecopy::dataset::DatasetError;
use onecopy::{DatasetEntry, Node};

use crate::failure::Failure;
use crate::scope::Scope;

/// What to do with datasets.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Publish(publish::Arguments),
    List(list::Arguments),
    Info(info::Arguments),
    Cat(cat::Arguments),
    Verify(verify::Arguments),
    Remove(remove::Arguments),
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::Publish(arguments) => publish::run(&arguments, scope),
        Command::List(arguments) => list::run(&arguments, scope),
        Command::Info(arguments) => info::run(&arguments, scope),
        Command::Cat(arguments) => cat::run(&arguments, scope),
        Command::Verify(arguments) => verify::run(&arguments, scope),
        Command::Remove(arguments) => remove::run(&arguments, scope),
    }
}

/// The dataset, as the broker describes it.
fn entry(node: &Node, name: &str) -> Result<DatasetEntry, Failure> {
    let entry = node.dataset_entry(name)?;
    Ok(entry.ok_or_else(|| DatasetError::NotFound { dataset: name.to_owned() })?)
}
