//! Memory that grows while it is in use, where a quota bounds it: what does not fit is refused by itself.

use std::sync::Arc;

use onecopy_memory::region::Seat;

use super::samples::memory_of;
use crate::broker::protocol::{
    Address, BrokerId, Delivery, Event, NodeId, OpenError, PortId, Refusal, Request, Resource, SegmentSet,
};
use crate::broker::state::{Broker, Output};
use crate::broker::transport::Credentials;
use crate::broker::{Descriptor, PeerId};
use crate::config::{Accounts, Config};
use crate::payload_type::PayloadType;

const OWNER: u32 = 1000;
const GUEST: u32 = 2000;
const QUOTA: u64 = 1000;

/// A guest that may have [`QUOTA`] bytes, on peer 2, and the owner, on peer 1.
struct Stage {
    broker: Broker,
    owner: NodeId,
    guest: NodeId,
}

impl Stage {
    fn new() -> Self {
        Self::after(None)
    }

    /// Both come back from that broker, and have not announced anything yet.
    fn after(returns_from: Option<BrokerId>) -> Self {
        let rules = "[admit]\nusers = [2000]\n[[allow]]\nrights = [\"publish\", \"write\"]\nnames = [\"**\"]\n\
                     [[quota]]\nusers = [2000]\nmemory = 1000\n";
        let config = Config::parse("lab.toml".as_ref(), rules, &Accounts::default()).unwrap();
        let mut broker = Broker::new(Credentials { pid: 7, uid: OWNER });
        broker.govern(Arc::new(config));
        let [owner, guest] = [(1, OWNER), (2, GUEST)].map(|(peer, uid)| {
            broker.connect(PeerId(peer), Credentials { pid: 100 + peer as u32, uid });
            let node = NodeId::of_user(uid).unwrap();
            let hello = Request::Hello { node, name: "node".to_owned(), returns_from };
            broker.handle_request(PeerId(peer), hello, None);
            node
        });
        Self { broker, owner, guest }
    }

    fn outputs(&mut self) -> Vec<Output> {
        self.broker.check_invariants();
        std::iter::from_fn(|| self.broker.poll_output()).collect()
    }

    /// Sends what a node has to say, and returns what it is told.
    fn ask(&mut self, node: NodeId, request: Request, descriptor: Option<Descriptor>) -> Vec<Event> {
        let peer = PeerId(if node == self.owner { 1 } else { 2 });
        self.outputs();
        self.broker.handle_request(peer, request, descriptor);
        let told = self.outputs().into_iter().filter_map(|output| match output {
            Output::Send { peer: to, event, .. } if to == peer => Some(event),
            Output::Disconnect { peer: to, reason } if to == peer => Some(Event::Refused { reason }),
            _ => None,
        });
        told.collect()
    }

    fn publish(&mut self, port: PortId, bytes: u64) {
        let (payload, delivery) = (PayloadType::value::<u64>(), Delivery::Overwrite);
        let address = Address::Topic("t".to_owned());
        let request = Request::OpenPublisher { publisher: port, address, payload, delivery, history: 0 };
        let told = self.ask(port.node, request, Some(memory_of(bytes)));
        assert!(matches!(told.first(), Some(Event::Opened { .. })), "{told:?}");
    }

    /// Why not, if not.
    fn reserve(&mut self, port: PortId, bytes: u64, replaced: u64) -> Option<OpenError> {
        let replaced = SegmentSet::from_bits(replaced);
        let request = Request::Reserve { request: 5, port, bytes, replaced };
        let told = self.ask(port.node, request, None);
        let [Event::Reserved { request: 5, refused }] = &told[..] else { panic!("{told:?}") };
        refused.clone()
    }

    fn add(&mut self, publisher: PortId, (index, replaced): (u32, u64), bytes: u64) -> Vec<Event> {
        let replaced = SegmentSet::from_bits(replaced);
        let request = Request::AddSegment { publisher, index, replaced };
        self.ask(publisher.node, request, Some(memory_of(bytes)))
    }
}

