//! Opening, using and closing leaves nothing behind in a process that lives on: descriptors, threads,
//! mappings, memory. The only test of its binary, since it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::possessions::Possessions;
use common::{LONG, directory, node_in};
use onecopy::Node;

/// What is kept once it was used is there after so many rounds.
const FIRST_ROUNDS: usize = 5;

/// Every way to have to do with a topic, dropped in an order that depends on the round.
fn use_topics(node: &Node, other: &Node, round: usize) {
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

/// Every way to have a region, dropped in an order that depends on the round.
fn use_regions(node: &Node, other: &Node, round: usize) {
    for shared in [false, true] {
        let name = if shared { "shared" } else { "single" };
        let builder = |node: &Node| {
            let builder = node.region_bytes(name).unwrap().capacity(5000).lock_timeout(LONG);
            if shared { builder.shared() } else { builder }
        };
        let mut region = builder(node).open_or_create(b"first").unwrap();
        let view = builder(other).open().unwrap();
        let any = other.any_region(name).unwrap().open().unwrap();
        region.write(&[1; 5000]).unwrap();
        let held = view.read().unwrap();
        let mut guard = region.lock(LONG).unwrap();
        guard.fill(2);
        if round.is_multiple_of(2) {
            guard.commit().unwrap();
        } else {
            drop(guard);
        }
        let mut watch = view.watch().unwrap();
        let readiness = watch.readiness().unwrap();
        region.resize(1 << 20).unwrap();
        let version = region.write(&vec![3; 1 << 20]).unwrap();
        while watch.wait(LONG).unwrap().version() < version {}
        assert!(any.wait_for_change(version - 1, LONG).unwrap().version() <= version);
        assert_eq!(node.inventory().unwrap().regions.len(), 1);
        assert!(node.region::<u8>(name).unwrap().open().is_err());
        match round % 3 {
            0 => {
                drop((region, any));
                drop((held, view, readiness));
            }
            1 => {
                drop((readiness, view));
                drop((region, held, any));
            }
            _ => {
                drop(any);
                drop((view, readiness, region, held));
            }
        }
    }
}

type Use = fn(&Node, &Node, usize);

/// With nodes that end with each round, in an order that depends on it.
fn nodes_that_end_leave_nothing(rounds: usize, use_nodes: Use) {
    let directory = directory();
    let mut before = None;
    for round in 0..rounds {
        let (node, other) = (node_in(directory.path()), node_in(directory.path()));
        use_nodes(&node, &other, round);
        let (first, last) = if round % 2 == 0 { (node, other) } else { (other, node) };
        drop(first);
        drop(last);
        if round == FIRST_ROUNDS {
            before = Some(Possessions::own());
        }
    }
    let before = before.unwrap();
    // A joined thread may stay visible for an instant.
    before.until_within("this process", Possessions::own);
    assert_eq!((before.mappings, before.shared_bytes), (0, 0), "and that is nothing");
}

/// With nodes that stay.
fn ports_that_close_leave_nothing(rounds: usize, use_nodes: Use) {
    let directory = directory();
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    let mut before = None;
    for round in 0..rounds {
        use_nodes(&node, &other, round);
        // Broker and control threads have done what came before the answer.
        other.inventory().unwrap();
        node.inventory().unwrap();
        other.inventory().unwrap();
        if round == FIRST_ROUNDS {
            before = Some(Possessions::own());
        }
    }
    assert_eq!(Some(Possessions::own()), before);
}

#[test]
fn what_was_used_leaves_nothing() {
    for (rounds, use_nodes) in [(200, use_topics as Use), (100, use_regions)] {
        nodes_that_end_leave_nothing(rounds, use_nodes);
        ports_that_close_leave_nothing(rounds, use_nodes);
    }
}
