//! Processes that are killed or stopped at any point, and what the others see of it: whole messages, and their memory
//! back.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use common::{Child, LONG, Stage, directory, node_in, pattern};
use onecopy::{Error, LoanError};

type Checksum = [u8; 32];

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "hoard" => hoard(stage),
        "stream" => stream(stage),
        "listen" => listen(stage),
        "speak" => speak(stage),
        role => panic!("no role {role}"),
    });
}

/// Holds whatever it gets.
fn hoard(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
    let mut held = Vec::new();
    stage.say("ready");
    while stage.hear().is_some() {
        held.push(subscriber.wait(LONG).unwrap().keep());
        stage.say("held");
    }
}

/// Publishes messages of every size as fast as it can, until it is killed.
fn stream(stage: &Stage) {
    let node = stage.node();
    let topic = node.topic::<[u8]>("stream").unwrap().header::<Checksum>();
    let mut publisher = topic.publisher().depth(64).history(8).budget_bytes(16 << 20).open().unwrap();
    stage.say("ready");
    for number in 0.. {
        let len = if number % 3 == 0 { number * 7919 % 300_000 } else { number % 90 };
        let bytes: Vec<u8> = pattern(number as u64, len).collect();
        let mut loan = publisher.loan_slice(len).unwrap();
        *loan.header_mut() = *blake3::hash(&bytes).as_bytes();
        loan.copy_from_slice(&bytes);
        loan.publish().unwrap();
    }
}

/// Says what it hears.
fn listen(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    while stage.hear().is_some() {
        stage.say(&subscriber.wait(LONG).unwrap().to_string());
    }
}

/// Publishes what it is told.
fn speak(stage: &Stage) {
    let node = stage.node();
    let mut publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    stage.say("ready");
    while let Some(line) = stage.hear() {
        publisher.publish(&line.parse().unwrap()).unwrap();
        stage.say("published");
    }
}

#[test]
fn a_killed_subscriber_gives_back_what_it_held() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().reliable().depth(64).budget_bytes(6 << 20).open().unwrap();
    for _ in 0..5 {
        let mut child = Child::spawn("hoard", directory.path());
        child.expect("ready");
        let mut held = 0;
        loop {
            match publisher.publish(&[held; 500_000]) {
                Ok(()) => {
                    child.tell("hold");
                    child.expect("held");
                    held += 1;
                }
                Err(Error::Loan(LoanError::Budget(_))) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(held > 3, "{held} held");
        child.kill();
        publisher.loan_slice_within(500_000, LONG).unwrap().publish().unwrap();
        for _ in 0..100 {
            publisher.publish(&[1; 500_000]).unwrap();
        }
        assert_eq!(publisher.subscribers(), 0);
    }
}

#[test]
fn a_reliable_publisher_does_not_wait_for_the_dead() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut publisher = node.topic::<[u8]>("large").unwrap().publisher().reliable().depth(4).open().unwrap();
    let mut child = Child::spawn("hoard", directory.path());
    child.expect("ready");
    while publisher.publish(b"x").is_ok() {}
    std::thread::scope(|scope| {
        scope.spawn(|| child.kill());
        publisher.loan_slice_within(1, Duration::MAX).unwrap().publish().unwrap();
    });
}

#[test]
fn a_killed_publisher_leaves_whole_messages_only() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("stream").unwrap().header::<Checksum>();
    let mut survivor = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut kept = std::collections::VecDeque::new();
    for round in 0..25_usize {
        let mut child = Child::spawn("stream", directory.path());
        child.expect("ready");
        for _ in 0..round * round * 3 {
            let message = subscriber.wait(LONG).unwrap();
            assert_eq!(blake3::hash(&message), *message.header());
            kept.push_back(message.keep());
            if kept.len() > 5 {
                kept.pop_front();
            }
        }
        child.kill();
        while let Some(message) = subscriber.receive().unwrap() {
            assert_eq!(blake3::hash(&message), *message.header());
        }
        // What is held is whole for as long as it is held, whoever died.
        for message in &kept {
            assert_eq!(blake3::hash(message), *message.header());
        }
        let mut loan = survivor.loan_slice(1).unwrap();
        *loan.header_mut() = [0; 32];
        loan.publish().unwrap();
        while *subscriber.wait(LONG).unwrap().header() != [0; 32] {}
        while subscriber.publishers() > 1 {
            // A segment that the dead publisher had announced may arrive only now, and its messages with it.
            if let Some(message) = subscriber.receive().unwrap() {
                assert_eq!(blake3::hash(&message), *message.header());
            }
        }
    }
}

