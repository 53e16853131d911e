//! A node of the simulation: the real ledger, a line to the broker, and books that stand for its memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::broker::Descriptor;
use crate::broker::protocol::{
    Address, Delivery, Event, NodeId, PortId, Request, Role, Route, SegmentSet, ServiceType,
};
use crate::node::ledger::{Ledger, Letter, Shown, is_in_ledger};
use crate::payload_type::PayloadType;

/// What a port is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Publisher(String),
    Subscriber(String),
    Client(String),
    Server(String),
    Writer(String),
    Reader(String),
    Participant(String),
    /// From a client or server of this node to its counterpart.
    Direct {
        from: PortId,
        to: PortId,
    },
}

/// A reader of a publisher's ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) block: u32,
    pub(super) start: Option<u64>,
    /// The publisher has ended, as far as this one was told.
    pub(super) gone: bool,
}

/// What the outside of the ledger knows of a port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) kind: Kind,
    pub(super) opened: bool,
    /// By which broker.
    pub(super) opened_by: Option<u64>,
    pub(super) settled: bool,
    /// Of a publisher: how many messages, and what it looks at from where on.
    pub(super) head: u64,
    pub(super) looks: BTreeMap<PortId, (u32, u64)>,
    pub(super) segments: BTreeSet<u32>,
    /// Of a subscriber.
    pub(super) feeds: BTreeMap<PortId, Feed>,
    pub(super) known_segments: BTreeMap<PortId, BTreeSet<u32>>,
    /// Publishers that it has let go of.
    pub(super) left: BTreeSet<PortId>,
    /// Of a client or server.
    pub(super) met: BTreeSet<PortId>,
    /// Of a participant.
    pub(super) seat: Option<u32>,
    pub(super) living: BTreeMap<u32, PortId>,
    /// Of everything that has memory.
    pub(super) memory: Option<Descriptor>,
}

/// The way to a broker.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) term: u64,
    pub(super) to_broker: VecDeque<Letter>,
    pub(super) from_broker: VecDeque<(Event, Option<Descriptor>)>,
    /// The other end is closed.
    pub(super) is_cut: bool,
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) ledger: Ledger,
    pub(super) ports: BTreeMap<PortId, Port>,
    pub(super) line: Option<Line>,
    pub(super) last_term: Option<u64>,
    pub(super) is_alive: bool,
    pub(super) is_stopped: bool,
    pub(super) is_refused: bool,
    serial: u32,
    block: u32,
    /// Of its readers' state.
    table: Descriptor,
}

pub(super) fn payload() -> PayloadType {
    PayloadType::value::<u64>()
}

impl Node {
    pub(super) fn new(id: u64, table: Descriptor) -> Self {
        let (ledger, ports, line, last_term, is_stopped, is_refused, serial, block) = Default::default();
        let id = NodeId(id);
        let is_alive = true;
        Self { id, ledger, ports, line, last_term, is_alive, is_stopped, is_refused, serial, block, table }
    }

    pub(super) fn runs(&self) -> bool {
        self.is_alive && !self.is_stopped && !self.is_refused
    }

    /// What the ledger has been told already.
    fn say(&mut self, request: Request, descriptor: Option<Descriptor>) {
        match &mut self.line {
            Some(line) if !line.is_cut => line.to_broker.push_back((request, descriptor)),
            _ => assert!(is_in_ledger(&request), "{request:?} is lost"),
        }
    }

    pub(super) fn open(&mut self, kind: Kind, memory: &Descriptor) -> PortId {
        self.serial += 1;
        let port = PortId { node: self.id, serial: self.serial };
        let (request, ring) = opening(port, &kind, memory);
        match &request {
            Request::OpenPublisher { .. } => {
                self.ledger.open_publisher(port, request.clone(), Descriptor::clone(memory));
                if matches!(kind, Kind::Direct { .. }) {
                    self.ledger.opened(port);
                }
            }
            Request::OpenShared { .. } => self.ledger.open_participant(port, request.clone()),
            _ => self.ledger.open_subscriber(port, request.clone()),
        }
        let has_memory = ring.is_some();
        self.say(request, ring);
        let (head, looks, segments, feeds, known_segments, left, met, seat, living) = Default::default();
        let memory = has_memory.then(|| Descriptor::clone(memory));
        // Nobody waits for the answer to these.
        let (opened, settled) = (matches!(kind, Kind::Direct { .. }), false);
        self.ports.insert(
            port,
            Port {
                kind,
                opened,
                opened_by: None,
                settled,
                head,
                looks,
                segments,
                feeds,
                known_segments,
                left,
                met,
                seat,
                living,
                memory,
            },
        );
        port
    }

