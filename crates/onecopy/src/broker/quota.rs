//! What each peer, and each user with all its peers, may take of the broker: one place that counts everything that is
//! scarce. What is taken is a charge; dropped, it is given back.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use onecopy_memory::pool::SegmentSet;

use super::account::{Account, Charge, Source};
pub use super::amounts::Amounts;
use super::exceeded::Exceeded;
use super::ids::PortId;
use super::peers::PeerId;
use super::resource::Resource;
use crate::config::{Config, Kind, Who};
use crate::limits;

/// The most that anybody gets.
///
/// ```
/// use onecopy::broker::quota::Limits;
///
/// // One peer can't take all that the broker's process may open.
/// let limits = Limits::with_open_files(1024);
/// assert!(limits.peer.descriptors < limits.user.descriptors);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one peer.
    pub peer: Amounts,
    /// For all peers of one user.
    pub user: Amounts,
    /// Nodes of one process.
    pub process_nodes: u64,
}

impl Limits {
    /// Those of a broker whose process may open so many files.
    pub fn with_open_files(open_files: u64) -> Self {
        let peer = Amounts {
            nodes: 1,
            ports: limits::PORTS_PER_PEER_MAX,
            descriptors: open_files / limits::PEER_DESCRIPTORS_DIVISOR,
            bytes: limits::BROKER_BYTES_PER_PEER_MAX,
            memory: u64::MAX,
            topics: u64::MAX,
        };
        let peers = limits::FULL_PEERS_PER_USER;
        let user = Amounts {
            nodes: open_files / limits::DESCRIPTORS_PER_NODE,
            ports: peer.ports * peers,
            descriptors: open_files,
            bytes: peer.bytes * peers,
            memory: u64::MAX,
            topics: u64::MAX,
        };
        Self { peer, user, process_nodes: (user.nodes / limits::PROCESS_NODES_DIVISOR).max(1) }
    }
}

#[derive(Debug)]
struct PeerRecord {
    account: Arc<Account>,
    user: Arc<Account>,
    uid: u32,
    /// The connection itself, for its user and for its process.
    _node: [Charge; 2],
    ports: BTreeMap<PortId, PortCharges>,
}

/// What one port has taken.
#[derive(Debug, Default)]
struct PortCharges {
    /// A port may be open in two ways at once, as a publisher and in a region.
    own: Vec<Charge>,
    /// Of a publisher, by their numbers.
    segments: BTreeMap<u32, Charge>,
    /// Memory that it gave to a shared region.
    offered: Option<Charge>,
    /// What it is about to grow by, and the segments that this will take the place of.
    reserved: Option<(Charge, SegmentSet)>,
    _topics: Vec<Arc<Charge>>,
}

impl PortCharges {
    /// What it gives back when it grows in place of these segments: those, and what was reserved for that.
    fn given_up(&self, replaced: SegmentSet) -> Amounts {
        let segments = self.segments.iter().filter(|(index, _)| replaced.contains(**index));
        // Who reserved less because more would be given back has to give it back.
        let reserved = self.reserved.iter().filter(|(_, promised)| promised.is_subset(replaced));
        let charges = segments.map(|(_, charge)| charge).chain(reserved.map(|(charge, _)| charge));
        charges.fold(Amounts::default(), |sum, charge| sum.and(charge.amounts()))
    }
}

/// What a user has open, by its kind and name.
type TopicOfUser = (u32, Kind, String);

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
    config: Arc<Config>,
    /// The user that the broker runs as.
    own_uid: u32,
    users: BTreeMap<u32, Arc<Account>>,
    processes: BTreeMap<u32, Arc<Account>>,
    peers: BTreeMap<PeerId, PeerRecord>,
    kept: BTreeMap<Kept, Charge>,
    /// Of users whose number of topics is limited: those that they have open. All ports on one share its charge.
    topics: BTreeMap<TopicOfUser, Weak<Charge>>,
}

impl Quota {
    pub(super) fn new(limits: Limits, own_uid: u32) -> Self {
        let (users, processes, peers, kept, topics, config) = Default::default();
        Self { limits, config, own_uid, users, processes, peers, kept, topics }
    }

    /// Has users have what the configuration allows them.
    pub(super) fn govern(&mut self, config: Arc<Config>, own_uid: u32) {
        (self.config, self.own_uid) = (config, own_uid);
    }

    /// The account of a user who has none yet.
    fn new_user(&self, who: &Who) -> Account {
        let is_own = who.uid == self.own_uid;
        let most = self.limits.user;
        let usual = if is_own { most } else { most.divided_by(limits::OTHER_USER_DIVISOR) };
        let line = self.config.allowance_line(who, is_own);
        let allowance = self.config.allowance(who, is_own);
        let source = line.zip(self.config.file()).map(|(line, file)| {
            let mut file = file.display().to_string();
            file.truncate(file.floor_char_boundary(limits::MAX_DETAIL_BYTES));
            Source { uid: who.uid, file, line, allowance }
        });
        Account::new(usual.with(allowance, most), source)
    }

