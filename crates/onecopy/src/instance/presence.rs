//! Who is there, as the kernel knows it: every node keeps one byte of the instance's lock file locked, whose
//! position is the node's number. The kernel ends the lock with the node's process, so what is locked is
//! alive, stopped or not.
//!
//! A broker that takes over learns from it which nodes its predecessor knew (see `broker/roll.rs`, which also tells of
//! the second byte that each node has locked). The broker itself has a byte of the same file, behind all of these (see
//! `broker_lock.rs`).

use std::os::fd::OwnedFd;

use onecopy_memory::range_lock::{lock_byte, unlock_byte};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::Instance;
use super::error::InstanceError;
use crate::broker::protocol::NodeId;
use crate::broker::{identity, position_of_note};

/// A node's byte, locked until this is dropped.
///
/// See [`Joined`](super::Joined) for an example.
#[derive(Debug)]
pub struct Presence {
    /// None if a broker without descriptors had none for its guest.
    file: Option<OwnedFd>,
    node: NodeId,
    /// A forked child has a copy of this, and is not the node.
    process: u32,
}

impl Presence {
    pub(super) fn take(instance: &Instance, node: NodeId) -> Result<Self, InstanceError> {
        let failed = |source: std::io::Error| instance.failed("be counted among the nodes of", source);
        let file = open(instance)?;
        count(&file, node).map_err(failed)?;
        Ok(Self { file: Some(file), node, process: std::process::id() })
    }

    /// For a guest, who can't open the file: the broker has opened it for this node alone.
    pub(super) fn given(
        instance: &Instance,
        node: NodeId,
        file: Option<OwnedFd>,
    ) -> Result<Self, InstanceError> {
        let failed = |source: std::io::Error| instance.failed("be counted among the nodes of", source);
        if let Some(file) = &file {
            count(file, node).map_err(failed)?;
        }
        Ok(Self { file, node, process: std::process::id() })
    }

    /// Whether newcomers still look at this file. Somebody may have removed it.
    pub(super) fn is_in_place(&self, instance: &Instance) -> Result<bool, InstanceError> {
        Ok(self.file.as_ref().and_then(identity) == identity(&open(instance)?))
    }

    /// Whether another node is there, as far as can be seen from the file that this one was counted in.
    pub(crate) fn sees(&self, node: NodeId) -> bool {
        // What can't be found out is taken for alive: nothing happens then.
        self.file.as_ref().is_none_or(|file| crate::broker::is_counted(file, node))
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // A child made by `fork` has the same open file, which closing it here would leave locked.
        if self.process == std::process::id()
            && let Some(file) = &self.file
            && let Err(error) = positions(self.node).try_for_each(|position| unlock_byte(file, position))
        {
            tracing::debug!(%error, "a byte was not locked");
        }
    }
}

/// Whoever finds the node's byte finds the note as well.
fn count(file: &OwnedFd, node: NodeId) -> std::io::Result<()> {
    positions(node).try_for_each(|position| lock_byte(file, position))
}

/// The bytes that a node of this process has locked.
fn positions(node: NodeId) -> impl Iterator<Item = u64> {
    position_of_note(node).into_iter().chain([node.as_position()])
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
