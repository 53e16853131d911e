//! Nodes that come back from another broker. Each announces what it has open and what that is tied to; only when it is
//! done does anything happen, and then at once. A tie that both sides tell of goes on as if nothing had been.
//! What one side tells of alone is settled when the other side has announced too, or has ended: until then
//! that side is *absent*.
//!
//! | the publisher's side | the subscriber's side | |
//! |---|---|---|
//! | has its reader | is attached | goes on |
//! | has its reader | waits to be attached | the handshake starts again, from the same position |
//! | has its reader | has let go | the publisher is told so |
//! | has let go | is attached | the subscriber is told so |
//! | knows nothing | knows nothing, or waits | they are introduced |
//!
//! Who is absent and alive is waited for, however long it takes: it may hold messages. Whether it is alive the kernel
//! says, to whoever drives this.

use std::collections::{BTreeMap, BTreeSet};

use super::account::Charge;
use super::datasets::Claim;
use super::descriptor::Descriptor;
use super::ids::{NodeId, PortId, Route};
use super::peers::PeerId;
use super::protocol::{Event, Refusal, Request, SegmentSet, Tie};
use super::quota::Kept;
use super::state::Broker;
use super::topics::Outbox;
use crate::config::{Kind, Right};

/// Who comes back, and who is waited for.
#[derive(Debug, Default)]
pub(super) struct Returning {
    announcements: BTreeMap<PeerId, Announcement>,
    absent: BTreeMap<NodeId, Absent>,
    /// The nodes that the last broker knew, until they have come or ended.
    expected: BTreeSet<NodeId>,
}

/// What a node has announced so far.
#[derive(Debug, Default)]
struct Announcement {
    requests: Vec<(Request, Option<Descriptor>)>,
    ties: BTreeMap<Tie, Other>,
    _charges: Vec<Charge>,
}

/// What a node says of the other side of a tie.
#[derive(Debug, Clone, Copy)]
struct Other {
    pid: u32,
    is_there: bool,
}

/// A node that others are tied to, and that has not come back yet.
#[derive(Debug, Default)]
struct Absent {
    pid: u32,
    ties: BTreeSet<Tie>,
}

/// What both sides say of the ties that are to be settled now.
#[derive(Debug, Default)]
struct Halves {
    readers: BTreeSet<Route>,
    /// With whether they are attached, and their segments.
    sources: BTreeMap<Route, (bool, SegmentSet)>,
    met: BTreeSet<(PortId, PortId)>,
    seats: BTreeSet<(PortId, PortId, u32)>,
}

impl Halves {
    fn add(&mut self, tie: Tie) {
        match tie {
            Tie::Reader(route) => drop(self.readers.insert(route)),
            Tie::Source { route, attached, segments } => {
                self.sources.insert(route, (attached, segments));
            }
            Tie::Met { port, peer } => drop(self.met.insert((port, peer))),
            Tie::Seat { port, other, seat } => drop(self.seats.insert((port, other, seat))),
        }
    }
}

impl Returning {
    pub(super) fn begin(&mut self, peer: PeerId) {
        self.announcements.entry(peer).or_default();
    }

    pub(super) fn is_announcing(&self, peer: PeerId) -> bool {
        self.announcements.contains_key(&peer)
    }

    pub(super) fn is_gathering(&self) -> bool {
        !self.expected.is_empty()
    }

    /// The process of a node that has not come back, as far as the others know.
    pub(super) fn pid_of(&self, node: NodeId) -> Option<u32> {
        self.absent.get(&node).map(|absent| absent.pid)
    }

    pub(super) fn is_absent(&self, node: NodeId) -> bool {
        self.absent.contains_key(&node)
    }

