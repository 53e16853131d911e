//! Descriptors: none leaks, and a broker that is out of them says so. One test, since all share one process's table.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_common;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use broker_common::{World, assert_served, last_event, memory, open_publisher, open_subscriber, port};
use onecopy::broker::protocol::{Event, NodeId, OpenError as Refused, Refusal, Request, SegmentSet};
use onecopy::instance::InstanceError;
use onecopy::open_files::raise_limit;
use onecopy::{Node, OpenError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// One node that lives, publishes, and is thrown out for a packet with a descriptor that does not belong.
fn come_and_go(world: &World, ring: &OwnedFd) {
    let (one, other) = (world.node(1), world.node(2));
    open_subscriber(&other, port(2, 1));
    open_publisher(&one, port(1, 1), ring);
    let request = Request::AddSegment { publisher: port(1, 1), index: 0, replaced: SegmentSet::EMPTY };
    one.send_request(&request, Some(ring.as_fd())).unwrap();
    // A garbled packet with a descriptor, and a sound one with one too many.
    one.send(b"garbage", Some(ring.as_fd())).unwrap();
    assert!(matches!(last_event(&one), Some(Event::Refused { reason: Refusal::Malformed { .. } })));
    other.send(&Request::Close { port: port(2, 1) }.encode(), Some(ring.as_fd())).unwrap();
    assert_eq!(last_event(&other), Some(Event::Refused { reason: Refusal::DescriptorSurplus }));
}

fn assert_nothing_leaks(world: &World) {
    let ring = memory();
    come_and_go(world, &ring);
    // Two, so that this process has several connections all the while, which costs the broker a file.
    let (watcher, _second) = (world.node(9), world.node(8));
    // A peer learns of its end a moment before the broker has closed everything. Two answers later that is done.
    let settled = || {
        (0..2).for_each(|_| assert_served(&watcher));
        open_files()
    };
    let before = settled();
    for _ in 0..20 {
        come_and_go(world, &ring);
    }
    assert_eq!(settled(), before);
}

fn assert_a_full_table_is_named(world: &World) {
    let known = world.node(1);
    let saved = getrlimit(Resource::Nofile);
    let low = Rlimit { current: Some(open_files() as u64 + 16), maximum: saved.maximum };
    setrlimit(Resource::Nofile, low).unwrap();
    let mut hoard = Vec::new();
    while let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&known, 0) {
        hoard.push(copy);
    }
    // Room for the newcomer's own socket, and none for the broker's end of it.
    hoard.pop();
    let socket = world.connect();
    let error = world.instance.introduce(&socket, NodeId(2), "late").unwrap_err();
    assert!(matches!(error, InstanceError::Refused(Refusal::OutOfDescriptors)), "{error}");
    drop((hoard, socket));
    assert_served(&known);
    assert_served(&world.node(2));
    setrlimit(Resource::Nofile, saved).unwrap();
}

/// Something changes beside the broker's socket while there is no room for another open file. Later the socket is
/// removed: the broker still notices, and makes room.
fn assert_the_socket_stays_watched() {
    let world = World::new();
    let known = world.node(1);
    let socket = world.instance.socket_path();
    let saved = getrlimit(Resource::Nofile);
    let low = Rlimit { current: Some(open_files() as u64 + 8), maximum: saved.maximum };
    setrlimit(Resource::Nofile, low).unwrap();
    let mut hoard = Vec::new();
    while let Ok(copy) = rustix::io::fcntl_dupfd_cloexec(&known, 0) {
        hoard.push(copy);
    }
    for name in ["beside", "beside too"] {
        std::os::unix::fs::symlink("nowhere", socket.with_file_name(name)).unwrap();
        // What changed was ready to be looked at before this question was.
        assert_served(&known);
    }
    drop(hoard);
    setrlimit(Resource::Nofile, saved).unwrap();
    known.set_timeout(Some(Duration::from_secs(60))).unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(last_event(&known), None, "it has ended");
    drop(world.stop());
}

/// A program that is its own broker opens one topic too many: that one is refused, and everything else goes on.
fn assert_one_topic_too_many_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let saved = getrlimit(Resource::Nofile);
    let low = Rlimit { current: Some(open_files() as u64 + 128), maximum: saved.maximum };
    setrlimit(Resource::Nofile, low).unwrap();
    let node = Node::builder().directory(directory.path()).open().unwrap();
    let mut publishers = Vec::new();
    let error = loop {
        match node.topic::<u64>(&format!("topic/{}", publishers.len())).unwrap().publisher().open() {
            Ok(publisher) => publishers.push(publisher),
            Err(error) => break error,
        }
    };
    let is_named = matches!(error, OpenError::Refused(Refused::OutOfDescriptors { .. }));
    assert!(is_named && error.to_string().contains("ulimit -n"), "{error}");
    assert!(publishers.len() > 20, "{} publishers took all files", publishers.len());
    // A subscriber costs no file, and so does not find the door shut.
    let mut subscriber = node.topic::<u64>("topic/0").unwrap().subscriber().open().unwrap();
    publishers[0].publish(&7).unwrap();
    assert_eq!(*subscriber.wait(Duration::from_secs(60)).unwrap(), 7);
    publishers.truncate(10);
    let opened = node.topic::<u64>("topic/again").unwrap().publisher().open();
    assert!(opened.is_ok(), "{:?}", opened.err());
    drop((publishers, opened));
    raise_limit().unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, saved.maximum);
    setrlimit(Resource::Nofile, saved).unwrap();
}

#[test]
fn descriptors_are_accounted_for() {
    assert_one_topic_too_many_is_refused();
    let world = World::new();
    assert_nothing_leaks(&world);
    assert_a_full_table_is_named(&world);
    assert_the_socket_stays_watched();
    let (_instance, _directory) = world.stop();
}
