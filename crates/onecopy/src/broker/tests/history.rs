//! A random history: several peers that follow the protocol, cheat, and die, in any order.
//!
//! The test watches what the broker sends and keeps its own, naive, books about it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::prelude::*;

use crate::broker::protocol::{
    Address, Delivery, Event, NodeId, PortId, Request, Role, Route, SegmentSet, ServiceType,
};
use crate::broker::state::{Broker, Output};
use crate::broker::transport::{Credentials, PacketSocket};
use crate::broker::{Descriptor, PeerId};
use crate::payload_type::PayloadType;

/// One step of a history; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Connect,
    OpenPublisher {
        peer: usize,
        topic: usize,
        wide: bool,
        reliable: bool,
    },
    OpenSubscriber {
        peer: usize,
        topic: usize,
        wide: Option<bool>,
    },
    OpenService {
        peer: usize,
        service: usize,
        server: bool,
        wide: bool,
    },
    /// The way to somebody whom the broker need not have introduced.
    OpenDirect {
        from: usize,
        to: usize,
    },
    OpenRegion {
        peer: usize,
        region: usize,
        writes: bool,
    },
    AddSegment {
        port: usize,
    },
    /// Takes the next step that the protocol expects of the receiver of some event.
    Answer {
        choice: usize,
    },
    Detach {
        choice: usize,
    },
    Close {
        port: usize,
    },
    Foreign {
        peer: usize,
        port: usize,
    },
    Die {
        peer: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (peer, topic, port) = (0_usize..8, 0_usize..3, 0_usize..64);
    prop_oneof![
        2 => Just(Step::Connect),
        4 => (peer.clone(), topic.clone(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
            .prop_map(|(peer, topic, wide, reliable)| Step::OpenPublisher { peer, topic, wide, reliable }),
        4 => (peer.clone(), topic, prop::option::of(prop::bool::weighted(0.1)))
            .prop_map(|(peer, topic, wide)| Step::OpenSubscriber { peer, topic, wide }),
        6 => (peer.clone(), 0_usize..2, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(peer, service, server, wide)| Step::OpenService { peer, service, server, wide }),
        1 => (port.clone(), port.clone()).prop_map(|(from, to)| Step::OpenDirect { from, to }),
        4 => (peer.clone(), 0_usize..2, any::<bool>())
            .prop_map(|(peer, region, writes)| Step::OpenRegion { peer, region, writes }),
        2 => port.clone().prop_map(|port| Step::AddSegment { port }),
        12 => (0_usize..64).prop_map(|choice| Step::Answer { choice }),
        2 => (0_usize..64).prop_map(|choice| Step::Detach { choice }),
        2 => port.clone().prop_map(|port| Step::Close { port }),
        1 => (peer.clone(), port).prop_map(|(peer, port)| Step::Foreign { peer, port }),
        1 => peer.prop_map(|peer| Step::Die { peer }),
    ]
}

/// What the outside knows.
struct World {
    broker: Broker,
    descriptor: Descriptor,
    next_peer: u64,
    next_serial: u32,
    next_segment: u32,
    alive: BTreeMap<NodeId, PeerId>,
    /// Open ports, and how often each was told that it is settled.
    settled: BTreeMap<PortId, u32>,
    publishers: BTreeSet<PortId>,
    /// Routes that subscribers were shown, and answers that are due.
    offered: BTreeSet<Route>,
    due: Vec<Request>,
    /// Clients and servers, and how often each was told that all have been named.
    correspondents: BTreeMap<PortId, u32>,
    /// To whom each of them was introduced.
    met: BTreeSet<(PortId, PortId)>,
    /// Routes on which a publisher knows the subscriber.
    known_to_publisher: BTreeSet<Route>,
}

impl World {
    fn new() -> Self {
        let (socket, _) = PacketSocket::pair().unwrap();
        Self {
            broker: Broker::new(Credentials { pid: 1, uid: 1000 }),
            descriptor: Arc::new(OwnedFd::from(socket)),
            next_peer: 0,
            next_serial: 0,
            next_segment: 0,
            alive: BTreeMap::new(),
            settled: BTreeMap::new(),
            publishers: BTreeSet::new(),
            offered: BTreeSet::new(),
            due: Vec::new(),
            correspondents: BTreeMap::new(),
            met: BTreeSet::new(),
            known_to_publisher: BTreeSet::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect => self.connect(),
            Step::OpenPublisher { peer, topic, wide, reliable } => {
                let Some(publisher) = self.new_port(peer) else { return };
                let delivery = if reliable { Delivery::Reliable } else { Delivery::Overwrite };
                let (address, payload) = (Address::Topic(format!("topic/{topic}")), payload(wide));
                self.send(Request::OpenPublisher { publisher, address, payload, delivery, history: 1 });
            }
            Step::OpenSubscriber { peer, topic, wide } => {
                let Some(subscriber) = self.new_port(peer) else { return };
                let (address, payload) = (Address::Topic(format!("topic/{topic}")), wide.map(payload));
                self.send(Request::OpenSubscriber { subscriber, address, payload });
            }
            Step::OpenService { peer, service, server, wide } => {
                let Some(port) = self.new_port(peer) else { return };
                let role = if server { Role::Server } else { Role::Client };
                let payload = ServiceType { request: payload(wide), response: payload(!wide) };
                let service = format!("service/{service}");
                self.send(Request::OpenService { port, role, service, payload: Some(payload) });
            }
            Step::OpenDirect { from, to } => {
                let (Some(from), Some(to)) = (pick(self.settled.keys(), from), pick(self.settled.keys(), to))
                else {
                    return;
                };
                self.open_direct(from, to);
            }
            Step::OpenRegion { peer, region, writes } => {
                let Some(port) = self.new_port(peer) else { return };
                let address =
                    Address::Region { name: format!("region/{region}"), succeeds: None, follows: 1 };
                let payload = payload(false);
                self.send(if writes {
                    let delivery = Delivery::Overwrite;
                    Request::OpenPublisher { publisher: port, address, payload, delivery, history: 0 }
                } else {
                    Request::OpenSubscriber { subscriber: port, address, payload: Some(payload) }
                });
            }
            Step::AddSegment { port } => {
                let Some(publisher) = pick(self.publishers.iter(), port) else { return };
                self.next_segment += 1;
                self.send(Request::AddSegment {
                    publisher,
                    index: self.next_segment,
                    replaced: SegmentSet::EMPTY,
                });
            }
            Step::Answer { choice } => {
                if !self.due.is_empty() {
                    let request = self.due.remove(choice % self.due.len());
                    self.send(request);
                }
            }
            Step::Detach { choice } => {
                let Some(route) = pick(self.offered.iter(), choice) else { return };
                self.offered.remove(&route);
                self.known_to_publisher
                    .retain(|known| *known != route || self.publishers.contains(&known.publisher));
                self.send(Request::Detach { route });
            }
            Step::Close { port } => {
                let Some(port) = pick(self.settled.keys(), port) else { return };
                self.port_ended(port);
                self.send(Request::Close { port });
            }
            Step::Foreign { peer, port } => self.cheat(peer, port),
            Step::Die { peer } => {
                let Some(node) = pick(self.alive.keys(), peer) else { return };
                let peer = self.alive[&node];
                self.node_ended(node);
                self.broker.handle_gone(peer);
                self.observe();
            }
        }
    }

    fn connect(&mut self) {
        let (peer, node) = (PeerId(self.next_peer), NodeId(1000 + self.next_peer));
        self.next_peer += 1;
        self.broker.connect(peer, Credentials { pid: 2, uid: 1000 });
        self.alive.insert(node, peer);
        self.broker.handle_request(
            peer,
            Request::Hello { node, name: "node".to_owned(), returns_from: None },
            None,
        );
        self.observe();
    }

    /// Closes a port of another node: costs the cheat its connection, and the port nothing. Then the cheat goes.
    fn cheat(&mut self, peer: usize, port: usize) {
        let Some(node) = pick(self.alive.keys(), peer) else { return };
        let Some(port) = pick(self.settled.keys(), port) else { return };
        if port.node == node {
            return;
        }
        let peer = self.alive[&node];
        self.node_ended(node);
        self.broker.handle_request(peer, Request::Close { port }, None);
        assert!(
            matches!(self.broker.poll_output(), Some(Output::Disconnect { peer: refused, .. }) if refused == peer)
        );
        let known = self.known_to_publisher.clone();
        self.observe();
        // It may look at what it holds until it has gone.
        let held = |route: &&Route| route.subscriber.node == node;
        assert!(known.iter().filter(held).eq(self.known_to_publisher.iter().filter(held)), "told too early");
        self.broker.handle_gone(peer);
        self.observe();
    }

    /// Whatever it is that `from` would send to `to`, the broker has to find out whether they know each other.
    fn open_direct(&mut self, from: PortId, to: PortId) {
        self.next_serial += 1;
        let publisher = PortId { node: from.node, serial: self.next_serial };
        let are_strangers = !self.met.contains(&(from, to));
        let (address, delivery) = (Address::Direct { to, from }, Delivery::Reliable);
        self.send(Request::OpenPublisher {
            publisher,
            address,
            payload: payload(true),
            delivery,
            history: 0,
        });
        let is_open = self.settled.contains_key(&publisher);
        assert!(!(are_strangers && is_open), "{from} publishes to {to}, whom it has not met");
    }

    fn new_port(&mut self, peer: usize) -> Option<PortId> {
        let node = pick(self.alive.keys(), peer)?;
        self.next_serial += 1;
        Some(PortId { node, serial: self.next_serial })
    }

    /// Sends in the name of the node whose port the request names, if that is alive.
    fn send(&mut self, request: Request) {
        let node = match &request {
            Request::OpenPublisher { publisher: port, .. }
            | Request::OpenSubscriber { subscriber: port, .. }
            | Request::OpenService { port, .. }
            | Request::AddSegment { publisher: port, .. }
            | Request::Close { port } => port.node,
            Request::Attached { route, .. } => route.publisher.node,
            Request::Attach { route, .. } | Request::Detach { route } | Request::MaySleep { route, .. } => {
                route.subscriber.node
            }
            other => unreachable!("not part of histories: {other:?}"),
        };
        let Some(peer) = self.alive.get(&node) else { return };
        let descriptor = request.carries_descriptor().then(|| Arc::clone(&self.descriptor));
        self.broker.handle_request(*peer, request, descriptor);
        self.observe();
    }

    fn observe(&mut self) {
        self.broker.check_invariants();
        while let Some(output) = self.broker.poll_output() {
            let Output::Send { peer, event, descriptor } = output else {
                panic!("an honest peer was let go of: {output:?}");
            };
            let node = self.alive.iter().find(|(_, alive)| **alive == peer).map(|(node, _)| *node);
            let node = node.expect("output to a dead peer");
            assert_eq!(event.carries_descriptor(), descriptor.is_some());
            self.note(node, event);
        }
    }

    fn note(&mut self, receiver: NodeId, event: Event) {
        match event {
            Event::Welcome { .. } | Event::OpenFailed { .. } => {}
            Event::Opened { port, .. } => {
                assert_eq!((port.node, self.settled.insert(port, 0)), (receiver, None));
            }
            Event::Settled { port } => {
                let times = self.settled.get_mut(&port).expect("a port that is not open was settled");
                *times += 1;
                assert_eq!((port.node, *times), (receiver, 1), "settled more than once");
            }
            Event::Met { port, peer, .. } => {
                assert_eq!(port.node, receiver);
                assert!(self.met.insert((port, peer)), "introduced twice");
                self.next_serial += 1;
                self.due.push(Request::OpenPublisher {
                    publisher: PortId { node: port.node, serial: self.next_serial },
                    address: Address::Direct { to: peer, from: port },
                    payload: payload(true),
                    delivery: Delivery::Reliable,
                    history: 0,
                });
            }
            Event::AllMet { port } => {
                assert_eq!((port.node, self.correspondents.insert(port, 1)), (receiver, None));
            }
            Event::Parted { port, peer } => {
                assert_eq!(port.node, receiver);
                assert!(self.met.remove(&(port, peer)), "parted from somebody unknown");
            }
            Event::Remains { subscriber, .. } => {
                assert_eq!(subscriber.node, receiver);
                // They may come just before the news of the writer's end.
                let is_written = self.offered.iter().any(|route| {
                    route.subscriber == subscriber && self.publishers.contains(&route.publisher)
                });
                assert!(!is_written, "the remains of a region that has a writer");
            }
            Event::Publisher { route, from, .. } => {
                assert_eq!(route.subscriber.node, receiver);
                let is_direct = self.correspondents.contains_key(&route.subscriber);
                assert_eq!(from.is_some(), is_direct, "only clients and servers send directly");
                let has_met = from.is_none_or(|from| self.met.contains(&(route.subscriber, from)));
                assert!(has_met, "heard before it was introduced");
                assert!(self.offered.insert(route), "shown twice");
                self.publishers.insert(route.publisher);
                self.due.push(Request::Attach { route, reader_segment: 0, block: 0 });
            }
            Event::Segment { route, .. } => assert!(self.offered.contains(&route), "a segment of nobody"),
            Event::Attach { route, .. } => {
                assert_eq!(route.publisher.node, receiver);
                assert!(self.known_to_publisher.insert(route), "attached twice");
                self.due.push(Request::MaySleep { route, doorbell: true });
                self.due.push(Request::Attached { route, start: 0 });
            }
            Event::Attached { route, .. } => assert!(self.offered.contains(&route), "attached to nobody"),
            Event::MaySleep { route, .. } => {
                assert!(self.known_to_publisher.contains(&route), "an unknown subscriber may sleep");
            }
            Event::PublisherGone { route } => {
                assert_eq!(route.subscriber.node, receiver);
                assert!(self.offered.remove(&route), "a publisher that was never shown is gone");
            }
            Event::SubscriberGone { route } => {
                assert_eq!(route.publisher.node, receiver);
                assert!(self.known_to_publisher.remove(&route), "a subscriber that was never known is gone");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn port_ended(&mut self, port: PortId) {
        self.settled.remove(&port);
        self.correspondents.remove(&port);
        self.met.retain(|(own, _)| *own != port);
        self.publishers.remove(&port);
        // What it knew itself it forgets; what others know of it the broker must take back.
        self.offered.retain(|route| route.subscriber != port);
        self.known_to_publisher.retain(|route| route.publisher != port);
    }

    fn node_ended(&mut self, node: NodeId) {
        self.alive.remove(&node);
        let ports: Vec<PortId> = self.settled.keys().copied().filter(|port| port.node == node).collect();
        for port in ports {
            self.port_ended(port);
        }
    }

    /// Lets everybody answer what is due: then every port is settled.
    fn settle(&mut self) {
        while let Some(request) = self.due.pop() {
            self.send(request);
        }
        for (port, times) in &self.settled {
            assert_eq!(*times, 1, "{port} was never settled");
        }
    }

    fn end(&mut self) {
        while let Some((node, peer)) = self.alive.pop_first() {
            self.node_ended(node);
            self.broker.handle_gone(peer);
            self.observe();
        }
        assert!(self.offered.is_empty(), "subscribers that were not told of a publisher's end");
        assert!(self.known_to_publisher.is_empty(), "publishers that were not told of a subscriber's end");
        assert!(self.met.is_empty(), "clients or servers that were not told of the other's end");
        assert!(self.broker.is_empty());
        assert_eq!(Arc::strong_count(&self.descriptor), 1, "a descriptor was kept");
    }
}

fn payload(wide: bool) -> PayloadType {
    if wide { PayloadType::value::<u64>() } else { PayloadType::value::<u32>() }
}

fn pick<'a, T: Copy + 'a>(among: impl ExactSizeIterator<Item = &'a T>, choice: usize) -> Option<T> {
    let count = among.len();
    let mut among = among;
    if count == 0 { None } else { among.nth(choice % count).copied() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_history_keeps_the_books_straight(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for _ in 0..3 {
            world.connect();
        }
        for step in steps {
            world.take(step);
        }
        world.settle();
        world.end();
    }
}