    fn new_process(&self) -> Account {
        Account::new(Amounts { nodes: self.limits.process_nodes, ..Amounts::default() }, None)
    }

    /// Whether there is room for one more of this process and user.
    pub(super) fn check_newcomer(&self, pid: u32, who: &Who) -> Result<(), Exceeded> {
        match self.users.get(&who.uid) {
            Some(user) => user.check(NEWCOMER)?,
            None => self.new_user(who).check(NEWCOMER)?,
        }
        match self.processes.get(&pid).filter(|_| pid != 0) {
            Some(process) => process.check(NODE).map_err(|_| self.crowded_process()),
            None => Ok(()),
        }
    }

    fn crowded_process(&self) -> Exceeded {
        Exceeded::General { resource: Resource::NodesOfOneProcess, limit: self.limits.process_nodes }
    }

    /// Lets a peer in, which costs its user the descriptors of the connection.
    pub(super) fn admit(&mut self, peer: PeerId, pid: u32, who: &Who) -> Result<(), Exceeded> {
        self.check_newcomer(pid, who)?;
        let user = match self.users.get(&who.uid) {
            Some(user) => Arc::clone(user),
            None => Arc::new(self.new_user(who)),
        };
        // Of processes whose number this one can't see, none is told from the others.
        let process = match self.processes.get(&pid) {
            Some(process) => Arc::clone(process),
            None => Arc::new(self.new_process()),
        };
        let account = Arc::new(Account::new(self.limits.peer, None));
        let unlimited = Arc::new(Account::new(NODE, None));
        let node = [Charge::take([&account, &user], NEWCOMER)?, Charge::take([&unlimited, &process], NODE)?];
        self.users.insert(who.uid, Arc::clone(&user));
        if pid != 0 {
            self.processes.insert(pid, process);
        }
        let record = PeerRecord { account, user, uid: who.uid, _node: node, ports: BTreeMap::new() };
        self.peers.insert(peer, record);
        Ok(())
    }

    /// Lets go of a peer and of all that it has taken.
    pub(super) fn forget(&mut self, peer: PeerId) {
        if self.peers.remove(&peer).is_some() {
            self.users.retain(|_, user| !user.is_empty());
            self.processes.retain(|_, process| !process.is_empty());
            self.topics.retain(|_, charge| charge.strong_count() > 0);
        }
    }

    /// What a port costs that is about to open. It is given back unless [`keep`](Self::keep) follows.
    pub(super) fn charge_port(&self, peer: PeerId, amounts: Amounts) -> Result<Option<Charge>, Exceeded> {
        let Some(record) = self.peers.get(&peer) else { return Ok(None) };
        Charge::take([&record.account, &record.user], amounts).map(Some)
    }

