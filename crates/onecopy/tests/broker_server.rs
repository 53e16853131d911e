//! The broker over real sockets: whatever one peer does, the others are served.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_common;

use std::os::fd::{AsFd, BorrowedFd};

use broker_common::{World, assert_served, last_event, memory, open_publisher, open_subscriber, port};
use onecopy::broker::protocol::{
    Address, Event, NodeId, PROTOCOL_VERSION, Refusal, Request, Route, SegmentSet,
};
use onecopy::broker::transport::{PacketSocket, TransportError};
use onecopy::instance::Instance;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// More descriptors in a packet than our own transport would ever send.
fn send_many(socket: &PacketSocket, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    sendmsg(socket, &[std::io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
}

#[test]
fn garbage_costs_its_sender_only() {
    let world = World::new();
    let bystander = world.node(1);
    let hello = Request::Hello { node: NodeId(2), name: "n".to_owned(), returns_from: None }.encode();
    let mut other_version = hello.clone();
    other_version[2..4].copy_from_slice(&(PROTOCOL_VERSION + 1).to_le_bytes());
    let mut continued = hello.clone();
    continued.push(0);
    let packets =
        [&b"GET / HTTP/1.1\r\n"[..], &[0; 4096], &[0xff; 3], &other_version, &continued, &hello[..6]];
    for packet in packets {
        let socket = world.connect();
        socket.send(packet, None).unwrap();
        let last = last_event(&socket);
        let Some(Event::Refused { reason }) = last else { panic!("{packet:?}: {last:?}") };
        match reason {
            Refusal::Version { peer, broker } => {
                assert_eq!(
                    (packet, peer, broker),
                    (&other_version[..], PROTOCOL_VERSION + 1, PROTOCOL_VERSION)
                );
            }
            Refusal::Malformed { detail } => assert!(!detail.is_empty()),
            other => panic!("{other}"),
        }
        assert_served(&bystander);
    }
}

#[test]
fn descriptors_that_do_not_belong_are_refused() {
    let world = World::new();
    let bystander = world.node(1);
    let memory = memory();
    let ask = Request::Inspect { request: 1, topic: None, rings: false }.encode();
    for count in [1, 2, 3, 9] {
        let socket = world.node(2);
        send_many(&socket, &ask, &vec![memory.as_fd(); count]);
        assert_eq!(
            last_event(&socket),
            Some(Event::Refused { reason: Refusal::DescriptorSurplus }),
            "{count}"
        );
    }
    let socket = world.node(2);
    socket
        .send(
            &Request::AddSegment { publisher: port(2, 1), index: 1, replaced: SegmentSet::EMPTY }.encode(),
            None,
        )
        .unwrap();
    assert_eq!(last_event(&socket), Some(Event::Refused { reason: Refusal::DescriptorMissing }));
    assert_served(&bystander);
}

#[test]
fn a_peer_may_leave_at_any_point_of_the_handshake() {
    let world = World::new();
    let bystander = world.node(1);
    let hello = Request::Hello { node: NodeId(2), name: "n".to_owned(), returns_from: None };
    drop(world.connect());
    let socket = world.connect();
    socket.send_request(&hello, None).unwrap();
    drop(socket);
    let silent = world.connect();
    let half = world.connect();
    half.shutdown().unwrap();
    let empty = world.connect();
    rustix::net::send(&empty, &[], SendFlags::NOSIGNAL).unwrap();
    assert_served(&bystander);
    drop((silent, half, empty));
    // The node that left in the middle is forgotten, so its number is free.
    let again = world.node(2);
    assert_served(&again);
    assert_served(&bystander);
}

#[test]
fn memory_passes_from_node_to_node() {
    let world = World::new();
    let (one, other) = (world.node(1), world.node(2));
    let ring = memory();
    open_publisher(&one, port(1, 1), &ring);
    assert!(matches!(one.receive_event().unwrap().0, Event::Opened { .. }));
    assert_eq!(one.receive_event().unwrap().0, Event::Settled { port: port(1, 1) });
    open_subscriber(&other, port(2, 1));
    assert!(matches!(other.receive_event().unwrap().0, Event::Opened { .. }));
    let (event, descriptor) = other.receive_event().unwrap();
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    assert!(matches!(event, Event::Publisher { route: shown, .. } if shown == route));
    let inode = |descriptor: BorrowedFd<'_>| rustix::fs::fstat(descriptor).unwrap().st_ino;
    assert_eq!(inode(descriptor.unwrap().as_fd()), inode(ring.as_fd()));
    drop(one);
    assert_eq!(other.receive_event().unwrap().0, Event::PublisherGone { route });
}

#[test]
fn a_peer_that_never_reads_is_let_go_of_while_others_go_on() {
    let world = World::new();
    let (deaf, talker, bystander) = (world.node(1), world.node(2), world.node(3));
    open_publisher(&deaf, port(1, 1), &memory());
    open_subscriber(&talker, port(2, 1));
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    while !matches!(talker.receive_event().unwrap().0, Event::Publisher { .. }) {}
    let request = Request::Attach { route, reader_segment: 0, block: 0 };
    talker.send_request(&request, Some(memory().as_fd())).unwrap();
    let word = Request::MaySleep { route, doorbell: false };
    for _ in 0..onecopy::limits::MAX_QUEUED_PACKETS + 10_000 {
        talker.send_request(&word, None).unwrap();
    }
    assert_eq!(talker.receive_event().unwrap().0, Event::PublisherGone { route });
    assert_served(&bystander);
    assert!(last_event(&deaf).is_some(), "what was sent before is still there to read");
}

#[test]
fn a_peer_that_never_reads_cannot_pin_the_brokers_open_files() {
    let world = World::new();
    let (deaf, talker, bystander) = (world.node(1), world.node(2), world.node(3));
    open_subscriber(&deaf, port(1, 1));
    // It reads no more from here on.
    assert!(matches!(deaf.receive_event().unwrap().0, Event::Opened { .. }));
    let ring = memory();
    let let_go = (1..40_000).any(|serial| {
        open_publisher(&talker, port(2, serial), &ring);
        talker.send_request(&Request::Close { port: port(2, serial) }, None).unwrap();
        let opened = talker.receive_event().unwrap().0;
        // It is settled before it closes only once nobody is left to wait for.
        matches!(opened, Event::Settled { .. })
    });
    assert!(let_go);
    assert_served(&bystander);
    assert!(last_event(&deaf).is_some());
}

#[test]
fn a_list_may_be_longer_than_any_queue_bound() {
    let world = World::new();
    let (node, asker) = (world.node(1), world.node(2));
    for serial in 0..500 {
        let topic = format!("topic/{serial}");
        let request = Request::OpenSubscriber {
            subscriber: port(1, serial),
            address: Address::Topic(topic),
            payload: None,
        };
        node.send_request(&request, None).unwrap();
        while node.receive_event().unwrap().0 != (Event::Settled { port: port(1, serial) }) {}
    }
    // Far more than the socket holds, and not read until all is asked.
    const QUESTIONS: u32 = 60;
    for request in 0..QUESTIONS {
        asker.send_request(&Request::Inspect { request, topic: None, rings: false }, None).unwrap();
    }
    let mut items = 0;
    loop {
        match asker.receive_event().unwrap().0 {
            Event::InspectEnd { request } if request + 1 == QUESTIONS => break,
            _ => items += 1,
        }
    }
    assert_eq!(items, QUESTIONS * (2 + 500 * 2 + 1) - 1);
}

#[test]
fn a_stopped_server_closes_connections_and_leaves_no_socket() {
    let world = World::new();
    let socket = world.node(1);
    assert!(world.instance.socket_path().exists());
    assert!(matches!(socket.try_receive(), Err(TransportError::NotReady)));
    let (instance, directory) = world.stop();
    assert!(matches!(socket.receive(), Err(TransportError::Closed)));
    assert!(!instance.socket_path().exists());
    assert!(instance.connect().unwrap().is_none());
    drop(instance.serve().unwrap());
    let files: Vec<_> =
        std::fs::read_dir(instance.directory()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["lab.lock"]);
    drop(directory);
}

/// A broker that is told to stop before it has looked at any of its sockets.
fn serve_and_stop_after(say: impl FnOnce(&Instance)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::in_directory(directory.path().join("run"), "lab").unwrap();
    let server = instance.serve().unwrap();
    say(&instance);
    server.stop_handle().stop();
    server.run().unwrap();
    directory
}

#[test]
fn a_refusal_is_heard_although_the_broker_stops() {
    let mut sockets = Vec::new();
    let _directory = serve_and_stop_after(|instance| {
        let [garbled, rude] = [(); 2].map(|()| instance.connect().unwrap().unwrap());
        garbled.send(b"garbage", None).unwrap();
        rude.send_request(&Request::Close { port: port(1, 1) }, None).unwrap();
        sockets.extend([garbled, rude]);
    });
    let last: Vec<_> = sockets.iter().map(last_event).collect();
    assert!(matches!(&last[0], Some(Event::Refused { reason: Refusal::Malformed { .. } })), "{last:?}");
    assert_eq!(last[1], Some(Event::Refused { reason: Refusal::HelloMissing }));
}

#[test]
fn what_was_sent_before_the_broker_stops_is_passed_on() {
    let mut sockets = Vec::new();
    let (ring, segment) = (memory(), memory());
    let _directory = serve_and_stop_after(|instance| {
        let [listener, speaker] = [2, 1].map(|number| {
            let socket = instance.connect().unwrap().unwrap();
            socket
                .send_request(
                    &Request::Hello { node: NodeId(number), name: "n".to_owned(), returns_from: None },
                    None,
                )
                .unwrap();
            socket
        });
        open_subscriber(&listener, port(2, 1));
        open_publisher(&speaker, port(1, 1), &ring);
        let added = Request::AddSegment { publisher: port(1, 1), index: 1, replaced: SegmentSet::EMPTY };
        speaker.send_request(&added, Some(segment.as_fd())).unwrap();
        sockets.extend([listener, speaker]);
    });
    let last = last_event(&sockets[0]);
    let route = Route { publisher: port(1, 1), subscriber: port(2, 1) };
    assert_eq!(last, Some(Event::Segment { route, index: 1, replaced: SegmentSet::EMPTY }));
}
