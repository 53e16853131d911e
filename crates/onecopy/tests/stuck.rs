//! Subscribers that are stopped while a reliable publisher wants to go on: it waits for them, or goes on
//! without them, and they find out which when they run again.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::time::Duration;

use common::{Child, LONG, SHORT, Stage, directory, node_in};
use onecopy::stuck::{Blocked, StuckNode, StuckWatch};
use onecopy::{LoanError, Node, Publisher, PublisherBuilder, ReceiveError, WaitError};
use tempfile::TempDir;

const DEPTH: u64 = 8;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "count" => count(stage),
        "hold" => hold(stage),
        "lock" => lock(stage),
        "wait" => wait(stage),
        role => panic!("no role {role}"),
    });
}

/// Says which number it received, or what it was told instead, whenever it is asked.
fn count(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<u64>("orders").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    while let Some(line) = stage.hear() {
        if line == "again" {
            subscriber = node.topic::<u64>("orders").unwrap().subscriber().open().unwrap();
            stage.say("ready");
            continue;
        }
        let received = subscriber.wait(LONG).map(|number| *number);
        let said = match received {
            Ok(number) => number.to_string(),
            Err(WaitError::Receive(ReceiveError::EvictedByPublisher { after, missed, .. })) => {
                format!("evicted after {after:?}, missed {missed}, lost {}", subscriber.lost())
            }
            Err(error) => panic!("{error}"),
        };
        stage.say(&said);
    }
}

/// Holds the first message, and says whether it is still what it was.
fn hold(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<[u8]>("frames").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    assert_eq!(stage.hear().as_deref(), Some("hold"));
    let held = subscriber.wait(LONG).unwrap().keep();
    stage.say("held");
    while stage.hear().is_some() {
        assert!(held.iter().all(|byte| *byte == 1), "a held message changed");
        let evicted = matches!(subscriber.receive(), Err(ReceiveError::EvictedByPublisher { .. }));
        assert!(held.iter().all(|byte| *byte == 1), "a held message changed when its holder was told");
        stage.say(if evicted { "evicted" } else { "not evicted" });
    }
}

/// Has a region's lock until it is told to let go.
fn lock(stage: &Stage) {
    let node = stage.node();
    let mut region = node.region::<u64>("settings").unwrap().shared().open_or_create(&0).unwrap();
    let guard = region.lock(LONG).unwrap();
    stage.say("locked");
    stage.hear();
    drop(guard);
    stage.say("unlocked");
    stage.stay();
}

/// Waits for the lock.
fn wait(stage: &Stage) {
    let node = stage.node();
    let mut region = node.region::<u64>("settings").unwrap().shared().open().unwrap();
    stage.say("there");
    drop(region.lock(LONG).unwrap());
    stage.say("had it");
    stage.stay();
}

/// Looks until somebody is stuck; a watch that is given no time finds whoever is suspect.
fn stuck(node: &Node, is_it: impl Fn(&StuckNode) -> bool) -> StuckNode {
    let mut watch = StuckWatch::new(Duration::ZERO);
    loop {
        let found = watch.look(&node.inventory().unwrap());
        if let Some(stuck) = found.into_iter().find(&is_it) {
            return stuck;
        }
        std::thread::yield_now();
    }
}

fn nobody_is_stuck(node: &Node) {
    let mut watch = StuckWatch::new(Duration::ZERO);
    while !watch.look(&node.inventory().unwrap()).is_empty() {
        std::thread::yield_now();
    }
    assert!(!watch.has_suspects());
}

/// A publisher of orders, and a child that counts them.
struct Orders {
    node: Node,
    publisher: Publisher<u64>,
    child: Child,
    directory: TempDir,
}

impl Orders {
    fn new(delivery: impl FnOnce(PublisherBuilder<u64>) -> PublisherBuilder<u64>) -> Self {
        let directory = directory();
        let node = node_in(directory.path());
        let publisher = node.topic("orders").unwrap().publisher().depth(DEPTH);
        let publisher = delivery(publisher).open().unwrap();
        let mut child = Child::spawn("count", directory.path());
        child.expect("ready");
        Self { node, publisher, child, directory }
    }
}

