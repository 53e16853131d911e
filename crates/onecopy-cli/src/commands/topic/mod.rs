//! `onecopy topic …`: publish, subscribe, and look at topics.

mod hz;
mod info;
mod list;
mod publish;
mod record;
mod replay;
mod subscribe;

use clap::Subcommand;

use crate::failure::Failure;
use crate::scope::Scope;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Pub(publish::Arguments),
    Sub(subscribe::Arguments),
    List(list::Arguments),
    Info(info::Arguments),
    Hz(hz::Arguments),
    Record(record::Arguments),
    Replay(replay::Arguments),
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::Pub(arguments) => publish::run(&arguments, scope),
        Command::Sub(arguments) => subscribe::run(&arguments, scope),
        Command::List(arguments) => list::run(&arguments, scope),
        Command::Info(arguments) => info::run(&arguments, scope),
        Command::Hz(arguments) => hz::run(&arguments, scope),
        Command::Record(arguments) => record::run(&arguments, scope),
        Command::Replay(arguments) => replay::run(&arguments, scope),
    }
}
