//! Processes that use a shared index, and what they cost together.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use onecopy::Node;
use onecopy_genome::SharedIndex;

/// What makes this program such a process.
pub(crate) const READER: &str = "genome-reader";

/// Starts so many processes that have read all of the index, and gives the sum of their proportional memory.
pub(super) fn proportional_bytes(instances: &Path, bam: &Path, processes: usize) -> anyhow::Result<u64> {
    let mut readers = Vec::new();
    for _ in 0..processes {
        let mut reader = Command::new(std::env::current_exe()?)
            .arg(READER)
            .args([instances, bam])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a process that reads the index")?;
        let mut line = String::new();
        BufReader::new(reader.stdout.take().context("no output")?).read_line(&mut line)?;
        ensure!(line == "ready\n", "a process could not read the index");
        readers.push(reader);
    }
    let sum = readers.iter().map(proportional_of).sum::<anyhow::Result<u64>>();
    for mut reader in readers {
        drop(reader.stdin.take());
        reader.wait()?;
    }
    sum
}

fn proportional_of(process: &Child) -> anyhow::Result<u64> {
    field(&format!("/proc/{}/smaps_rollup", process.id()), "Pss")
}

/// A line of this process's status.
pub(super) fn status_bytes(name: &str) -> anyhow::Result<u64> {
    field("/proc/self/status", name)
}

fn field(path: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let value = text.lines().find_map(|line| {
        line.strip_prefix(name)?.strip_prefix(':')?.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    });
    Ok(1024 * value.with_context(|| format!("{path} has no line {name}"))?)
}

/// The process itself: reads all of the index, says so, and stays until its input ends.
pub(crate) fn serve(instances: &Path, bam: &Path) -> anyhow::Result<()> {
    let node = Node::builder().directory(instances).name("bench reader").open()?;
    let shared = SharedIndex::open(&node, bam)?.context("the index is not shared")?;
    let lookup = shared.lookup()?;
    for entry in lookup.iter() {
        let (name, alignments) = entry?;
        ensure!(lookup.find(name)? == alignments, "a read is not found");
    }
    println!("ready");
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}
