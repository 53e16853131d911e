//! Datasets when the broker ends, alone or with their publisher: views stay, the newest version that anybody
//! has is found, and the next one is told to all.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::dataset::DatasetError;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "publish" => publish(stage),
        role => panic!("no role {role}"),
    });
}

/// Publishes, and once more when it is told to.
fn publish(stage: &Stage) {
    let node = stage.node();
    let _one = node.dataset("index").unwrap().publish_bytes(b"one").unwrap();
    stage.say("published");
    stage.hear().unwrap();
    let _two = node.dataset("index").unwrap().publish_bytes(b"two").unwrap();
    stage.say("published again");
    stage.stay();
}

fn assert_newest(node: &Node, version: u64, bytes: &[u8]) {
    let view = node.dataset("index").unwrap().open().unwrap();
    assert_eq!((view.version(), view.bytes().unwrap()), (version, bytes));
}

#[test]
fn datasets_go_on_with_the_next_broker() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let mut publisher = Child::spawn("publish", directory.path());
    publisher.expect("published");
    let node = node_in(directory.path());
    let one = node.dataset("index").unwrap().open().unwrap();
    broker.kill();
    assert_newest(&node_in(directory.path()), 1, b"one");
    assert!(one.is_current());
    publisher.tell("again");
    publisher.expect("published again");
    let two = one.wait_for_newer(LONG).unwrap();
    assert_eq!((two.version(), two.bytes().unwrap()), (2, &b"two"[..]));
    assert_eq!(one.bytes().unwrap(), b"one");
    assert_newest(&node_in(directory.path()), 2, b"two");
}

#[test]
fn a_view_hands_on_what_its_publisher_left() {
    let directory = directory();
    // The publisher is the broker.
    let mut publisher = Child::spawn("publish", directory.path());
    publisher.expect("published");
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    let view = node.dataset("index").unwrap().open().unwrap();
    publisher.kill();
    assert_newest(&other, 1, b"one");
    let published = other.dataset("index").unwrap().publish_bytes(b"more").unwrap();
    assert_eq!(published.version(), 2);
    assert_eq!(view.wait_for_newer(LONG).unwrap().bytes().unwrap(), b"more");
}

#[test]
fn a_version_that_is_lost_leaves_its_number() {
    let directory = directory();
    let mut publisher = Child::spawn("publish", directory.path());
    publisher.expect("published");
    let node = node_in(directory.path());
    let one = node.dataset("index").unwrap().open().unwrap();
    publisher.tell("again");
    publisher.expect("published again");
    // It has been told before anybody is answered.
    assert_newest(&node, 2, b"two");
    assert!(!one.is_current());
    publisher.kill();
    assert_newest(&node_in(directory.path()), 1, b"one");
    let published = node.dataset("index").unwrap().publish_bytes(b"three").unwrap();
    assert_eq!(published.version(), 3);
    assert_eq!(one.wait_for_newer(LONG).unwrap().bytes().unwrap(), b"three");
}

#[test]
fn who_waits_for_a_first_version_goes_on_waiting() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    std::thread::scope(|scope| {
        let waits =
            scope.spawn(|| node.dataset("index").unwrap().open_within(LONG).map(|view| view.version()));
        broker.kill();
        let published = other.dataset("index").unwrap().publish_bytes(b"one").unwrap();
        assert_eq!(waits.join().unwrap().unwrap(), published.version());
    });
    let missing = node.dataset("another").unwrap().open();
    assert!(matches!(missing, Err(DatasetError::NotFound { .. })));
}