#[test]
fn a_stopped_node_is_told_of_with_the_topic_that_it_blocks_and_not_dropped() {
    let Orders { node, mut publisher, mut child, directory: _directory } =
        Orders::new(PublisherBuilder::reliable);
    nobody_is_stuck(&node);
    child.stop();
    let seen = stuck(&node, |_| true);
    assert_eq!((seen.pid, seen.is_stopped, &*seen.blocks), (child.pid(), true, &[][..]));
    for number in 0..DEPTH {
        publisher.publish(&number).unwrap();
    }
    assert_eq!(stuck(&node, |_| true).blocks, [], "nobody wants to publish");
    assert!(matches!(publisher.loan(), Err(LoanError::Full)));
    let [blocked] = &*stuck(&node, |_| true).blocks else { panic!("one publisher waits") };
    assert!(matches!(blocked, Blocked::Publisher { topic, .. } if topic == "orders"), "{blocked}");
    // Looked at again it is the same suspect, which a watch that waits for longer does not report yet.
    let mut patient = StuckWatch::new(LONG);
    assert_eq!(patient.look(&node.inventory().unwrap()), []);
    assert!(patient.has_suspects());
    assert_eq!(publisher.subscribers(), 1);
    child.go_on();
    child.tell("receive");
    child.expect("0");
    publisher.loan_within(LONG).unwrap().publish().unwrap();
    nobody_is_stuck(&node);
}

#[test]
fn who_has_a_lock_that_others_wait_for_is_told_of() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut holder = Child::spawn("lock", directory.path());
    holder.expect("locked");
    nobody_is_stuck(&node);
    holder.stop();
    let mut waiter = Child::spawn("wait", directory.path());
    waiter.expect("there");
    let seen = stuck(&node, |stuck| !stuck.blocks.is_empty());
    assert_eq!((seen.pid, seen.is_stopped), (holder.pid(), true));
    assert_eq!(seen.blocks, [Blocked::Lock { region: "settings".to_owned() }]);
    holder.go_on();
    holder.tell("let go");
    holder.expect("unlocked");
    waiter.expect("had it");
    nobody_is_stuck(&node);
}

#[test]
fn a_stopped_subscriber_is_evicted_after_its_time_and_told_so_when_it_goes_on() {
    let Orders { node, mut publisher, mut child, directory: _directory } =
        Orders::new(|publisher| publisher.evict_after(SHORT));
    let mut other = node.topic::<u64>("orders").unwrap().subscriber().open().unwrap();
    child.stop();
    for number in 0..3 * DEPTH {
        let mut order = publisher.loan_within(LONG).unwrap();
        *order = number;
        order.publish().unwrap();
        assert_eq!(*other.wait(LONG).unwrap(), number);
    }
    child.go_on();
    child.tell("receive");
    child.expect(&format!("evicted after {SHORT:?}, missed {0}, lost {0}", 3 * DEPTH));
    child.tell("again");
    child.expect("ready");
    publisher.publish(&77).unwrap();
    child.tell("receive");
    child.expect("77");
    assert_eq!(*other.wait(LONG).unwrap(), 77);
    assert_eq!(publisher.subscribers(), 2, "the evicted one has gone, the new one is there");
}

#[test]
fn without_a_time_a_stopped_subscriber_is_waited_for_and_loses_nothing() {
    let Orders { node: _node, mut publisher, mut child, directory: _directory } =
        Orders::new(PublisherBuilder::reliable);
    child.stop();
    for number in 0..DEPTH {
        publisher.publish(&number).unwrap();
    }
    assert!(matches!(publisher.loan_within(SHORT), Err(LoanError::Timeout)));
    child.go_on();
    for number in 0..DEPTH {
        child.tell("receive");
        child.expect(&number.to_string());
    }
    publisher.loan_within(LONG).unwrap();
}

#[test]
fn a_subscriber_that_goes_on_before_anything_is_overwritten_goes_on() {
    let Orders { node: _node, mut publisher, mut child, directory: _directory } =
        Orders::new(|publisher| publisher.evict_after(Duration::ZERO));
    child.stop();
    for number in 0..DEPTH {
        publisher.publish(&number).unwrap();
    }
    // It is given up for this one, which is not published.
    drop(publisher.loan().unwrap());
    child.go_on();
    for number in 0..DEPTH {
        child.tell("receive");
        child.expect(&number.to_string());
    }
    publisher.publish(&DEPTH).unwrap();
    child.tell("receive");
    child.expect(&DEPTH.to_string());
}

#[test]
fn what_a_stopped_subscriber_holds_stays_as_it_is_though_it_is_evicted() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("frames").unwrap();
    let length = 300_000;
    let publisher = topic.publisher().depth(64).budget_bytes(4 << 20).evict_after(Duration::ZERO);
    let mut publisher = publisher.open().unwrap();
    let mut child = Child::spawn("hold", directory.path());
    child.expect("ready");
    publisher.publish(&vec![1; length]).unwrap();
    child.tell("hold");
    child.expect("held");
    child.stop();
    for number in 0..100 {
        publisher.publish(&vec![number; length]).unwrap();
    }
    child.go_on();
    child.tell("look");
    child.expect("evicted");
    for number in 0..100 {
        publisher.publish(&vec![number; length]).unwrap();
    }
    child.tell("look");
    child.expect("not evicted");
    child.kill();
}
