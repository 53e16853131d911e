//! The broker ends, in every way it can, while others publish, call, read and wait. They go on, another one
//! takes its place, and what comes later finds everything as it was.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::limits::HANDSHAKE_TIMEOUT;
use onecopy::service::CallError;
use onecopy::{LoanError, Node, Subscriber};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    socket_with,
};

const ROUNDS: usize = 30;
const MESSAGES: u64 = 2000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "talk" => talk(stage),
        "serve" => serve(stage),
        "hold a lock" => hold_a_lock(stage),
        "hold a message" => hold_a_message(stage),
        role => panic!("no role {role}"),
    });
}

/// Publishes numbers, and keeps a region at the last of them, until it is told to end. Nothing may fail.
fn talk(stage: &Stage) {
    let node = stage.node();
    let mut publisher =
        node.topic::<u64>("numbers").unwrap().publisher().reliable().depth(64).open().unwrap();
    let region = node.region::<u64>("last").unwrap().open_or_create(&0).unwrap();
    stage.say("ready");
    stage.hear().unwrap();
    for number in 0.. {
        match publisher.loan_within(LONG) {
            Ok(mut loan) => {
                *loan = number;
                loan.publish().unwrap();
            }
            Err(LoanError::Timeout) => panic!("nobody listens any more"),
            Err(error) => panic!("{error}"),
        }
        region.write(&number).unwrap();
        if number == 3 * MESSAGES {
            break;
        }
    }
    stage.stay();
}

/// Answers with the successor of what it is asked.
fn serve(stage: &Stage) {
    let node = stage.node();
    let server = node.service::<u64, u64>("next").unwrap().server().open().unwrap();
    stage.say("ready");
    while let Some(request) = server.wait(LONG).unwrap() {
        request.respond(&(*request + 1)).unwrap();
    }
}

fn hold_a_lock(stage: &Stage) {
    let node = stage.node();
    let mut region = node.region::<u64>("shared").unwrap().shared().open().unwrap();
    stage.say("ready");
    stage.hear().unwrap();
    let _guard = region.lock(LONG).unwrap();
    stage.say("held");
    stage.stay();
}

fn hold_a_message(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    let held = subscriber.wait(LONG).unwrap().keep();
    stage.say("held");
    stage.hear().unwrap();
    assert!(held.iter().all(|byte| *byte == 1), "what it holds has changed");
    drop(held);
    let next = subscriber.wait(LONG).unwrap();
    assert!(next.iter().all(|byte| *byte == 2));
    stage.say("went on");
}

/// Brokers that have the lock of the directory's instance.
fn brokers(directory: &Path) -> usize {
    let inode = format!(":{} ", std::fs::metadata(directory.join("default.lock")).unwrap().ino());
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks
        .lines()
        .filter(|lock| {
            lock.contains("OFDLCK") && lock.contains("WRITE") && !lock.contains("->") && lock.contains(&inode)
        })
        .count()
}

/// A join that needs the new broker: a publisher and a subscriber of two new nodes meet.
fn join_anew(directory: &Path) {
    let (one, other) = (node_in(directory), node_in(directory));
    let mut publisher = one.topic::<u64>("new").unwrap().publisher().open().unwrap();
    let mut subscriber = other.topic::<u64>("new").unwrap().subscriber().open().unwrap();
    publisher.publish(&7).unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), 7);
}

fn hear(numbers: &mut Subscriber<u64>, expected: std::ops::Range<u64>) {
    for number in expected {
        assert_eq!(*numbers.wait(LONG).unwrap(), number, "a message is lost");
    }
}

#[test]
fn everyone_goes_on_when_the_broker_is_killed_under_load() {
    let mut slowest = std::time::Duration::ZERO;
    for _ in 0..ROUNDS {
        let directory = directory();
        let mut broker = Child::broker(directory.path());
        let mut talker = Child::spawn("talk", directory.path());
        let mut server = Child::spawn("serve", directory.path());
        let node = node_in(directory.path());
        talker.expect("ready");
        server.expect("ready");
        let mut numbers = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
        let last = node.region::<u64>("last").unwrap().open().unwrap();
        let client = node.service::<u64, u64>("next").unwrap().client().open().unwrap();
        talker.tell("talk");
        hear(&mut numbers, 0..MESSAGES);
        broker.kill();
        let killed = Instant::now();
        let mut seen = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                join_anew(directory.path());
                slowest = slowest.max(killed.elapsed());
            });
            for number in MESSAGES..=3 * MESSAGES {
                assert_eq!(*numbers.wait(LONG).unwrap(), number, "a message is lost");
                if number % 20 == 0 {
                    assert_eq!(*client.call(&number).unwrap().wait(LONG).unwrap(), number + 1);
                    let value = *last.read().unwrap();
                    assert!(value >= seen, "the region has gone back");
                    seen = value;
                }
            }
        });
        assert_eq!(brokers(directory.path()), 1);
        assert_eq!(node.inventory().unwrap().nodes.len(), 3);
        assert!(talker.end().success());
    }
    eprintln!("from the death until two new nodes have met: {slowest:?} at most");
}

