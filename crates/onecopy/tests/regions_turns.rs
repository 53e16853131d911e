//! Writers of a region that come, write and go, one after the other and all at once: each goes on from what the last
//! one left.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::region::RegionError;

const PROCESSES: u64 = 4;
/// Times that each process adds one.
const TURNS: u64 = 200;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "adds" => add(stage),
        role => panic!("no role {role}"),
    });
}

/// Becomes the writer, adds one and ceases to be it, again and again.
fn add(stage: &Stage) {
    let node = stage.node();
    stage.say("ready");
    stage.hear();
    let mut turns = 0;
    while turns < TURNS {
        let region = match node.region::<u64>("sum").unwrap().open_or_create(&0) {
            Ok(region) => region,
            Err(error) => panic!("after {turns} turns: {error}"),
        };
        match region.update(|sum| *sum += 1) {
            Ok(_) => turns += 1,
            Err(RegionError::ReadOnly { .. }) => {}
            Err(error) => panic!("after {turns} turns: {error}"),
        }
    }
    stage.say("done");
    stage.stay();
}

#[test]
fn whoever_becomes_the_writer_goes_on_from_the_last_one() {
    let directory = directory();
    let node = node_in(directory.path());
    // The region lives for as long as this.
    let holder = node.region::<u64>("sum").unwrap();
    let first = node.region::<u64>("sum").unwrap().open_or_create(&0).unwrap();
    let held = holder.open().unwrap();
    drop(first);
    let mut children: Vec<Child> = (0..PROCESSES).map(|_| Child::spawn("adds", directory.path())).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(|child| child.tell("go"));
    children.iter_mut().for_each(|child| child.expect("done"));
    let deadline = std::time::Instant::now() + LONG;
    while *held.read().unwrap() != PROCESSES * TURNS && std::time::Instant::now() < deadline {
        node.inventory().unwrap();
    }
    assert_eq!(*held.read().unwrap(), PROCESSES * TURNS);
}