fn port(node: NodeId, serial: u32) -> PortId {
    PortId { node, serial }
}

#[test]
fn only_those_whose_memory_is_bounded_are_told_to_ask() {
    let mut stage = Stage::new();
    let welcomes: Vec<(PeerId, bool)> = stage
        .outputs()
        .into_iter()
        .filter_map(|output| match output {
            Output::Send { peer, event: Event::Welcome { limited, .. }, .. } => Some((peer, limited)),
            _ => None,
        })
        .collect();
    assert_eq!(welcomes, [(PeerId(1), false), (PeerId(2), true)]);
}

#[test]
fn what_does_not_fit_is_refused_alone_and_what_was_reserved_fits() {
    let mut stage = Stage::new();
    let (one, two) = (port(stage.guest, 1), port(stage.guest, 2));
    stage.publish(one, 300);
    stage.publish(two, 100);
    let Some(OpenError::OverUserQuota(quota)) = stage.reserve(one, 700, 0) else { panic!("it has no room") };
    assert_eq!((quota.uid, quota.resource, quota.limit, quota.line), (GUEST, Resource::Memory, QUOTA, 6));
    // Nothing of what it has open is concerned.
    assert_eq!(stage.reserve(one, 500, 0), None);
    // It is taken from then on, whoever asks, until it is shown.
    assert!(stage.reserve(two, 200, 0).is_some());
    assert_eq!(stage.add(one, (0, 0), 500), []);
    assert!(stage.reserve(two, 200, 0).is_some());
    assert_eq!(stage.reserve(two, 100, 0), None);
    // Who asks again gives back what it had asked for before.
    assert_eq!(stage.reserve(two, 50, 0), None);
    assert_eq!(stage.add(one, (1, 0), 50).len(), 0);
    // The end of a port gives back everything.
    stage.ask(stage.guest, Request::Close { port: one }, None);
    assert_eq!(stage.reserve(two, 900, 0), None);
    stage.ask(stage.guest, Request::Close { port: two }, None);
    stage.publish(port(stage.guest, 3), QUOTA);
    // The owner asks nobody.
    let own = port(stage.owner, 1);
    stage.publish(own, 10 * QUOTA);
    assert_eq!(stage.add(own, (0, 0), 10 * QUOTA), []);
    for peer in [1, 2] {
        stage.broker.handle_gone(PeerId(peer));
    }
    assert!(stage.broker.is_empty());
}

#[test]
fn segments_that_go_make_room_for_the_one_that_comes() {
    let mut stage = Stage::new();
    let publisher = port(stage.guest, 1);
    stage.publish(publisher, 100);
    assert_eq!(stage.add(publisher, (0, 0), 400), []);
    assert_eq!(stage.add(publisher, (1, 0), 400), []);
    assert!(stage.reserve(publisher, 600, 0b01).is_some());
    assert_eq!(stage.reserve(publisher, 500, 0b01), None);
    assert_eq!(stage.add(publisher, (2, 0b01), 500), []);
    assert!(stage.reserve(publisher, 1, 0).is_some());
    // Whoever promised to give something back has to.
    assert_eq!(stage.reserve(publisher, 400, 0b10), None);
    let told = stage.add(publisher, (3, 0), 400);
    assert!(matches!(&told[..], [Event::Refused { reason: Refusal::OverUserQuota(_) }]), "{told:?}");
}

#[test]
fn who_shows_memory_that_it_had_no_room_for_is_refused() {
    let mut stage = Stage::new();
    let publisher = port(stage.guest, 1);
    stage.publish(publisher, 100);
    assert!(stage.reserve(publisher, QUOTA, 0).is_some());
    let told = stage.add(publisher, (0, 0), QUOTA);
    assert!(matches!(&told[..], [Event::Refused { reason: Refusal::OverUserQuota(_) }]), "{told:?}");
}

