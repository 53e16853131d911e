//! `cargo xtask bench`: the benchmarks, the only command that compiles the rivals.

use crate::process::Process;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to the benchmark program; `--help` after a benchmark's name lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    Process::cargo()
        .arguments(["run", "--release", "--package", "bench", "--"])
        .arguments(&arguments.arguments)
        .run()
}
