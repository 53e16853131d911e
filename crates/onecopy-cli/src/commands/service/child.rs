//! The process that becomes a service's command: it sees to it that the kernel ends it with the service,
//! however that ends, and replaces itself by the command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;

use crate::failure::Failure;
use crate::own_program::{OWN_PROGRAM, die_with_parent};
use crate::scope::open_files_before;

/// The name of the hidden command.
const SERVICE_CHILD: &str = "service-child";

/// Become the command of a service.
#[derive(Debug, Args)]
pub(crate) struct ChildArguments {
    /// The process of the service.
    parent: u32,
    /// How many files the command may have open.
    open_files: u64,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// What starts `command` as [`run_child`] does.
pub(super) fn command_for(command: &[OsString]) -> Command {
    let mut child = Command::new(OWN_PROGRAM);
    child.arg(SERVICE_CHILD).arg(std::process::id().to_string()).arg(open_files_before().to_string());
    child.arg("--").args(command);
    child
}

pub(crate) fn run_child(arguments: &ChildArguments) -> Result<(), Failure> {
    die_with_parent(arguments.parent)?;
    // The service's own is raised, which programs that use select(2) don't survive.
    onecopy::open_files::set_limit(arguments.open_files)
        .map_err(Failure::system("set the limit of open files back"))?;
    let (program, rest) = arguments.command.split_first().ok_or(Failure::Orphaned)?;
    let source = Command::new(program).args(rest).exec();
    Err(Failure::NotStarted { program: program.to_string_lossy().into_owned(), source })
}
