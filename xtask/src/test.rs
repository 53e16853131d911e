//! `cargo xtask test`: the one test command. Each step is a name and a function; the first that fails ends the run,
//! and the list at the end says how long each took.

mod fuzz;
mod loom;
mod steps;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::process::Process;
use crate::workspace;
use steps::{Outcome, Step};

/// What is built and tested. Not `bench`: its rivals must not be compiled to test this project.
const PACKAGES: [&str; 5] = ["onecopy-memory", "onecopy", "onecopy-cli", "onecopy-genome", "xtask"];

#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Arguments {
    /// Leave out documentation, models, demo, and fuzzing
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut plan = vec![
        Step { name: "format", run: format },
        Step { name: "clippy", run: clippy },
        Step { name: "tidy", run: tidy },
        Step { name: "tests", run: tests },
        Step { name: "tests of the kernel fall-backs", run: fallback_tests },
    ];
    if !arguments.quick {
        plan.extend([
            Step { name: "documentation", run: documentation },
            Step { name: "loom models", run: loom::run },
            Step { name: "demo", run: demo },
            Step { name: "fuzz", run: fuzz::run },
        ]);
    }
    steps::run(&plan)
}

fn packages(names: &[&str]) -> Vec<String> {
    names.iter().flat_map(|name| ["--package".to_owned(), (*name).to_owned()]).collect()
}

fn format() -> anyhow::Result<Outcome> {
    Process::cargo().arguments(["fmt", "--all", "--check"]).run()?;
    if !fuzz::target_files()?.is_empty() {
        Process::cargo().arguments(["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]).run()?;
    }
    Ok(Outcome::Passed)
}

fn clippy() -> anyhow::Result<Outcome> {
    Process::cargo()
        .arguments(["clippy", "--all-targets", "--all-features"])
        .arguments(packages(&PACKAGES))
        .arguments(["--", "-D", "warnings"])
        .run()?;
    Ok(Outcome::Passed)
}

fn tidy() -> anyhow::Result<Outcome> {
    crate::tidy::run()?;
    Ok(Outcome::Passed)
}

fn tests() -> anyhow::Result<Outcome> {
    let tests = Process::cargo().arguments(["test", "--all-features"]).arguments(packages(&PACKAGES));
    as_far_as_users_go(tests)?.run()?;
    Ok(Outcome::Passed)
}

/// Only root can start processes of other users; who runs the tests otherwise is told that these are left out.
fn as_far_as_users_go(tests: Process) -> anyhow::Result<Process> {
    if fs::metadata("/proc/self")?.uid() == 0 {
        return Ok(tests);
    }
    eprintln!("not run by root: the tests that start processes of other users are left out");
    Ok(tests.environment("ONECOPY_TEST_ONE_USER", "1"))
}

fn fallback_tests() -> anyhow::Result<Outcome> {
    let tests = Process::cargo()
        // The same packages and features as the step before, or Cargo would build the crate once more for its
        // different feature set; `--tests` leaves out the documentation's examples.
        .arguments(["test", "--all-features", "--package", "onecopy", "--tests"])
        .environment("ONECOPY_DISABLE", "futex_waitv,membarrier,noexec_seal,collapse");
    as_far_as_users_go(tests)?.run()?;
    Ok(Outcome::Passed)
}

fn documentation() -> anyhow::Result<Outcome> {
    let document = |names: &[&str]| {
        Process::cargo()
            .arguments(["doc", "--no-deps", "--all-features"])
            .arguments(packages(names))
            .environment("RUSTDOCFLAGS", "-D warnings")
    };
    document(&["onecopy-memory", "onecopy"]).run()?;
    // The program has the library's name: in the same folder the pages of one would overwrite the other's.
    let folder = workspace::target().join("program-doc");
    document(&["onecopy-cli"]).arguments([Path::new("--target-dir"), &folder]).run()?;
    Ok(Outcome::Passed)
}

fn demo() -> anyhow::Result<Outcome> {
    Process::cargo().arguments(["run", "--release", "--", "demo", "--mebibytes", "16"]).run()?;
    Ok(Outcome::Passed)
}
