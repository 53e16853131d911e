//! What one peer can do to the others by way of the broker: nothing. Each test is a peer that goes for something that
//! all of them share.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod broker_common;
mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use broker_common::{World, assert_served, last_event, memory, open_publisher, open_subscriber, port};
use common::{Child, LONG, Stage, directory, node_in};
use onecopy::broker::protocol::{
    Address, Event, NodeId, OpenError, Refusal, Request, Resource, Route, SegmentSet,
};
use onecopy::broker::transport::{PacketSocket, TransportError};
use onecopy::instance::Instance;
use onecopy::limits::{PORTS_PER_PEER_AND_NAME_MAX, PORTS_PER_PEER_MAX};
use onecopy::{ReceiveError, WaitError};
use rustix::process::{Resource as Limited, Rlimit, Uid, geteuid, getrlimit, setrlimit};

const OPEN_FILES: u64 = 256;
const LARGE: usize = 500_000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "broker with few files" => broker_with_few_files(stage),
        "crowded user" => crowded_user(stage),
        role => panic!("no role {role}"),
    });
}

/// A subscriber whose publisher knows it.
fn attach(publisher: &PacketSocket, subscriber: &PacketSocket, route: Route) {
    open_publisher(publisher, route.publisher, &memory());
    until(publisher, |event| matches!(event, Event::Settled { .. }));
    open_subscriber(subscriber, route.subscriber);
    until(subscriber, |event| matches!(event, Event::Publisher { .. }));
    let request = Request::Attach { route, reader_segment: 0, block: 0 };
    subscriber.send_request(&request, Some(memory().as_fd())).unwrap();
    until(publisher, |event| matches!(event, Event::Attach { .. }));
}

/// Receives until there is an event like that, which must come without anybody saying anything.
fn until(socket: &PacketSocket, mut is_meant: impl FnMut(&Event) -> bool) -> Event {
    socket.set_timeout(Some(LONG)).unwrap();
    loop {
        let (event, _) = socket.receive_event().unwrap();
        if is_meant(&event) {
            return event;
        }
    }
}

fn route() -> Route {
    Route { publisher: port(1, 1), subscriber: port(2, 1) }
}

/// Asks for more than fits the socket, and has the publisher told when all of it was asked.
fn ask_without_reading(subscriber: &PacketSocket, publisher: &PacketSocket, questions: u32) {
    for request in 0..questions {
        subscriber.send_request(&Request::Inspect { request, topic: None, rings: false }, None).unwrap();
    }
    subscriber.send_request(&Request::MaySleep { route: route(), doorbell: false }, None).unwrap();
    until(publisher, |event| matches!(event, Event::MaySleep { .. }));
}

#[test]
fn the_end_of_a_peer_is_told_although_packets_wait_for_it() {
    let directory = directory();
    let mut broker = Child::spawn("broker with few files", directory.path());
    broker.expect("ready");
    let (publisher, subscriber) = (raw(directory.path(), 1), raw(directory.path(), 2));
    attach(&publisher, &subscriber, route());
    ask_without_reading(&subscriber, &publisher, 2000);
    // The broker is to find the end and room in the socket at once.
    broker.stop();
    drop(subscriber);
    broker.go_on();
    let gone = until(&publisher, |event| matches!(event, Event::SubscriberGone { .. }));
    assert_eq!(gone, Event::SubscriberGone { route: route() });
    assert!(broker.end().success());
}

/// Has the broker let go of a subscriber, which does not notice.
fn evict(subscriber: &PacketSocket) {
    subscriber.send(b"garbage", None).unwrap();
    until(subscriber, |event| matches!(event, Event::Refused { .. }));
    assert!(matches!(subscriber.receive(), Err(TransportError::Closed)));
}

#[test]
fn a_publisher_is_not_told_of_an_evicted_peers_end_before_it_ends() {
    let world = World::new();
    let (publisher, subscriber) = (world.node(1), world.node(2));
    attach(&publisher, &subscriber, route());
    evict(&subscriber);
    // Refused, it is heard no more, and no topic has it.
    open_subscriber(&subscriber, port(2, 2));
    let question = Request::Inspect { request: 1, topic: Some("t".to_owned()), rings: false };
    publisher.send_request(&question, None).unwrap();
    let mut told = Vec::new();
    until(&publisher, |event| {
        told.push(event.clone());
        matches!(event, Event::InspectEnd { .. })
    });
    let [Event::TopicInfo { subscribers: 0, .. }, Event::PublisherInfo { .. }, Event::InspectEnd { .. }] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    drop(subscriber);
    until(&publisher, |event| *event == Event::SubscriberGone { route: route() });
}

