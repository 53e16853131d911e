//! The broker's logic, without any input or output: packets and ends of connections go in, packets to send come out.
//!
//! It reads no clock and no socket, so a test can play any order of events, a death at every step included.
//! `server.rs` drives it.

use std::collections::VecDeque;

use super::codec::DecodeError;
use super::datasets::Datasets;
use super::evicted::Evicted;
use super::inspection::Question;
use super::peers::{PeerId, Peers};
use super::protocol::{
    Address, Event, KeepError, NodeId, OpenError, PortId, Refusal, Request, Role, ServiceType,
};
use super::quota::{Kept, Limits, Quota};
use super::services::Services;
use super::shared_regions::SharedRegions;
use super::topics::{Descriptor, Key, NewPublisher, Outbox, Topics};
use super::transport::Credentials;
use crate::payload_type::PayloadType;

/// What the driver of the state machine has to do.
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
}

/// Everything that the broker knows.
#[derive(Debug)]
pub struct Broker {
    own: Credentials,
    pub(super) peers: Peers,
    pub(super) topics: Topics,
    pub(super) services: Services,
    pub(super) shared: SharedRegions,
    pub(super) datasets: Datasets,
    pub(super) evicted: Evicted,
    pub(super) quota: Quota,
    keeps_regions: bool,
    pub(super) outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker that nobody is connected to, running in the process and for the user named.
    /// Its process may open as many files as it likes.
    pub fn new(own: Credentials) -> Self {
        Self::with_limits(own, Limits::with_open_files(u64::MAX))
    }

    /// The same, where nobody gets more than `limits` say.
    pub fn with_limits(own: Credentials, limits: Limits) -> Self {
        let (peers, topics, services, shared, datasets, evicted, outputs) = Default::default();
        let quota = Quota::new(limits);
        let keeps_regions = false;
        Self { own, peers, topics, services, shared, datasets, evicted, quota, keeps_regions, outputs }
    }

    /// Makes it keep regions and datasets that nobody has open, if it is asked to: for a broker that runs on its own.
    pub fn keep_regions(&mut self) {
        self.keeps_regions = true;
    }

    /// Somebody connected.
    pub fn connect(&mut self, peer: PeerId, credentials: Credentials) {
        let admitted = match credentials.uid == self.own.uid {
            true => self.quota.admit(peer, credentials.uid).map_err(Refusal::from),
            false => Err(Refusal::WrongUser { peer_uid: credentials.uid, broker_uid: self.own.uid }),
        };
        match admitted {
            Ok(()) => self.peers.insert(peer, credentials),
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
        let result = self.dispatch(peer, request, descriptor, &mut outbox);
        self.deliver(outbox);
        if let Err(reason) = result {
            self.refuse(peer, reason);
        }
    }

    /// A packet came that would open something, and there are no files left for it: its port is not opened.
    pub fn decline(&mut self, peer: PeerId, request: &Request, limit: u64) {
        let (Some(port), Ok(node)) = (own_port(request), self.peers.node_of(peer)) else { return };
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
        let mut ports = self.topics.ports_of(node);
        ports.extend(self.shared.ports_of(node));
        ports.extend(self.datasets.ports_of(node));
        for port in ports {
            self.close(port, &mut outbox);
        }
        self.deliver(outbox);
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
        match (request.carries_descriptor(), descriptor.is_some()) {
            (true, false) => return Err(Refusal::DescriptorMissing),
            (false, true) => return Err(Refusal::DescriptorSurplus),
            _ => {}
        }
        if let Request::Hello { node, name } = request {
            return self.hello(peer, node, name, outbox);
        }
        let node = self.peers.node_of(peer)?;
        if let Some(port) = own_port(&request)
            && port.node != node
        {
            return Err(Refusal::ForeignPort { port, node });
        }
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
            (Request::OfferShared { port, succeeds }, Some(memory)) => {
                self.shared.offer(port, succeeds, memory, outbox);
                Ok(())
            }
            (Request::AddSegment { publisher, index, replaced }, Some(segment)) => {
                let charge = self.charge_segment(peer)?;
                self.topics.add_segment(publisher, index, replaced, &segment, outbox)?;
                self.quota.keep_segment(peer, publisher, charge, self.topics.segments_of(publisher));
                Ok(())
            }
            (Request::Attach { route, reader_segment, block }, Some(readers)) => {
                self.topics.attach(route, Event::Attach { route, reader_segment, block }, &readers, outbox)
            }
            (Request::Attached { route, start }, _) => self.topics.attached(route, start, outbox),
            (Request::MaySleep { route, doorbell }, bell) => {
                let event = Event::MaySleep { route, doorbell };
                self.topics.may_sleep(route, event, bell.as_ref(), outbox)
            }
            (Request::Detach { route }, _) => self.topics.detach(route, outbox),
            (Request::Close { port }, _) => {
                self.close(port, outbox);
                self.quota.release(peer, port);
                Ok(())
            }
            (Request::Keep { request, region, keep }, _) => {
                let refused = self.keep(peer, &Kept::Region(region), keep).err();
                outbox.tell(node, Event::Kept { request, refused });
                Ok(())
            }
            (Request::KeepDataset { request, dataset, keep }, _) => {
                let refused = self.keep(peer, &Kept::Dataset(dataset), keep).err();
                outbox.tell(node, Event::Kept { request, refused });
                Ok(())
            }
            (Request::Inspect { request, topic, rings }, _) => {
                self.inspect(node, Question { request, rings }, topic.as_deref(), outbox);
                Ok(())
            }
            (Request::ShowReaders, readers) => self.peers.show_readers(peer, readers),
            (Request::Hello { .. }, _) => Err(Refusal::HelloRepeated),
            (Request::AddSegment { .. } | Request::OfferShared { .. } | Request::Attach { .. }, None) => {
                Err(Refusal::DescriptorMissing)
            }
        }
    }