    pub(super) fn close(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.ledger.close(port);
        self.say(Request::Close { port }, None);
        let direct: Vec<PortId> = self
            .ports
            .iter()
            .filter(|(_, record)| matches!(record.kind, Kind::Direct { from, .. } if from == port))
            .map(|(port, _)| *port)
            .collect();
        direct.into_iter().for_each(|port| self.close(port));
    }

    pub(super) fn let_go(&mut self, route: Route) {
        if let Some(port) = self.ports.get_mut(&route.subscriber) {
            port.feeds.remove(&route.publisher);
            port.left.insert(route.publisher);
        }
        self.ledger.detach(route);
        self.say(Request::Detach { route }, None);
    }

    pub(super) fn grow(&mut self, port: PortId, memory: &Descriptor) {
        let Some(record) = self.ports.get_mut(&port) else { return };
        let index = record.segments.len() as u32;
        record.segments.insert(index);
        self.ledger.grow(port, index, SegmentSet::EMPTY, Descriptor::clone(memory));
        let request = Request::AddSegment { publisher: port, index, replaced: SegmentSet::EMPTY };
        self.say(request, Some(Descriptor::clone(memory)));
    }

    /// A participant that makes the region larger.
    pub(super) fn resize(&mut self, port: PortId, memory: &Descriptor) {
        let Some(record) = self.ports.get_mut(&port) else { return };
        record.memory = Some(Descriptor::clone(memory));
        self.ledger.offer_shared(port, Descriptor::clone(memory), true);
        let request = Request::OfferShared { port, succeeds: true, version: 0, brought: true };
        self.say(request, Some(Descriptor::clone(memory)));
    }

    /// What the control thread does with a packet. `spare` is memory for whatever has to be made.
    pub(super) fn take(&mut self, event: Event, descriptor: Option<Descriptor>, spare: &Descriptor) {
        match (event, descriptor) {
            (Event::Opened { port, .. }, _) => {
                self.ledger.opened(port);
                let term = self.last_term;
                self.with(port, |port| (port.opened, port.opened_by) = (true, term));
            }
            (Event::Settled { port }, _) => self.with(port, |port| port.settled = true),
            (Event::OpenFailed { port, error }, _) => {
                let exists = self.ports.remove(&port).is_some_and(|port| port.opened);
                assert!(!exists, "{port}, which is open, fails: {error}");
                self.ledger.close(port);
            }
            (Event::Publisher { route, pid, .. }, Some(memory)) => self.meet_publisher(route, pid, memory),
            (Event::Segment { route, index, .. }, _) => {
                self.ledger.take_segment(route, index, SegmentSet::EMPTY);
                self.with(route.subscriber, |port| {
                    port.known_segments.entry(route.publisher).or_default().insert(index);
                });
            }
            (Event::Attach { route, block, pid, .. }, _) => self.attach(route, block, pid),
            (Event::Attached { route, start }, _) => {
                self.ledger.attached(route);
                self.with(route.subscriber, |port| {
                    if let Some(feed) = port.feeds.get_mut(&route.publisher) {
                        assert_eq!(feed.start, None, "{route} starts again");
                        feed.start = Some(start);
                    }
                });
            }
            (Event::PublisherGone { route }, _) => {
                self.ledger.detach(route);
                self.with(route.subscriber, |port| {
                    port.known_segments.remove(&route.publisher);
                    match port.feeds.get_mut(&route.publisher) {
                        Some(feed) if feed.start.is_some() => feed.gone = true,
                        _ => drop(port.feeds.remove(&route.publisher)),
                    }
                });
            }
            (Event::SubscriberGone { route }, _) => {
                self.ledger.lose_reader(route);
                self.with(route.publisher, |port| {
                    port.looks.remove(&route.subscriber);
                });
            }
            (Event::Met { port, peer, pid, .. }, _) => self.meet(port, peer, pid, spare),
            (Event::Parted { port, peer }, _) => self.part(port, peer),
            (Event::Remains { subscriber, .. }, Some(memory)) => {
                self.ledger.remember(subscriber, Descriptor::clone(&memory));
                self.with(subscriber, |port| port.memory = Some(memory));
            }
            (other, descriptor) => self.take_shared(other, descriptor, spare),
        }
    }