    /// A port has ended, or let go of `other`: it is tied no more. Returns the ports of absent nodes that
    /// nobody is tied to any more.
    fn untie(&mut self, port: PortId, other: Option<PortId>) -> Vec<PortId> {
        let mut untied = Vec::new();
        for absent in self.absent.values_mut() {
            let ended = |tie: &Tie| tie.port() == port && other.is_none_or(|other| tie.other() == other);
            let gone: Vec<Tie> = absent.ties.extract_if(.., |tie| ended(tie)).collect();
            let is_tied = |port| absent.ties.iter().any(|tie| tie.other() == port);
            untied.extend(gone.iter().map(Tie::other).filter(|other| !is_tied(*other)));
        }
        untied
    }

    pub(super) fn is_empty(&self) -> bool {
        self.announcements.is_empty() && self.absent.is_empty()
    }
}

impl Broker {
    /// The nodes that the last broker knew. Until each of them has come or ended, [`Self::is_paused`] says whom not to
    /// listen to.
    ///
    /// ```
    /// use onecopy::broker::PeerId;
    /// use onecopy::broker::protocol::{BrokerId, NodeId, Request};
    /// use onecopy::broker::state::Broker;
    /// use onecopy::broker::transport::Credentials;
    ///
    /// let own = Credentials { pid: 1, uid: 1000 };
    /// let mut broker = Broker::new(own);
    /// let (camera, logger) = (NodeId::of_user(1000)?, NodeId::of_user(1000)?);
    /// broker.expect([camera, logger]);
    /// assert!(broker.is_gathering() && broker.expected().count() == 2);
    /// let (returned, newcomer) = (PeerId(1), PeerId(2));
    /// for (peer, node, returns_from) in
    ///     [(returned, camera, Some(BrokerId(7))), (newcomer, NodeId::of_user(1000)?, None)]
    /// {
    ///     broker.connect(peer, own);
    ///     broker.handle_request(peer, Request::Hello { node, name: "n".to_owned(), returns_from }, None);
    /// }
    /// assert!(broker.is_returning(returned) && broker.is_paused(newcomer));
    /// broker.handle_request(returned, Request::Announced, None);
    /// // The other one has ended. Nobody was tied to it, so nobody misses it.
    /// broker.handle_absent_ended(logger);
    /// assert!(!broker.is_gathering() && !broker.is_paused(newcomer));
    /// assert_eq!(broker.absent().count(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn expect(&mut self, nodes: impl IntoIterator<Item = NodeId>) {
        self.returning.expected.extend(nodes);
    }

    /// Whether nodes of the last broker are waited for.
    pub fn is_gathering(&self) -> bool {
        self.returning.is_gathering()
    }

    /// The nodes that are waited for.
    pub fn expected(&self) -> impl Iterator<Item = NodeId> {
        self.returning.expected.iter().copied()
    }

    /// Whether a peer is not to be listened to now: it would open what those have open who have not come back yet.
    pub fn is_paused(&self, peer: PeerId) -> bool {
        self.is_gathering() && self.peers.node_of(peer).is_ok() && !self.returning.is_announcing(peer)
    }

    /// Whether a peer is telling what it had open at another broker.
    pub fn is_returning(&self, peer: PeerId) -> bool {
        self.returning.is_announcing(peer)
    }

    /// Nodes that have not come back, and that others are tied to, with their processes (0 if nobody knows).
    pub fn absent(&self) -> impl Iterator<Item = (NodeId, u32)> {
        self.returning.absent.iter().map(|(node, absent)| (*node, absent.pid))
    }

    /// Waits for nobody any more. Those who were waited for may still come.
    ///
    /// ```
    /// # use onecopy::broker::protocol::NodeId;
    /// # use onecopy::broker::state::Broker;
    /// # use onecopy::broker::transport::Credentials;
    /// let mut broker = Broker::new(Credentials { pid: 1, uid: 1000 });
    /// broker.expect([NodeId::of_user(1000)?]);
    /// broker.end_gathering();
    /// assert!(!broker.is_gathering());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn end_gathering(&mut self) {
        self.returning.expected.clear();
        self.gathered();
    }

    /// The kernel says that a node has ended which has not come back.
    pub fn handle_absent_ended(&mut self, node: NodeId) {
        if self.peers.peer_of(node).is_some() {
            return;
        }
        let mut outbox = Outbox::default();
        self.lose_absent(node, &mut outbox);
        self.deliver(outbox);
        self.no_longer_expected(node);
    }

    pub(super) fn no_longer_expected(&mut self, node: NodeId) {
        if self.returning.expected.remove(&node) && self.returning.expected.is_empty() {
            self.gathered();
        }
    }

    fn gathered(&mut self) {
        let mut outbox = Outbox::default();
        self.settle_remains(&mut outbox);
        let ports: Vec<PortId> = self.topics.by_port.keys().copied().collect();
        for port in ports {
            self.topics.tell_settled(port, &mut outbox);
        }
        self.deliver(outbox);
    }

    /// One packet of an announcement.
    pub(super) fn announce(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
    ) -> Result<(), Refusal> {
        let node = self.peers.node_of(peer)?;
        if let Some(port) = request.own_port()
            && port.node != node
        {
            return Err(Refusal::ForeignPort { port, node });
        }
        let charge = self.charge_announcement(peer, descriptor.is_some())?;
        let Some(announcement) = self.returning.announcements.get_mut(&peer) else { return Ok(()) };
        announcement._charges.extend(charge);
        match request {
            Request::Tied { tie, pid, is_there } => {
                announcement.ties.insert(tie, Other { pid, is_there });
            }
            Request::OpenPublisher { .. }
            | Request::AddSegment { .. }
            | Request::OpenSubscriber { .. }
            | Request::OpenService { .. }
            | Request::OpenShared { seat: Some(_), .. }
            | Request::OfferShared { .. }
            | Request::Remembered { .. }
            | Request::ReopenDataset { .. }
            | Request::Keep { .. }
            | Request::KeepDataset { .. } => announcement.requests.push((request, descriptor)),
            Request::Announced => return self.admit_returned(peer, node),
            _ => return Err(Refusal::OutOfPlace),
        }
        Ok(())
    }

    /// All that a node has open is known: from now on it is there.
    fn admit_returned(&mut self, peer: PeerId, node: NodeId) -> Result<(), Refusal> {
        let Some(Announcement { requests, ties, _charges }) = self.returning.announcements.remove(&peer)
        else {
            return Ok(());
        };
        // Every port is charged anew.
        drop(_charges);
        let mut later = Vec::new();
        for (request, descriptor) in requests {
            self.reopen(peer, request, descriptor, &mut later)?;
        }
        let mut outbox = Outbox::default();
        let mut halves = Halves::default();
        let others = self.returning.absent.remove(&node).map(|absent| absent.ties).unwrap_or_default();
        others.iter().for_each(|tie| halves.add(*tie));
        for (tie, other) in ties {
            self.take_tie(tie, other, &mut halves);
        }
        self.settle_services(node, &halves, &mut outbox);
        self.settle_routes(node, &halves, &mut outbox);
        self.settle_seats(node, &halves, &mut outbox);
        for (request, descriptor) in later {
            self.reclaim(peer, request, descriptor, &mut outbox);
        }
        self.await_no_writer(node, &mut outbox);
        let ports = self.topics.ports_of(node);
        ports.into_iter().for_each(|port| self.topics.tell_settled(port, &mut outbox));
        self.deliver(outbox);
        self.no_longer_expected(node);
        Ok(())
    }

    /// Half a tie: to be settled now if the other side is here, or has ended, and otherwise later.
    fn take_tie(&mut self, tie: Tie, Other { pid, is_there }: Other, halves: &mut Halves) {
        let node = tie.other_node();
        let is_here = self.peers.peer_of(node).is_some_and(|peer| !self.returning.is_announcing(peer));
        if is_here || !(is_there || self.peers.peer_of(node).is_some()) {
            return halves.add(tie);
        }
        let absent = self.returning.absent.entry(node).or_default();
        absent.pid = absent.pid.max(pid);
        absent.ties.insert(tie);
        if let Tie::Source { route, .. } = tie {
            self.topics.await_writer(route);
        }
        if let Tie::Seat { port, other, seat } = tie
            && let Some(seat) = onecopy_memory::region::Seat::from_bits(seat)
        {
            self.shared.reserve(port, other, seat);
        }
    }

    fn settle_services(&self, node: NodeId, halves: &Halves, outbox: &mut Outbox) {
        let pids = |port: PortId| self.pid_of(port.node);
        let knows = |port: PortId, peer: PortId| halves.met.contains(&(port, peer));
        for port in self.topics.ports_of(node) {
            self.services.introduce(port, &pids, knows, outbox);
        }
        for (port, peer) in &halves.met {
            if !self.services.are_counterparts(*port, *peer) {
                outbox.tell(port.node, Event::Parted { port: *port, peer: *peer });
            }
        }
    }

    fn settle_routes(&mut self, node: NodeId, halves: &Halves, outbox: &mut Outbox) {
        let mut routes: BTreeSet<Route> =
            halves.readers.union(&halves.sources.keys().copied().collect()).copied().collect();
        routes.extend(self.topics.routes_of(node));
        let (peers, returning) = (&self.peers, &self.returning);
        let pids = |port: PortId| returning.pid_of(port.node).unwrap_or_else(|| peers.pid_of(port.node));
        for route in routes {
            let is_read = halves.readers.contains(&route);
            let source = halves.sources.get(&route).copied();
            let is_possible =
                self.topics.is_possible(route, |from, to| self.services.are_counterparts(from, to));
            match (is_possible, is_read, source) {
                (true, true, Some((true, segments))) => self.topics.resume(route, segments, outbox),
                (true, true, Some((false, _))) => self.topics.offer_again(route, &pids, outbox),
                (true, false, Some((false, _)) | None) => self.topics.offer(route, &pids, outbox),
                (_, is_read, source) => {
                    if is_read {
                        outbox.tell(route.publisher.node, Event::SubscriberGone { route });
                    }
                    if source.is_some() {
                        outbox.tell(route.subscriber.node, Event::PublisherGone { route });
                    }
                }
            }
        }
    }

    fn settle_seats(&mut self, node: NodeId, halves: &Halves, outbox: &mut Outbox) {
        for (port, other, seat) in &halves.seats {
            let has_it = self.shared.seat_of(*other).is_some_and(|had| had.to_bits() == *seat);
            let is_here = self.peers.peer_of(other.node).is_some();
            if !(has_it && is_here) {
                outbox.tell(port.node, Event::SeatGone { port: *port, seat: *seat });
            }
        }
        // Seats that were kept for ports which the node has closed.
        let reserved: BTreeSet<PortId> =
            halves.seats.iter().map(|(_, other, _)| *other).filter(|other| other.node == node).collect();
        for port in reserved.into_iter().filter(|port| !self.quota.has_port(*port)) {
            self.shared.close(port, outbox);
        }
        let pids = |port: PortId| self.pid_of(port.node);
        for port in self.shared.ports_of(node) {
            self.shared.tell_returned(port, &pids, outbox);
        }
    }

    /// Whether a peer may write the region that a port of it reads.
    fn may_write(&self, peer: PeerId, subscriber: PortId) -> bool {
        let region = self.topics.region_of(subscriber);
        region.is_some_and(|name| self.may(peer, Right::Write, Kind::Region, name))
    }

    /// What is done once everything that a node has is open.
    fn reclaim(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) {
        match (request, descriptor) {
            (Request::OfferShared { port, version, brought, .. }, Some(memory)) => {
                let is_the_regions = self.shared.offer_again(port, version, memory, outbox);
                if brought && !is_the_regions {
                    self.quota.keep_offered(peer, port, None);
                }
            }
            // It becomes what everybody reads, so it must come from somebody who could have written it.
            (Request::Remembered { subscriber, version }, Some(memory))
                if self.may_write(peer, subscriber) =>
            {
                self.topics.remember(subscriber, version, memory);
            }
            (Request::ReopenDataset { port, dataset, publishes, version, latest, .. }, memory) => {
                let publisher = publishes.then_some(port);
                let is_believed = self.may(peer, Right::Publish, Kind::Dataset, &dataset);
                let claim = Claim { publisher, version, latest, memory, is_believed };
                self.datasets.claim(port, claim, outbox);
            }
            (Request::Keep { region, keep: true, .. }, _) => self.keep_on(Kept::Region(region), outbox),
            (Request::KeepDataset { dataset, keep: true, .. }, _) => {
                self.keep_on(Kept::Dataset(dataset), outbox);
            }
            _ => {}
        }
    }

    /// Goes on keeping what the last broker kept.
    fn keep_on(&mut self, what: Kept, outbox: &mut Outbox) {
        if self.keeps_regions && !self.set_kept(&what, true, outbox) {
            self.quota.release_kept(&what);
        }
    }

    /// Gives regions whose writers don't come back what their readers remember of them.
    fn settle_remains(&mut self, outbox: &mut Outbox) {
        if self.is_gathering() {
            return;
        }
        for topic in self.topics.by_key.values_mut().filter(|topic| topic.absent_writers.is_empty()) {
            topic.leave_remembered(outbox);
        }
    }

    /// A node has come back, or never will: of what it may have written is left what others remember.
    fn await_no_writer(&mut self, node: NodeId, outbox: &mut Outbox) {
        let met = self.topics.await_no_writer(node);
        self.settle_remains(outbox);
        met.into_iter().for_each(|port| self.topics.tell_settled(port, outbox));
    }

    /// A node that others are tied to does not come back.
    pub(super) fn lose_absent(&mut self, node: NodeId, outbox: &mut Outbox) {
        let Some(absent) = self.returning.absent.remove(&node) else { return };
        for tie in absent.ties {
            match tie {
                Tie::Reader(route) => outbox.tell(tie.port().node, Event::SubscriberGone { route }),
                Tie::Source { route, .. } => outbox.tell(tie.port().node, Event::PublisherGone { route }),
                Tie::Met { port, peer } => outbox.tell(port.node, Event::Parted { port, peer }),
                Tie::Seat { other, .. } => self.shared.close(other, outbox),
            }
        }
        self.await_no_writer(node, outbox);
    }

    /// A peer is gone or let go of that may have been in the middle of its announcement. While it still holds
    /// something, returns the routes on which publishers know it.
    pub(super) fn break_off(&mut self, peer: PeerId, node: NodeId) -> Vec<Route> {
        if self.returning.announcements.remove(&peer).is_none() && !self.returning.is_absent(node) {
            return Vec::new();
        }
        let Some(absent) = self.returning.absent.get_mut(&node) else { return Vec::new() };
        let held = absent.ties.extract_if(.., |tie| matches!(tie, Tie::Reader(_)));
        held.filter_map(|tie| match tie {
            Tie::Reader(route) => Some(route),
            _ => None,
        })
        .collect()
    }

    /// A port has ended, or let go of `other`.
    pub(super) fn untie(&mut self, port: PortId, other: Option<PortId>, outbox: &mut Outbox) {
        if !self.returning.absent.is_empty() {
            for untied in self.returning.untie(port, other) {
                self.shared.close(untied, outbox);
            }
            self.forget_unawaited();
        }
    }

    /// A node has ended: its half of ties counts no more, whether it had such ports or not.
    pub(super) fn untie_node(&mut self, node: NodeId) {
        for absent in self.returning.absent.values_mut() {
            absent.ties.retain(|tie| tie.port().node != node);
        }
        self.forget_unawaited();
    }

    /// Nodes that nobody is tied to any more, and that write nothing that is read, may come back or not.
    pub(super) fn forget_unawaited(&mut self) {
        let Self { returning, topics, .. } = self;
        let is_awaited =
            |node: NodeId, absent: &Absent| !absent.ties.is_empty() || topics.awaits_writer_on(node);
        returning.absent.retain(|node, absent| is_awaited(*node, absent));
    }
}
