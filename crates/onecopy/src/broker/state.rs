//! The broker's logic, without any input or output: packets and ends of connections go in, packets to send come out.
//!
//! It reads no clock and no socket, so a test can play any order of events, a death at every step included.
//! `server.rs` drives it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::codec::DecodeError;
use super::datasets::Datasets;
use super::descriptor::Descriptor;
use super::evicted::Evicted;
use super::inspection::Question;
use super::peers::{PeerId, Peers};
use super::protocol::{
    Address, BrokerId, Event, KeepError, NodeId, OpenError, PortId, Refusal, Request, Role,
};
use super::quota::{Kept, Limits, Quota};
use super::returning::Returning;
use super::services::Services;
use super::shared_regions::SharedRegions;
use super::topics::{Key, Outbox, Topics};
use super::transport::Credentials;
use crate::config::{Config, Who};

/// What the driver of the state machine has to do.
///
/// See [`Broker`] for an example.
#[derive(Debug)]
pub enum Output {
    /// Send this packet.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        event: Event,
        /// What goes along.
        descriptor: Option<Descriptor>,
    },
    /// Send [`Event::Refused`] with the reason, and nothing from then on. If the machine
    /// [has forgotten](Broker::has_forgotten) the peer, close the connection; otherwise it has not let go of everything
    /// yet, and its end is to be told with [`Broker::handle_gone`] like that of any other.
    Disconnect {
        /// Whom.
        peer: PeerId,
        /// Why.
        reason: Refusal,
    },
    /// Send [`Event::Roll`].
    ShowRoll {
        /// To whom.
        peer: PeerId,
    },
    /// Send [`Event::Place`] and [`Event::Lock`], and go on.
    ShowPlace {
        /// To whom.
        peer: PeerId,
    },
    /// End, and leave the place to this peer.
    Yield {
        /// To whom.
        peer: PeerId,
    },
    /// End, and tell this peer who was there.
    End {
        /// Whom.
        peer: PeerId,
    },
}

/// Who the broker is.
///
/// See [`Broker`], which makes one of [`Credentials`], for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its process and its user.
    pub credentials: Credentials,
    /// A number of its own.
    pub broker: BrokerId,
    /// The name space in which it sees processes, as the kernel numbers it.
    pub pid_namespace: u64,
}

impl From<Credentials> for Identity {
    /// A broker without anything that tells it from others, for tests of one.
    fn from(credentials: Credentials) -> Self {
        Self { credentials, broker: BrokerId(0), pid_namespace: 0 }
    }
}

