//! Who is there, as the kernel knows it. Every node keeps a byte of a file locked whose position is its number (see
//! `instance/presence.rs`), so a broker that takes over finds which nodes its predecessor knew, and whether
//! one that does not come back has ended.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use onecopy_memory::range_lock::{is_byte_locked, locked_bytes};
use rustix::process::Pid;

use super::ids::NodeId;
use super::process::{Process, pid_namespace};
use crate::limits::{NODES_ON_ROLL_MAX, NOTES_OF_PROCESSES_MAX};

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

    /// Whether the process of a node has ended, though a child of it may keep the node counted. Costs more than
    /// [`Self::has_ended`].
    pub(crate) fn process_has_ended(&self, node: NodeId) -> bool {
        self.files.iter().any(|file| has_noted_process_ended(file, node))
    }
}

/// Whether a node is counted in a file, by others than the one who has it open here.
pub(crate) fn is_counted(file: &OwnedFd, node: NodeId) -> bool {
    // What can't be found out is taken for alive: nothing happens then.
    is_byte_locked(file, node.as_position()).unwrap_or(true)
}

/// Where a node notes of which process it is, in the file in which it is counted: a byte whose position says
/// so. A child that inherits the open file, and with it the node's locks, keeps the note as well, and is told
/// from the process by it.
///
/// `None` if this process doesn't know in which name space its number holds.
pub(crate) fn position_of_note(node: NodeId) -> Option<u64> {
    match pid_namespace() {
        0 => None,
        namespace => Some(note_position(node, namespace, std::process::id())),
    }
}

/// Bits of a process's number; the kernel has none beyond.
const PID_BITS: u32 = 22;
/// Bits of a name space's number, by which those of one machine differ.
const NAMESPACE_BITS: u32 = 18;
/// Bits of a node's number. Notes of two nodes that agree in them are taken together: both must have ended.
const NODE_BITS: u32 = 20;

fn low(number: u64, bits: u32) -> u64 {
    number % (1 << bits)
}

/// Behind all positions of nodes, and before the broker's.
fn note_position(node: NodeId, namespace: u64, pid: u32) -> u64 {
    let of_node = low(node.0, NODE_BITS) << (NAMESPACE_BITS + PID_BITS);
    let of_process = (low(namespace, NAMESPACE_BITS) << PID_BITS) | low(pid.into(), PID_BITS);
    NodeId::POSITIONS_END + (of_node | of_process)
}

/// Whether all processes that are noted for a node have ended. A note that can't be read, or that somebody
/// who means harm has added, makes it `false`: nobody is given up for it.
fn has_noted_process_ended(file: &OwnedFd, node: NodeId) -> bool {
    let first = note_position(node, 0, 0);
    let range = first..first + (1 << (NAMESPACE_BITS + PID_BITS));
    let namespace = low(pid_namespace(), NAMESPACE_BITS);
    let has_ended = |position: u64| {
        let pid = Pid::from_raw(low(position, PID_BITS) as i32);
        let is_visible = low(position >> PID_BITS, NAMESPACE_BITS) == namespace;
        is_visible && pid.is_some_and(|pid| Process::numbered(pid).is_ok_and(|process| process.has_ended()))
    };
    let notes = locked_bytes(file, range, NOTES_OF_PROCESSES_MAX).unwrap_or_default();
    (1..NOTES_OF_PROCESSES_MAX).contains(&notes.len()) && notes.into_iter().all(has_ended)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use onecopy_memory::range_lock::lock_byte;

    use super::*;

    #[test]
    fn a_node_whose_process_has_ended_is_known_by_its_note() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let open = || OwnedFd::from(File::open(path.path()).unwrap());
        let mut process = std::process::Command::new("true").spawn().unwrap();
        process.wait().unwrap();
        let (namespace, ended, own) = (pid_namespace(), process.id(), std::process::id());
        // As a forked child keeps it.
        let kept = open();
        let note = |node: u64, namespace, pid| {
            lock_byte(&kept, NodeId(node).as_position()).unwrap();
            lock_byte(&kept, note_position(NodeId(node), namespace, pid)).unwrap();
        };
        // Apart from each other, as the kernel takes neighbouring bytes for one lock.
        note(10, namespace, ended);
        note(20, namespace, own);
        note(30, namespace + 1, ended);
        lock_byte(&kept, NodeId(40).as_position()).unwrap();
        // Two that agree in what is noted of them.
        note(50, namespace, ended);
        note(50 + (1 << NODE_BITS), namespace, own);
        let mut roll = Roll::call(vec![open()]).unwrap();
        assert_eq!(roll.nodes().count(), 6);
        for node in [10, 20, 30, 40, 50] {
            assert!(!roll.has_ended(NodeId(node)), "{node} is counted");
            assert_eq!(roll.process_has_ended(NodeId(node)), node == 10, "{node}");
        }
        // Somebody who means harm can keep a node from being given up, and no more.
        note(10, namespace, own);
        assert!(!roll.process_has_ended(NodeId(10)));
        drop(kept);
        assert!(!roll.process_has_ended(NodeId(10)));
    }
}
