//! A broker that runs on its own takes over from one inside a program, is replaced, and is stopped; programs go on.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{Running, World, json, text};
use rustix::process::Signal;

/// A publisher of lines, and a subscriber to them, which both go on through whatever happens to brokers.
struct Pair {
    publisher: Running,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    subscriber: Running,
}

impl Pair {
    fn start(world: &World) -> Self {
        use std::io::BufRead;
        use std::process::Stdio;

        let mut command = world.command(&["--log", "info", "topic", "pub", "t"]);
        let child = command.stdin(Stdio::piped()).spawn().unwrap();
        let publisher = Running::after(child, "publishing");
        let mut subscriber = world.subscribe(&["t"]);
        let lines = std::io::BufReader::new(subscriber.child().stdout.take().unwrap()).lines();
        Self { publisher, lines, subscriber }
    }

    fn say(&mut self, line: &str) {
        use std::io::Write;
        writeln!(self.publisher.child().stdin.as_mut().unwrap(), "{line}").unwrap();
        assert_eq!(self.lines.next().unwrap().unwrap(), line);
    }
}

fn broker_of(world: &World) -> u64 {
    json(&world.run(&["status", "--json"]))["broker_pid"].as_u64().unwrap()
}

#[test]
fn a_program_that_is_the_broker_makes_room() {
    let world = World::new();
    let mut pair = Pair::start(&world);
    pair.say("with the publisher as broker");
    let broker = world.start(&["serve"], "serves at");
    pair.say("with another broker");
    assert_eq!(broker_of(&world), u64::from(broker.id()));
    let status = json(&world.run(&["status", "--json"]));
    assert_eq!(status["nodes"].as_array().unwrap().len(), 2);
    broker.signal(Signal::KILL);
    pair.say("with a program as broker again");
    assert_eq!(json(&world.run(&["status", "--json"]))["nodes"].as_array().unwrap().len(), 2);
}

#[test]
fn a_running_broker_is_replaced_with_what_it_keeps() {
    let world = World::new();
    let first = world.start(&["serve"], "serves at");
    let create = world.run_with_input(&["region", "create", "settings", "--keep"], b"blue");
    assert!(create.status.success(), "{}", text(&create.stderr));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "red").unwrap();
    let publish = world.run(&["dataset", "publish", "index", file.path().to_str().unwrap(), "--keep"]);
    assert!(publish.status.success(), "{}", text(&publish.stderr));
    let mut pair = Pair::start(&world);
    pair.say("before");
    let refused = world.run(&["serve"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("--replace"), "{}", text(&refused.stderr));
    let second = world.start(&["serve", "--replace"], "serves at");
    let (code, _, said) = first.finish();
    assert_eq!(code, Some(0));
    assert!(said.contains("has been replaced"), "{said}");
    pair.say("after");
    assert_eq!(broker_of(&world), u64::from(second.id()));
    assert_eq!(text(&world.run(&["region", "read", "settings"]).stdout).trim_end(), "blue");
    assert_eq!(text(&world.run(&["dataset", "cat", "index"]).stdout), "red");
}

#[test]
fn a_broker_reads_its_configuration_again() {
    let world = World::new();
    let config = world.file("config.toml", b"");
    let mut command = world.command(&["serve"]);
    let mut broker = Running::after(command.env("ONECOPY_CONFIG", &config).spawn().unwrap(), "serves at");
    let mut pair = Pair::start(&world);
    pair.say("before");
    assert!(world.run_with_input(&["topic", "pub", "another"], b"").status.success());
    // As many as there are.
    let uid = rustix::process::geteuid().as_raw();
    std::fs::write(&config, format!("[[quota]]\nusers = [{uid}]\ntopics = 1\n")).unwrap();
    broker.signal(Signal::HUP);
    broker.until("was read again");
    pair.say("after");
    assert_eq!(broker_of(&world), u64::from(broker.id()));
    let refused = world.run_with_input(&["topic", "pub", "another"], b"");
    assert!(text(&refused.stderr).contains("config.toml"), "{}", text(&refused.stderr));
    std::fs::write(&config, "[admit]\nusers = 7\n").unwrap();
    broker.signal(Signal::HUP);
    let said = broker.until("goes on to hold");
    assert!(said.contains("config.toml:2"), "{said}");
    pair.say("with the configuration as it was");
    let refused = world.run_with_input(&["topic", "pub", "another"], b"");
    assert!(text(&refused.stderr).contains("config.toml"), "{}", text(&refused.stderr));
    broker.signal(Signal::TERM);
    assert_eq!(broker.finish().0, Some(0));
}

