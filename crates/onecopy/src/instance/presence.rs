//! Who is there, as the kernel knows it: every node keeps one byte of the instance's lock file locked, whose position is the
//! node's number. The kernel ends the lock with the node's process, so what is locked is alive, stopped or not.
//!
//! A broker that takes over so learns which nodes its predecessor knew, and whether one that does not come back has ended.
//! (`flock`, by which the broker holds the same file, and locks of bytes have nothing to do with each other.)

use std::os::fd::OwnedFd;

use onecopy_memory::range_lock::{is_byte_locked, lock_byte, locked_bytes, unlock_byte};
use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;

use super::{Instance, InstanceError};
use crate::broker::protocol::NodeId;

/// A node's byte, locked until this is dropped.
#[derive(Debug)]
pub struct Presence {
    file: OwnedFd,
    node: NodeId,
    /// A forked child has a copy of this, and is not the node.
    process: u32,
}

impl Presence {
    pub(super) fn take(instance: &Instance, node: NodeId) -> Result<Self, InstanceError> {
        let failed = |source: std::io::Error| instance.failed("be counted among the nodes of", source);
        let file = open(instance)?;
        lock_byte(&file, node.as_position()).map_err(failed)?;
        Ok(Self { file, node, process: std::process::id() })
    }

    /// Whether newcomers still look at this file. Somebody may have removed it.
    pub(super) fn is_in_place(&self, instance: &Instance) -> Result<bool, InstanceError> {
        Ok(identity(&self.file) == identity(&open(instance)?))
    }

    /// Whether another node is there, as far as can be seen from the file that this one was counted in.
    pub(crate) fn sees(&self, node: NodeId) -> bool {
        is_there(&self.file, node)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // A child made by `fork` has the same open file, which closing it here would leave locked.
        if self.process == std::process::id()
            && let Err(error) = unlock_byte(&self.file, self.node.as_position())
        {
            tracing::debug!(%error, "a byte was not locked");
        }
    }
}

/// All who are there.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The lock file, and one that was replaced by it.
    files: Vec<OwnedFd>,
    seen: std::collections::BTreeSet<NodeId>,
}

impl Roll {
    /// Those who are counted in the lock file of `instance`, and in an earlier one.
    pub(super) fn call(instance: &Instance, replaced: Option<OwnedFd>) -> Result<Self, InstanceError> {
        let failed = |source: std::io::Error| instance.failed("see who is in", source);
        let files: Vec<OwnedFd> = replaced.into_iter().chain([open(instance)?]).collect();
        let mut seen = std::collections::BTreeSet::new();
        for file in &files {
            seen.extend(
                locked_bytes(file, 0..NodeId::POSITIONS_END).map_err(failed)?.into_iter().map(NodeId),
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
        if self.files.iter().any(|file| is_there(file, node)) {
            self.seen.insert(node);
            return false;
        }
        self.seen.contains(&node)
    }
}

fn is_there(file: &OwnedFd, node: NodeId) -> bool {
    // What can't be found out is taken for alive: nothing happens then.
    is_byte_locked(file, node.as_position()).unwrap_or(true)
}

pub(super) fn open(instance: &Instance) -> Result<OwnedFd, InstanceError> {
    loop {
        instance.create_directory()?;
        // Somebody may remove the directory at any time: then it is created again.
        let Some(directory) = instance.open_directory()? else { continue };
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(directory, instance.lock_name(), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok(file),
            Err(Errno::NOENT) => {}
            Err(source) => return Err(instance.failed("open the lock of", source)),
        }
    }
}

fn identity(file: &OwnedFd) -> Option<(u64, u64)> {
    fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino))
}