    fn take_shared(&mut self, event: Event, descriptor: Option<Descriptor>, spare: &Descriptor) {
        match (event, descriptor) {
            (Event::Seated { port, seat, has_memory, .. }, _) => {
                self.ledger.seated(port, seat);
                self.with(port, |port| {
                    assert!(port.seat.is_none_or(|had| had == seat), "seated anew");
                    (port.seat, port.opened, port.settled) = (Some(seat), true, true);
                });
                if !has_memory && self.ports.contains_key(&port) {
                    self.ledger.offer_shared(port, Descriptor::clone(spare), false);
                    let request = Request::OfferShared { port, succeeds: false, version: 0, brought: true };
                    self.say(request, Some(Descriptor::clone(spare)));
                }
            }
            (Event::SharedMemory { port }, Some(memory)) => {
                self.ledger.take_shared(port, Descriptor::clone(&memory));
                self.with(port, |port| port.memory = Some(memory));
            }
            (Event::SeatTaken { port, other, seat, pid }, _) => {
                self.ledger.seat_taken(port, other, seat, pid);
                self.with(port, |port| {
                    port.living.insert(seat, other);
                });
            }
            (Event::SeatGone { port, seat }, _) => {
                self.ledger.seat_gone(port, seat);
                self.with(port, |port| {
                    port.living.remove(&seat);
                });
            }
            _ => {}
        }
    }

    fn meet_publisher(&mut self, route: Route, pid: u32, memory: Descriptor) {
        let shown = self.ledger.shown(route);
        let block = match shown {
            Shown::Attached => panic!("{route} is shown, and attached"),
            Shown::Again { block } => block,
            Shown::New => {
                let Some(port) = self.ports.get_mut(&route.subscriber) else {
                    return self.say(Request::Detach { route }, None);
                };
                self.block += 1;
                let feed = Feed { block: self.block, start: None, gone: false };
                assert!(
                    port.feeds.insert(route.publisher, feed).is_none_or(|feed| feed.gone),
                    "{route} twice"
                );
                if matches!(port.kind, Kind::Reader(_)) {
                    port.memory = Some(Descriptor::clone(&memory));
                    self.ledger.remember(route.subscriber, memory);
                }
                self.block
            }
        };
        self.ledger.attach(route, block, pid);
        let request = Request::Attach { route, reader_segment: 0, block };
        let table = Descriptor::clone(&self.table);
        self.say(request, Some(table));
    }

    fn attach(&mut self, route: Route, block: u32, pid: u32) {
        let start = match self.ledger.start_of(route, block) {
            Some(start) => start,
            None => {
                let Some(port) = self.ports.get_mut(&route.publisher) else { return };
                port.looks.insert(route.subscriber, (block, port.head));
                self.ledger.look_at(route, block, port.head, pid);
                port.head
            }
        };
        self.say(Request::Attached { route, start }, None);
    }

    fn meet(&mut self, port: PortId, peer: PortId, pid: u32, spare: &Descriptor) {
        if !self.ports.contains_key(&port) || self.ledger.meet(port, peer, pid) {
            return;
        }
        self.with(port, |port| {
            port.met.insert(peer);
        });
        self.open(Kind::Direct { from: port, to: peer }, spare);
    }

    fn part(&mut self, port: PortId, peer: PortId) {
        self.ledger.part(port, peer);
        self.with(port, |port| {
            port.met.remove(&peer);
        });
        let direct =
            self.ports.iter().find(|(_, record)| record.kind == Kind::Direct { from: port, to: peer });
        if let Some(direct) = direct.map(|(direct, _)| *direct) {
            self.close(direct);
        }
    }

    fn with(&mut self, port: PortId, change: impl FnOnce(&mut Port)) {
        if let Some(port) = self.ports.get_mut(&port) {
            change(port);
        }
    }
}

fn opening(port: PortId, kind: &Kind, memory: &Descriptor) -> Letter {
    let publisher = |address, delivery| {
        let request =
            Request::OpenPublisher { publisher: port, address, payload: payload(), delivery, history: 0 };
        (request, Some(Descriptor::clone(memory)))
    };
    let subscriber =
        |address| (Request::OpenSubscriber { subscriber: port, address, payload: Some(payload()) }, None);
    let service = |service: &String, role| {
        let payload = Some(ServiceType { request: payload(), response: payload() });
        (Request::OpenService { port, role, service: service.clone(), payload }, None)
    };
    match kind {
        Kind::Publisher(name) => publisher(Address::Topic(name.clone()), Delivery::Overwrite),
        Kind::Subscriber(name) => subscriber(Address::Topic(name.clone())),
        Kind::Client(name) => service(name, Role::Client),
        Kind::Server(name) => service(name, Role::Server),
        Kind::Writer(name) => {
            publisher(Address::Region { name: name.clone(), succeeds: None, follows: 1 }, Delivery::Overwrite)
        }
        Kind::Reader(name) => subscriber(Address::Region { name: name.clone(), succeeds: None, follows: 0 }),
        Kind::Participant(region) => {
            let (region, payload) = (region.clone(), Some(payload()));
            (Request::OpenShared { port, region, payload, seat: None }, None)
        }
        Kind::Direct { from, to } => publisher(Address::Direct { to: *to, from: *from }, Delivery::Reliable),
    }
}