#[test]
fn a_death_after_the_succession_is_noticed() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let mut server = Child::spawn("serve", directory.path());
    server.expect("ready");
    let node = node_in(directory.path());
    let mut region = node.region::<u64>("shared").unwrap().shared().lock_timeout(LONG).create(&0).unwrap();
    let mut holder = Child::spawn("hold a lock", directory.path());
    holder.expect("ready");
    let client = node.service::<u64, u64>("next").unwrap().client().open().unwrap();
    assert_eq!(*client.call(&1).unwrap().wait(LONG).unwrap(), 2);
    // So that neither of them becomes the broker: they are going to be killed.
    server.stop();
    holder.stop();
    broker.kill();
    node.inventory().unwrap();
    assert!(node.is_broker());
    server.go_on();
    holder.go_on();
    let begin = Instant::now();
    while node.inventory().unwrap().nodes.len() < 3 {
        assert!(begin.elapsed() < LONG, "whoever was stopped did not come back");
    }
    holder.tell("hold");
    holder.expect("held");
    server.stop();
    let call = client.call(&2).unwrap();
    server.kill();
    let error = call.wait(LONG).map(drop).unwrap_err();
    assert!(matches!(error, CallError::PeerDied { .. }), "{error}");
    holder.kill();
    assert!(region.lock(LONG).unwrap().was_abandoned());
    // Once.
    assert!(!region.lock(LONG).unwrap().was_abandoned());
}

#[test]
fn deaths_between_two_brokers_are_noticed() {
    for _ in 0..10 {
        let directory = directory();
        let mut broker = Child::broker(directory.path());
        let mut server = Child::spawn("serve", directory.path());
        server.expect("ready");
        let node = node_in(directory.path());
        let mut region =
            node.region::<u64>("shared").unwrap().shared().lock_timeout(LONG).create(&0).unwrap();
        let mut holder = Child::spawn("hold a lock", directory.path());
        holder.expect("ready");
        holder.tell("hold");
        holder.expect("held");
        let client = node.service::<u64, u64>("next").unwrap().client().open().unwrap();
        assert_eq!(*client.call(&1).unwrap().wait(LONG).unwrap(), 2);
        server.stop();
        let call = client.call(&2).unwrap();
        broker.kill();
        server.kill();
        holder.kill();
        let error = call.wait(LONG).map(drop).unwrap_err();
        assert!(matches!(error, CallError::PeerDied { .. }), "{error}");
        assert!(region.lock(LONG).unwrap().was_abandoned());
        assert!(!region.lock(LONG).unwrap().was_abandoned());
    }
}

#[test]
fn who_is_stopped_is_not_given_up() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().reliable().budget_bytes(4 << 20).open().unwrap();
    let mut holder = Child::spawn("hold a message", directory.path());
    holder.expect("ready");
    publisher.publish(&[1; 1 << 20]).unwrap();
    holder.expect("held");
    holder.stop();
    broker.kill();
    join_anew(directory.path());
    assert_eq!(publisher.subscribers(), 1);
    // There is room beside what it holds, and that stays as it is.
    publisher.publish(&[2; 1 << 20]).unwrap();
    holder.go_on();
    holder.tell("look");
    holder.expect("went on");
    assert!(holder.end().success());
}

#[test]
fn a_broker_that_is_dropped_hands_over() {
    let directory = directory();
    let mut first = node_in(directory.path());
    let mut value = 0;
    for _ in 0..20 {
        assert!(first.is_broker());
        let second = node_in(directory.path());
        let topic = |node: &Node| node.topic::<u64>("t").unwrap();
        let mut publisher = topic(&second).publisher().reliable().open().unwrap();
        let third = node_in(directory.path());
        let mut subscriber = topic(&third).subscriber().open().unwrap();
        publisher.publish(&value).unwrap();
        drop(first);
        value += 1;
        publisher.publish(&value).unwrap();
        assert_eq!(*subscriber.wait(LONG).unwrap(), value - 1);
        assert_eq!(*subscriber.wait(LONG).unwrap(), value);
        let mut late = topic(&third).subscriber().open().unwrap();
        publisher.publish(&value).unwrap();
        assert_eq!(*late.wait(LONG).unwrap(), value);
        assert!(second.is_broker() != third.is_broker());
        first = if second.is_broker() { second } else { third };
    }
}

/// Whoever comes back to a broker that does not answer waits for it, unless it ends itself.
#[test]
fn a_node_that_ends_does_not_wait_for_the_answer_of_a_stopped_broker() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let node = node_in(directory.path());
    let mut subscriber = node.topic::<u64>("t").unwrap().subscriber().open().unwrap();
    // As long as the directory is locked nobody takes the broker's place.
    let lock = std::fs::File::open(directory.path()).unwrap();
    lock.lock().unwrap();
    broker.kill();
    let path = directory.path().join("default.sock");
    std::fs::remove_file(&path).unwrap();
    let flags = SocketFlags::CLOEXEC;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    lock.unlock().unwrap();
    // It has come back here, and said so.
    let socket = accept_with(&listener, flags).unwrap();
    assert_ne!(recv(&socket, &mut [0; 1024][..], RecvFlags::empty()).unwrap().0, 0);
    let begin = Instant::now();
    assert!(subscriber.receive().unwrap().is_none());
    drop((subscriber, node));
    assert!(begin.elapsed() < HANDSHAKE_TIMEOUT, "it has waited until its time was up");
}
