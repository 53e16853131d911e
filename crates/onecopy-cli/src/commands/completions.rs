//! `onecopy completions`: what a shell needs to complete commands, options and values.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Failure;
use crate::output::Output;

const AFTER_LONG_HELP: &str = "\
Examples:
  source <(onecopy completions bash)
  onecopy completions zsh > ~/.zfunc/_onecopy
  onecopy completions fish > ~/.config/fish/completions/onecopy.fish";

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

/// `command` is the command line as a whole.
pub(crate) fn run(arguments: &Arguments, mut command: Command) -> Result<(), Failure> {
    // Into memory first: the generator panics if it can't write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "onecopy", &mut script);
    let mut output = Output::new();
    output.write(&script)?;
    output.flush()
}
