//! Many processes that want one lock: each gets it, again and again, though the others never let up.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod regions_values;

use std::path::Path;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::RegionBuilder;

const PROCESSES: usize = 16;
/// What each must come to while all others go on.
const SHARE: u64 = 100;
/// How often a holder may take the lock back from under one who waits for it. The lock is reserved for who
/// was woken four times in vain. From outside one only sees that the waiter goes to sleep, which it also does
/// to be told what to do, or for a page on a busy machine: hence so many more. A lock that always goes to the
/// quickest would never end.
const TAKEN_BACK_MAX: usize = 100;

/// How often each process wrote, and how often all did.
type Shares = [u64; PROCESSES + 1];

#[test]
fn child() {
    common::play(|stage| match stage.role.strip_prefix("contend ") {
        Some(process) => contend(stage, process.parse().unwrap()),
        None => wait_once(stage),
    });
}

fn shares(node: &Node) -> RegionBuilder<Shares> {
    node.region("shares").unwrap().shared().lock_timeout(LONG)
}

/// Writes until every process has had its share; who never gets the lock fails after a minute.
fn contend(stage: &Stage, process: usize) {
    let node = stage.node();
    let mut region = shares(&node).open().unwrap();
    stage.say("ready");
    stage.hear().unwrap();
    let mut own = 0;
    loop {
        let mut guard = region.lock(LONG).unwrap();
        let all_have = guard[..PROCESSES].iter().all(|share| *share >= SHARE);
        if all_have {
            break;
        }
        guard[process] += 1;
        guard[PROCESSES] += 1;
        guard.commit().unwrap();
        own += 1;
    }
    stage.say(&own.to_string());
    stage.stay();
}

fn wait_once(stage: &Stage) {
    let node = stage.node();
    let region = shares(&node).open().unwrap();
    stage.say(&rustix::thread::gettid().as_raw_nonzero().to_string());
    while stage.hear().is_some() {
        region.update(|shares| shares[0] += 1).unwrap();
        stage.say("written");
    }
}

#[test]
fn sixteen_processes_share_one_lock() {
    let directory = directory();
    let node = node_in(directory.path());
    let region = shares(&node).open_or_create(&[0; PROCESSES + 1]).unwrap();
    let roles = (0..PROCESSES).map(|process| format!("contend {process}"));
    let mut children = Child::spawn_together(roles, directory.path());
    let said: Vec<u64> = children.iter_mut().map(|child| child.line().parse().unwrap()).collect();
    let value = region.read().unwrap();
    println!("{said:?}");
    assert_eq!(value[..PROCESSES], said[..], "what each wrote is there");
    assert!(said.iter().all(|share| *share >= SHARE));
    assert_eq!(value[PROCESSES], said.iter().sum::<u64>());
    assert_eq!(value.version() - 1, value[PROCESSES], "no update is lost");
}

/// How often a thread went to sleep by itself.
fn sleeps(process: u32, thread: &str) -> u64 {
    let path = format!("/proc/{process}/task/{thread}/status");
    let status = std::fs::read_to_string(Path::new(&path)).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn who_is_passed_over_gets_the_lock_next() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut region = shares(&node).open_or_create(&[0; PROCESSES + 1]).unwrap();
    let mut waiter = Child::spawn("wait once", directory.path());
    let thread = waiter.line();
    for round in 1..=20 {
        let mut guard = region.lock(LONG).unwrap();
        let before = sleeps(waiter.pid(), &thread);
        waiter.tell("write");
        while sleeps(waiter.pid(), &thread) == before {
            std::thread::yield_now();
        }
        let mut taken_back = 0;
        loop {
            let before = sleeps(waiter.pid(), &thread);
            drop(guard);
            guard = region.lock(LONG).unwrap();
            if guard[0] == round {
                break;
            }
            taken_back += 1;
            assert!(taken_back < TAKEN_BACK_MAX, "it waits while another takes the lock again and again");
            while sleeps(waiter.pid(), &thread) == before {
                std::thread::yield_now();
            }
        }
        drop(guard);
        waiter.expect("written");
    }
}