/// Everything that the broker knows.
///
/// ```
/// use onecopy::broker::PeerId;
/// use onecopy::broker::protocol::{Event, KeepError, NodeId, PortId, Request};
/// use onecopy::broker::state::{Broker, Output};
/// use onecopy::broker::transport::Credentials;
///
/// let mut broker = Broker::new(Credentials { pid: 1, uid: 1000 });
/// broker.keep_regions();
/// let (peer, stranger, node) = (PeerId(1), PeerId(2), NodeId::of_user(1000)?);
/// broker.connect(peer, Credentials { pid: 2, uid: 1000 });
/// let hello = Request::Hello { node, name: "camera".to_owned(), returns_from: None };
/// broker.handle_request(peer, hello, None);
/// assert!(matches!(broker.poll_output(), Some(Output::Send { event: Event::Welcome { broker_pid: 1, .. }, .. })));
/// broker.handle_request(peer, Request::Keep { request: 1, region: "gain".to_owned(), keep: true }, None);
/// let kept = Event::Kept { request: 1, refused: Some(KeepError::NotFound) };
/// assert!(matches!(broker.poll_output(), Some(Output::Send { event, .. }) if event == kept));
/// // The server has no file left for what the node asks for now.
/// let port = PortId { node, serial: 1 };
/// broker.decline(peer, &Request::OpenDataset { port, dataset: "map".to_owned(), wait: false }, 1024);
/// assert!(matches!(broker.poll_output(), Some(Output::Send { event: Event::OpenFailed { .. }, .. })));
/// // Who sends anything else than packets is let go of.
/// broker.connect_as(stranger, Credentials { pid: 3, uid: 1000 }, vec![100]);
/// broker.handle_malformed(stranger, Request::decode(b"?").err().ok_or("it is no packet")?);
/// assert!(matches!(broker.poll_output(), Some(Output::Disconnect { .. })));
/// assert!(broker.has_forgotten(stranger) && !broker.has_forgotten(peer));
/// broker.handle_gone(peer);
/// broker.check_invariants();
/// assert!(broker.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Broker {
    pub(super) own: Identity,
    pub(super) peers: Peers,
    pub(super) topics: Topics,
    pub(super) services: Services,
    pub(super) shared: SharedRegions,
    pub(super) datasets: Datasets,
    pub(super) evicted: Evicted,
    pub(super) quota: Quota,
    pub(super) config: Arc<Config>,
    pub(super) returning: Returning,
    pub(super) keeps_regions: bool,
    /// Who was shown the broker's place.
    pub(super) successor: Option<PeerId>,
    pub(super) outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker that nobody is connected to, running in the process and for the user named.
    /// Its process may open as many files as it likes.
    pub fn new(own: impl Into<Identity>) -> Self {
        Self::with_limits(own, Limits::with_open_files(u64::MAX))
    }

    /// The same, where nobody gets more than `limits` say: see [`Self::refuse_largest_holder`] for an example.
    pub fn with_limits(own: impl Into<Identity>, limits: Limits) -> Self {
        let (peers, topics, services, shared, datasets, evicted, returning, outputs) = Default::default();
        let (own, keeps_regions, successor) = (own.into(), false, None);
        let (quota, config) = (Quota::new(limits, own.credentials.uid), Arc::default());
        Self {
            own,
            peers,
            topics,
            services,
            shared,
            datasets,
            evicted,
            quota,
            config,
            returning,
            keeps_regions,
            successor,
            outputs,
        }
    }

    /// Makes it keep regions and datasets that nobody has open, if it is asked to: for a broker that runs on its own.
    pub fn keep_regions(&mut self) {
        self.keeps_regions = true;
    }

    /// Somebody connected.
    pub fn connect(&mut self, peer: PeerId, credentials: Credentials) {
        self.connect_as(peer, credentials, Vec::new());
    }

    /// Somebody connected who is in these groups. Those of the broker's own user do not matter.
    pub fn connect_as(&mut self, peer: PeerId, credentials: Credentials, gids: Vec<u32>) {
        let admitted = self.check_newcomer(credentials, &gids);
        let who = Who { uid: credentials.uid, gids };
        let admitted =
            admitted.and_then(|()| self.quota.admit(peer, credentials.pid, &who).map_err(Refusal::from));
        match admitted {
            Ok(()) => self.peers.insert(peer, credentials, who),
            Err(reason) => self.outputs.push_back(Output::Disconnect { peer, reason }),
        }
    }

    /// A packet came.
    pub fn handle_request(&mut self, peer: PeerId, request: Request, descriptor: Option<Descriptor>) {
        if !self.peers.contains(peer) {
            return;
        }
        if self.evicted.contains(peer) {
            return self.let_go(peer, &request);
        }
        let mut outbox = Outbox::default();
        let result = match self.returning.is_announcing(peer) {
            true => check_descriptor(&request, descriptor.as_ref())
                .and_then(|()| self.announce(peer, request, descriptor)),
            false => self.dispatch(peer, request, descriptor, &mut outbox),
        };
        self.deliver(outbox);
        if let Err(reason) = result {
            self.refuse(peer, reason);
        }
    }

    /// A packet came that would open something, and there are no files left for it: its port is not opened.
    pub fn decline(&mut self, peer: PeerId, request: &Request, limit: u64) {
        let (Some(port), Ok(node)) = (request.own_port(), self.peers.node_of(peer)) else { return };
        let mut outbox = Outbox::default();
        outbox.tell(node, Event::OpenFailed { port, error: OpenError::OutOfDescriptors { limit } });
        self.deliver(outbox);
    }

    /// Bytes came that are no packet.
    pub fn handle_malformed(&mut self, peer: PeerId, error: DecodeError) {
        self.refuse(peer, error.into());
    }

    /// A connection ended: its ports close, and their counterparts are told.
    pub fn handle_gone(&mut self, peer: PeerId) {
        self.quota.forget(peer);
        let mut outbox = Outbox::default();
        self.evicted.end(peer, &mut outbox);
        let Some(node) = self.peers.remove(peer) else { return };
        for route in self.break_off(peer, node) {
            outbox.tell(route.publisher.node, Event::SubscriberGone { route });
        }
        self.lose_absent(node, &mut outbox);
        let mut ports = self.topics.ports_of(node);
        ports.extend(self.shared.ports_of(node));
        ports.extend(self.datasets.ports_of(node));
        for port in ports {
            self.close(port, &mut outbox);
        }
        self.untie_node(node);
        self.deliver(outbox);
        self.no_longer_expected(node);
    }

    /// The next thing to do. Peers that ended in the meantime are passed over.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.outputs.pop_front()? {
                Output::Send { peer, .. } if !self.is_heard(peer) => {}
                output => return Some(output),
            }
        }
    }

    /// Whether it knows nothing of a peer any more.
    pub fn has_forgotten(&self, peer: PeerId) -> bool {
        !self.peers.contains(peer)
    }

    /// Whether nobody is connected, and so nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.topics.is_empty()
            && self.services.is_empty()
            && self.shared.is_empty()
            && self.datasets.is_empty()
            && self.evicted.is_empty()
            && self.returning.is_empty()
            && self.quota.is_empty()
    }

    /// Checks that the tables agree with each other: for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// If they don't, which is a bug of the broker whatever its peers did.
    pub fn check_invariants(&self) {
        self.peers.check_invariants();
        self.topics.check_invariants();
        self.services.check_invariants();
        self.shared.check_invariants();
        self.datasets.check_invariants();
        for (_, topic) in self.topics.iter() {
            for port in topic.publishers.keys().chain(topic.subscribers.keys()) {
                assert!(self.peers.peer_of(port.node).is_some(), "port {port} has outlived its node");
            }
        }
    }

    fn dispatch(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        check_descriptor(&request, descriptor.as_ref())?;
        if let Some(handled) = self.handle_succession(peer, &request) {
            return handled;
        }
        if let Request::Hello { node, name, returns_from } = request {
            return self.hello(peer, node, name, returns_from, outbox);
        }
        let node = self.peers.node_of(peer)?;
        if let Some(port) = request.own_port()
            && port.node != node
        {
            return Err(Refusal::ForeignPort { port, node });
        }
        self.perform((peer, node), request, descriptor, outbox)
    }

    fn perform(
        &mut self,
        (peer, node): (PeerId, NodeId),
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        match (request, descriptor) {
            // Clients and servers subscribe to it by being there, and nobody else may.
            (Request::OpenSubscriber { subscriber: port, address: Address::Direct { .. }, .. }, _) => {
                Err(Refusal::WrongRole { port })
            }
            // A client may take whatever there is; a server says what there is.
            (Request::OpenService { port, role: Role::Server, payload: None, .. }, _) => {
                Err(Refusal::WrongRole { port })
            }
            (
                request @ (Request::OpenPublisher { .. }
                | Request::OpenSubscriber { .. }
                | Request::OpenService { .. }
                | Request::OpenShared { .. }
                | Request::PublishDataset { .. }
                | Request::OpenDataset { .. }),
                descriptor,
            ) => {
                self.open_or_tell(peer, request, descriptor, outbox);
                Ok(())
            }
            (Request::Reserve { request, port, bytes, replaced }, _) => {
                self.reserve_or_tell((peer, node), request, (port, bytes, replaced), outbox);
                Ok(())
            }
            (Request::OfferShared { port, succeeds, .. }, Some(memory)) => {
                self.offer_shared(peer, port, succeeds, memory, outbox)
            }
            (Request::AddSegment { publisher, index, replaced }, Some(segment)) => {
                self.add_segment(peer, publisher, (index, replaced), &segment, outbox)
            }
            (Request::Attach { route, reader_segment, block }, Some(readers)) => {
                let pid = self.pid_of(node);
                let event = Event::Attach { route, reader_segment, block, pid };
                self.topics.attach(route, event, &readers, outbox)
            }
            (Request::Attached { route, start }, _) => self.topics.attached(route, start, outbox),
            (Request::MaySleep { route, doorbell }, bell) => {
                let event = Event::MaySleep { route, doorbell };
                self.topics.may_sleep(route, event, bell.as_ref(), outbox)
            }
            (Request::Detach { route }, _) => {
                self.untie(route.subscriber, Some(route.publisher), outbox);
                self.topics.detach(route, outbox)
            }
            (Request::Close { port }, _) => {
                self.close(port, outbox);
                self.quota.release(peer, port);
                Ok(())
            }
            (request @ (Request::Keep { .. } | Request::KeepDataset { .. }), _) => {
                self.keep_or_tell(peer, node, request, outbox);
                Ok(())
            }
            (Request::Inspect { request, topic, rings }, _) => {
                self.inspect(Question { peer, asker: node, request, rings }, topic.as_deref(), outbox);
                Ok(())
            }
            (Request::ShowReaders, readers) => self.peers.show_readers(peer, readers),
            (Request::Hello { .. }, _) => Err(Refusal::HelloRepeated),
            (
                Request::Remembered { .. }
                | Request::ReopenDataset { .. }
                | Request::Tied { .. }
                | Request::Announced
                | Request::TakeOver { .. }
                | Request::Taken
                | Request::Stop,
                _,
            ) => Err(Refusal::OutOfPlace),
            (Request::AddSegment { .. } | Request::OfferShared { .. } | Request::Attach { .. }, None) => {
                Err(Refusal::DescriptorMissing)
            }
        }
    }

    fn hello(
        &mut self,
        peer: PeerId,
        node: NodeId,
        name: String,
        returns_from: Option<BrokerId>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        if returns_from == Some(self.own.broker) {
            return Err(Refusal::LetGo);
        }
        let guest = self.peers.who(peer).map(|who| who.uid).filter(|_| !self.is_own(peer));
        if let Some(uid) = guest.filter(|uid| !node.is_of_user(*uid)) {
            return Err(Refusal::ForeignNode { node, uid });
        }
        self.peers.introduce(peer, node, name)?;
        if guest.is_some() {
            self.outputs.push_back(Output::ShowRoll { peer });
        }
        let Identity { credentials, broker, pid_namespace } = self.own;
        let (broker_pid, limited) = (credentials.pid, self.quota.is_limited(peer));
        outbox.tell(node, Event::Welcome { broker_pid, broker, pid_namespace, limited });
        if returns_from.is_some() {
            self.returning.begin(peer);
        } else {
            self.no_longer_expected(node);
        }
        Ok(())
    }

    /// Keeps something or lets go of it, and tells whether that was done.
    fn keep_or_tell(&mut self, peer: PeerId, node: NodeId, request: Request, outbox: &mut Outbox) {
        let allowed = self.check_request(peer, &request).map_err(KeepError::from);
        let (request, what, keep) = match request {
            Request::Keep { request, region, keep } => (request, Kept::Region(region), keep),
            Request::KeepDataset { request, dataset, keep } => (request, Kept::Dataset(dataset), keep),
            _ => return,
        };
        let refused = allowed.and_then(|()| self.keep(peer, &what, keep, outbox)).err();
        outbox.tell(node, Event::Kept { request, refused });
    }

    fn keep(&mut self, peer: PeerId, what: &Kept, keep: bool, outbox: &mut Outbox) -> Result<(), KeepError> {
        if keep && !self.keeps_regions {
            return Err(KeepError::Embedded);
        }
        if keep {
            self.quota.keep_alive(peer, what)?;
        }
        let found = self.set_kept(what, keep, outbox);
        if !(keep && found) {
            self.quota.release_kept(what);
        }
        if found { Ok(()) } else { Err(KeepError::NotFound) }
    }

    /// Keeps something, or lets go of it; `false` if there is no such thing.
    pub(super) fn set_kept(&mut self, what: &Kept, keep: bool, outbox: &mut Outbox) -> bool {
        match what {
            Kept::Region(name) => {
                self.shared.keep(name, keep, outbox)
                    || self.topics.keep(&Key::Region(name.as_str().into()), keep, outbox)
            }
            Kept::Dataset(name) => self.datasets.keep(name, keep, outbox),
        }
    }

    fn close(&mut self, port: PortId, outbox: &mut Outbox) {
        self.untie(port, None, outbox);
        self.evicted.publisher_ended(port);
        self.services.close(port, outbox);
        self.shared.close(port, outbox);
        self.datasets.close(port);
        self.topics.close(port, outbox);
        self.forget_unawaited();
    }

    /// The process of a node, also of one that has not come back yet, or 0.
    pub(super) fn pid_of(&self, node: NodeId) -> u32 {
        match self.peers.pid_of(node) {
            0 => self.returning.pid_of(node).unwrap_or(0),
            pid => pid,
        }
    }

    /// Whether a peer is told anything.
    fn is_heard(&self, peer: PeerId) -> bool {
        self.peers.contains(peer) && !self.evicted.contains(peer)
    }

    pub(super) fn deliver(&mut self, outbox: Outbox) {
        let is_gathering = self.is_gathering();
        for (node, event, descriptor) in outbox.0 {
            // Not everyone who was there has come back: told once they have.
            if is_gathering && matches!(event, Event::Settled { .. }) {
                continue;
            }
            // A node that ends is not told of its own end.
            if let Some(peer) = self.peers.peer_of(node)
                && self.is_heard(peer)
            {
                debug_assert_eq!(event.carries_descriptor(), descriptor.is_some(), "{event:?}");
                self.outputs.push_back(Output::Send { peer, event, descriptor });
            }
        }
    }
}

fn check_descriptor(request: &Request, descriptor: Option<&Descriptor>) -> Result<(), Refusal> {
    match (request.carries_descriptor(), descriptor.is_some()) {
        (true, false) => Err(Refusal::DescriptorMissing),
        (false, true) => Err(Refusal::DescriptorSurplus),
        _ => Ok(()),
    }
}
