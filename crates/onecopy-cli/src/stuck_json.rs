//! What `--json` prints of nodes that do not go on, and how `status` looks for them.

use std::time::Duration;

use onecopy::stuck::{Blocked, StuckNode, StuckWatch};
use onecopy::{Inventory, Node};
use serde::Serialize;

use crate::failure::Failure;

/// A node that does not go on.
#[derive(Debug, Serialize)]
pub(crate) struct Stuck {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// By a signal or a debugger; otherwise it runs, and others wait for it.
    pub(crate) stopped: bool,
    pub(crate) seen_for_s: f64,
    pub(crate) blocks: Vec<Blocks>,
    /// The same in words.
    pub(crate) description: String,
}

/// Who can't go on because of it.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Blocks {
    Publisher { topic: String, publisher: String, node: String },
    Lock { region: String },
}

impl From<StuckNode> for Stuck {
    fn from(stuck: StuckNode) -> Self {
        let description = stuck.to_string();
        let blocks = stuck.blocks.into_iter().map(|blocked| match blocked {
            Blocked::Publisher { topic, publisher, node } => Blocks::Publisher { topic, publisher, node },
            Blocked::Lock { region } => Blocks::Lock { region },
        });
        Self {
            blocks: blocks.collect(),
            id: stuck.id,
            name: stuck.name,
            pid: stuck.pid,
            stopped: stuck.is_stopped,
            seen_for_s: stuck.seen_for.as_secs_f64(),
            description,
        }
    }
}

/// Everything, and what of it does not go on for `after`: only if something is suspect it takes that long.
pub(crate) fn look(node: &Node, after: Duration) -> Result<(Inventory, Vec<Stuck>), Failure> {
    let mut watch = StuckWatch::new(after);
    let mut inventory = node.inventory()?;
    let mut stuck = watch.look(&inventory);
    if stuck.is_empty() && watch.has_suspects() {
        std::thread::sleep(after);
        inventory = node.inventory()?;
        stuck = watch.look(&inventory);
    }
    Ok((inventory, stuck.into_iter().map(Stuck::from).collect()))
}