    /// Whether the configuration bounds what a peer's user takes without opening anything.
    pub(super) fn is_limited(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|record| record.user.limits_growth())
    }

    /// Counts what an open port is about to grow by, in place of what was reserved for it before. A port that
    /// is not open will not grow.
    pub(super) fn reserve(
        &mut self,
        peer: PeerId,
        port: PortId,
        memory: u64,
        replaced: SegmentSet,
    ) -> Result<(), Exceeded> {
        let Some(PeerRecord { account, user, ports, .. }) = self.peers.get_mut(&peer) else { return Ok(()) };
        let Some(charges) = ports.get_mut(&port) else { return Ok(()) };
        charges.reserved = None;
        let amounts = Amounts { memory, descriptors: 1, ..Amounts::default() };
        let charge = Charge::take_in_place_of(charges.given_up(replaced), [account, user], amounts)?;
        charges.reserved = Some((charge, replaced));
        Ok(())
    }

    /// What a port costs more that has grown, in place of what it gives up as soon as the charge is
    /// [kept](Self::keep_segment).
    pub(super) fn charge_growth(
        &self,
        peer: PeerId,
        port: PortId,
        amounts: Amounts,
        replaced: SegmentSet,
    ) -> Result<Option<Charge>, Exceeded> {
        let Some(PeerRecord { account, user, ports, .. }) = self.peers.get(&peer) else { return Ok(None) };
        let given_up = ports.get(&port).map(|charges| charges.given_up(replaced)).unwrap_or_default();
        Charge::take_in_place_of(given_up, [account, user], amounts).map(Some)
    }

    /// What a topic or the like costs the user of a peer that is about to open a port there.
    pub(super) fn charge_topic(
        &mut self,
        peer: PeerId,
        kind: Kind,
        name: &str,
    ) -> Result<Option<Arc<Charge>>, Exceeded> {
        let limited = self.peers.get(&peer).filter(|record| record.user.limit().topics != u64::MAX);
        let Some(record) = limited else { return Ok(None) };
        let topic = (record.uid, kind, name.to_owned());
        if let Some(charge) = self.topics.get(&topic).and_then(Weak::upgrade) {
            return Ok(Some(charge));
        }
        let amounts = Amounts { topics: 1, ..Amounts::default() };
        let charge = Arc::new(Charge::take([&record.account, &record.user], amounts)?);
        self.topics.insert(topic, Arc::downgrade(&charge));
        Ok(Some(charge))
    }

    /// Counts the charges as those of a port that is open now.
    pub(super) fn keep(
        &mut self,
        peer: PeerId,
        port: PortId,
        charge: Option<Charge>,
        topic: Option<Arc<Charge>>,
    ) {
        if let (Some(record), Some(charge)) = (self.peers.get_mut(&peer), charge) {
            let charges = record.ports.entry(port).or_default();
            charges.own.push(charge);
            charges._topics.extend(topic);
        }
    }

    /// Counts the charge as that of a segment of an open publisher, which takes the place of others.
    pub(super) fn keep_segment(
        &mut self,
        peer: PeerId,
        publisher: PortId,
        (index, replaced): (u32, SegmentSet),
        charge: Option<Charge>,
    ) {
        let Some(charges) = self.peers.get_mut(&peer).and_then(|record| record.ports.get_mut(&publisher))
        else {
            return;
        };
        charges.reserved = None;
        charges.segments.retain(|index, _| !replaced.contains(*index));
        charges.segments.extend(charge.map(|charge| (index, charge)));
    }

    /// Counts the charge as that of the memory that a participant has given to its region, in place of what
    /// it gave before.
    pub(super) fn keep_offered(&mut self, peer: PeerId, port: PortId, charge: Option<Charge>) {
        if let Some(charges) = self.peers.get_mut(&peer).and_then(|record| record.ports.get_mut(&port)) {
            (charges.reserved, charges.offered) = (None, charge);
        }
    }

    /// Whether memory that this port gave to a region is counted.
    #[cfg(test)]
    pub(super) fn counts_offered(&self, port: PortId) -> bool {
        let charges = self.peers.values().filter_map(|record| record.ports.get(&port));
        charges.into_iter().any(|charges| charges.offered.is_some())
    }

    /// Counts what stays while nobody has it open, to the user who wants that.
    pub(super) fn keep_alive(&mut self, peer: PeerId, kept: &Kept) -> Result<(), Exceeded> {
        let Some(record) = self.peers.get(&peer) else { return Ok(()) };
        if self.kept.contains_key(kept) {
            return Ok(());
        }
        let amounts = Amounts { descriptors: 1, ..Amounts::default() };
        let charge = Charge::take([&Arc::new(Account::new(amounts, None)), &record.user], amounts)?;
        self.kept.insert(kept.clone(), charge);
        Ok(())
    }

    /// The same for what another broker kept.
    pub(super) fn inherit(&mut self, kept: Kept) -> Result<(), Exceeded> {
        let own = Who { uid: self.own_uid, gids: Vec::new() };
        let user = match self.users.get(&own.uid) {
            Some(user) => Arc::clone(user),
            None => Arc::new(self.new_user(&own)),
        };
        self.users.insert(own.uid, Arc::clone(&user));
        let amounts = Amounts { descriptors: 1, ..Amounts::default() };
        let charge = Charge::take([&Arc::new(Account::new(amounts, None)), &user], amounts)?;
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
            self.topics.retain(|_, charge| charge.strong_count() > 0);
        }
    }

    /// Whether a port is open.
    pub(super) fn has_port(&self, port: PortId) -> bool {
        self.peers.values().any(|record| record.ports.contains_key(&port))
    }

    /// Who has taken most descriptors, and how many.
    pub(super) fn largest_holder(&self) -> Option<(PeerId, u64)> {
        self.peers.keys().map(|peer| (*peer, self.descriptors_of(*peer))).max_by_key(|(_, held)| *held)
    }

    pub(super) fn descriptors_of(&self, peer: PeerId) -> u64 {
        self.peers.get(&peer).map_or(0, |record| record.account.descriptors())
    }

    /// The number of descriptors that are more than anybody's share when there are too few.
    pub(super) fn outsized_descriptors(&self) -> u64 {
        self.limits.user.descriptors / limits::OUTSIZED_DESCRIPTORS_DIVISOR
    }

    pub(super) fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.kept.is_empty()
            && self.topics.values().all(|charge| charge.strong_count() == 0)
            && self.users.values().chain(self.processes.values()).all(|account| account.is_empty())
    }
}

/// A connection, and nothing else.
const NODE: Amounts = Amounts { nodes: 1, ports: 0, descriptors: 0, bytes: 0, memory: 0, topics: 0 };
/// What a connection costs its user.
const NEWCOMER: Amounts = Amounts { descriptors: limits::DESCRIPTORS_PER_NODE, ..NODE };
