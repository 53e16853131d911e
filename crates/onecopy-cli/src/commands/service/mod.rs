//! `onecopy service …`: serve with any command, and look at services. Asking one is `onecopy call`.

mod capture;
mod child;
mod info;
mod job;
mod list;
mod run;

use clap::Subcommand;

pub(crate) use self::child::{ChildArguments, run_child};
use crate::failure::Failure;
use crate::scope::Scope;

/// What to do with services.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Arguments),
    List(list::Arguments),
    Info(info::Arguments),
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments, scope),
        Command::List(arguments) => list::run(&arguments, scope),
        Command::Info(arguments) => info::run(&arguments, scope),
    }
}
