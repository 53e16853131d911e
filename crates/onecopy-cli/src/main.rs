//! The `onecopy` command: publish and subscribe, call and serve, read and write regions, publish datasets from a shell,
//! look at who is there, and a demonstration.
//!
//! One file a command under `commands/`; what they share is beside this file, one noun each.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod dataset_json;
mod failure;
mod help;
mod input;
mod inventory_json;
mod output;
mod own_program;
mod payload_output;
mod payload_size;
mod progress;
mod region_json;
mod scope;
mod service_json;
mod signals;
mod systemd;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::arguments::Arguments;
use crate::failure::Failure;

fn main() -> ExitCode {
    let command = help::with_whole_paragraphs(Arguments::command());
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(arguments.log)
        .with_ansi(output::stderr_has_colour())
        .with_target(false)
        .init();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            failure.exit_code()
        }
    }
}

fn report(failure: &Failure) {
    if matches!(failure, Failure::BrokenPipe | Failure::Interrupted) {
        return;
    }
    let prefix = output::styled("onecopy:", output::Style::Bad, output::stderr_has_colour());
    eprintln!("{prefix} {}", failure.explanation());
}