#[test]
fn a_shared_regions_memory_counts_for_who_brought_it() {
    let mut stage = Stage::new();
    let [own, guest] = [port(stage.owner, 1), port(stage.guest, 1)];
    for port in [own, guest] {
        let payload = Some(PayloadType::value::<u64>());
        let open = Request::OpenShared { port, region: "r".to_owned(), payload, seat: None };
        let told = stage.ask(port.node, open, None);
        assert!(matches!(told.last(), Some(Event::Seated { .. })), "{told:?}");
    }
    let offer = |port, succeeds| Request::OfferShared { port, succeeds, version: 0, brought: true };
    assert!(stage.reserve(guest, QUOTA + 1, 0).is_some());
    assert_eq!(stage.reserve(guest, 600, 0), None);
    let told = stage.ask(stage.owner, offer(own, false), Some(memory_of(600)));
    assert_eq!(told, [Event::SharedMemory { port: own }]);
    // Who comes too late is told of what there is, and has brought nothing.
    let told = stage.ask(stage.guest, offer(guest, false), Some(memory_of(600)));
    assert_eq!(told, [Event::SharedMemory { port: guest }]);
    assert_eq!(stage.reserve(guest, QUOTA, 0), None);
    let told = stage.ask(stage.guest, offer(guest, true), Some(memory_of(QUOTA)));
    assert_eq!(told, [Event::SharedMemory { port: guest }]);
    // The old one is there until all have moved.
    assert!(stage.reserve(guest, 1, 0).is_some());
    let told = stage.ask(stage.owner, offer(own, true), Some(memory_of(10 * QUOTA)));
    assert_eq!(told, [Event::SharedMemory { port: own }]);
}

/// Comes back as a participant of the region `r`, with its memory.
fn announce(
    stage: &mut Stage,
    port: PortId,
    (version, brought): (u64, bool),
    memory: &Descriptor,
) -> Vec<Event> {
    let payload = Some(PayloadType::value::<u64>());
    let line = if port.node == stage.owner { 1 } else { 2 };
    let seat = Some(Seat::new(line, 1).unwrap().to_bits());
    let mut told =
        stage.ask(port.node, Request::OpenShared { port, region: "r".to_owned(), payload, seat }, None);
    let offer = Request::OfferShared { port, succeeds: false, version, brought };
    told.extend(stage.ask(port.node, offer, Some(Arc::clone(memory))));
    told.extend(stage.ask(port.node, Request::Announced, None));
    told
}

#[test]
fn what_somebody_brought_counts_at_the_next_broker_too() {
    let mut stage = Stage::after(Some(BrokerId(9)));
    let [own, guest] = [port(stage.owner, 1), port(stage.guest, 1)];
    let memory = memory_of(600);
    // Somebody else may come back with it first.
    announce(&mut stage, own, (3, false), &memory);
    announce(&mut stage, guest, (3, true), &memory);
    assert!(stage.reserve(guest, 401, 0).is_some());
    assert_eq!(stage.reserve(guest, 400, 0), None);
    stage.ask(stage.guest, Request::Close { port: guest }, None);
    stage.publish(port(stage.guest, 2), QUOTA);
}

#[test]
fn what_is_not_the_regions_memory_after_all_does_not_count() {
    let mut stage = Stage::after(Some(BrokerId(9)));
    let [own, guest] = [port(stage.owner, 1), port(stage.guest, 1)];
    announce(&mut stage, own, (3, true), &memory_of(10 * QUOTA));
    announce(&mut stage, guest, (0, true), &memory_of(600));
    assert_eq!(stage.reserve(guest, QUOTA, 0), None);
}

#[test]
fn who_comes_back_having_brought_more_than_it_may_is_refused() {
    let mut stage = Stage::after(Some(BrokerId(9)));
    let guest = port(stage.guest, 1);
    let told = announce(&mut stage, guest, (3, true), &memory_of(QUOTA + 1));
    assert!(matches!(told.last(), Some(Event::Refused { reason: Refusal::OverUserQuota(_) })), "{told:?}");
}