#[test]
fn an_evicted_peer_that_lets_go_is_forgotten() {
    let world = World::new();
    for let_go in [Request::Detach { route: route() }, Request::Close { port: port(2, 1) }] {
        let (publisher, subscriber) = (world.node(1), world.node(2));
        attach(&publisher, &subscriber, route());
        evict(&subscriber);
        subscriber.send_request(&let_go, None).unwrap();
        until(&publisher, |event| *event == Event::SubscriberGone { route: route() });
        // The broker closes the connection now, also towards it, and its number is free.
        while subscriber.send_request(&let_go, None).is_ok() {
            std::thread::yield_now();
        }
        assert_served(&world.node(2));
    }
}

fn broker_with_few_files(stage: &Stage) {
    setrlimit(
        Limited::Nofile,
        Rlimit { current: Some(OPEN_FILES), maximum: getrlimit(Limited::Nofile).maximum },
    )
    .unwrap();
    let server =
        Instance::in_directory(&stage.directory, "default").unwrap().serve().unwrap().spawn().unwrap();
    stage.say("ready");
    stage.stay();
    server.stop().unwrap();
}

fn raw(directory: &Path, number: u64) -> PacketSocket {
    let instance = Instance::in_directory(directory, "default").unwrap();
    let socket = instance.connect().unwrap().unwrap();
    instance.introduce(&socket, NodeId(number), "raw").unwrap();
    socket
}

/// Opens publishers until it may have no more, and says why.
fn hoard(socket: &PacketSocket, node: u64) -> Event {
    let ring = memory();
    for serial in 1.. {
        open_publisher(socket, port(node, serial), &ring);
        let answer = until(socket, |event| {
            matches!(event, Event::Settled { .. } | Event::OpenFailed { .. } | Event::Refused { .. })
        });
        if !matches!(answer, Event::Settled { .. }) {
            return answer;
        }
    }
    unreachable!("there are fewer numbers than files")
}

#[test]
fn whoever_hoards_the_brokers_files_is_the_one_to_go() {
    let directory = directory();
    let mut broker = Child::spawn("broker with few files", directory.path());
    broker.expect("ready");
    let (one, other) = (node_in(directory.path()), node_in(directory.path()));
    let topic = one.topic::<[u8]>("bytes").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = other.topic::<[u8]>("bytes").unwrap().subscriber().open().unwrap();

    // One alone meets its quota, and stays as it is.
    let first = raw(directory.path(), 1);
    let limit = OPEN_FILES / 2;
    let over = OpenError::OverQuota { resource: Resource::Descriptors, limit };
    let answer = hoard(&first, 1);
    assert!(matches!(&answer, Event::OpenFailed { error, .. } if *error == over), "{answer:?}");
    assert_served(&first);
    // Two exhaust what there is, and of these the larger one goes.
    let second = raw(directory.path(), 2);
    hoard(&second, 2);
    assert_eq!(last_event(&first), Some(Event::Refused { reason: Refusal::OutOfDescriptors }));

    // Nobody else has noticed.
    let mut another = other.topic::<[u8]>("bytes").unwrap().subscriber().open().unwrap();
    publisher.publish(&[2; 8]).unwrap();
    for subscriber in [&mut subscriber, &mut another] {
        assert_eq!(subscriber.wait(LONG).unwrap().len(), 8);
    }
    drop(second);
    assert!(broker.end().success());
}

