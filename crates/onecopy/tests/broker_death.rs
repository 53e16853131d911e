//! The broker dies before it has passed on that a subscriber may sleep. Nobody told the publisher to look whether
//! anybody sleeps, and still its next message wakes the sleeper.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::PathBuf;

use common::{Child, LONG, Stage, directory};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "speak" => speak(stage),
        "sleep" => sleep(stage),
        role => panic!("no role {role}"),
    });
}

fn speak(stage: &Stage) {
    let node = stage.node();
    let mut publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    stage.say("ready");
    stage.hear().unwrap();
    // Answered by the next broker.
    node.inventory().unwrap();
    stage.say("alone");
    while let Some(line) = stage.hear() {
        publisher.publish(&line.parse().unwrap()).unwrap();
    }
}

/// Opens a subscriber that has never slept, and sleeps when it is told to.
fn sleep(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    stage.say(&rustix::thread::gettid().to_string());
    stage.hear().unwrap();
    // Not `wait`, which takes what is there at its deadline, whether or not it was woken.
    let received = loop {
        onecopy::wait_any(&mut [&mut subscriber], LONG).unwrap();
        if let Some(message) = subscriber.receive().unwrap() {
            break message.copy();
        }
    };
    stage.say(&received.to_string());
}

/// Returns once the thread sleeps in a system call that waits for futexes or descriptors.
fn until_asleep(process: u32, thread: &str) {
    const FUTEX_WAITV: &str = "449";
    let waits: &[&str] = match std::env::consts::ARCH {
        // poll, epoll_wait, ppoll, epoll_pwait
        "x86_64" => &[FUTEX_WAITV, "7", "232", "271", "281"],
        // ppoll, epoll_pwait
        "aarch64" => &[FUTEX_WAITV, "73", "22"],
        other => panic!("numbers of the system calls of {other}"),
    };
    let path = PathBuf::from(format!("/proc/{process}/task/{thread}/syscall"));
    loop {
        // "running", or the number and its arguments.
        let call = std::fs::read_to_string(&path).expect("a parent may look at its child");
        if call.split_whitespace().next().is_some_and(|number| waits.contains(&number)) {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_sleeper_nobody_announced_is_woken() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let mut publisher = Child::spawn("speak", directory.path());
    publisher.expect("ready");
    let mut sleeper = Child::spawn("sleep", directory.path());
    let thread = sleeper.line();
    // What the sleeper says now, the broker will not pass on any more.
    broker.stop();
    sleeper.tell("sleep");
    until_asleep(sleeper.pid(), &thread);
    broker.kill();
    publisher.tell("is the broker gone?");
    publisher.expect("alone");
    publisher.tell("7");
    sleeper.expect("7");
    assert!(sleeper.end().success());
    assert!(publisher.end().success());
}
