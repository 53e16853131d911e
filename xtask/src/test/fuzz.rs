//! A few seconds of every fuzz target: enough to catch a target that no longer builds or a crash near the surface.
//! libFuzzer needs a nightly compiler (for the sanitizer flags) and a C++ compiler; without them the step is skipped.

use std::path::PathBuf;

use super::steps::Outcome;
use crate::process::{Process, find_program};
use crate::workspace;

/// Enough for some hundred thousand inputs at a target's usual speed.
const SECONDS_PER_TARGET: u32 = 10;

/// How a nightly compiler is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nightly {
    /// It is the one in use.
    Current,
    /// It is installed beside the one in use.
    Toolchain,
}

pub(super) fn run() -> anyhow::Result<Outcome> {
    if target_files()?.is_empty() {
        return Ok(Outcome::Skipped("no targets in fuzz/fuzz_targets".to_owned()));
    }
    let Some(nightly) = find_nightly() else {
        return Ok(Outcome::Skipped("no nightly toolchain: `rustup toolchain install nightly`".to_owned()));
    };
    let compiler = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    if find_program(&compiler).is_none() {
        let compiler = compiler.to_string_lossy();
        return Ok(Outcome::Skipped(format!(
            "no C++ compiler ({compiler}): install g++ or clang, or set CXX"
        )));
    }
    let tools = install_cargo_fuzz()?;
    let fuzz = |arguments: &[&str]| {
        let toolchain = (nightly == Nightly::Toolchain).then_some("+nightly");
        Process::cargo()
            .arguments(toolchain)
            .arguments(["fuzz"])
            .arguments(arguments)
            .without_toolchain()
            .tools(tools.clone())
    };
    let list = fuzz(&["list"]).output()?;
    let limit = format!("-max_total_time={SECONDS_PER_TARGET}");
    for target in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        fuzz(&["run", target, "--", &limit]).run()?;
    }
    Ok(Outcome::Passed)
}

/// The sources of the fuzz targets.
pub(super) fn target_files() -> anyhow::Result<Vec<PathBuf>> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

fn find_nightly() -> Option<Nightly> {
    // A missing rustup or an odd answer means the same as no nightly: the step is skipped and says so.
    let version = Process::new("rustc").arguments(["--version"]).output().unwrap_or_default();
    if version.contains("nightly") {
        return Some(Nightly::Current);
    }
    find_program("rustup")?;
    let toolchains = Process::new("rustup").arguments(["toolchain", "list"]).output().unwrap_or_default();
    lists_nightly(&toolchains).then_some(Nightly::Toolchain)
}

/// Dated nightlies don't count: `+nightly` would not find them.
fn lists_nightly(toolchains: &str) -> bool {
    toolchains.lines().any(|line| {
        line.strip_prefix("nightly").is_some_and(|rest| {
            let dated =
                rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            !dated
        })
    })
}

/// Sees to it that cargo-fuzz is there, and gives the folder it is in unless that is on the search path.
fn install_cargo_fuzz() -> anyhow::Result<Option<PathBuf>> {
    if find_program("cargo-fuzz").is_some() {
        return Ok(None);
    }
    let tools = workspace::target().join("tools");
    let programs = tools.join("bin");
    if !programs.join("cargo-fuzz").is_file() {
        Process::cargo()
            .arguments(["install", "cargo-fuzz", "--locked", "--root"])
            .arguments([&tools])
            .run()?;
    }
    Ok(Some(programs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nightly_toolchain_is_recognised() {
        assert!(lists_nightly(
            "stable-x86_64-unknown-linux-gnu (default)\nnightly-x86_64-unknown-linux-gnu\n"
        ));
        assert!(!lists_nightly("stable-x86_64-unknown-linux-gnu (default)\n"));
        assert!(!lists_nightly("nightly-2026-01-02-x86_64-unknown-linux-gnu\n"));
        assert!(!lists_nightly(""));
    }
}