/// Descriptors and mappings of shared memory that a process has.
fn shared_memory(process: &Path) -> BTreeSet<(u64, u64)> {
    let mut found = BTreeSet::new();
    for descriptor in std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        let is_ours = std::fs::read_link(descriptor.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:onecopy"));
        if let (true, Ok(metadata)) = (is_ours, std::fs::metadata(descriptor.path())) {
            found.insert((metadata.dev(), metadata.ino()));
        }
    }
    for line in std::fs::read_to_string(process.join("maps")).unwrap_or_default().lines() {
        if line.contains("/memfd:onecopy") {
            let mut fields = line.split_whitespace().skip(3);
            let device = fields.next().and_then(|device| device.split_once(':')).unwrap();
            let [major, minor] = [device.0, device.1].map(|part| u32::from_str_radix(part, 16).unwrap());
            let inode = fields.next().unwrap().parse().unwrap();
            found.insert((rustix::fs::makedev(major, minor), inode));
        }
    }
    found
}

fn names_in(directory: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn nothing_is_left_when_everyone_is_killed() {
    let directory = directory();
    let shared_before = names_in(Path::new("/dev/shm"));
    for _ in 0..5 {
        let mut children: Vec<Child> = ["stream", "hoard", "listen", "speak", "stream"]
            .into_iter()
            .map(|role| {
                let mut child = Child::spawn(role, directory.path());
                child.expect("ready");
                child
            })
            .collect();
        let theirs: BTreeSet<_> = children
            .iter()
            .flat_map(|child| shared_memory(Path::new(&format!("/proc/{}", child.pid()))))
            .collect();
        assert!(theirs.len() >= 5, "each has at least its reader state: {theirs:?}");
        children.iter_mut().for_each(Child::kill);
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let left: Vec<_> = shared_memory(&process.path()).intersection(&theirs).copied().collect();
            assert!(left.is_empty(), "{:?} still has {left:?}", process.path());
        }
        let names = names_in(directory.path());
        assert!(names.iter().all(|name| name == "default.sock" || name == "default.lock"), "{names:?}");
        let shared_after = names_in(Path::new("/dev/shm"));
        assert!(
            shared_after.difference(&shared_before).all(|name| !name.to_string_lossy().contains("onecopy")),
            "{shared_after:?}"
        );
    }
    assert!(node_in(directory.path()).is_broker(), "the next start works at once");
}

#[test]
fn a_stopped_subscriber_holds_nobody_up() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut stopped = Child::spawn("listen", directory.path());
    stopped.expect("ready");
    let mut other = Child::spawn("listen", directory.path());
    other.expect("ready");
    stopped.stop();
    let mut publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    for value in 0..100 {
        publisher.publish(&value).unwrap();
        other.tell("listen");
        other.expect(&value.to_string());
    }
    stopped.go_on();
    while publisher.subscribers() < 2 {
        std::thread::yield_now();
    }
    publisher.publish(&1000).unwrap();
    stopped.tell("listen");
    stopped.expect("1000");
}

#[test]
fn a_stopped_publisher_holds_nobody_up() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut stopped = Child::spawn("speak", directory.path());
    stopped.expect("ready");
    let mut other = Child::spawn("speak", directory.path());
    other.expect("ready");
    stopped.stop();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    for value in 0..100_u64 {
        other.tell(&value.to_string());
        assert_eq!(*subscriber.wait(LONG).unwrap(), value);
    }
    stopped.go_on();
    while subscriber.publishers() < 2 {
        assert!(subscriber.receive().unwrap().is_none());
    }
    stopped.tell("1000");
    assert_eq!(*subscriber.wait(LONG).unwrap(), 1000);
}
