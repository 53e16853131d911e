//! A process that builds an index and does nothing else, so that the most memory it has had is what that takes.

use std::num::NonZero;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use onecopy_genome::bri::BuildOptions;

use super::reader;

/// The most memory that a process has had at any time in which it built the index of `bam`.
pub(super) fn peak_bytes(bam: &Path, index: &Path, threads: NonZero<usize>) -> anyhow::Result<u64> {
    let output = Command::new(std::env::current_exe()?)
        .arg("genome-indexer")
        .args([bam, index])
        .arg(threads.to_string())
        .output()
        .context("cannot start a process that builds the index")?;
    ensure!(output.status.success(), "the process that builds the index ended with {}", output.status);
    let bytes = String::from_utf8_lossy(&output.stdout);
    bytes.trim().parse().with_context(|| format!("not a number of bytes: {bytes}"))
}

/// The process itself.
pub(crate) fn serve(bam: &Path, index: &Path, threads: NonZero<usize>) -> anyhow::Result<()> {
    BuildOptions { threads, ..BuildOptions::default() }.build(bam, index, |_, _| {})?;
    println!("{}", reader::status_bytes("VmHWM")?);
    Ok(())
}
