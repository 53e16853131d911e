//! `onecopy serve`: a broker that stays, however its predecessor went.

mod common;

use common::{World, json, text};
use rustix::process::Signal;

#[test]
fn serves_until_it_is_told_to_end() {
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let status = json(&world.run(&["status", "--json"]));
    assert_eq!(status["broker_pid"], broker.id());
    assert_eq!(status["nodes"], serde_json::json!([]));
    broker.signal(Signal::TERM);
    let (code, _, said) = broker.finish();
    assert_eq!(code, Some(0));
    assert!(said.contains("has ended"), "{said}");
    let left: Vec<_> =
        std::fs::read_dir(world.runtime_directory()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["default.lock"]);
}

#[test]
fn there_is_one_broker_only() {
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let second = world.run(&["serve"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains(&format!("served by process {} already", broker.id())));
}

#[test]
fn a_killed_broker_is_replaced_at_once() {
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    broker.signal(Signal::KILL);
    assert_eq!(broker.finish().0, None);
    assert!(world.runtime_directory().join("default.sock").exists(), "what it left");
    assert_eq!(world.run(&["status"]).status.code(), Some(3));

    let _next = world.start(&["serve"], "serves at");
    let subscriber = world.subscribe(&["t", "--count", "1"]);
    assert!(world.run_with_input(&["topic", "pub", "t"], b"again\n").status.success());
    assert_eq!(text(&subscriber.finish().1), "again\n");
}

#[test]
fn messages_flow_on_without_a_broker() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::Stdio;

    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let mut subscriber = world.subscribe(&["t"]);
    let mut command = world.command(&["--log", "info", "topic", "pub", "t"]);
    let child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut publisher = common::Running::after(child, "publishing");
    let mut lines = BufReader::new(subscriber.child().stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut say = |line: &str| writeln!(publisher.child().stdin.as_mut().unwrap(), "{line}").unwrap();
    say("first");
    assert_eq!(lines.next().unwrap(), "first");
    // The broker has answered a question, so it has passed on how the subscriber is woken.
    assert!(world.run(&["status"]).status.success());
    broker.signal(Signal::KILL);
    broker.finish();
    say("still here");
    assert_eq!(lines.next().unwrap(), "still here");
    assert_eq!(publisher.finish().0, Some(0));
}
