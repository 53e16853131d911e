//! The broker's logic, without any input or output: packets and ends of connections go in, packets to send come out.
//!
//! It reads no clock and no socket, so a test can play any order of events, a death at every step included.
//! `server.rs` drives it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::codec::DecodeError;
use super::peers::{PeerId, Peers};
use super::protocol::{Event, NodeId, PortId, Refusal, Request};
use super::topics::{Descriptor, NewPublisher, Outbox, Topic, Topics};
use super::transport::Credentials;

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
    peers: Peers,
    topics: Topics,
    outputs: VecDeque<Output>,
}

impl Broker {
    /// A broker that nobody is connected to, running in the process and for the user named.
    pub fn new(own: Credentials) -> Self {
        Self { own, peers: Peers::default(), topics: Topics::default(), outputs: VecDeque::new() }
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
        for port in self.topics.ports_of(node) {
            self.topics.close(port, &mut outbox);
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
        self.peers.is_empty() && self.topics.is_empty()
    }

    /// Checks that the tables agree with each other: for tests and fuzzing.
    ///
    /// # Panics
    ///
    /// If they don't, which is a bug of the broker whatever its peers did.
    pub fn check_invariants(&self) {
        self.peers.check_invariants();
        self.topics.check_invariants();
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
            (Request::OpenPublisher { publisher, topic, payload, delivery, history }, Some(ring)) => {
                let new = NewPublisher { port: publisher, topic, payload, delivery, history, ring };
                if let Err(error) = self.topics.open_publisher(new, outbox) {
                    outbox.tell(node, Event::OpenFailed { port: publisher, error });
                }
                Ok(())
            }
            (Request::OpenSubscriber { subscriber, topic, payload }, _) => {
                if let Err(error) = self.topics.open_subscriber(subscriber, topic, payload, outbox) {
                    outbox.tell(node, Event::OpenFailed { port: subscriber, error });
                }
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
                self.topics.close(port, outbox);
                Ok(())
            }
            (Request::Inspect { request, topic, rings }, _) => {
                self.inspect(node, Question { request, rings }, topic.as_deref(), outbox);
                Ok(())
            }
            (Request::Hello { .. }, _) => Err(Refusal::HelloRepeated),
            (Request::OpenPublisher { .. } | Request::AddSegment { .. } | Request::Attach { .. }, None) => {
                Err(Refusal::DescriptorMissing)
            }
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

    fn inspect(&self, asker: NodeId, question: Question, topic: Option<&str>, outbox: &mut Outbox) {
        let request = question.request;
        if let Some(name) = topic {
            if let Some((name, topic)) = self.topics.get(name) {
                self.describe_topic(asker, question, name, topic, outbox);
            }
        } else {
            for (node, Credentials { pid, uid }) in self.peers.nodes() {
                let event = Event::NodeInfo { request, node: node.id, name: node.name.clone(), pid, uid };
                outbox.tell(asker, event);
            }
            for (name, topic) in self.topics.iter() {
                self.describe_topic(asker, question, name, topic, outbox);
            }
        }
        outbox.tell(asker, Event::InspectEnd { request });
    }

    fn describe_topic(
        &self,
        asker: NodeId,
        Question { request, rings }: Question,
        name: &str,
        topic: &Topic,
        outbox: &mut Outbox,
    ) {
        let count = |ports: usize| u32::try_from(ports).unwrap_or(u32::MAX);
        let node_name = |port: &PortId| self.peers.name_of(port.node).unwrap_or("?").to_owned();
        outbox.tell(
            asker,
            Event::TopicInfo {
                request,
                name: name.to_owned(),
                payload: topic.payload.clone(),
                delivery: topic.delivery,
                publishers: count(topic.publishers.len()),
                subscribers: count(topic.subscribers.len()),
            },
        );
        for (port, publisher) in &topic.publishers {
            let event = Event::PublisherInfo {
                request,
                topic: name.to_owned(),
                publisher: *port,
                node_name: node_name(port),
                history: publisher.history,
                ring: rings,
            };
            outbox.0.push((asker, event, rings.then(|| Arc::clone(&publisher.ring))));
        }
        for port in topic.subscribers.keys() {
            let (topic, node_name) = (name.to_owned(), node_name(port));
            outbox.tell(asker, Event::SubscriberInfo { request, topic, subscriber: *port, node_name });
        }
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

/// What is the same for every item of an answer.
#[derive(Debug, Clone, Copy)]
struct Question {
    request: u32,
    rings: bool,
}

/// The port in whose name a request speaks.
fn own_port(request: &Request) -> Option<PortId> {
    match request {
        Request::OpenPublisher { publisher: port, .. }
        | Request::AddSegment { publisher: port, .. }
        | Request::OpenSubscriber { subscriber: port, .. }
        | Request::Close { port } => Some(*port),
        Request::Attached { route, .. } => Some(route.publisher),
        Request::Attach { route, .. } | Request::MaySleep { route, .. } | Request::Detach { route } => {
            Some(route.subscriber)
        }
        Request::Hello { .. } | Request::Inspect { .. } => None,
    }
}
