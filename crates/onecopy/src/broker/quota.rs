//! What each peer, and each user with all its peers, may take of the broker: one place that counts everything that is
//! scarce. What is taken is a charge; dropped, it is given back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::ids::{NodeId, PortId};
use super::peers::PeerId;
use super::protocol::{OpenError, Refusal};
use super::state::Broker;
use super::topics::Key;
use crate::limits;

/// What there is a quota of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Connections, each of which is a node.
    Nodes,
    /// Publishers, subscribers, clients, servers, and whoever has a region or a dataset open.
    Ports,
    /// Open files of the broker's process.
    Descriptors,
    /// Memory of the broker's process.
    Bytes,
    /// Ports on one topic, or of one service.
    PortsOfOneName,
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nodes => "nodes",
            Self::Ports => "ports",
            Self::Descriptors => "open files",
            Self::Bytes => "bytes of the broker's memory",
            Self::PortsOfOneName => "ports on one topic or service",
        })
    }
}

/// A quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub(super) resource: Resource,
    pub(super) limit: u64,
}

/// So much of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Of [`Resource::Nodes`].
    pub nodes: u64,
    /// Of [`Resource::Ports`].
    pub ports: u64,
    /// Of [`Resource::Descriptors`].
    pub descriptors: u64,
    /// Of [`Resource::Bytes`].
    pub bytes: u64,
}

impl Amounts {
    fn each(&self) -> [(Resource, u64); 4] {
        [
            (Resource::Nodes, self.nodes),
            (Resource::Ports, self.ports),
            (Resource::Descriptors, self.descriptors),
            (Resource::Bytes, self.bytes),
        ]
    }
}

/// The most that anybody gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one peer.
    pub peer: Amounts,
    /// For all peers of one user.
    pub user: Amounts,
}

impl Limits {
    /// Those of a broker whose process may open so many files.
    pub fn with_open_files(open_files: u64) -> Self {
        let peer = Amounts {
            nodes: 1,
            ports: limits::PORTS_PER_PEER_MAX,
            descriptors: open_files / limits::PEER_DESCRIPTORS_DIVISOR,
            bytes: limits::BROKER_BYTES_PER_PEER_MAX,
        };
        let peers = limits::FULL_PEERS_PER_USER;
        let user = Amounts {
            nodes: open_files / limits::DESCRIPTORS_PER_NODE,
            ports: peer.ports * peers,
            descriptors: open_files,
            bytes: peer.bytes * peers,
        };
        Self { peer, user }
    }
}

#[derive(Debug, Default)]
struct Account {
    nodes: AtomicU64,
    ports: AtomicU64,
    descriptors: AtomicU64,
    bytes: AtomicU64,
}

impl Account {
    fn counters(&self) -> [&AtomicU64; 4] {
        [&self.nodes, &self.ports, &self.descriptors, &self.bytes]
    }

    fn check(&self, more: Amounts, limit: Amounts) -> Result<(), Exceeded> {
        for ((counter, (resource, more)), (_, limit)) in
            self.counters().into_iter().zip(more.each()).zip(limit.each())
        {
            if more > 0 && counter.load(Ordering::Relaxed).saturating_add(more) > limit {
                return Err(Exceeded { resource, limit });
            }
        }
        Ok(())
    }

    fn add(&self, amounts: Amounts) {
        for (counter, (_, more)) in self.counters().into_iter().zip(amounts.each()) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn subtract(&self, amounts: Amounts) {
        for (counter, (_, less)) in self.counters().into_iter().zip(amounts.each()) {
            counter.fetch_sub(less, Ordering::Relaxed);
        }
    }

    fn is_empty(&self) -> bool {
        self.counters().into_iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

/// What somebody has taken. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Charge {
    amounts: Amounts,
    peer: Arc<Account>,
    user: Arc<Account>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.peer.subtract(self.amounts);
        self.user.subtract(self.amounts);
    }
}

#[derive(Debug)]
struct PeerRecord {
    account: Arc<Account>,
    user: Arc<Account>,
    /// The connection itself.
    _node: Charge,
    /// A port may be open in two ways at once, as a publisher and in a region.
    ports: BTreeMap<PortId, Vec<Charge>>,
}

/// What stays while nobody has it open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kept {
    Region(String),
    Dataset(String),
}

