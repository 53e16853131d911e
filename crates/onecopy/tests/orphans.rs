//! A process that has forked ends, and its child lives on with copies of all its sockets and locks. Everybody else goes
//! on as if there was no child.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;
use std::sync::mpsc;

use common::{Child, LONG, Stage, directory, node_in};
use fork::{Fork, fork};
use onecopy::Node;
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "broker" => broker(stage),
        "broker that forks late" => late_forker(stage),
        "subscriber" => subscriber(stage),
        role => panic!("no role {role}"),
    });
}

/// Makes a child that does nothing until it is killed, and tells the test its number.
fn fork_orphan(stage: &Stage) {
    match fork().unwrap() {
        Fork::Child => loop {
            rustix::event::pause();
        },
        Fork::Parent(pid) => stage.say(&pid.to_string()),
    }
}

/// The forked child of a child. Killed when dropped.
struct Orphan(Pid);

impl Orphan {
    fn of(parent: &mut Child) -> Self {
        Self(Pid::from_raw(parent.line().parse().unwrap()).unwrap())
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

fn broker(stage: &Stage) {
    // As one that a shell has started: its number stays in use, by the group that its child is in.
    rustix::process::setpgid(None, None).unwrap();
    let node = stage.node();
    assert!(node.is_broker());
    fork_orphan(stage);
    stage.hear();
    drop(node);
    stage.say("ended");
    stage.stay();
}

fn late_forker(stage: &Stage) {
    let node = stage.node();
    assert!(node.is_broker());
    stage.say("serves");
    stage.hear();
    fork_orphan(stage);
    stage.stay();
}

fn subscriber(stage: &Stage) {
    let node = stage.node();
    let _subscriber = node.topic::<u64>("t").unwrap().subscriber().open().unwrap();
    fork_orphan(stage);
    stage.stay();
}

/// Opens a node, or fails the test if that never comes to an end.
fn open(directory: &Path) -> Node {
    let (sender, receiver) = mpsc::channel();
    let directory = directory.to_owned();
    std::thread::spawn(move || sender.send(node_in(&directory)));
    receiver.recv_timeout(LONG).expect("the directory is locked, or nobody answers")
}

#[test]
fn a_broker_that_ends_leaves_the_directory_to_others() {
    let directory = directory();
    let mut broker = Child::spawn("broker", directory.path());
    let _orphan = Orphan::of(&mut broker);
    let client = node_in(directory.path());
    assert!(!client.is_broker());
    broker.tell("end");
    broker.expect("ended");
    let other = open(directory.path());
    assert_eq!(client.inventory().unwrap().nodes.len(), 2);
    assert!(client.is_broker() != other.is_broker());
    assert!(!open(directory.path()).is_broker());
}

#[test]
fn a_broker_that_is_killed_is_succeeded() {
    let directory = directory();
    let mut broker = Child::spawn("broker", directory.path());
    let _orphan = Orphan::of(&mut broker);
    let client = node_in(directory.path());
    broker.kill();
    let other = open(directory.path());
    assert_eq!(client.inventory().unwrap().nodes.len(), 2);
    assert!(client.is_broker() != other.is_broker());
    assert!(!open(directory.path()).is_broker());
}

#[test]
fn a_broker_whose_child_has_the_others_connections_is_succeeded() {
    let directory = directory();
    let mut broker = Child::spawn("broker that forks late", directory.path());
    broker.expect("serves");
    let client = node_in(directory.path());
    assert!(!client.is_broker());
    broker.tell("fork");
    let _orphan = Orphan::of(&mut broker);
    broker.kill();
    assert_eq!(client.inventory().unwrap().nodes.len(), 1);
    assert!(client.is_broker());
}

#[test]
fn a_peer_that_is_killed_is_gone() {
    let directory = directory();
    let node = node_in(directory.path());
    let publisher = node.topic::<u64>("t").unwrap().publisher().reliable().open().unwrap();
    let mut subscriber = Child::spawn("subscriber", directory.path());
    let _orphan = Orphan::of(&mut subscriber);
    assert_eq!(publisher.subscribers(), 1);
    subscriber.kill();
    while publisher.subscribers() > 0 {
        node.inventory().unwrap();
    }
}
