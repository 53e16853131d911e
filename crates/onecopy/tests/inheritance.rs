//! What other processes inherit: a forked child has everything and may use nothing of it, an executed program gets
//! nothing. Forks are made in processes of their own, each with one thread of ours, so that no other test is in the
//! middle of something.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use common::{Child, LONG, Stage, directory, node_in, pattern};
use fork::{Fork, fork};
use onecopy::{Error, LoanError, Node, OpenError, Publisher, Readiness, ReceiveError, Subscriber, WaitError};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

const LARGE: usize = 1 << 20;
/// Values larger than any slot, so that each message of a batch is held on its own.
type Wide = [u64; 125];

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "inherited operations" => inherited_operations(stage),
        "inherited drops" => inherited_drops(stage),
        "inherited loan" => inherited_loan(stage),
        "inherited doorbell" => inherited_doorbell(stage),
        "inherited locks" => inherited_locks(stage),
        "inherited batch" => inherited_batch(stage),
        "executes" => executes(stage),
        "lists descriptors" => list_descriptors(stage),
        role => panic!("no role {role}"),
    });
}

/// Runs `in_child` in a forked child, which ends after it, and waits for that end. Both have `state`.
fn with_fork<S>(state: S, in_child: impl FnOnce(S)) -> S {
    match fork().unwrap() {
        Fork::Child => {
            let outcome = catch_unwind(AssertUnwindSafe(|| in_child(state)));
            std::process::exit(i32::from(outcome.is_err()));
        }
        Fork::Parent(pid) => {
            let pid = Pid::from_raw(pid).unwrap();
            let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
            let mut polled = [PollFd::new(&ended, PollFlags::IN)];
            let hangs = rustix::event::poll(&mut polled, Some(&LONG.try_into().unwrap())).unwrap() == 0;
            if hangs {
                rustix::process::kill_process(pid, Signal::KILL).unwrap();
            }
            let (_, status) = rustix::process::waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
            assert!(!hangs, "the forked child hangs");
            assert_eq!(status.exit_status(), Some(0), "the forked child failed: see its message above");
            state
        }
    }
}

fn is_readable_now(readiness: &Readiness) -> bool {
    let mut polled = [PollFd::new(readiness, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&Duration::ZERO.try_into().unwrap())).unwrap() == 1
}

fn bytes(seed: u64) -> Vec<u8> {
    pattern(seed, LARGE).collect()
}

fn ports(node: &Node, topic: &str) -> (Publisher<[u8]>, Subscriber<[u8]>) {
    let topic = node.topic::<[u8]>(topic).unwrap();
    (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap())
}

fn assert_publishing_is_refused(publisher: &mut Publisher<[u8]>, values: &mut Publisher<u64>) {
    for len in [0, 1, LARGE] {
        assert!(matches!(publisher.loan_slice(len).map(drop), Err(LoanError::Forked)));
        assert!(matches!(publisher.loan_slice_within(len, LONG).map(drop), Err(LoanError::Forked)));
        assert!(matches!(publisher.publish(&vec![1; len]), Err(Error::Loan(LoanError::Forked))));
    }
    assert!(matches!(values.loan().map(drop), Err(LoanError::Forked)));
    assert!(matches!(values.loan_within(LONG).map(drop), Err(LoanError::Forked)));
    assert!(matches!(values.publish(&1), Err(Error::Loan(LoanError::Forked))));
    assert!(matches!(values.loan_batch(2).map(drop), Err(LoanError::Forked)));
    assert!(matches!(values.publish_batch(&[1, 2]), Err(Error::Loan(LoanError::Forked))));
}

fn assert_receiving_is_refused(subscriber: &mut Subscriber<[u8]>) {
    assert!(matches!(subscriber.receive(), Err(ReceiveError::Forked)));
    assert!(matches!(subscriber.wait(LONG), Err(WaitError::Receive(ReceiveError::Forked))));
    assert!(matches!(subscriber.readiness(), Err(WaitError::Receive(ReceiveError::Forked))));
    let waited = onecopy::wait_any(&mut [subscriber], LONG);
    assert!(matches!(waited, Err(WaitError::Receive(ReceiveError::Forked))));
}