/// Everything that was taken, by whom.
#[derive(Debug)]
pub(super) struct Quota {
    limits: Limits,
    users: BTreeMap<u32, Arc<Account>>,
    peers: BTreeMap<PeerId, PeerRecord>,
    kept: BTreeMap<Kept, Charge>,
}

impl Quota {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, users: BTreeMap::new(), peers: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// Lets a peer in, which costs its user the descriptors of the connection.
    pub(super) fn admit(&mut self, peer: PeerId, uid: u32) -> Result<(), Exceeded> {
        let user = Arc::clone(self.users.entry(uid).or_default());
        let account = Arc::default();
        let descriptors = limits::DESCRIPTORS_PER_NODE;
        let amounts = Amounts { nodes: 1, descriptors, ..Amounts::default() };
        let node = self.charge(&account, &user, amounts)?;
        self.peers.insert(peer, PeerRecord { account, user, _node: node, ports: BTreeMap::new() });
        Ok(())
    }

    /// Lets go of a peer and of all that it has taken.
    pub(super) fn forget(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_some() {
            self.users.retain(|_, user| !user.is_empty());
        }
    }

    /// What a port costs that is about to open. It is given back unless [`keep`](Self::keep) follows.
    pub(super) fn charge_port(&self, peer: PeerId, amounts: Amounts) -> Result<Option<Charge>, Exceeded> {
        let Some(record) = self.peers.get(&peer) else { return Ok(None) };
        self.charge(&record.account, &record.user, amounts).map(Some)
    }

    /// Counts the charge as that of a port that is open now.
    pub(super) fn keep(&mut self, peer: PeerId, port: PortId, charge: Option<Charge>) {
        if let (Some(record), Some(charge)) = (self.peers.get_mut(&peer), charge) {
            record.ports.entry(port).or_default().push(charge);
        }
    }

    /// Counts the charge as that of one of the `segments` that an open publisher has now.
    pub(super) fn keep_segment(
        &mut self,
        peer: PeerId,
        publisher: PortId,
        charge: Option<Charge>,
        segments: usize,
    ) {
        let Some(charges) = self.peers.get_mut(&peer).and_then(|record| record.ports.get_mut(&publisher))
        else {
            return;
        };
        charges.extend(charge);
        // The publisher itself, and what is left of its segments when the new one has taken the place of others.
        charges.truncate(1 + segments);
    }

    /// Counts what stays while nobody has it open, to the user who wants that.
    pub(super) fn keep_alive(&mut self, peer: PeerId, kept: &Kept) -> Result<(), Exceeded> {
        let Some(record) = self.peers.get(&peer) else { return Ok(()) };
        if self.kept.contains_key(kept) {
            return Ok(());
        }
        let amounts = Amounts { descriptors: 1, ..Amounts::default() };
        let charge = self.charge(&Arc::default(), &record.user, amounts)?;
        self.kept.insert(kept.clone(), charge);
        Ok(())
    }

    /// The same for what another broker kept.
    pub(super) fn inherit(&mut self, uid: u32, kept: Kept) -> Result<(), Exceeded> {
        let user = Arc::clone(self.users.entry(uid).or_default());
        let amounts = Amounts { descriptors: 1, ..Amounts::default() };
        let charge = self.charge(&Arc::default(), &user, amounts)?;
        self.kept.insert(kept, charge);
        Ok(())
    }

    /// Gives back what [`keep_alive`](Self::keep_alive) counted.
    pub(super) fn release_kept(&mut self, kept: &Kept) {
        self.kept.remove(kept);
    }

    /// Gives back what a port cost that has closed.
    pub(super) fn release(&mut self, peer: PeerId, port: PortId) {
        if let Some(record) = self.peers.get_mut(&peer) {
            record.ports.remove(&port);
        }
    }

    /// Whether a port is open.
    pub(super) fn has_port(&self, port: PortId) -> bool {
        self.peers.values().any(|record| record.ports.contains_key(&port))
    }

    /// Who has taken most descriptors, and how many.
    fn largest_holder(&self) -> Option<(PeerId, u64)> {
        self.peers.keys().map(|peer| (*peer, self.descriptors_of(*peer))).max_by_key(|(_, held)| *held)
    }