#[test]
fn what_an_evicted_node_holds_does_not_change() {
    let directory = directory();
    let mut broker = Child::spawn("broker with few files", directory.path());
    broker.expect("ready");
    let (one, other) = (node_in(directory.path()), node_in(directory.path()));
    let mut publisher = one.topic::<[u8]>("large").unwrap().publisher().budget_bytes(4 << 20).open().unwrap();
    let mut subscriber = other.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
    publisher.publish(&vec![1; LARGE]).unwrap();
    let kept = subscriber.wait(LONG).unwrap().keep();
    // It has most of the broker's files when they run out, and is the one to go.
    let many: Vec<_> =
        (0..80).map(|_| other.topic::<u64>("many").unwrap().publisher().open().unwrap()).collect();
    let mut crowd = Vec::new();
    let evicted = loop {
        let node = crowd.len() as u64 + 1;
        let socket = raw(directory.path(), node);
        let ring = memory();
        for serial in 0..40 {
            open_publisher(&socket, port(node, serial), &ring);
            until(&socket, |event| matches!(event, Event::Settled { .. }));
        }
        crowd.push(socket);
        match subscriber.receive() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(evicted, ReceiveError::Evicted(Refusal::OutOfDescriptors));
    assert!(matches!(subscriber.wait(common::SHORT).map(drop), Err(WaitError::Timeout)));
    for value in 2..20 {
        publisher.publish(&vec![value; LARGE]).unwrap();
    }
    assert!(kept.iter().all(|byte| *byte == 1));
    // It lets go, and then its publisher is told although the node lives on.
    drop((kept, subscriber));
    while publisher.subscribers() > 0 {
        one.inventory().unwrap();
    }
    drop((many, crowd));
    assert!(broker.end().success());
}

#[test]
fn a_segment_has_a_number_that_pools_have() {
    let world = World::new();
    let (hoarder, bystander) = (world.node(1), world.node(2));
    open_publisher(&hoarder, port(1, 1), &memory());
    let request = Request::AddSegment { publisher: port(1, 1), index: 64, replaced: SegmentSet::EMPTY };
    hoarder.send_request(&request, Some(memory().as_fd())).unwrap();
    let reason = Refusal::SegmentOutOfRange { publisher: port(1, 1), index: 64 };
    assert_eq!(last_event(&hoarder), Some(Event::Refused { reason }));
    assert_served(&bystander);
}

/// A descriptor that blocks whoever closes it last: a connection whose peer does not read, and data that is to leave
/// before it closes.
fn lingering(listener: &TcpListener) -> (OwnedFd, TcpStream) {
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (deaf, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    while std::io::Write::write(&mut &stream, &[0; 1 << 16]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::from_secs(3600))).unwrap();
    (stream.into(), deaf)
}

/// A socket like a doorbell's, in which another descriptor waits.
fn stuffed(with: &OwnedFd) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let kind = SocketType::STREAM;
    let (inner, outer) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    PacketSocket::from(inner).send(b"x", Some(with.as_fd())).unwrap();
    outer
}

#[test]
fn a_descriptor_that_blocks_when_closed_blocks_nobody() {
    let directory = directory();
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    let server = instance.serve().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ring = Request::OpenPublisher {
        publisher: port(1, 1),
        address: Address::Topic("t".to_owned()),
        payload: onecopy::payload_type::PayloadType::value::<u64>(),
        delivery: onecopy::Delivery::Overwrite,
        history: 0,
    };
    let ask = Request::Inspect { request: 1, topic: None, rings: false };
    let bell = Request::MaySleep { route: Route { subscriber: port(4, 1), ..route() }, doorbell: true };
    let packets = [ring.encode(), ask.encode(), b"garbage".to_vec(), bell.encode()];
    let connect = |number| {
        let socket = instance.connect().unwrap().unwrap();
        let hello = Request::Hello { node: NodeId(number), name: "raw".to_owned(), returns_from: None };
        socket.send_request(&hello, None).unwrap();
        socket
    };
    let mut rude = Vec::new();
    for (number, packet) in (1..).zip(&packets) {
        let (blocking, deaf) = lingering(&listener);
        let socket = connect(number);
        let passed =
            if *packet == bell.encode() { stuffed(&blocking) } else { blocking.try_clone().unwrap() };
        socket.send(packet, Some(passed.as_fd())).unwrap();
        rude.push((socket, deaf));
        // Nobody receives it before the broker runs, so that the broker's copy is the last one.
        drop((blocking, passed));
    }
    let bystander = connect(9);
    bystander.set_timeout(Some(LONG)).unwrap();
    let server = server.spawn().unwrap();
    for (socket, _deaf) in &rude {
        let refused = until(socket, |event| matches!(event, Event::Refused { .. }));
        let Event::Refused { reason } = refused else { unreachable!("it was") };
        assert!(matches!(reason, Refusal::DescriptorKind | Refusal::Malformed { .. }), "{reason}");
    }
    assert!(matches!(bystander.receive_event().unwrap().0, Event::Welcome { .. }));
    assert_served(&bystander);
    server.stop().unwrap();
}