    /// Opens a port, or tells why not.
    fn open_or_tell(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) {
        let Some(port) = own_port(&request) else { return };
        if let Err(error) = self.open(peer, request, descriptor, outbox) {
            outbox.tell(port.node, Event::OpenFailed { port, error });
        }
    }

    /// Opens a port, and charges its peer for it.
    fn open(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        let (port, charge) = match (request, descriptor) {
            (Request::OpenPublisher { publisher: port, address, payload, delivery, history }, Some(ring)) => {
                let (key, from) = self.place(port, address)?;
                let charge = self.charge_publisher(peer, port.node, &key)?;
                let new = NewPublisher { port, key, from, payload, delivery, history, ring };
                self.topics.open_publisher(new, outbox)?;
                (port, charge)
            }
            (Request::OpenSubscriber { subscriber: port, address, payload }, _) => {
                let key = match address {
                    Address::Topic(name) => Key::Topic(name.into()),
                    Address::Region { name, .. } => Key::Region(name.into()),
                    Address::Direct { to, .. } => return Err(OpenError::NoSuchPeer { port, peer: to }),
                };
                self.check_mode(&key)?;
                let charge = self.charge_subscriber(peer, port.node, &key)?;
                self.topics.open_subscriber(port, key, payload, outbox)?;
                (port, charge)
            }
            (Request::OpenService { port, role, service, payload }, _) => {
                let charge = self.charge_correspondent(peer, port.node, &service)?;
                self.open_service(port, role, service, payload, outbox)?;
                (port, charge)
            }
            (Request::OpenShared { port, region, payload }, _) => {
                let charge = self.charge_participant(peer, &region)?;
                self.open_shared(port, region, payload, outbox)?;
                (port, charge)
            }
            (Request::PublishDataset { port, dataset }, Some(memory)) => {
                let charge = self.charge_participant(peer, &dataset)?;
                self.datasets.publish(port, dataset, memory, outbox)?;
                (port, charge)
            }
            (Request::OpenDataset { port, dataset, wait }, _) => {
                let charge = self.charge_participant(peer, &dataset)?;
                self.datasets.open(port, dataset, wait, outbox)?;
                (port, charge)
            }
            // Nothing else is opened, and a ring comes with its publisher.
            _ => return Ok(()),
        };
        self.quota.keep(peer, port, charge);
        Ok(())
    }

    fn hello(
        &mut self,
        peer: PeerId,
        node: NodeId,
        name: String,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        self.peers.introduce(peer, node, name)?;
        outbox.tell(node, Event::Welcome { broker_pid: self.own.pid });
        Ok(())
    }