    fn descriptors_of(&self, peer: PeerId) -> u64 {
        self.peers.get(&peer).map_or(0, |record| record.account.descriptors.load(Ordering::Relaxed))
    }

    /// The number of descriptors that are more than anybody's share when there are too few.
    fn outsized_descriptors(&self) -> u64 {
        self.limits.user.descriptors / limits::OUTSIZED_DESCRIPTORS_DIVISOR
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty() && self.kept.is_empty() && self.users.values().all(|user| user.is_empty())
    }

    fn charge(&self, peer: &Arc<Account>, user: &Arc<Account>, amounts: Amounts) -> Result<Charge, Exceeded> {
        peer.check(amounts, self.limits.peer)?;
        user.check(amounts, self.limits.user)?;
        peer.add(amounts);
        user.add(amounts);
        Ok(Charge { amounts, peer: Arc::clone(peer), user: Arc::clone(user) })
    }
}

/// What ports cost.
impl Broker {
    pub(super) fn charge_publisher(
        &self,
        peer: PeerId,
        node: NodeId,
        key: &Key,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.topics.ports_on(key, node))?;
        let (_, subscribers) = self.topics.count(key);
        // Its memory.
        self.charge_port(peer, key.name_bytes(), subscribers, 1)
    }

    pub(super) fn charge_subscriber(
        &self,
        peer: PeerId,
        node: NodeId,
        key: &Key,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.topics.ports_on(key, node))?;
        let (publishers, _) = self.topics.count(key);
        // What the last writer of a region leaves behind stays for its readers.
        let descriptors = u64::from(matches!(key, Key::Region(_)));
        self.charge_port(peer, key.name_bytes(), publishers, descriptors)
    }

    /// A client or server.
    pub(super) fn charge_correspondent(
        &self,
        peer: PeerId,
        node: NodeId,
        service: &str,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.services.ports_of_node(service, node))?;
        self.charge_port(peer, service.len(), 0, 0)
    }

    /// A participant of a region or a dataset, whose memory may be the one that it brings or outlives who brought it.
    pub(super) fn charge_participant(&self, peer: PeerId, region: &str) -> Result<Option<Charge>, OpenError> {
        self.charge_port(peer, region.len(), 0, 1)
    }

    pub(super) fn charge_segment(&self, peer: PeerId) -> Result<Option<Charge>, Refusal> {
        Ok(self.quota.charge_port(peer, Amounts { descriptors: 1, ..Amounts::default() })?)
    }

    /// One packet of an announcement, until it is complete.
    pub(super) fn charge_announcement(
        &self,
        peer: PeerId,
        has_descriptor: bool,
    ) -> Result<Option<Charge>, Refusal> {
        let (descriptors, bytes) = (u64::from(has_descriptor), limits::ROUTE_BYTES);
        Ok(self.quota.charge_port(peer, Amounts { descriptors, bytes, ..Amounts::default() })?)
    }

    fn charge_port(
        &self,
        peer: PeerId,
        name_bytes: usize,
        counterparts: usize,
        descriptors: u64,
    ) -> Result<Option<Charge>, OpenError> {
        let bytes = limits::PORT_BYTES + name_bytes as u64 + counterparts as u64 * limits::ROUTE_BYTES;
        let amounts = Amounts { ports: 1, descriptors, bytes, ..Amounts::default() };
        Ok(self.quota.charge_port(peer, amounts)?)
    }

    /// Whether nobody has taken more of the broker's open files than this peer.
    pub fn is_largest_holder(&self, peer: PeerId) -> bool {
        self.quota.largest_holder().is_some_and(|(_, most)| self.quota.descriptors_of(peer) == most)
    }

    /// Lets go of the peer that has taken most of the broker's open files, when they have run out; `false` if none of
    /// them has taken much.
    pub fn refuse_largest_holder(&mut self) -> bool {
        match self.quota.largest_holder() {
            Some((peer, held)) if held >= self.quota.outsized_descriptors() => {
                self.refuse(peer, Refusal::OutOfDescriptors);
                true
            }
            _ => false,
        }
    }
}

fn check_name(ports: usize) -> Result<(), OpenError> {
    let limit = limits::PORTS_PER_PEER_AND_NAME_MAX;
    if (ports as u64) < limit {
        Ok(())
    } else {
        Err(OpenError::OverQuota { resource: Resource::PortsOfOneName, limit })
    }
}
