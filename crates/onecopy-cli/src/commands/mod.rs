//! The commands, one file (or folder) each.

pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod dataset;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod genome;
pub(crate) mod metrics;
pub(crate) mod region;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod top;
pub(crate) mod topic;

use clap::CommandFactory;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::scope::Scope;

/// Runs the command that was asked for.
pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    let scope = Scope::new(arguments.instance);
    match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::DemoChild(arguments) => demo::run_child(&arguments),
        Command::Topic(command) => topic::run(command, &scope),
        Command::Call(arguments) => call::run(&arguments, &scope),
        Command::Service(command) => service::run(command, &scope),
        Command::Region(command) => region::run(command, &scope),
        Command::Dataset(command) => dataset::run(command, &scope),
        Command::Genome(command) => genome::run(command, &scope),
        Command::ServiceChild(arguments) => service::run_child(&arguments),
        Command::Status(arguments) => status::run(&arguments, &scope),
        Command::Top(arguments) => top::run(&arguments, &scope),
        Command::Doctor(arguments) => doctor::run(&arguments, &scope),
        Command::Metrics(arguments) => metrics::run(&arguments, &scope),
        Command::Config(command) => config::run(command, &scope),
        Command::Serve(arguments) => serve::run(&arguments, &scope),
        Command::Stop(arguments) => stop::run(&arguments, &scope),
        Command::Completions(arguments) => completions::run(&arguments, Arguments::command()),
    }
}
