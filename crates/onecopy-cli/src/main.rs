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
mod recording;
mod region_json;
mod scope;
mod service_json;
mod signals;
mod stuck_json;
mod systemd;
mod units;
mod values;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use tracing_subscriber::filter::LevelFilter;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;

fn main() -> ExitCode {
    let command = help::with_whole_paragraphs(Arguments::command());
    let arguments = match Arguments::from_arg_matches(&command.get_matches()) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(log_level(&arguments))
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

/// What is logged: on a terminal that a command draws on, nothing.
fn log_level(arguments: &Arguments) -> LevelFilter {
    let is_drawn_on = matches!(arguments.command, Command::Top(_)) && std::io::stderr().is_terminal();
    if is_drawn_on { LevelFilter::OFF } else { arguments.log }
}

fn report(failure: &Failure) {
    if matches!(failure, Failure::BrokenPipe | Failure::Interrupted | Failure::MayNot) {
        return;
    }
    let prefix = output::styled("onecopy:", output::Style::Bad, output::stderr_has_colour());
    eprintln!("{prefix} {}", failure.explanation());
}
