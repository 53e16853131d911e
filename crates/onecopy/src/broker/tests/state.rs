//! The rules of the state machine, one by one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::broker::protocol::{
    Address, BrokerId, DecodeError, Delivery, Event, NodeId, OpenError, PortId, Refusal, Request, Role,
    Route, SegmentSet, ServiceType,
};
use crate::broker::state::{Broker, Output};
use crate::broker::transport::{Credentials, PacketSocket};
use crate::broker::{Descriptor, PeerId};
use crate::payload_type::PayloadType;

const USER: u32 = 1000;

fn descriptor() -> Descriptor {
    Arc::new(OwnedFd::from(PacketSocket::pair().unwrap().0))
}

fn port(node: u64, serial: u32) -> PortId {
    PortId { node: NodeId(node), serial }
}

/// A broker with nodes 1 to `nodes`, each on the peer of the same number.
fn broker(nodes: u64) -> Broker {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    for number in 1..=nodes {
        broker.connect(PeerId(number), Credentials { pid: 100, uid: USER });
        let name = format!("node {number}");
        let events =
            send(&mut broker, number, Request::Hello { node: NodeId(number), name, returns_from: None });
        let welcome = Event::Welcome { broker_pid: 7, broker: BrokerId(0), pid_namespace: 0, limited: false };
        assert_eq!(events, [(number, welcome)]);
    }
    broker
}

/// Sends with a descriptor where one is due; returns what everybody is told.
fn send(broker: &mut Broker, peer: u64, request: Request) -> Vec<(u64, Event)> {
    let due = request.carries_descriptor().then(descriptor);
    broker.handle_request(PeerId(peer), request, due);
    told(broker)
}

fn told(broker: &mut Broker) -> Vec<(u64, Event)> {
    broker.check_invariants();
    std::iter::from_fn(|| broker.poll_output())
        .map(|output| match output {
            Output::Send { peer, event, .. } => (peer.0, event),
            Output::Disconnect { peer, reason } => (peer.0, Event::Refused { reason }),
            other => panic!("nobody asked for that: {other:?}"),
        })
        .collect()
}

fn open_publisher(port: PortId, topic: &str, payload: PayloadType, delivery: Delivery) -> Request {
    Request::OpenPublisher {
        publisher: port,
        address: Address::Topic(topic.to_owned()),
        payload,
        delivery,
        history: 4,
    }
}

fn open_subscriber(port: PortId, topic: &str, payload: Option<PayloadType>) -> Request {
    Request::OpenSubscriber { subscriber: port, address: Address::Topic(topic.to_owned()), payload }
}

#[test]
fn a_subscriber_meets_a_publisher() {
    let mut broker = broker(2);
    let (payload, delivery) = (PayloadType::value::<u64>(), Delivery::Reliable);
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    let opened = |port| Event::Opened { port, payload: Some(payload.clone()), delivery: Some(delivery) };

    let events = send(&mut broker, 1, open_publisher(route.publisher, "t", payload.clone(), delivery));
    let settled = Event::Settled { port: route.publisher };
    assert_eq!(events, [(1, opened(route.publisher)), (1, settled)]);
    assert_eq!(
        send(
            &mut broker,
            1,
            Request::AddSegment { publisher: route.publisher, index: 9, replaced: SegmentSet::EMPTY }
        ),
        []
    );

    let events = send(&mut broker, 2, open_subscriber(route.subscriber, "t", None));
    let shown = Event::Publisher { route, payload: payload.clone(), delivery, from: None, pid: 100 };
    assert_eq!(
        events,
        [
            (2, opened(route.subscriber)),
            (2, shown),
            (2, Event::Segment { route, index: 9, replaced: SegmentSet::EMPTY })
        ]
    );

    let events = send(&mut broker, 2, Request::Attach { route, reader_segment: 3, block: 5 });
    assert_eq!(events, [(1, Event::Attach { route, reader_segment: 3, block: 5, pid: 100 })]);
    let events = send(&mut broker, 1, Request::Attached { route, start: 42 });
    let settled = Event::Settled { port: route.subscriber };
    assert_eq!(events, [(2, Event::Attached { route, start: 42 }), (2, settled)]);
    let events = send(&mut broker, 2, Request::MaySleep { route, doorbell: false });
    assert_eq!(events, [(1, Event::MaySleep { route, doorbell: false })]);

    broker.handle_gone(PeerId(2));
    assert_eq!(told(&mut broker), [(1, Event::SubscriberGone { route })]);
    broker.handle_gone(PeerId(1));
    assert!(broker.is_empty());
}

