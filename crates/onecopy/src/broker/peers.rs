//! Who is connected: each peer is a socket with the kernel's word on its process, and a node once it has said Hello.

use std::collections::BTreeMap;

use super::descriptor::Descriptor;
use super::protocol::{NodeId, Refusal};
use super::transport::Credentials;
use crate::config::Who;

/// A connection, numbered by whoever accepts connections; a number is never used again.
///
/// See [`Broker`](super::state::Broker) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// A peer that has introduced itself.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) name: String,
    /// What it shows to those who look.
    pub(super) readers: Option<Descriptor>,
}

#[derive(Debug)]
struct Peer {
    credentials: Credentials,
    /// Its user and groups, for the rules.
    who: Who,
    node: Option<Node>,
}

/// All connections, found by their number or by their node.
#[derive(Debug, Default)]
pub(super) struct Peers {
    by_id: BTreeMap<PeerId, Peer>,
    by_node: BTreeMap<NodeId, PeerId>,
}

impl Peers {
    pub(super) fn insert(&mut self, peer: PeerId, credentials: Credentials, who: Who) {
        let previous = self.by_id.insert(peer, Peer { credentials, who, node: None });
        debug_assert!(previous.is_none(), "peer {peer:?} connected twice");
    }

    /// Forgets a peer; returns its node, if it got as far as having one.
    pub(super) fn remove(&mut self, peer: PeerId) -> Option<NodeId> {
        let node = self.by_id.remove(&peer)?.node?;
        self.by_node.remove(&node.id);
        Some(node.id)
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.by_id.contains_key(&peer)
    }

    /// The user and groups of a peer.
    pub(super) fn who(&self, peer: PeerId) -> Option<&Who> {
        self.by_id.get(&peer).map(|peer| &peer.who)
    }

    pub(super) fn introduce(&mut self, peer: PeerId, id: NodeId, name: String) -> Result<(), Refusal> {
        let Some(record) = self.by_id.get_mut(&peer) else { return Ok(()) };
        if record.node.is_some() {
            return Err(Refusal::HelloRepeated);
        }
        if self.by_node.contains_key(&id) {
            return Err(Refusal::DuplicateNode { node: id });
        }
        self.by_node.insert(id, peer);
        record.node = Some(Node { id, name, readers: None });
        Ok(())
    }

    pub(super) fn node_of(&self, peer: PeerId) -> Result<NodeId, Refusal> {
        let node = self.by_id.get(&peer).and_then(|peer| peer.node.as_ref());
        node.map(|node| node.id).ok_or(Refusal::HelloMissing)
    }

    /// A node shows its reader state, in place of what it showed before.
    pub(super) fn show_readers(&mut self, peer: PeerId, readers: Option<Descriptor>) -> Result<(), Refusal> {
        let node = self.by_id.get_mut(&peer).and_then(|peer| peer.node.as_mut());
        node.ok_or(Refusal::HelloMissing)?.readers = readers;
        Ok(())
    }

    pub(super) fn peer_of(&self, node: NodeId) -> Option<PeerId> {
        self.by_node.get(&node).copied()
    }

    pub(super) fn name_of(&self, node: NodeId) -> Option<&str> {
        let peer = self.by_id.get(self.by_node.get(&node)?)?;
        peer.node.as_ref().map(|node| node.name.as_str())
    }

    /// The process of a node, or 0 if it is gone.
    pub(super) fn pid_of(&self, node: NodeId) -> u32 {
        let peer = self.by_node.get(&node).and_then(|peer| self.by_id.get(peer));
        peer.map_or(0, |peer| peer.credentials.pid)
    }

    /// Every node with its process, in the order of their numbers.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Node, Credentials)> {
        let peers = self.by_node.values().filter_map(|peer| self.by_id.get(peer));
        peers.filter_map(|peer| Some((peer.node.as_ref()?, peer.credentials)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.by_node.is_empty()
    }

    pub(super) fn check_invariants(&self) {
        for (node, peer) in &self.by_node {
            let record = self.by_id.get(peer).and_then(|peer| peer.node.as_ref());
            assert_eq!(
                record.map(|node| node.id),
                Some(*node),
                "a node leads to a peer that is another node"
            );
        }
        let introduced = self.by_id.values().filter(|peer| peer.node.is_some()).count();
        assert_eq!(introduced, self.by_node.len(), "a node that can't be found by its number");
    }
}