#[test]
fn a_peer_has_no_more_ports_than_its_quota() {
    let world = World::new();
    let (hoarder, bystander) = (world.node(1), world.node(2));
    let open = |serial| Request::OpenSubscriber {
        subscriber: port(1, serial),
        address: Address::Topic(format!("t/{serial}")),
        payload: None,
    };
    let most = u32::try_from(PORTS_PER_PEER_MAX).unwrap();
    for serial in 1..=most + 1 {
        hoarder.send_request(&open(serial), None).unwrap();
        let (answer, _) = hoarder.receive_event().unwrap();
        if serial <= most {
            assert!(matches!(answer, Event::Opened { .. }), "{answer:?}");
            hoarder.receive_event().unwrap();
        } else {
            let error = OpenError::OverQuota { resource: Resource::Ports, limit: PORTS_PER_PEER_MAX };
            assert_eq!(answer, Event::OpenFailed { port: port(1, serial), error });
        }
    }
    // What closes may be opened again.
    hoarder.send_request(&Request::Close { port: port(1, 1) }, None).unwrap();
    hoarder.send_request(&open(most + 2), None).unwrap();
    assert!(matches!(hoarder.receive_event().unwrap().0, Event::Opened { .. }));
    assert_served(&bystander);
}

#[test]
fn a_peer_has_no_more_ports_on_one_topic_than_its_quota() {
    let world = World::new();
    let (hoarder, bystander) = (world.node(1), world.node(2));
    let most = u32::try_from(PORTS_PER_PEER_AND_NAME_MAX).unwrap();
    for serial in 1..=most {
        open_subscriber(&hoarder, port(1, serial));
        until(&hoarder, |event| *event == Event::Settled { port: port(1, serial) });
    }
    open_publisher(&hoarder, port(1, 0), &memory());
    let limit = PORTS_PER_PEER_AND_NAME_MAX;
    let error = OpenError::OverQuota { resource: Resource::PortsOfOneName, limit };
    assert_eq!(hoarder.receive_event().unwrap().0, Event::OpenFailed { port: port(1, 0), error });
    // Others have as many as they like, on the same topic.
    open_publisher(&bystander, port(2, 1), &memory());
    assert!(matches!(bystander.receive_event().unwrap().0, Event::Opened { .. }));
}

/// As a user who may not exceed the limit of descriptors on their way, and whose other programs have reached it.
fn crowded_user(stage: &Stage) {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    if geteuid().is_root() {
        // The kernel counts them by user: here as one that nobody else is, and that this thread alone becomes.
        let uid = 50_000 + std::process::id() % 10_000;
        std::os::unix::fs::chown(&stage.directory, Some(uid), None).unwrap();
        rustix::thread::set_thread_res_uid(Uid::from_raw(uid), Uid::from_raw(uid), Uid::from_raw(uid))
            .unwrap();
    }
    let mut sets = capabilities(None).unwrap();
    sets.effective -= CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN;
    set_capabilities(None, sets).unwrap();
    let saved = getrlimit(Limited::Nofile);
    setrlimit(Limited::Nofile, Rlimit { current: Some(100), maximum: saved.maximum }).unwrap();
    let instance = Instance::in_directory(&stage.directory, "default").unwrap();
    let server = instance.serve().unwrap().spawn().unwrap();
    let [publisher, subscriber, bystander] = [1, 2, 3].map(|number| raw(&stage.directory, number));
    open_publisher(&publisher, port(1, 1), &memory());
    until(&publisher, |event| matches!(event, Event::Settled { .. }));

    let (mut crowd, some) = (Vec::new(), memory());
    let mut is_full = false;
    while !is_full {
        let (one, other) = PacketSocket::pair().unwrap();
        is_full = loop {
            match one.try_send(b"x", Some(some.as_fd())) {
                Ok(()) => {}
                Err(TransportError::NotReady) => break false,
                Err(TransportError::TooManyDescriptorsInFlight) => break true,
                Err(error) => panic!("{error}"),
            }
        };
        crowd.push((one, other));
    }
    open_subscriber(&subscriber, port(2, 1));
    until(&subscriber, |event| matches!(event, Event::Opened { .. }));
    // With this answer the broker has also tried to send the publisher's memory.
    assert_served(&bystander);
    drop(crowd);
    let shown = until(&subscriber, |event| !matches!(event, Event::Opened { .. }));
    assert!(matches!(shown, Event::Publisher { .. }), "{shown:?}");
    server.stop().unwrap();
    stage.say("shown");
}

#[test]
fn a_receiver_is_not_blamed_for_descriptors_on_their_way_to_others() {
    let directory = directory();
    let mut user = Child::spawn_with("crowded user", directory.path(), |command| {
        // A home that it may look into, whoever it is.
        command.env("HOME", directory.path()).env_remove("XDG_CONFIG_HOME")
    });
    user.expect("shown");
    assert!(user.end().success());
}
