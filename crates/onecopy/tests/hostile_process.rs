//! A process that may connect and means harm: whatever it does, the broker serves the others, and its memory
//! stays as it is. How fast it serves them meanwhile is measured by `bench hostile`.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod broker_common;
mod common;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use broker_common::{last_event, memory};
use common::{Child, LONG, Stage, directory, node_in, pattern};
use onecopy::broker::protocol::{Address, Event, NodeId, PortId, Refusal, Request, Resource, SegmentSet};
use onecopy::broker::transport::PacketSocket;
use onecopy::instance::{Instance, InstanceError};
use onecopy::payload_type::PayloadType;
use onecopy::{Delivery, Node, WaitError};
use rustix::fs::{MemfdFlags, memfd_create};

/// What the broker's memory may grow by at most, whatever is done to it here: some of it is for connections
/// that are allowed, and most for answers that nobody reads.
const GROWTH_KIBIBYTES: u64 = 64 << 10;
const ROUNDS: usize = 1000;
const CROWD: usize = 10_000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "broker" => serve(stage),
        "garbage" => attack(stage, ROUNDS, garbage),
        "half packets" => attack(stage, ROUNDS, half_packet),
        "descriptors" => attack(stage, ROUNDS, foreign_descriptor),
        "unsealed" => attack(stage, 100, unsealed_memory),
        "lies" => attack(stage, 100, lie_about_sizes),
        "deaf" => attack(stage, 3, ask_and_never_read),
        "crowd" => crowd(stage),
        role => panic!("no role {role}"),
    });
}

fn serve(stage: &Stage) {
    onecopy::open_files::raise_limit().unwrap();
    let server = Instance::in_directory(&stage.directory, "default").unwrap().serve().unwrap();
    let server = server.spawn().unwrap();
    stage.say("ready");
    stage.stay();
    server.stop().unwrap();
}

fn attack(stage: &Stage, rounds: usize, round: impl Fn(&Instance, usize)) {
    let instance = Instance::in_directory(&stage.directory, "default").unwrap();
    round(&instance, 0);
    stage.say("begun");
    (1..rounds).for_each(|number| round(&instance, number));
    stage.say("done");
}

/// A connection as a node, unless the broker has had enough of this process.
fn node(instance: &Instance) -> Option<(PacketSocket, NodeId)> {
    let socket = instance.connect().unwrap().unwrap();
    let node = NodeId::random().unwrap();
    match instance.introduce(&socket, node, "hostile") {
        Ok(_) => Some((socket, node)),
        Err(InstanceError::Refused(Refusal::TooManyAttempts | Refusal::OverQuota { .. })) => None,
        Err(error) => panic!("{error}"),
    }
}

fn garbage(instance: &Instance, number: usize) {
    let socket = instance.connect().unwrap().unwrap();
    for length in [1, 4, 100, 4096] {
        let noise: Vec<u8> = pattern(number as u64 + 1, length).collect();
        if socket.try_send(&noise, None).is_err() {
            break;
        }
    }
}

fn half_packet(instance: &Instance, number: usize) {
    let socket = instance.connect().unwrap().unwrap();
    let hello = Request::Hello { node: NodeId(number as u64), name: "x".repeat(50), returns_from: None };
    let packet = hello.encode();
    // An error is the broker's answer.
    let _ = socket.try_send(&packet[..number % packet.len()], None);
}

fn open_publisher(node: NodeId, payload: PayloadType) -> Request {
    let address = Address::Topic("t".to_owned());
    let publisher = PortId { node, serial: 1 };
    Request::OpenPublisher { publisher, address, payload, delivery: Delivery::Overwrite, history: u64::MAX }
}

fn assert_refused_for_its_descriptor(socket: &PacketSocket) {
    let last = last_event(socket);
    assert_eq!(last, Some(Event::Refused { reason: Refusal::DescriptorKind }));
}

fn foreign_descriptor(instance: &Instance, number: usize) {
    let Some((socket, node)) = node(instance) else { return };
    let descriptor: OwnedFd = match number % 4 {
        0 => File::open("/dev/null").unwrap().into(),
        1 => File::open("/etc/passwd").unwrap().into(),
        2 => std::net::TcpListener::bind("127.0.0.1:0").unwrap().into(),
        _ => std::io::pipe().unwrap().0.into(),
    };
    let request = open_publisher(node, PayloadType::value::<u64>());
    socket.send_request(&request, Some(descriptor.as_fd())).unwrap();
    assert_refused_for_its_descriptor(&socket);
}

