//! Who is there, as the kernel knows it. Every node keeps a byte of a file locked whose position is its number (see
//! `instance/presence.rs`), so a broker that takes over finds which nodes its predecessor knew, and whether one that does
//! not come back has ended.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use onecopy_memory::range_lock::{is_byte_locked, locked_bytes};

use super::ids::NodeId;
use crate::limits::NODES_ON_ROLL_MAX;

/// All who are there.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The lock file, and one that was replaced by it.
    files: Vec<OwnedFd>,
    seen: BTreeSet<NodeId>,
}

impl Roll {
    /// Those who are counted in these files.
    pub(crate) fn call(files: Vec<OwnedFd>) -> io::Result<Self> {
        let mut seen = BTreeSet::new();
        for file in &files {
            seen.extend(
                locked_bytes(file, 0..NodeId::POSITIONS_END, NODES_ON_ROLL_MAX)?.into_iter().map(NodeId),
            );
        }
        Ok(Self { files, seen })
    }

    /// Those who were there when this was made.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.seen.iter().copied()
    }

    /// Whether a node was there once, and is no more.
    pub(crate) fn has_ended(&mut self, node: NodeId) -> bool {
        if self.files.iter().any(|file| is_counted(file, node)) {
            self.seen.insert(node);
            return false;
        }
        self.seen.contains(&node)
    }
}

/// Whether a node is counted in a file, by others than the one who has it open here.
pub(crate) fn is_counted(file: &OwnedFd, node: NodeId) -> bool {
    // What can't be found out is taken for alive: nothing happens then.
    is_byte_locked(file, node.as_position()).unwrap_or(true)
}
