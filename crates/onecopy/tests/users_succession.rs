//! The end of a broker as processes of other users live it: they go on, and wait for the owner's next one.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod users_common;

use std::os::unix::fs::MetadataExt;

use common::Stage;
use onecopy::broker::protocol::{Event, NodeId, Request};
use onecopy::instance::Instance;
use onecopy_memory::range_lock::{BYTES_END, lock_byte};
use rustix::fs::{FlockOperation, flock};
use users_common::{GUEST, OWNER, World, does, fails, has_other_users, play};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "obstruct" => obstruct(stage),
        _ => play(stage),
    });
}

/// A guest that locks all it can of the file in which it is to be counted.
fn obstruct(stage: &Stage) {
    let instance = Instance::in_directory(&stage.directory, "default").unwrap();
    let socket = instance.connect().unwrap().unwrap();
    let node = NodeId::random().unwrap();
    let hello = Request::Hello { node, name: "rude".to_owned(), returns_from: None };
    socket.send_request(&hello, None).unwrap();
    let (Event::Roll, Some(roll)) = socket.receive_event().unwrap() else { panic!("no roll") };
    let (Event::Welcome { .. }, _) = socket.receive_event().unwrap() else { panic!("no welcome") };
    for byte in (0..1000).map(|number| 2 * number).chain([BYTES_END - 1]) {
        lock_byte(&roll, byte).unwrap_or_else(|error| assert_eq!(byte, BYTES_END - 1, "{error}"));
    }
    flock(&roll, FlockOperation::NonBlockingLockExclusive).unwrap();
    stage.say("locked");
    stage.hear();
    // The broker that had its byte is gone.
    lock_byte(&roll, BYTES_END - 1).unwrap();
    stage.say("locked all");
    stage.stay();
}

#[test]
fn a_guest_that_locks_what_it_can_keeps_nobody_from_being_the_broker() {
    if !has_other_users() {
        return;
    }
    let world = World::new(RULES);
    let mut broker = world.broker();
    let mut rude = world.process("obstruct", GUEST, GUEST);
    rude.expect("locked");
    broker.kill();
    rude.tell("lock all");
    rude.expect("locked all");
    let mut owner = world.actor(OWNER);
    assert_eq!(fails(&mut owner, "broker?"), "true");
    let mut guest = world.actor(GUEST);
    does(&mut owner, "publish a");
    does(&mut guest, "subscribe a");
}

const RULES: &str = r#"owner = 61001
[admit]
users = [61002]
[[allow]]
rights = ["publish", "subscribe", "read"]
names = ["**"]
"#;

#[test]
fn guests_go_on_with_the_owners_next_broker_and_never_become_it() {
    if !has_other_users() {
        return;
    }
    let world = World::new(RULES);
    let mut broker = world.broker();
    let (mut guest, mut owner) = (world.actor(GUEST), world.actor(OWNER));
    does(&mut owner, "publish a");
    does(&mut guest, "subscribe a");
    does(&mut guest, "publish b");
    does(&mut owner, "subscribe b");
    does(&mut owner, "write r");
    does(&mut guest, "read r");
    does(&mut owner, "keep r");
    for round in 0..5 {
        broker.kill();
        // What is open goes on meanwhile, and whoever joins waits for the next broker.
        does(&mut owner, &format!("say {round}"));
        does(&mut guest, &format!("hear {round}"));
        does(&mut guest, &format!("say {}", 100 + round));
        does(&mut owner, &format!("hear {}", 100 + round));
        let mut newcomer = world.actor(GUEST);
        does(&mut newcomer, "subscribe a");
        does(&mut owner, "say 50");
        does(&mut guest, "hear 50");
        // History first.
        does(&mut newcomer, "publish c");
        assert_eq!(fails(&mut owner, "broker?"), "true");
        assert_eq!(fails(&mut guest, "broker?"), "false");
        broker = world.broker();
        does(&mut guest, "wake");
    }
    let lock = std::fs::metadata(world.directory().join("default.lock")).unwrap();
    assert_eq!((lock.uid(), lock.mode() & 0o077), (OWNER, 0), "nobody else can open it");
}

#[test]
fn without_a_process_of_the_owner_guests_wait() {
    if !has_other_users() {
        return;
    }
    let world = World::new(RULES);
    let mut broker = world.broker();
    let mut guest = world.actor(GUEST);
    does(&mut guest, "publish a");
    broker.kill();
    let mut late = world.process("actor", GUEST, GUEST);
    let told = late.line();
    let expected = format!("only user {OWNER} may run it, not user {GUEST}");
    assert!(told.contains("no broker listens") && told.contains(&expected), "{told}");
    assert_eq!(fails(&mut guest, "broker?"), "false");
    let mut usurper = world.process("broker", GUEST, GUEST);
    let told = usurper.line();
    assert!(told.contains(&format!("belongs to user {OWNER}, who alone may run its broker")), "{told}");
    // What it has open is there for those who come to the owner's next broker.
    let _broker = world.broker();
    let mut other = world.actor(GUEST);
    does(&mut other, "subscribe a");
    does(&mut guest, "say 1");
    does(&mut other, "hear 1");
}

#[test]
fn rules_that_have_changed_hold_from_the_next_broker_on() {
    if !has_other_users() {
        return;
    }
    let world = World::new(RULES);
    let _broker = world.broker();
    let (mut guest, mut owner) = (world.actor(GUEST), world.actor(OWNER));
    does(&mut owner, "publish a");
    does(&mut guest, "subscribe a");
    does(&mut guest, "publish b");
    world
        .configure(&format!("{RULES}[[deny]]\nusers = [{GUEST}]\nrights = [\"publish\"]\nnames = [\"b\"]\n"));
    does(&mut owner, "replace");
    // The replacement has ended at once, and the owner's node is the broker. The guest may not come back with
    // what it has.
    let told = fails(&mut guest, "subscribe c");
    assert!(told.contains("the rule in line 7"), "{told}");
    let mut again = world.actor(GUEST);
    does(&mut again, "subscribe a");
    assert!(fails(&mut again, "publish b").contains("line 7"));
}