fn unsealed_memory(instance: &Instance, number: usize) {
    let Some((socket, node)) = node(instance) else { return };
    let unsealed = memfd_create("unsealed", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&unsealed, 1 << 20).unwrap();
    if number.is_multiple_of(2) {
        let request = open_publisher(node, PayloadType::value::<u64>());
        socket.send_request(&request, Some(unsealed.as_fd())).unwrap();
    } else {
        let ring = memory();
        let request = open_publisher(node, PayloadType::value::<u64>());
        socket.send_request(&request, Some(ring.as_fd())).unwrap();
        let publisher = PortId { node, serial: 1 };
        let request = Request::AddSegment { publisher, index: 1, replaced: SegmentSet::EMPTY };
        socket.send_request(&request, Some(unsealed.as_fd())).unwrap();
    }
    assert_refused_for_its_descriptor(&socket);
}

/// A ring of no bytes that claims a history without end, and segments that are not there.
fn lie_about_sizes(instance: &Instance, number: usize) {
    let Some((socket, node)) = node(instance) else { return };
    let empty = memory();
    let request = open_publisher(node, PayloadType::value::<u64>());
    socket.send_request(&request, Some(empty.as_fd())).unwrap();
    let publisher = PortId { node, serial: 1 };
    let index = if number.is_multiple_of(2) { 63 } else { u32::MAX };
    let request = Request::AddSegment { publisher, index, replaced: SegmentSet::from_bits(u64::MAX) };
    socket.send_request(&request, Some(empty.as_fd())).unwrap();
    // It is answered, or let go of for the number that no pool has.
    socket.set_timeout(Some(LONG)).unwrap();
    let is_over = |event: &Event| matches!(event, Event::Refused { .. } | Event::InspectEnd { .. });
    let question = Request::Inspect { request: 1, topic: None, rings: true };
    let _ = socket.send_request(&question, None);
    while !is_over(&socket.receive_event().unwrap().0) {}
}

fn ask_and_never_read(instance: &Instance, _: usize) {
    let Some((socket, _)) = node(instance) else { return };
    let question = Request::Inspect { request: 1, topic: None, rings: true };
    // Until the broker takes no more of it.
    while socket.send_request(&question, None).is_ok() {}
}

/// As many connections as asked for, or as the system lets this process have.
fn crowd(stage: &Stage) {
    let files = onecopy::open_files::raise_limit().map(|_| onecopy::open_files::limit()).unwrap();
    let instance = Instance::in_directory(&stage.directory, "default").unwrap();
    let most = CROWD.min(usize::try_from(files).unwrap().saturating_sub(100));
    let mut sockets = Vec::new();
    let mut refused = 0;
    for number in 0..most {
        let socket = instance.connect().unwrap().unwrap();
        match instance.introduce(&socket, NodeId::random().unwrap(), "crowd") {
            Ok(_) => {}
            Err(InstanceError::Refused(Refusal::OverQuota {
                resource: Resource::NodesOfOneProcess | Resource::Nodes,
                ..
            })) => refused += 1,
            Err(error) => panic!("{number}: {error}"),
        }
        sockets.push(socket);
        if number == most / 2 {
            stage.say("begun");
        }
    }
    // They are kept until everybody has been served.
    stage.say("done");
    stage.stay();
    assert!(sockets.len() == most && refused < most);
}

/// What the broker's process has had in memory at most.
fn peak_kibibytes(broker: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Newcomers meet over the broker, on the topic that is attacked as well.
fn assert_others_are_served(one: &Node, directory: &Path) {
    let other = node_in(directory);
    let mut publisher = one.topic::<u64>("t").unwrap().publisher().open().unwrap();
    let mut subscriber = other.topic::<u64>("t").unwrap().subscriber().open().unwrap();
    publisher.publish(&7).unwrap();
    loop {
        match subscriber.wait(LONG) {
            Ok(message) => return assert_eq!(*message, 7),
            // Somebody else on this topic is broken.
            Err(WaitError::Receive(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn whatever_a_process_does_the_others_are_served_and_memory_is_bounded() {
    let directory = directory();
    let mut broker = Child::spawn("broker", directory.path());
    broker.expect("ready");
    let bystander = node_in(directory.path());
    assert_others_are_served(&bystander, directory.path());
    let before = peak_kibibytes(&broker);
    for role in ["garbage", "half packets", "descriptors", "unsealed", "lies", "deaf", "crowd"] {
        let mut hostile = Child::spawn(role, directory.path());
        hostile.expect("begun");
        for _ in 0..5 {
            assert_others_are_served(&bystander, directory.path());
        }
        hostile.expect("done");
        assert_others_are_served(&bystander, directory.path());
        assert!(hostile.end().success(), "{role}");
        let growth = peak_kibibytes(&broker) - before;
        println!("{role}: the broker's memory has grown by {growth} KiB at most");
        assert!(growth < GROWTH_KIBIBYTES, "{role}: {growth} KiB");
    }
    assert_others_are_served(&bystander, directory.path());
    drop(bystander);
    assert!(broker.end().success());
}
