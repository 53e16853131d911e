//! `cargo xtask bench`: the benchmarks, the only command that compiles the rivals.

use anyhow::Context;

use crate::process::{Process, find_program};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to the benchmark program; `--help` after a benchmark's name lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

/// What makes the data of the genome subject, and the Debian packages that have it.
const GENOME_PROGRAMS: [&str; 3] = ["samtools", "wgsim", "minimap2"];
const GENOME_PACKAGES: [&str; 2] = ["samtools", "minimap2"];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.arguments.first().is_some_and(|subject| subject == "genome") {
        install_genome_programs()?;
    }
    Process::cargo()
        .arguments(["run", "--release", "--package", "bench", "--"])
        .arguments(&arguments.arguments)
        .run()
}

fn install_genome_programs() -> anyhow::Result<()> {
    if GENOME_PROGRAMS.iter().all(|program| find_program(program).is_some()) {
        return Ok(());
    }
    let advice = "install samtools (with wgsim) and minimap2: they make the data that are measured";
    Process::new("apt-get").arguments(["update"]).run().context(advice)?;
    Process::new("apt-get").arguments(["install", "--yes"]).arguments(GENOME_PACKAGES).run().context(advice)
}
