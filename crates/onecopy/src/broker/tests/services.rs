//! The rules for services and for what is sent directly, one by one.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::broker::protocol::{
    Address, Delivery, Event, NodeId, OpenError, PortId, Refusal, Request, Role, Route, ServiceType,
};
use crate::broker::state::{Broker, Output};
use crate::broker::transport::{Credentials, PacketSocket};
use crate::broker::{Descriptor, PeerId};
use crate::payload_type::PayloadType;

const USER: u32 = 1000;

fn port(node: u64, serial: u32) -> PortId {
    PortId { node: NodeId(node), serial }
}

/// A broker with nodes 1 to `nodes`, each on the peer of the same number, in a process of a hundred more.
fn broker(nodes: u64) -> Broker {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    for number in 1..=nodes {
        broker.connect(PeerId(number), Credentials { pid: 100 + number as u32, uid: USER });
        send(
            &mut broker,
            number,
            Request::Hello { node: NodeId(number), name: "node".to_owned(), returns_from: None },
        );
    }
    broker
}

fn send(broker: &mut Broker, peer: u64, request: Request) -> Vec<(u64, Event)> {
    let descriptor = || -> Descriptor { Arc::new(OwnedFd::from(PacketSocket::pair().unwrap().0)) };
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

fn payload() -> ServiceType {
    ServiceType { request: PayloadType::value::<u64>(), response: PayloadType::slice::<u8>() }
}

fn open(port: PortId, role: Role, service: &str) -> Request {
    Request::OpenService { port, role, service: service.to_owned(), payload: Some(payload()) }
}

fn direct(publisher: PortId, from: PortId, to: PortId, payload: PayloadType) -> Request {
    let address = Address::Direct { to, from };
    Request::OpenPublisher { publisher, address, payload, delivery: Delivery::Reliable, history: 0 }
}

fn met(port: PortId, peer: PortId) -> Event {
    Event::Met { port, peer, pid: 100 + peer.node.0 as u32, payload: payload() }
}

#[test]
fn each_client_is_introduced_to_each_server_once() {
    let mut broker = broker(3);
    let (first, client, second) = (port(1, 1), port(2, 1), port(3, 1));
    let opened = |port, payload| Event::Opened { port, payload: Some(payload), delivery: None };
    let settled = |port| Event::Settled { port };
    assert_eq!(
        send(&mut broker, 1, open(first, Role::Server, "s")),
        [(1, opened(first, payload().request)), (1, settled(first)), (1, Event::AllMet { port: first }),]
    );
    assert_eq!(
        send(&mut broker, 2, open(client, Role::Client, "s")),
        [
            (2, opened(client, payload().response)),
            (2, settled(client)),
            (2, met(client, first)),
            (1, met(first, client)),
            (2, Event::AllMet { port: client }),
        ]
    );
    let events = send(&mut broker, 3, open(second, Role::Server, "s"));
    assert_eq!(
        events[2..],
        [(3, met(second, client)), (2, met(client, second)), (3, Event::AllMet { port: second }),]
    );
    // Servers are nothing to each other, nor are services of different names.
    let events = send(&mut broker, 2, open(port(2, 2), Role::Client, "other"));
    assert!(!events.iter().any(|(_, event)| matches!(event, Event::Met { .. })));

    assert_eq!(
        send(&mut broker, 1, Request::Close { port: first }),
        [(2, Event::Parted { port: client, peer: first })]
    );
    broker.handle_gone(PeerId(2));
    assert_eq!(told(&mut broker), [(3, Event::Parted { port: second, peer: client })]);
    broker.handle_gone(PeerId(1));
    broker.handle_gone(PeerId(3));
    assert!(broker.is_empty());
}

#[test]
fn who_was_introduced_publishes_to_the_other_alone() {
    let mut broker = broker(3);
    let (server, client, stranger) = (port(1, 1), port(2, 1), port(3, 1));
    send(&mut broker, 1, open(server, Role::Server, "s"));
    send(&mut broker, 2, open(client, Role::Client, "s"));
    send(&mut broker, 3, open(stranger, Role::Client, "s"));
    let publisher = port(1, 2);
    let events = send(&mut broker, 1, direct(publisher, server, client, payload().response));
    let route = Route { publisher, subscriber: client };
    let shown = Event::Publisher {
        route,
        payload: payload().response,
        delivery: Delivery::Reliable,
        from: Some(server),
        pid: 101,
    };
    let mut shown_to = events.iter().filter(|(_, event)| matches!(event, Event::Publisher { .. }));
    assert_eq!(
        (shown_to.next(), shown_to.next()),
        (Some(&(2, shown)), None),
        "the other client sees nothing"
    );
    // Its type is what the service says.
    let events = send(&mut broker, 1, direct(port(1, 3), server, client, payload().request));
    assert!(matches!(events[..], [(1, Event::OpenFailed { error: OpenError::TypeMismatch { .. }, .. })]));
    // The client ends: the server's way to it is told, and it has parted.
    send(&mut broker, 2, Request::Attach { route, reader_segment: 0, block: 0 });
    broker.handle_gone(PeerId(2));
    let events = told(&mut broker);
    assert!(events.contains(&(1, Event::Parted { port: server, peer: client })), "{events:?}");
    assert!(events.contains(&(1, Event::SubscriberGone { route })), "{events:?}");
}

#[test]
fn strangers_are_not_published_to() {
    let mut broker = broker(3);
    let (server, client, other_client) = (port(1, 1), port(2, 1), port(3, 1));
    send(&mut broker, 1, open(server, Role::Server, "s"));
    send(&mut broker, 2, open(client, Role::Client, "s"));
    send(&mut broker, 3, open(other_client, Role::Client, "other"));
    let response = payload().response;
    let cases = [
        // Clients of other services, or what is no port at all.
        (3, direct(port(3, 9), other_client, server, response.clone())),
        (3, direct(port(3, 9), port(3, 77), server, response.clone())),
        (3, direct(port(3, 9), port(3, 9), port(3, 9), response.clone())),
        // In the name of another node's port, though that one was introduced.
        (3, direct(port(3, 9), server, client, response.clone())),
        // To one of its own side, and to itself.
        (1, direct(port(1, 9), server, server, response.clone())),
        (2, direct(port(2, 9), client, other_client, response.clone())),
    ];
    for (peer, request) in cases {
        let events = send(&mut broker, peer, request.clone());
        assert!(
            matches!(events[..], [(told, Event::OpenFailed { error: OpenError::NoSuchPeer { .. }, .. })] if told == peer),
            "{request:?}: {events:?}"
        );
    }
    // Not even those who were introduced, once they have parted.
    send(&mut broker, 2, Request::Close { port: client });
    let events = send(&mut broker, 1, direct(port(1, 9), server, client, response));
    assert!(matches!(events[..], [(1, Event::OpenFailed { error: OpenError::NoSuchPeer { .. }, .. })]));
}

#[test]
fn nobody_subscribes_to_what_is_sent_directly() {
    let mut broker = broker(2);
    let (server, client) = (port(1, 1), port(2, 1));
    send(&mut broker, 1, open(server, Role::Server, "s"));
    let address = Address::Direct { to: server, from: client };
    let spy = Request::OpenSubscriber { subscriber: port(2, 5), address, payload: None };
    let reason = Refusal::WrongRole { port: port(2, 5) };
    assert_eq!(send(&mut broker, 2, spy), [(2, Event::Refused { reason })]);
}

#[test]
fn a_service_has_the_types_that_were_named_first() {
    let mut broker = broker(2);
    let (server, client) = (port(1, 1), port(2, 1));
    send(&mut broker, 1, open(server, Role::Server, "s"));
    let requested = ServiceType { request: PayloadType::value::<u32>(), ..payload() };
    let wrong = Request::OpenService {
        port: client,
        role: Role::Client,
        service: "s".to_owned(),
        payload: Some(requested.clone()),
    };
    let error = OpenError::ServiceMismatch {
        service: "s".to_owned(),
        existing: Box::new(payload()),
        requested: Box::new(requested),
    };
    assert_eq!(send(&mut broker, 2, wrong.clone()), [(2, Event::OpenFailed { port: client, error })]);
    // Whoever takes anything is welcome, and one port is one thing.
    let any =
        Request::OpenService { port: client, role: Role::Client, service: "s".to_owned(), payload: None };
    assert!(send(&mut broker, 2, any).contains(&(2, met(client, server))));
    let error = OpenError::DuplicatePort { port: client };
    assert_eq!(
        send(&mut broker, 2, open(client, Role::Server, "other")),
        [(2, Event::OpenFailed { port: client, error })]
    );
    // With its last port a service forgets its types.
    send(&mut broker, 1, Request::Close { port: server });
    send(&mut broker, 2, Request::Close { port: client });
    assert!(!matches!(send(&mut broker, 2, wrong)[..], [(2, Event::OpenFailed { .. })]));
}

#[test]
fn a_port_is_opened_by_its_own_node_only() {
    let mut broker = broker(2);
    let reason = Refusal::ForeignPort { port: port(1, 1), node: NodeId(2) };
    let events = send(&mut broker, 2, open(port(1, 1), Role::Server, "s"));
    assert_eq!(events, [(2, Event::Refused { reason })]);
}

#[test]
fn a_server_says_what_it_exchanges() {
    let mut broker = broker(1);
    let server = port(1, 1);
    let silent =
        Request::OpenService { port: server, role: Role::Server, service: "s".to_owned(), payload: None };
    let refused = Event::Refused { reason: Refusal::WrongRole { port: server } };
    assert_eq!(send(&mut broker, 1, silent), [(1, refused)]);
}
