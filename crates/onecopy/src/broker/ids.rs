//! How nodes, ports and the ways between them are called. Every node numbers its own, so nobody has to be asked, and
//! everything keeps its number when another broker takes over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node, by a number that it drew at random: unique without anybody to ask, and still its own after a broker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A broker, by a number that it drew at random when it began: a node that comes back to the one that it has left
/// was let go of, and one that comes to another was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BrokerId(pub u64);

impl BrokerId {
    /// Draws a new one.
    ///
    /// # Errors
    ///
    /// What the kernel's random number generator reports.
    pub fn random() -> std::io::Result<Self> {
        random().map(Self)
    }
}

fn random() -> std::io::Result<u64> {
    let mut bytes = [0_u8; 8];
    let mut filled = 0;
    while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
    }
    Ok(u64::from_ne_bytes(bytes))
}

impl NodeId {
    /// Draws a new one.
    ///
    /// # Errors
    ///
    /// What the kernel's random number generator reports.
    pub fn random() -> std::io::Result<Self> {
        Ok(Self(random()? % Self::POSITIONS_END))
    }

    /// Positions of nodes in the file where they are counted lie below this.
    pub(crate) const POSITIONS_END: u64 = 1 << 62;

    /// Where the node is counted.
    pub(crate) fn as_position(self) -> u64 {
        self.0 % Self::POSITIONS_END
    }

    /// Every number that a port of this node can have.
    pub(super) fn ports(self) -> std::ops::RangeInclusive<PortId> {
        PortId { node: self, serial: 0 }..=PortId { node: self, serial: u32::MAX }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// One publisher or subscriber. Its own node numbers it, so that it keeps its number when another broker takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortId {
    /// The node that has it open.
    pub node: NodeId,
    /// Its number within that node; used once only.
    pub serial: u32,
}

impl fmt::Display for PortId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.node, self.serial)
    }
}

/// The way from one publisher to one subscriber of the same topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where messages come from.
    pub publisher: PortId,
    /// Where they go to.
    pub subscriber: PortId,
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} → {}", self.publisher, self.subscriber)
    }
}
