//! Finding the broker or becoming it: races, leftovers, and directories that won't do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;

use broker_common::World;
use onecopy::Node;
use onecopy::broker::protocol::NodeId;
use onecopy::instance::{Instance, InstanceError};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

fn fresh() -> (tempfile::TempDir, Instance) {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::in_directory(directory.path().join("run"), "lab").unwrap();
    (directory, instance)
}

#[test]
fn racing_starts_make_one_broker() {
    let (_directory, instance) = fresh();
    const NODES: u64 = 16;
    let barrier = Barrier::new(NODES as usize);
    let joined: Vec<_> = std::thread::scope(|scope| {
        let start = |number| {
            barrier.wait();
            instance.join(NodeId(number), "racer").unwrap()
        };
        let threads: Vec<_> = (0..NODES).map(|number| scope.spawn(move || start(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(joined.iter().filter(|joined| joined.server.is_some()).count(), 1);
    for joined in &joined {
        broker_common::assert_served(&joined.socket);
    }
    // One that runs on its own is not pushed aside by another.
    let serving = instance.serve().unwrap().spawn().unwrap();
    let error = instance.serve().unwrap_err();
    assert!(
        matches!(error, InstanceError::AlreadyServed { pid, .. } if pid == std::process::id()),
        "{error}"
    );
    serving.stop().unwrap();
}

#[test]
fn brokers_that_come_and_go_fail_nobody() {
    let (_directory, instance) = fresh();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let instance = &instance;
            scope.spawn(move || {
                for round in 0..50 {
                    let joined = instance.join(NodeId(thread * 1000 + round), "short").unwrap();
                    assert_eq!(joined.welcome.broker_pid, std::process::id());
                }
            });
        }
    });
    assert!(instance.connect().unwrap().is_none());
    assert!(!instance.socket_path().exists());
}

#[test]
fn what_a_killed_broker_leaves_is_taken_over() {
    let (_directory, instance) = fresh();
    std::fs::create_dir(instance.directory()).unwrap();
    std::fs::write(instance.lock_path(), "").unwrap();
    let flags = SocketFlags::CLOEXEC;
    let abandoned =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&abandoned, &SocketAddrUnix::new(instance.socket_path()).unwrap()).unwrap();
    drop(abandoned);
    assert!(instance.socket_path().exists());
    assert!(instance.connect().unwrap().is_none());
    let joined = instance.join(NodeId(1), "heir").unwrap();
    assert!(joined.server.is_some());
}

#[test]
fn a_broker_whose_socket_somebody_removed_makes_room() {
    let world = World::new();
    std::fs::remove_file(world.instance.socket_path()).unwrap();
    let found = world.instance.connect_or_serve().unwrap();
    assert!(found.server.is_some() && world.instance.socket_path().exists());
}

#[test]
fn a_program_that_is_the_broker_makes_room_for_a_socket_that_takes_the_place_of_its_own() {
    let (_directory, instance) = fresh();
    let builder = || Node::builder().directory(instance.directory()).instance(instance.name());
    let node = builder().open().unwrap();
    let topic = |node: &Node| node.topic::<u64>("t").unwrap();
    let mut publisher = topic(&node).publisher().history(1).open().unwrap();
    assert!(node.is_broker());
    // As systemd does when a socket unit is started.
    std::fs::remove_file(instance.socket_path()).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(instance.socket_path()).unwrap()).unwrap();
    rustix::net::listen(&listener, 16).unwrap();
    let server = instance.serve_on(listener).unwrap().spawn().unwrap();
    let mut subscriber = topic(&builder().open().unwrap()).subscriber().open().unwrap();
    publisher.publish(&7).unwrap();
    assert_eq!(*subscriber.wait(std::time::Duration::from_secs(60)).unwrap(), 7);
    assert!(!node.is_broker());
    drop((publisher, subscriber, node));
    server.stop().unwrap();
}

#[test]
fn a_file_in_the_place_of_the_socket_is_not_removed() {
    let (_directory, instance) = fresh();
    std::fs::create_dir(instance.directory()).unwrap();
    std::fs::write(instance.socket_path(), "precious").unwrap();
    let error = instance.connect_or_serve().unwrap_err();
    assert!(matches!(error, InstanceError::Kernel { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(instance.socket_path()).unwrap(), "precious");
}

#[test]
fn directories_that_others_could_write_to_are_refused() {
    for mode in [0o770, 0o707, 0o722, 0o777] {
        let (_directory, instance) = fresh();
        std::fs::create_dir(instance.directory()).unwrap();
        std::fs::set_permissions(instance.directory(), std::fs::Permissions::from_mode(mode)).unwrap();
        for error in [instance.connect().map(drop).unwrap_err(), instance.serve().map(drop).unwrap_err()] {
            let text = error.to_string();
            assert!(
                matches!(error, InstanceError::WritableDirectory { mode: found, .. } if found == mode),
                "{text}"
            );
            assert!(text.contains("chmod 700") && text.contains(&format!("mode {mode:o}")), "{text}");
        }
    }
}

#[test]
fn a_link_to_a_directory_is_refused() {
    let (directory, instance) = fresh();
    std::os::unix::fs::symlink(directory.path(), instance.directory()).unwrap();
    let error = instance.connect_or_serve().unwrap_err();
    assert!(matches!(error, InstanceError::NotADirectory { .. }), "{error}");
}

#[test]
fn the_directory_is_made_for_its_owner_alone() {
    let (_directory, instance) = fresh();
    assert!(instance.connect().unwrap().is_none());
    assert!(!instance.directory().exists(), "looking creates nothing");
    let _server = instance.serve().unwrap();
    let mode = std::fs::metadata(instance.directory()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_missing_parent_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance::in_directory(directory.path().join("no/run"), "lab").unwrap();
    let error = instance.connect_or_serve().unwrap_err();
    assert!(matches!(error, InstanceError::CreateDirectory { .. }), "{error}");
}

#[test]
fn names_and_paths_are_checked() {
    let long = "x".repeat(65);
    for name in ["", ".hidden", "a/b", "a b", "é", "..", &long] {
        let error = Instance::in_directory("/run", name).unwrap_err();
        assert!(matches!(error, InstanceError::Name { .. }), "{name:?}: {error}");
    }
    let longest = format!("/{}", "d".repeat(107 - "//lab.sock".len()));
    assert!(Instance::in_directory(&longest, "lab").is_ok());
    let error = Instance::in_directory(format!("{longest}d"), "lab").unwrap_err();
    assert!(matches!(error, InstanceError::PathTooLong { bytes: 108, .. }), "{error}");
    assert!(error.to_string().contains("ONECOPY_RUNTIME_DIR"));
}
