//! Nodes that come and go around one that stays, a hundred times each way: started and ended, and killed;
//! and ten thousand topics. What the one that stays has comes back to where it was. The only test of its
//! binary, since it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;

const ROUNDS: usize = 100;
const TOPICS: usize = 10_000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "come" => come(stage),
        role => panic!("no role {role}"),
    });
}

/// Has to do with everything that the test has open.
fn come(stage: &Stage) {
    let node = stage.node();
    let mut publisher = node.topic::<[u8]>("to test").unwrap().publisher().history(1).open().unwrap();
    let mut subscriber = node.topic::<[u8]>("from test").unwrap().subscriber().open().unwrap();
    let server = node.service::<u64, u64>("service").unwrap().server().open().unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().open().unwrap();
    publisher.publish(&[1; 3 << 20]).unwrap();
    let held = subscriber.wait(LONG).unwrap().keep();
    stage.say("there");
    let request = server.wait(LONG).unwrap().unwrap();
    request.respond(&request).unwrap();
    shared.write(&7).unwrap();
    stage.hear();
    drop(held);
}

#[derive(Debug)]
struct Possessions {
    descriptors: usize,
    threads: usize,
    mappings: usize,
    memory: usize,
}

impl Possessions {
    fn is_within(&self, before: &Self) -> bool {
        self.descriptors <= before.descriptors
            && self.threads <= before.threads
            && self.mappings <= before.mappings
            && self.memory <= before.memory
    }
}

fn possessions() -> Possessions {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps.lines().filter(|line| line.contains("memfd:onecopy")).count();
    let mut memory: BTreeSet<u64> = maps
        .lines()
        .filter(|line| line.contains("memfd:onecopy"))
        .map(|line| line.split_whitespace().nth(4).unwrap().parse().unwrap())
        .collect();
    let mut descriptors = 0;
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap) {
        descriptors += 1;
        let is_memory = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().contains("memfd:onecopy"));
        if is_memory {
            memory.insert(std::fs::metadata(entry.path()).unwrap().ino());
        }
    }
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count();
    Possessions { descriptors, threads, mappings, memory: memory.len() }
}

/// Waits until everything that is on its way has gone, which takes as long as it takes.
fn until_back_at(before: &Possessions, node: &Node, mut look: impl FnMut()) {
    loop {
        node.inventory().unwrap();
        look();
        let now = possessions();
        // Something may have been on its way out when `before` was counted.
        if now.is_within(before) {
            return;
        }
        assert!(now.descriptors < before.descriptors + 200, "{now:?} after {before:?}");
        std::thread::yield_now();
    }
}

fn rounds(directory: &Path, node: &Node, end: impl Fn(Child)) {
    let mut publisher = node.topic::<[u8]>("from test").unwrap().publisher().history(1).open().unwrap();
    publisher.publish(&[2; 100_000]).unwrap();
    let mut subscriber = node.topic::<[u8]>("to test").unwrap().subscriber().open().unwrap();
    let client = node.service::<u64, u64>("service").unwrap().client().open().unwrap();
    let shared = node.region::<u64>("shared").unwrap().shared().create(&0).unwrap();
    let mut before = None;
    for round in 0..ROUNDS {
        let mut child = Child::spawn("come", directory);
        child.expect("there");
        assert_eq!(subscriber.wait(LONG).unwrap().len(), 3 << 20);
        client.wait_for_server(LONG).unwrap();
        assert_eq!(*client.call(&5).unwrap().wait(LONG).unwrap(), 5);
        end(child);
        let mut look = || {
            assert!(subscriber.receive().unwrap().is_none());
            client.servers().unwrap();
            shared.read().unwrap();
        };
        match &before {
            Some(before) => until_back_at(before, node, look),
            // The first rounds make what is kept.
            None if round == 5 => {
                while client.servers().unwrap() > 0 || publisher.subscribers() > 0 {
                    look();
                    node.inventory().unwrap();
                }
                look();
                node.inventory().unwrap();
                before = Some(possessions());
            }
            None => {}
        }
    }
}

#[test]
fn what_comes_and_goes_leaves_nothing() {
    let own = directory();
    let node = node_in(own.path());
    rounds(own.path(), &node, |child| assert!(child.end().success()));
    rounds(own.path(), &node, |mut child| child.kill());

    let before = possessions();
    for number in 0..TOPICS {
        let topic = node.topic::<u64>(&format!("topic/{number}")).unwrap();
        let mut publisher = topic.publisher().open().unwrap();
        if number % 10 == 0 {
            let mut subscriber = topic.subscriber().open().unwrap();
            publisher.publish(&1).unwrap();
            assert_eq!(*subscriber.wait(LONG).unwrap(), 1);
        }
    }
    until_back_at(&before, &node, || {});
}