fn assert_opening_is_refused(node: &Node) {
    for name in ["from parent", "new"] {
        let topic = node.topic::<[u8]>(name).unwrap();
        assert!(matches!(topic.publisher().open().map(drop), Err(OpenError::Forked)));
        assert!(matches!(topic.subscriber().open().map(drop), Err(OpenError::Forked)));
        let any = node.any_topic(name).unwrap();
        assert!(matches!(any.subscriber().open().map(drop), Err(OpenError::Forked)));
    }
    assert!(matches!(node.inventory().map(drop), Err(OpenError::Forked)));
    assert!(matches!(node.topic_entry("from parent").map(drop), Err(OpenError::Forked)));
}

/// Forks with everything open, and messages waiting; the parent must then find them.
fn inherited_operations(stage: &Stage) {
    let node = stage.node();
    assert!(node.is_broker());
    let (mut publisher, mut subscriber) = ports(&node, "loop");
    let mut values = node.topic::<u64>("values").unwrap().publisher().open().unwrap();
    publisher.publish(&bytes(1)).unwrap();
    let kept = subscriber.receive().unwrap().unwrap().keep();
    publisher.publish(b"waits").unwrap();
    let state = (&mut publisher, &mut values, &mut subscriber, &kept);
    with_fork(state, |(publisher, values, subscriber, kept)| {
        assert_publishing_is_refused(publisher, values);
        assert_receiving_is_refused(subscriber);
        assert_opening_is_refused(&node);
        assert!(**kept == bytes(1)[..]);
        // What every message says: a node of its own works.
        let own = stage.node();
        own.topic::<[u8]>("from child")
            .unwrap()
            .publisher()
            .history(1)
            .open()
            .unwrap()
            .publish(b"own")
            .unwrap();
        let (mut publisher, mut subscriber) = ports(&own, "own");
        publisher.publish(&bytes(2)).unwrap();
        assert!(*subscriber.wait(LONG).unwrap() == bytes(2)[..]);
    });
    assert_eq!(*subscriber.wait(LONG).unwrap(), *b"waits");
    assert!(subscriber.receive().unwrap().is_none(), "the child has published");
    assert_eq!((subscriber.lost(), subscriber.publishers(), publisher.subscribers()), (0, 1, 1));
    publisher.publish(b"goes on").unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), *b"goes on");
    assert!(*kept == bytes(1)[..]);
}

#[test]
fn a_fork_is_refused_whatever_it_tries() {
    let directory = directory();
    let child = Child::spawn("inherited operations", directory.path());
    assert!(child.end().success());
}

/// Forks with everything open, and the child drops it all.
fn inherited_drops(stage: &Stage) {
    let node = stage.node();
    assert!(node.is_broker());
    let mut publisher = node.topic::<[u8]>("from parent").unwrap().publisher().open().unwrap();
    let mut subscriber = node.topic::<[u8]>("to parent").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    assert_eq!(stage.hear().as_deref(), Some("sent"));
    let kept = subscriber.wait(LONG).unwrap().keep();
    let topic = node.topic::<[u8]>("from parent").unwrap();
    let state = (kept, subscriber, topic, publisher, node);
    let state = with_fork(state, drop);
    let state = with_fork(state, |(kept, subscriber, topic, publisher, node)| {
        drop((node, publisher, topic, subscriber));
        assert!(*kept == bytes(1)[..]);
    });
    let (kept, mut subscriber, topic, publisher_again, node) = state;
    publisher = publisher_again;
    stage.say("forked");
    assert_eq!(stage.hear().as_deref(), Some("flooded"));
    assert!(*kept == bytes(1)[..], "the message changed while it was held");
    assert!(node.is_broker() && publisher.subscribers() == 1);
    while *subscriber.wait(LONG).unwrap() != *b"last" {}
    publisher.publish(&bytes(2)).unwrap();
    drop(topic.subscriber().open().unwrap());
    stage.say("published");
    stage.stay();
}