#[test]
fn a_publisher_is_settled_when_all_who_waited_have_attached_left_or_died() {
    let mut broker = broker(4);
    for node in 2..=4 {
        send(&mut broker, node, open_subscriber(port(node, 1), "t", None));
    }
    let publisher = port(1, 1);
    let route = |node| Route { publisher, subscriber: port(node, 1) };
    let request = open_publisher(publisher, "t", PayloadType::value::<u64>(), Delivery::Overwrite);
    let settled = (1, Event::Settled { port: publisher });
    assert!(!send(&mut broker, 1, request).contains(&settled));
    let events = send(&mut broker, 2, Request::Attach { route: route(2), reader_segment: 0, block: 0 });
    assert!(!events.contains(&settled));
    assert_eq!(send(&mut broker, 3, Request::Detach { route: route(3) }), []);
    broker.handle_gone(PeerId(4));
    assert_eq!(told(&mut broker), [settled]);
}

#[test]
fn mismatches_name_both_sides_and_cost_nothing() {
    let mut broker = broker(2);
    let (narrow, wide) = (PayloadType::value::<u32>(), PayloadType::value::<u64>());
    send(&mut broker, 1, open_publisher(port(1, 1), "t", narrow.clone(), Delivery::Reliable));
    let events = send(&mut broker, 2, open_subscriber(port(2, 1), "t", Some(wide.clone())));
    let error = OpenError::TypeMismatch {
        topic: "t".to_owned(),
        existing: Box::new(narrow.clone()),
        requested: Box::new(wide.clone()),
    };
    let message = error.to_string();
    assert!(message.contains("u32 (4 bytes") && message.contains("u64 (8 bytes"), "{message}");
    assert_eq!(events, [(2, Event::OpenFailed { port: port(2, 1), error })]);

    let events = send(&mut broker, 2, open_publisher(port(2, 2), "t", narrow.clone(), Delivery::Overwrite));
    let (existing, requested) = (Delivery::Reliable, Delivery::Overwrite);
    let error = OpenError::DeliveryMismatch { topic: "t".to_owned(), existing, requested };
    assert_eq!(events, [(2, Event::OpenFailed { port: port(2, 2), error })]);

    // With its last port a topic forgets what it carried.
    send(&mut broker, 1, Request::Close { port: port(1, 1) });
    let events = send(&mut broker, 2, open_publisher(port(2, 3), "t", wide, Delivery::Overwrite));
    assert!(matches!(events[0], (2, Event::Opened { .. })));
    let events = send(&mut broker, 2, open_subscriber(port(2, 3), "other", None));
    let error = OpenError::DuplicatePort { port: port(2, 3) };
    assert_eq!(events, [(2, Event::OpenFailed { port: port(2, 3), error })]);
}

#[test]
fn the_first_who_names_a_type_fixes_it() {
    let mut broker = broker(1);
    send(&mut broker, 1, open_subscriber(port(1, 1), "t", None));
    send(&mut broker, 1, open_subscriber(port(1, 2), "t", Some(PayloadType::slice::<u8>())));
    let request = open_publisher(port(1, 3), "t", PayloadType::value::<u8>(), Delivery::Reliable);
    let events = send(&mut broker, 1, request);
    assert!(matches!(events[..], [(1, Event::OpenFailed { error: OpenError::TypeMismatch { .. }, .. })]));
}

