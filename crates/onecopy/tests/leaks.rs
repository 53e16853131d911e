//! Opening and closing leaves nothing behind in a process that lives on: descriptors, threads, mappings. The only test
//! of its binary, since it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{LONG, directory, node_in};
use onecopy::Node;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Possessions {
    descriptors: usize,
    threads: usize,
    mappings: usize,
}

fn possessions() -> Possessions {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    Possessions {
        descriptors: std::fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: std::fs::read_dir("/proc/self/task").unwrap().count(),
        mappings: maps.lines().filter(|line| line.contains("memfd:onecopy")).count(),
    }
}

/// Every kind of thing that holds something, dropped in an order that depends on the round.
fn use_everything(node: &Node, other: &Node, round: usize) {
    let topic = node.topic::<[u8]>("bytes").unwrap();
    let mut publisher = topic.publisher().history(4).open().unwrap();
    let mut subscriber = other.topic::<[u8]>("bytes").unwrap().subscriber().open().unwrap();
    let mut untyped = node.any_topic("bytes").unwrap().subscriber().open().unwrap();
    let readiness = untyped.readiness().unwrap();
    // Enough for a segment of its own.
    for len in [1, 1000, 2 << 20] {
        publisher.publish(&vec![1; len]).unwrap();
        assert_eq!(subscriber.wait(LONG).unwrap().len(), len);
        assert_eq!(untyped.wait(LONG).unwrap().len(), len);
    }
    publisher.publish(&[2; 10_000]).unwrap();
    let held = subscriber.wait(LONG).unwrap().keep();
    let inventory = node.inventory().unwrap();
    assert_eq!(inventory.topics.len(), 1);
    let numbers = other.topic::<u64>("numbers").unwrap();
    let mut batches = numbers.publisher().open().unwrap();
    let mut receiver = numbers.subscriber().open().unwrap();
    batches.publish_batch(&[1, 2, 3]).unwrap();
    assert_eq!(*receiver.wait(LONG).unwrap(), 1);
    assert!(node.topic::<u8>("numbers").unwrap().publisher().open().is_err());
    match round % 3 {
        0 => {
            drop((subscriber, untyped, readiness));
            drop(publisher);
            drop(held);
        }
        1 => {
            drop(publisher);
            drop((held, readiness, inventory));
            drop(subscriber);
        }
        _ => {
            drop(held);
            drop(readiness);
        }
    }
}

#[test]
fn two_hundred_rounds_leave_nothing() {
    let directory = directory();
    let mut before = None;
    for round in 0..200 {
        let node = node_in(directory.path());
        let other = node_in(directory.path());
        use_everything(&node, &other, round);
        let possibly_last = if round % 2 == 0 { (node, other) } else { (other, node) };
        drop(possibly_last.0);
        drop(possibly_last.1);
        if round == 5 {
            before = Some(possessions());
        }
    }
    let before = before.unwrap();
    // A joined thread may stay visible for an instant.
    while possessions().threads > before.threads {
        std::thread::yield_now();
    }
    assert_eq!(possessions(), before);

    // The same within a node that stays.
    let node = node_in(directory.path());
    let other = node_in(directory.path());
    let mut before = None;
    for round in 0..200 {
        use_everything(&node, &other, round);
        // Broker and control threads have done what came before the answer.
        other.inventory().unwrap();
        node.inventory().unwrap();
        other.inventory().unwrap();
        if round == 5 {
            before = Some(possessions());
        }
    }
    assert_eq!(Some(possessions()), before);
}