#[test]
fn what_a_fork_drops_stays_with_its_parent() {
    let directory = directory();
    let mut parent = Child::spawn("inherited drops", directory.path());
    parent.expect("ready");
    let node = node_in(directory.path());
    assert!(!node.is_broker());
    let topic = node.topic::<[u8]>("to parent").unwrap();
    let mut publisher = topic.publisher().budget_bytes(8 * LARGE).open().unwrap();
    let mut subscriber = node.topic::<[u8]>("from parent").unwrap().subscriber().open().unwrap();
    publisher.publish(&bytes(1)).unwrap();
    parent.tell("sent");
    parent.expect("forked");
    // Nobody was told of an end, and memory that is held is not used again however much is wanted.
    assert_eq!(publisher.subscribers(), 1);
    for seed in 100..150 {
        publisher.publish(&bytes(seed)).unwrap();
    }
    publisher.publish(b"last").unwrap();
    parent.tell("flooded");
    parent.expect("published");
    assert!(*subscriber.wait(LONG).unwrap() == bytes(2)[..]);
    assert_eq!(subscriber.publishers(), 1);
    // The broker is where it was.
    assert!(!node_in(directory.path()).is_broker());
    assert_eq!(node.inventory().unwrap().nodes.len(), 2);
    assert!(parent.end().success());
}

/// Forks in the middle of writing a message and a batch.
fn inherited_loan(stage: &Stage) {
    let node = stage.node();
    let (mut publisher, mut subscriber) = ports(&node, "loop");
    let topic = node.topic::<Wide>("batches").unwrap();
    let (mut batches, mut batch_subscriber) =
        (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap());
    for len in [10, LARGE] {
        let written: Vec<u8> = pattern(3, len).collect();
        let mut loan = publisher.loan_slice(len).unwrap();
        loan.copy_from_slice(&written);
        let mut batch = batches.loan_batch(3).unwrap();
        batch.copy_from_slice(&[[1; 125], [2; 125], [3; 125]]);
        let (loan, batch) = with_fork((loan, batch), |(loan, batch)| {
            assert!(matches!(loan.publish(), Err(Error::Forked)));
            assert!(matches!(batch.publish(), Err(Error::Forked)));
        });
        let (loan, batch) = with_fork((loan, batch), drop);
        assert!(subscriber.receive().unwrap().is_none(), "the child has published");
        assert!(batch_subscriber.receive().unwrap().is_none(), "the child has published");
        loan.publish().unwrap();
        batch.publish().unwrap();
        assert!(*subscriber.wait(LONG).unwrap() == written[..]);
        for value in 1..=3 {
            assert_eq!(*batch_subscriber.wait(LONG).unwrap(), [value; 125]);
        }
    }
}

#[test]
fn what_is_lent_stays_with_the_parent_of_a_fork() {
    let directory = directory();
    let child = Child::spawn("inherited loan", directory.path());
    assert!(child.end().success());
}

/// Forks with a batch half received.
fn inherited_batch(stage: &Stage) {
    let node = stage.node();
    let topic = node.topic::<Wide>("batches").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    publisher.publish_batch(&[[1; 125], [2; 125], [3; 125]]).unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), [1; 125]);
    with_fork(&mut subscriber, |subscriber| {
        assert!(matches!(subscriber.receive(), Err(ReceiveError::Forked)));
        assert!(matches!(subscriber.wait(LONG), Err(WaitError::Receive(ReceiveError::Forked))));
    });
    for value in 2..=3 {
        assert_eq!(*subscriber.wait(LONG).unwrap(), [value; 125]);
    }
}

#[test]
fn the_rest_of_a_batch_stays_with_the_parent_of_a_fork() {
    let directory = directory();
    let child = Child::spawn("inherited batch", directory.path());
    assert!(child.end().success());
}