#[test]
fn who_stops_a_broker_learns_who_still_uses_it() {
    let world = World::new();
    assert_eq!(world.run(&["stop"]).status.code(), Some(3));
    let broker = world.start(&["serve"], "serves at");
    let mut pair = Pair::start(&world);
    pair.say("before");
    let stopped = json(&world.run(&["stop", "--json"]));
    assert_eq!(stopped["broker_pid"], broker.id());
    assert_eq!(stopped["nodes"].as_array().unwrap().len(), 2);
    let (code, _, said) = broker.finish();
    assert_eq!(code, Some(0));
    assert!(said.contains("has ended"), "{said}");
    pair.say("after");
    // Now it is inside a program, which alone can end it.
    let refused = world.run(&["stop"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("inside process"), "{}", text(&refused.stderr));
}

/// Commands that only look, while no broker is there and processes are that will be it.
#[test]
fn between_two_brokers_whoever_looks_waits_for_the_next() {
    let world = World::new();
    let mut pair = Pair::start(&world);
    let looks = [
        &["topic", "list"][..],
        &["status"],
        &["region", "list"],
        &["dataset", "list"],
        &["topic", "info", "t"],
    ];
    for look in looks {
        let broker = world.start(&["serve"], "serves at");
        pair.say("before");
        [&pair.publisher, &pair.subscriber].iter().for_each(|program| program.signal(Signal::STOP));
        broker.signal(Signal::KILL);
        let (code, ..) = broker.finish();
        assert_eq!(code, None, "it was killed");
        let waits = world.start(&[&["--log", "debug"], look].concat(), "waits for the next broker");
        [&pair.publisher, &pair.subscriber].iter().for_each(|program| program.signal(Signal::CONT));
        let (code, output, said) = waits.finish();
        assert_eq!(code, Some(0), "{look:?}: {said}");
        let shows_topic = text(&output).lines().any(|line| line.split_whitespace().any(|word| word == "t"));
        assert!(shows_topic || look[0] == "region" || look[0] == "dataset", "{look:?}: {}", text(&output));
        pair.say("after");
    }
}

#[test]
fn whoever_looks_is_told_of_programs_that_are_stopped_when_their_broker_ends() {
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let subscriber = world.subscribe(&["t"]);
    subscriber.signal(Signal::STOP);
    broker.signal(Signal::KILL);
    broker.finish();
    let look = world.run(&["topic", "list"]);
    assert_eq!(look.status.code(), Some(1));
    let said = text(&look.stderr);
    assert!(said.contains("and 1 node there could take its place and did not"), "{said}");
    // With the last who was there, the instance is gone, and nobody is waited for.
    drop(subscriber);
    let mut look = world.command(&["--log", "debug", "topic", "list"]);
    let look = look.output().unwrap();
    assert_eq!(look.status.code(), Some(3));
    assert!(!text(&look.stderr).contains("waits for"), "{}", text(&look.stderr));
}

/// What a user sees who looks at any time, however often brokers end.
#[test]
fn looking_never_fails_while_brokers_are_killed() {
    let world = World::new();
    let mut pair = Pair::start(&world);
    for round in 0..20 {
        let broker = world.start(&["serve"], "serves at");
        broker.signal(Signal::KILL);
        let looks = [world.command(&["topic", "list"]).spawn(), world.command(&["status"]).spawn()];
        for look in looks {
            let look = look.unwrap().wait_with_output().unwrap();
            assert!(look.status.success(), "round {round}: {}", text(&look.stderr));
            assert!(text(&look.stdout).contains('t'), "{}", text(&look.stdout));
        }
        pair.say("on");
    }
}
