//! The broker's logic, without any input or output: packets and ends of connections go in, packets to send come out.
//!
//! It reads no clock and no socket, so a test can play any order of events, a death at every step included.
//! `server.rs` drives it.

use std::collections::VecDeque;

use super::codec::DecodeError;
use super::inspection::Question;
use super::peers::{PeerId, Peers};
use super::protocol::{Address, Event, NodeId, OpenError, PortId, Refusal, Request, Role, ServiceType};
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
    /// Send [`Event::Refused`] with the reason and close the connection. The machine has forgotten the peer already.
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
    outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker that nobody is connected to, running in the process and for the user named.
    pub fn new(own: Credentials) -> Self {
        let (peers, topics, services, shared, outputs) = Default::default();
        Self { own, peers, topics, services, shared, outputs }
    }

    /// Somebody connected.
    pub fn connect(&mut self, peer: PeerId, credentials: Credentials) {
        if credentials.uid == self.own.uid {
            self.peers.insert(peer, credentials);
        } else {
            let reason = Refusal::WrongUser { peer_uid: credentials.uid, broker_uid: self.own.uid };
            self.outputs.push_back(Output::Disconnect { peer, reason });
        }
    }

    /// A packet came.
    pub fn handle_request(&mut self, peer: PeerId, request: Request, descriptor: Option<Descriptor>) {
        if !self.peers.contains(peer) {
            return;
        }
        let mut outbox = Outbox::default();
        let result = self.dispatch(peer, request, descriptor, &mut outbox);
        self.deliver(outbox);
        if let Err(reason) = result {
            self.refuse(peer, reason);
        }
    }

    /// Bytes came that are no packet.
    pub fn handle_malformed(&mut self, peer: PeerId, error: DecodeError) {
        self.refuse(peer, error.into());
    }

    /// A connection ended: its ports close, and their counterparts are told.
    pub fn handle_gone(&mut self, peer: PeerId) {
        let Some(node) = self.peers.remove(peer) else { return };
        let mut outbox = Outbox::default();
        for port in self.topics.ports_of(node).into_iter().chain(self.shared.ports_of(node)) {
            self.close(port, &mut outbox);
        }
        self.deliver(outbox);
    }

    /// Ends a connection for a reason that lies outside of the packets.
    pub fn refuse(&mut self, peer: PeerId, reason: Refusal) {
        if self.peers.contains(peer) {
            self.outputs.push_back(Output::Disconnect { peer, reason });
            self.handle_gone(peer);
        }
    }

    /// The next thing to do. Peers that ended in the meantime are passed over.
    pub fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.outputs.pop_front()? {
                Output::Send { peer, .. } if !self.peers.contains(peer) => {}
                output => return Some(output),
            }
        }
    }

    /// Whether nobody is connected, and so nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
            && self.topics.is_empty()
            && self.services.is_empty()
            && self.shared.is_empty()
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
            (Request::OpenPublisher { publisher: port, address, payload, delivery, history }, Some(ring)) => {
                let opened = self.place(port, address).and_then(|(key, from)| {
                    let new = NewPublisher { port, key, from, payload, delivery, history, ring };
                    self.topics.open_publisher(new, outbox)
                });
                tell_failure(port, opened, outbox);
                Ok(())
            }
            (Request::OpenSubscriber { subscriber: port, address, payload }, _) => {
                let key = match address {
                    Address::Topic(name) => Key::Topic(name.into()),
                    Address::Region { name, .. } => Key::Region(name.into()),
                    // Clients and servers subscribe to it by being there, and nobody else may.
                    Address::Direct { .. } => return Err(Refusal::WrongRole { port }),
                };
                let opened = self
                    .check_mode(&key)
                    .and_then(|()| self.topics.open_subscriber(port, key, payload, outbox));
                tell_failure(port, opened, outbox);
                Ok(())
            }
            (Request::OpenService { port, role, service, payload }, _) => {
                let opened = self.open_service(port, role, service, payload, outbox);
                tell_failure(port, opened, outbox);
                Ok(())
            }
            (Request::OpenShared { port, region, payload }, _) => {
                let opened = self.open_shared(port, region, payload, outbox);
                tell_failure(port, opened, outbox);
                Ok(())
            }
            (Request::OfferShared { port, succeeds }, Some(memory)) => {
                self.shared.offer(port, succeeds, memory, outbox);
                Ok(())
            }
            (Request::AddSegment { publisher, index }, Some(segment)) => {
                self.topics.add_segment(publisher, index, &segment, outbox)
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
                Ok(())
            }
            (Request::Inspect { request, topic, rings }, _) => {
                self.inspect(node, Question { request, rings }, topic.as_deref(), outbox);
                Ok(())
            }
            (Request::Hello { .. }, _) => Err(Refusal::HelloRepeated),
            (
                Request::OpenPublisher { .. }
                | Request::AddSegment { .. }
                | Request::OfferShared { .. }
                | Request::Attach { .. },
                None,
            ) => Err(Refusal::DescriptorMissing),
        }
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
                    Some(writer) if succeeds != Some(writer) || writer.node != port.node => Err(OpenError::HasWriter {
                        region: key.to_string(),
                        pid: self.peers.pid_of(writer.node),
                    }),
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
        self.services.close(port, outbox);
        self.shared.close(port, outbox);
        self.topics.close(port, outbox);
    }

    fn deliver(&mut self, outbox: Outbox) {
        for (node, event, descriptor) in outbox.0 {
            // A node that ends is not told of its own end.
            if let Some(peer) = self.peers.peer_of(node) {
                debug_assert_eq!(event.carries_descriptor(), descriptor.is_some(), "{event:?}");
                self.outputs.push_back(Output::Send { peer, event, descriptor });
            }
        }
    }
}

fn tell_failure(port: PortId, opened: Result<(), OpenError>, outbox: &mut Outbox) {
    if let Err(error) = opened {
        outbox.tell(port.node, Event::OpenFailed { port, error });
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
        | Request::Close { port } => Some(*port),
        Request::Attached { route, .. } => Some(route.publisher),
        Request::Attach { route, .. } | Request::MaySleep { route, .. } | Request::Detach { route } => {
            Some(route.subscriber)
        }
        Request::Hello { .. } | Request::Inspect { .. } => None,
    }
}
