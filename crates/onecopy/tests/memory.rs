//! The claim of the project: shared memory grows with the messages in flight, not with the number of subscribers.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use common::{Child, LONG, directory, node_in};

const MESSAGE_BYTES: usize = 1 << 20;
/// What a process's reader state and a ring's slots may take besides.
const SLACK_BYTES: u64 = 512 << 10;

#[test]
fn child() {
    common::play(|stage| {
        let node = stage.node();
        let mut subscriber = node.topic::<[u8]>("frames").unwrap().subscriber().open().unwrap();
        let mut held = Vec::new();
        stage.say("ready");
        while let Some(line) = stage.hear() {
            let frame = subscriber.wait(LONG).unwrap();
            assert!(*frame == *vec![frame[0]; frame.len()], "a frame is whole");
            if line == "hold" {
                held.push(frame.keep());
            } else {
                drop(frame);
            }
            stage.say("read");
        }
    });
}

/// Memory that the kernel has given to shared segments of these processes, each counted once.
fn shared_bytes(children: &[Child]) -> u64 {
    let mut segments = BTreeMap::new();
    let pids = children.iter().map(Child::pid).chain([std::process::id()]);
    for entry in pids.flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap()) {
        let path = entry.unwrap().path();
        let is_ours = std::fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:onecopy"));
        if let (true, Ok(metadata)) = (is_ours, std::fs::metadata(&path)) {
            segments.insert((metadata.dev(), metadata.ino()), metadata.blocks() * 512);
        }
    }
    segments.values().sum()
}

/// Shared memory with so many subscribers that read, and then that hold so many messages.
fn shared_bytes_with(subscribers: usize, held: usize) -> (u64, u64) {
    let directory = directory();
    let node = node_in(directory.path());
    let mut publisher = node.topic::<[u8]>("frames").unwrap().publisher().open().unwrap();
    let mut children: Vec<_> = (0..subscribers).map(|_| Child::spawn("read", directory.path())).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    let mut publish = |value: u8, what: &str| {
        let mut frame = publisher.loan_slice(MESSAGE_BYTES).unwrap();
        frame.fill(value);
        frame.publish().unwrap();
        for child in &mut children {
            child.tell(what);
            child.expect("read");
        }
        shared_bytes(&children)
    };
    let reading = (0..30).map(|value| publish(value, "read")).max().unwrap();
    let holding = (0..held as u8).map(|value| publish(value, "hold")).max().unwrap();
    (reading, holding)
}

#[test]
fn memory_grows_with_messages_not_with_subscribers() {
    const HELD: usize = 6;
    let message_bytes = MESSAGE_BYTES as u64;
    let (reading_by_one, holding_by_one) = shared_bytes_with(1, HELD);
    let (reading_by_six, holding_by_six) = shared_bytes_with(6, HELD);
    assert!(reading_by_one <= 3 * message_bytes + SLACK_BYTES, "{reading_by_one} for one message at a time");
    assert!(reading_by_six <= reading_by_one + SLACK_BYTES, "{reading_by_six}, one: {reading_by_one}");
    assert!(holding_by_one >= HELD as u64 * message_bytes, "{holding_by_one} for {HELD} held messages");
    assert!(holding_by_one <= (HELD as u64 + 3) * message_bytes + SLACK_BYTES, "{holding_by_one}");
    assert!(holding_by_six <= holding_by_one + SLACK_BYTES, "{holding_by_six}, one: {holding_by_one}");
}