    /// What a publisher would publish to, and as whom.
    fn place(&self, port: PortId, address: Address) -> Result<(Key, Option<PortId>), OpenError> {
        match address {
            Address::Topic(name) => Ok((Key::Topic(name.into()), None)),
            Address::Direct { to, from } => {
                if from.node == port.node && self.services.are_counterparts(from, to) {
                    Ok((Key::Direct(to), Some(from)))
                } else {
                    Err(OpenError::NoSuchPeer { port, peer: to })
                }
            }
            Address::Region { name, succeeds } => {
                let key = Key::Region(name.into());
                self.check_mode(&key)?;
                match self.topics.writer_of(&key) {
                    Some(writer) if succeeds != Some(writer) || writer.node != port.node => {
                        Err(OpenError::HasWriter {
                            region: key.to_string(),
                            pid: self.peers.pid_of(writer.node),
                        })
                    }
                    _ => Ok((key, None)),
                }
            }
        }
    }

    fn open_service(
        &mut self,
        port: PortId,
        role: Role,
        service: String,
        payload: Option<ServiceType>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.services.check_open(port, &service, payload.as_ref())?;
        let incoming = payload.as_ref().map(|payload| match role {
            Role::Client => payload.response.clone(),
            Role::Server => payload.request.clone(),
        });
        self.topics.open_subscriber(port, Key::Direct(port), incoming, outbox)?;
        let pid_of = |port: PortId| self.peers.pid_of(port.node);
        self.services.open(port, role, service, payload, pid_of, outbox);
        Ok(())
    }

    /// Refuses a region with a single writer where there is one of that name for several.
    fn check_mode(&self, key: &Key) -> Result<(), OpenError> {
        match key {
            Key::Region(name) if self.shared.has(name) => {
                Err(OpenError::ModeMismatch { region: name.to_string(), shared: true })
            }
            _ => Ok(()),
        }
    }

    fn keep(&mut self, peer: PeerId, what: &Kept, keep: bool) -> Result<(), KeepError> {
        if keep && !self.keeps_regions {
            return Err(KeepError::Embedded);
        }
        if keep {
            self.quota.keep_alive(peer, what)?;
        }
        let found = match what {
            Kept::Region(name) => {
                self.shared.keep(name, keep) || self.topics.keep(&Key::Region(name.as_str().into()), keep)
            }
            Kept::Dataset(name) => self.datasets.keep(name, keep),
        };
        if !(keep && found) {
            self.quota.release_kept(what);
        }
        if found { Ok(()) } else { Err(KeepError::NotFound) }
    }

    fn open_shared(
        &mut self,
        port: PortId,
        region: String,
        payload: Option<PayloadType>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        if self.topics.has(&Key::Region(region.as_str().into())) {
            return Err(OpenError::ModeMismatch { region, shared: false });
        }
        let pid_of = |port: PortId| self.peers.pid_of(port.node);
        self.shared.open(port, region, payload, pid_of, outbox)
    }

    fn close(&mut self, port: PortId, outbox: &mut Outbox) {
        self.evicted.publisher_ended(port);
        self.services.close(port, outbox);
        self.shared.close(port, outbox);
        self.datasets.close(port);
        self.topics.close(port, outbox);
    }

    /// Whether a peer is told anything.
    fn is_heard(&self, peer: PeerId) -> bool {
        self.peers.contains(peer) && !self.evicted.contains(peer)
    }

    pub(super) fn deliver(&mut self, outbox: Outbox) {
        for (node, event, descriptor) in outbox.0 {
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

/// The port in whose name a request speaks.
fn own_port(request: &Request) -> Option<PortId> {
    match request {
        Request::OpenPublisher { publisher: port, .. }
        | Request::AddSegment { publisher: port, .. }
        | Request::OpenSubscriber { subscriber: port, .. }
        | Request::OpenService { port, .. }
        | Request::OpenShared { port, .. }
        | Request::OfferShared { port, .. }
        | Request::PublishDataset { port, .. }
        | Request::OpenDataset { port, .. }
        | Request::Close { port } => Some(*port),
        Request::Attached { route, .. } => Some(route.publisher),
        Request::Attach { route, .. } | Request::MaySleep { route, .. } | Request::Detach { route } => {
            Some(route.subscriber)
        }
        Request::Hello { .. }
        | Request::Inspect { .. }
        | Request::Keep { .. }
        | Request::KeepDataset { .. }
        | Request::ShowReaders => None,
    }
}
