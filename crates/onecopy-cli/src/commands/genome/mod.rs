//! `onecopy genome …`: reads by name, and positions of one assembly in another.
//!
//! | file | one concept |
//! |---|---|
//! | `index.rs`, `get.rs`, `convert.rs` | a command each |
//! | `opening.rs` | how a command comes by the index it needs |
//! | `progress.rs` | a bar on standard error |

mod convert;
mod get;
mod index;
mod opening;
mod progress;

use std::num::NonZero;

use clap::Subcommand;

use crate::failure::Failure;

/// What to do with genome files.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Index(index::Arguments),
    Get(get::Arguments),
    Convert(convert::Arguments),
}

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Index(arguments) => index::run(&arguments),
        Command::Get(arguments) => get::run(&arguments),
        Command::Convert(arguments) => convert::run(&arguments),
    }
}

/// All processors, unless told otherwise.
fn threads(wanted: Option<NonZero<usize>>) -> NonZero<usize> {
    wanted.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
}
