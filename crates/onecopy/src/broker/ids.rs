//! How nodes, ports and the ways between them are called. Every node numbers its own, so nobody has to be asked, and
//! everything keeps its number when another broker takes over.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node, by a number that it drew at random: unique without anybody to ask, and still its own after a broker died.
///
/// ```
/// use onecopy::broker::protocol::{NodeId, PortId};
///
/// let node = NodeId::of_user(1000)?;
/// assert!(node.is_of_user(1000) && !node.is_of_user(1001));
/// assert!(NodeId::random()?.is_of_user(rustix::process::geteuid().as_raw()));
/// // As people see the first port of it.
/// println!("{}", PortId { node, serial: 1 });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A broker, by a number that it drew at random when it began: a node that comes back to the one that it has left
/// was let go of, and one that comes to another was not.
///
/// ```
/// use onecopy::broker::protocol::BrokerId;
///
/// // Two in a row are two brokers.
/// assert_ne!(BrokerId::random()?, BrokerId::random()?);
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// Draws a new one for a node of this process.
    ///
    /// # Errors
    ///
    /// What the kernel's random number generator reports.
    pub fn random() -> std::io::Result<Self> {
        Self::of_user(rustix::process::geteuid().as_raw())
    }

    /// Draws a new one for a node of that user.
    ///
    /// # Errors
    ///
    /// What the kernel's random number generator reports.
    pub fn of_user(uid: u32) -> std::io::Result<Self> {
        Ok(Self((Self::mark(uid) << Self::RANDOM_BITS) | (random()? % (1 << Self::RANDOM_BITS))))
    }

    /// Whether a node of that user may have this number. The numbers of one user's nodes are none of
    /// another's: who comes back to another broker is known by its number, and must not be taken for somebody
    /// else.
    pub fn is_of_user(self, uid: u32) -> bool {
        self.0 >> Self::RANDOM_BITS == Self::mark(uid)
    }

    /// Bits that are drawn. Of 10,000 nodes of one user, two draw the same in one of 100,000 cases.
    const RANDOM_BITS: u32 = 42;

    /// Twenty bits of a user's number, in which users of one instance differ: those of real users are below 2²⁰, and of
    /// containers' users they are followed by few others.
    fn mark(uid: u32) -> u64 {
        u64::from((uid ^ (uid >> 20)) & 0xf_ffff)
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
///
/// ```
/// use onecopy::broker::protocol::{NodeId, PortId};
///
/// // As lists of publishers and subscribers show it.
/// assert_eq!(PortId { node: NodeId(0x2a), serial: 3 }.to_string(), "000000000000002a/3");
/// ```
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
///
/// See [`Tie`](super::protocol::Tie) for an example.
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
