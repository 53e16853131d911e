//! `cargo xtask bench`: the benchmarks, after seeing to what the build of the rivals needs beyond a Rust toolchain.
//! iceoryx2 generates its POSIX bindings with bindgen, which loads libclang while it builds.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::process::{Process, find_program};
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Passed on to the benchmark program; `--help` after a benchmark's name lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) arguments: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let manifest_path = workspace::root().join("bench/Cargo.toml");
    let manifest = std::fs::read_to_string(&manifest_path)
        .with_context(|| format!("cannot read {}", manifest_path.display()))?;
    if needs_libclang(&manifest)? && !has_libclang() {
        install_libclang()?;
    }
    Process::cargo()
        .arguments(["run", "--release", "--package", "bench", "--"])
        .arguments(&arguments.arguments)
        .run()
}

fn needs_libclang(manifest: &str) -> anyhow::Result<bool> {
    let manifest: toml_edit::DocumentMut = manifest.parse().context("bench/Cargo.toml is not valid TOML")?;
    let is_listed = |table: &str| manifest.get(table).and_then(|table| table.get("iceoryx2")).is_some();
    Ok(is_listed("dependencies") || is_listed("build-dependencies"))
}

fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    library_folders().iter().any(|folder| contains_libclang(folder))
}

/// The folders in which bindgen looks.
fn library_folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64"].map(Into::into).into();
    for (parent, prefix, library) in [
        ("/usr/lib", "llvm", "lib"),
        ("/usr/lib", "", ""),
        ("/usr/local", "llvm", "lib"),
        ("/opt", "llvm", "lib"),
    ] {
        let Ok(entries) = std::fs::read_dir(parent) else { continue };
        for entry in entries.flatten() {
            let folder = entry.path();
            let is_triple = prefix.is_empty() && entry.file_name().to_string_lossy().contains("-linux-");
            let is_llvm = !prefix.is_empty() && entry.file_name().to_string_lossy().starts_with(prefix);
            if is_triple || is_llvm {
                folders.push(folder.join(library));
            }
        }
    }
    folders
}

fn contains_libclang(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| is_libclang(&entry.file_name().to_string_lossy()))
}

/// Tells the C interface of clang, which bindgen loads, from its C++ library, which it can't.
fn is_libclang(file_name: &str) -> bool {
    let Some(rest) = file_name.strip_prefix("libclang") else { return false };
    let versioned =
        rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    (rest.starts_with(".so") || versioned) && rest.contains(".so")
}

fn install_libclang() -> anyhow::Result<()> {
    let is_root = Process::new("id").arguments(["-u"]).output()?.trim() == "0";
    if !is_root || find_program("apt-get").is_none() {
        bail!(
            "the iceoryx2 benchmark needs libclang, and it is not installed: install libclang-dev (Debian, Ubuntu) or \
             clang-devel (Fedora), or set LIBCLANG_PATH to its folder, and run this again"
        );
    }
    eprintln!("the iceoryx2 benchmark needs libclang: installing it");
    Process::new("apt-get").arguments(["update"]).run()?;
    Process::new("apt-get")
        .arguments(["install", "--yes", "--no-install-recommends", "libclang-dev"])
        .environment("DEBIAN_FRONTEND", "noninteractive")
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libclang_is_told_from_its_namesakes() {
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.1", "libclang-14.so.14.0.6"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclangAST.so", "libclang.a", "libllvm.so", "libclang-14.a"] {
            assert!(!is_libclang(name), "{name}");
        }
    }

    #[test]
    fn libclang_is_wanted_for_iceoryx2_only() {
        assert!(needs_libclang("[dependencies]\niceoryx2 = \"0.10\"\n").unwrap());
        assert!(needs_libclang("[dependencies.iceoryx2]\nversion = \"0.10\"\n").unwrap());
        assert!(!needs_libclang("[dependencies]\n# iceoryx2 = \"0.10\"\nclap = \"4\"\n").unwrap());
    }
}
