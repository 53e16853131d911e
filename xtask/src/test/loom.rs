//! The loom models: the library compiled with its atomics replaced by the model checker's, in a build folder of its
//! own, since the changed flags would otherwise rebuild everything each time.

use std::path::Path;

use super::steps::Outcome;
use crate::process::Process;
use crate::workspace;

const PACKAGE: &str = "onecopy-memory";

/// How many involuntary thread switches a model explores unless the environment says otherwise. Nearly all known
/// ordering bugs show within three, and each more multiplies the time.
const DEFAULT_MAX_PREEMPTIONS: &str = "3";

pub(super) fn run() -> anyhow::Result<Outcome> {
    let models = models(&workspace::root().join("crates").join(PACKAGE).join("tests"))?;
    if models.is_empty() {
        return Ok(Outcome::Skipped(format!("no tests/loom_*.rs in {PACKAGE}")));
    }
    let preemptions =
        std::env::var("LOOM_MAX_PREEMPTIONS").unwrap_or_else(|_| DEFAULT_MAX_PREEMPTIONS.to_owned());
    Process::cargo()
        .arguments(["test", "--release", "--package", PACKAGE])
        .arguments(models.iter().flat_map(|model| ["--test", model]))
        .arguments([Path::new("--target-dir"), &workspace::target().join("loom")])
        .environment("RUSTFLAGS", rust_flags(std::env::var("RUSTFLAGS").ok().as_deref()))
        .environment("LOOM_MAX_PREEMPTIONS", preemptions)
        .run()?;
    Ok(Outcome::Passed)
}

fn rust_flags(inherited: Option<&str>) -> String {
    format!("{} --cfg loom", inherited.unwrap_or_default()).trim_start().to_owned()
}

/// The names of the test targets that are models.
fn models(folder: &Path) -> anyhow::Result<Vec<String>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut models = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file_name = entry?.file_name();
        let Some(name) = Path::new(&file_name).to_str().and_then(|name| name.strip_suffix(".rs")) else {
            continue;
        };
        if name.starts_with("loom_") {
            models.push(name.to_owned());
        }
    }
    models.sort();
    Ok(models)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inherited_flags_are_kept() {
        assert_eq!(rust_flags(None), "--cfg loom");
        assert_eq!(rust_flags(Some("-C target-cpu=native")), "-C target-cpu=native --cfg loom");
    }

    #[test]
    fn models_are_the_test_files_named_after_loom() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["loom_wait.rs", "loom_ring.rs", "mapping.rs", "loom_notes.md"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(models(folder.path()).unwrap(), ["loom_ring", "loom_wait"]);
        assert!(models(&folder.path().join("absent")).unwrap().is_empty());
    }
}
