//! Publishers that come, publish and go, several at once: whoever was there when they came has all that each published,
//! in its order.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::HashMap;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::{Node, Topic};

const PROCESSES: u64 = 3;
/// Times that each process opens a publisher.
const TURNS: u64 = 100;
/// Messages of each publisher: small ones, and some that take memory of their own.
const LENGTHS: [usize; 5] = [2, 600, 3, 5000, 4];

#[test]
fn child() {
    common::play(publish);
}

/// Each message begins with its process, and is filled with its publisher's number.
fn topic(node: &Node) -> Topic<[u64]> {
    node.topic::<[u64]>("turns").unwrap()
}

/// Opens a publisher, publishes and closes it, again and again.
fn publish(stage: &Stage) {
    let node = stage.node();
    let process: u64 = stage.role.parse().unwrap();
    stage.say("ready");
    stage.hear();
    for turn in 0..TURNS {
        let mut publisher = topic(&node).publisher().reliable().open().unwrap();
        // It goes on alone if the subscriber does not get the processor for a second.
        while publisher.subscribers() == 0 {
            node.inventory().unwrap();
        }
        for length in LENGTHS {
            let mut loan = publisher.loan_slice_within(length, LONG).unwrap();
            loan.fill(turn);
            loan[0] = process;
            loan.publish().unwrap();
        }
    }
    stage.say("done");
    stage.stay();
}

#[test]
fn nothing_of_publishers_that_come_and_go_is_lost() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut subscriber = topic(&node).subscriber().open().unwrap();
    let mut children =
        Child::spawn_together((0..PROCESSES).map(|process| process.to_string()), directory.path());
    let mut next: HashMap<(u64, u64), usize> = HashMap::new();
    for received in 0..PROCESSES * TURNS * LENGTHS.len() as u64 {
        let message = match subscriber.wait(LONG) {
            Ok(message) => message,
            Err(error) => panic!("after {received}: {error}"),
        };
        let (process, turn) = (message[0], message[1]);
        assert!(message[1..].iter().all(|word| *word == turn));
        let next = next.entry((process, turn)).or_default();
        assert_eq!(message.len(), LENGTHS[*next], "of turn {turn} of process {process}");
        *next += 1;
    }
    assert!(subscriber.receive().unwrap().is_none());
    assert_eq!((next.len() as u64, subscriber.lost()), (PROCESSES * TURNS, 0));
    children.iter_mut().for_each(|child| child.expect("done"));
}
