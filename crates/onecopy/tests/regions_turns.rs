//! Writers of a region that come, write and go, one after the other and all at once: each goes on from what the last
//! one left.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::{RegionBuilder, RegionError};

const PROCESSES: u64 = 4;

/// Times that each process adds one. A disk takes its time.
fn turns(kind: &str) -> u64 {
    if kind.ends_with("in a file") { 25 } else { 200 }
}

#[test]
fn child() {
    common::play(add);
}

/// The region, as those of a kind open it.
fn sum(node: &Node, kind: &str, directory: &Path) -> RegionBuilder<u64> {
    let region = node.region::<u64>("sum").unwrap();
    match kind {
        "single" => region,
        "shared" => region.shared().lock_timeout(LONG),
        "single, in a file" => region.file(directory.join("sum.value")),
        "shared, in a file" => region.shared().lock_timeout(LONG).file(directory.join("sum.value")),
        kind => panic!("no kind {kind}"),
    }
}

/// Opens the region, adds one and closes it, again and again.
fn add(stage: &Stage) {
    let node = stage.node();
    stage.say("ready");
    stage.hear();
    let (mut turns, all) = (0, turns(&stage.role));
    while turns < all {
        let region = match sum(&node, &stage.role, &stage.directory).open_or_create(&0) {
            Ok(region) => region,
            // Another one does not get the processor for a second.
            Err(RegionError::WriterStuck { .. }) => continue,
            Err(error) => panic!("after {turns} turns: {error}"),
        };
        match region.update(|sum| *sum += 1) {
            Ok(_) => turns += 1,
            // Somebody else writes it just now.
            Err(RegionError::ReadOnly { .. }) => {}
            Err(error) => panic!("after {turns} turns: {error}"),
        }
    }
    stage.say("done");
    stage.stay();
}

fn take_turns(kind: &str, directory: &Path) -> Vec<Child> {
    let mut children = Child::spawn_together((0..PROCESSES).map(|_| kind.to_owned()), directory);
    children.iter_mut().for_each(|child| child.expect("done"));
    children
}

/// The region lives for as long as somebody has it open.
fn take_turns_before_a_reader(kind: &str) {
    let directory = directory();
    let node = node_in(directory.path());
    let first = sum(&node, kind, directory.path()).open_or_create(&0).unwrap();
    let reader = sum(&node, kind, directory.path()).open().unwrap();
    drop(first);
    let _children = take_turns(kind, directory.path());
    let deadline = Instant::now() + LONG;
    while *reader.read().unwrap() < PROCESSES * turns(kind) && Instant::now() < deadline {
        // What the broker has told this node by now has arrived.
        node.inventory().unwrap();
    }
    assert_eq!(*reader.read().unwrap(), PROCESSES * turns(kind));
}

/// The region ends whenever nobody has it open, and its file goes on.
fn take_turns_alone(kind: &str) {
    let directory = directory();
    let node = node_in(directory.path());
    let _children = take_turns(kind, directory.path());
    let region = sum(&node, kind, directory.path()).open_or_create(&0).unwrap();
    assert_eq!(*region.read().unwrap(), PROCESSES * turns(kind));
}

#[test]
fn whoever_becomes_the_writer_goes_on_from_the_last_one() {
    take_turns_before_a_reader("single");
}

#[test]
fn whoever_takes_part_goes_on_from_the_last_one() {
    take_turns_before_a_reader("shared");
}

#[test]
fn whoever_becomes_the_writer_goes_on_from_the_file() {
    take_turns_alone("single, in a file");
}

#[test]
fn whoever_takes_part_goes_on_from_the_file() {
    take_turns_alone("shared, in a file");
}