#[test]
fn whoever_breaks_a_rule_is_let_go_of_alone() {
    let payload = PayloadType::value::<u64>();
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    let cases: Vec<(Request, bool, Refusal)> = vec![
        (
            Request::Close { port: port(1, 1) },
            false,
            Refusal::ForeignPort { port: port(1, 1), node: NodeId(2) },
        ),
        (
            Request::Attached { route, start: 0 },
            false,
            Refusal::ForeignPort { port: port(1, 1), node: NodeId(2) },
        ),
        (
            Request::Hello { node: NodeId(2), name: "again".to_owned(), returns_from: None },
            false,
            Refusal::HelloRepeated,
        ),
        (Request::Attach { route, reader_segment: 0, block: 0 }, false, Refusal::DescriptorMissing),
        (Request::Detach { route }, true, Refusal::DescriptorSurplus),
        (
            Request::AddSegment { publisher: port(2, 1), index: 0, replaced: SegmentSet::EMPTY },
            true,
            Refusal::WrongRole { port: port(2, 1) },
        ),
        (
            Request::MaySleep {
                route: Route { publisher: port(1, 1), subscriber: port(2, 2) },
                doorbell: false,
            },
            false,
            Refusal::WrongRole { port: port(2, 2) },
        ),
    ];
    for (request, with_descriptor, reason) in cases {
        let mut broker = broker(2);
        send(&mut broker, 1, open_publisher(port(1, 1), "t", payload.clone(), Delivery::Overwrite));
        send(&mut broker, 2, open_subscriber(port(2, 1), "t", None));
        send(&mut broker, 2, open_publisher(port(2, 2), "u", payload.clone(), Delivery::Overwrite));
        send(&mut broker, 2, Request::Attach { route, reader_segment: 0, block: 0 });
        broker.handle_request(PeerId(2), request.clone(), with_descriptor.then(descriptor));
        let events = told(&mut broker);
        assert_eq!(events, [(2, Event::Refused { reason })], "{request:?}");
        // It is not listened to any more, except that it may let go of what it holds; and the other goes on.
        assert_eq!(send(&mut broker, 2, open_subscriber(port(2, 3), "t", None)), []);
        assert_eq!(send(&mut broker, 2, Request::Detach { route }), [(1, Event::SubscriberGone { route })]);
        assert!(broker.has_forgotten(PeerId(2)));
        assert_eq!(send(&mut broker, 2, Request::Detach { route }), []);
        assert_eq!(
            send(&mut broker, 1, Request::Inspect { request: 1, topic: Some("x".to_owned()), rings: false })
                .len(),
            1
        );
    }
}

#[test]
fn the_same_segment_twice_is_a_fault() {
    let mut broker = broker(1);
    send(&mut broker, 1, open_publisher(port(1, 1), "t", PayloadType::value::<u8>(), Delivery::Overwrite));
    let request = Request::AddSegment { publisher: port(1, 1), index: 3, replaced: SegmentSet::EMPTY };
    assert_eq!(send(&mut broker, 1, request.clone()), []);
    let reason = Refusal::DuplicateSegment { publisher: port(1, 1), index: 3 };
    assert_eq!(send(&mut broker, 1, request), [(1, Event::Refused { reason })]);
}

#[test]
fn strangers_are_refused_at_the_door() {
    let mut broker = broker(1);
    broker.connect(PeerId(2), Credentials { pid: 5, uid: 0 });
    let reason = Refusal::WrongUser { peer_uid: 0, broker_uid: USER };
    assert_eq!(told(&mut broker), [(2, Event::Refused { reason })]);

    broker.connect(PeerId(3), Credentials { pid: 5, uid: USER });
    let events =
        send(&mut broker, 3, Request::Hello { node: NodeId(1), name: "twin".to_owned(), returns_from: None });
    assert_eq!(events, [(3, Event::Refused { reason: Refusal::DuplicateNode { node: NodeId(1) } })]);

    broker.connect(PeerId(4), Credentials { pid: 5, uid: USER });
    let events = send(&mut broker, 4, Request::Inspect { request: 1, topic: None, rings: false });
    assert_eq!(events, [(4, Event::Refused { reason: Refusal::HelloMissing })]);

    broker.connect(PeerId(5), Credentials { pid: 5, uid: USER });
    broker.handle_malformed(PeerId(5), DecodeError::TrailingBytes { bytes: 3 });
    assert!(
        matches!(&told(&mut broker)[..], [(5, Event::Refused { reason: Refusal::Malformed { detail } })] if detail.contains('3'))
    );
}

