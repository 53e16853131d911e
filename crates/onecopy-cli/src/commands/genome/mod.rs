//! `onecopy genome …`: reads by name, and positions of one assembly in another.
//!
//! | file | one concept |
//! |---|---|
//! | `index.rs`, `get.rs`, `convert.rs` | a command each |
//! | `share.rs`, `unshare.rs` | the index as a dataset |
//! | `background.rs` | the process that shares an index while nobody waits for it |
//! | `opening.rs` | how a command comes by the index it needs |

mod background;
mod convert;
mod get;
mod index;
mod opening;
mod share;
mod unshare;

use std::num::NonZero;

use clap::Subcommand;

use crate::failure::Failure;
use crate::scope::Scope;

/// What to do with genome files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Index(index::Arguments),
    Get(get::Arguments),
    Convert(convert::Arguments),
    #[command(alias = "server")]
    Share(share::Arguments),
    #[command(alias = "stop-server")]
    Unshare(unshare::Arguments),
}

pub(crate) fn run(command: Command, scope: &Scope) -> Result<(), Failure> {
    match command {
        Command::Index(arguments) => index::run(&arguments),
        Command::Get(arguments) => get::run(&arguments, scope),
        Command::Convert(arguments) => convert::run(&arguments, scope),
        Command::Share(arguments) => share::run(&arguments, scope),
        Command::Unshare(arguments) => unshare::run(&arguments, scope),
    }
}

/// All processors, unless told otherwise.
fn threads(wanted: Option<NonZero<usize>>) -> NonZero<usize> {
    wanted.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}