/// Forks with an event loop that has nothing to do.
fn inherited_doorbell(stage: &Stage) {
    let node = stage.node();
    let (publisher, mut subscriber) = ports(&node, "loop");
    let readiness = subscriber.readiness().unwrap();
    while is_readable_now(&readiness) {
        assert!(subscriber.receive().unwrap().is_none());
        // The broker has passed on all that was said before this.
        node.inventory().unwrap();
    }
    let (mut publisher, mut subscriber) = with_fork((publisher, subscriber), drop);
    assert!(
        !is_readable_now(&readiness),
        "the end of the child's publisher was told to a subscriber of the parent's"
    );
    publisher.publish(b"now").unwrap();
    assert!(is_readable_now(&readiness));
    assert_eq!(*subscriber.receive().unwrap().unwrap(), *b"now");
}

#[test]
fn the_end_of_a_fork_wakes_nobody() {
    let directory = directory();
    let child = Child::spawn("inherited doorbell", directory.path());
    assert!(child.end().success());
}

/// Forks while another thread is busy in the node: whatever lock it has, nobody will unlock it in the child.
fn inherited_locks(stage: &Stage) {
    let node = stage.node();
    let topic = node.topic::<u64>("busy").unwrap();
    // Ends with the process.
    std::thread::spawn(move || {
        loop {
            drop(topic.subscriber().open().unwrap());
        }
    });
    let mut state = ports(&node, "loop");
    for _ in 0..300 {
        state = with_fork(state, |(publisher, subscriber)| {
            assert_opening_is_refused(&node);
            assert_eq!(publisher.subscribers(), 0, "nobody hears the child");
            drop((publisher, subscriber));
        });
    }
    let (mut publisher, mut subscriber) = state;
    publisher.publish(b"goes on").unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), *b"goes on");
}

#[test]
fn a_fork_waits_for_no_lock_of_its_parent() {
    let directory = directory();
    let child = Child::spawn("inherited locks", directory.path());
    assert!(child.end().success());
}

fn descriptors() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let target = std::fs::read_link(entry.path()).ok()?;
            // The listing's own.
            let is_listing = target == Path::new(&format!("/proc/{}/fd", std::process::id()));
            (!is_listing).then(|| entry.file_name().into_string().unwrap())
        })
        .collect()
}

fn list_descriptors(stage: &Stage) {
    descriptors().iter().for_each(|descriptor| stage.say(descriptor));
}

/// Has one of everything that has a descriptor, and runs another program.
fn executes(stage: &Stage) {
    let before = descriptors();
    let node = stage.node();
    let other = node_in(&stage.directory);
    let (mut publisher, mut subscriber) = ports(&node, "loop");
    let mut far = other.topic::<[u8]>("loop").unwrap().subscriber().open().unwrap();
    let readiness = far.readiness().unwrap();
    let kept = [LARGE, 4 * LARGE].map(|len| {
        publisher.publish(&vec![1; len]).unwrap();
        drop(far.wait(LONG).unwrap());
        subscriber.wait(LONG).unwrap().keep()
    });
    let inventory = node.inventory().unwrap();
    let during = descriptors();
    let opened: BTreeSet<_> = during.difference(&before).collect();
    assert!(opened.len() > 10, "{opened:?}");
    let mut program = Child::spawn("lists descriptors", &stage.directory);
    let mut leaked = Vec::new();
    while let Some(descriptor) = program.try_line() {
        if opened.contains(&descriptor) {
            leaked.push((std::fs::read_link(format!("/proc/self/fd/{descriptor}")), descriptor));
        }
    }
    assert!(program.end().success());
    assert!(leaked.is_empty(), "{leaked:?}");
    drop((kept, readiness, inventory));
}

#[test]
fn a_program_that_is_executed_gets_no_descriptor() {
    let directory = directory();
    let child = Child::spawn("executes", directory.path());
    assert!(child.end().success());
}