#[test]
fn words_that_cross_an_end_are_dropped_without_blame() {
    let mut broker = broker(2);
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    let payload = PayloadType::value::<u64>();
    send(&mut broker, 1, open_publisher(route.publisher, "t", payload.clone(), Delivery::Overwrite));
    send(&mut broker, 2, open_subscriber(route.subscriber, "t", None));
    send(&mut broker, 2, Request::Attach { route, reader_segment: 0, block: 0 });
    // The publisher closes its port and opens it again on another topic, while words for the old one are on their way.
    send(&mut broker, 1, Request::Close { port: route.publisher });
    send(&mut broker, 1, open_publisher(route.publisher, "u", payload, Delivery::Overwrite));
    for request in [
        Request::Attach { route, reader_segment: 0, block: 0 },
        Request::MaySleep { route, doorbell: true },
        Request::Detach { route },
    ] {
        assert_eq!(send(&mut broker, 2, request), []);
    }
    assert_eq!(send(&mut broker, 1, Request::Attached { route, start: 0 }), []);
}

#[test]
fn inspection_lists_everything_once() {
    let mut broker = broker(2);
    let payload = PayloadType::value::<u64>();
    send(&mut broker, 1, open_publisher(port(1, 1), "a", payload.clone(), Delivery::Reliable));
    send(&mut broker, 2, open_subscriber(port(2, 1), "a", None));
    send(&mut broker, 2, open_subscriber(port(2, 2), "b", None));
    let events = send(&mut broker, 2, Request::Inspect { request: 6, topic: None, rings: true });
    assert!(events.iter().all(|(peer, _)| *peer == 2));
    let kinds: String = events
        .iter()
        .map(|(_, event)| match event {
            Event::NodeInfo { request: 6, uid: USER, pid: 100, .. } => 'N',
            Event::TopicInfo { request: 6, .. } => 'T',
            Event::PublisherInfo { request: 6, ring: true, history: 4, .. } => 'P',
            Event::SubscriberInfo { request: 6, .. } => 'S',
            Event::InspectEnd { request: 6 } => '.',
            _ => '?',
        })
        .collect();
    assert_eq!(kinds, "NNTPSTS.");
    let events =
        send(&mut broker, 1, Request::Inspect { request: 7, topic: Some("b".to_owned()), rings: false });
    assert_eq!(events.len(), 3);
}

#[test]
fn inspection_shows_memory_to_those_who_want_it() {
    let mut broker = broker(2);
    let (client, server) = (port(1, 1), port(2, 1));
    let payload = PayloadType::value::<u64>();
    let service = ServiceType { request: payload.clone(), response: payload.clone() };
    for (peer, port, role) in [(2, server, Role::Server), (1, client, Role::Client)] {
        let payload = Some(service.clone());
        send(&mut broker, peer, Request::OpenService { port, role, service: "s".to_owned(), payload });
    }
    let ring = Request::OpenPublisher {
        publisher: port(1, 2),
        address: Address::Direct { to: server, from: client },
        payload: payload.clone(),
        delivery: Delivery::Reliable,
        history: 0,
    };
    send(&mut broker, 1, ring);
    send(&mut broker, 1, open_publisher(port(1, 3), "a", payload, Delivery::Reliable));
    send(
        &mut broker,
        1,
        Request::AddSegment { publisher: port(1, 3), index: 0, replaced: SegmentSet::EMPTY },
    );
    send(&mut broker, 1, Request::ShowReaders);
    send(&mut broker, 1, Request::ShowReaders);
    let mut shown = |rings| {
        let events = send(&mut broker, 2, Request::Inspect { request: 6, topic: None, rings });
        let nodes = events.iter().filter(|(_, event)| matches!(event, Event::NodeInfo { readers: true, .. }));
        let nodes = nodes.count();
        let owners = events.iter().filter_map(|(_, event)| match event {
            Event::MemoryInfo { owner, .. } => Some(*owner),
            _ => None,
        });
        (nodes, owners.collect::<Vec<_>>())
    };
    assert_eq!(shown(true), (1, vec![port(1, 3), client]));
    assert_eq!(shown(false), (0, vec![]));
}
