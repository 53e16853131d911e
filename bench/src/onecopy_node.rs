//! The node of the peer `onecopy`: an instance of its own for each measurement, in a folder that the end of the run
//! removes.

use std::path::PathBuf;

use anyhow::Context;
use onecopy::Node;

use crate::job::Job;

/// Joins the instance of `job`.
pub(crate) fn open(job: &Job) -> anyhow::Result<Node> {
    let root = root(job.parent_pid);
    std::fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
    Ok(Node::builder().directory(root.join(&job.instance)).open()?)
}

/// Removes the runtime directories of this run.
pub(crate) fn clean_up() {
    let root = root(std::process::id());
    if root.exists()
        && let Err(error) = std::fs::remove_dir_all(&root)
    {
        eprintln!("cannot remove {}: {error}", root.display());
    }
}

fn root(parent_pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("onecopy-bench-{parent_pid}"))
}
