//! `topic pub` and `topic sub` as people use them: in pipes.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use common::{Running, World, text};
use rustix::process::Signal;

#[test]
fn a_line_is_a_message() {
    let world = World::new();
    let subscriber = world.subscribe(&["logs", "--count", "4"]);
    let published = world.run_with_input(&["topic", "pub", "logs"], "first\n\nthird é\nno end".as_bytes());
    assert_eq!((published.status.code(), text(&published.stderr)), (Some(0), ""));
    let (code, output, said) = subscriber.finish();
    assert_eq!((code, text(&output), said.as_str()), (Some(0), "first\n\nthird é\nno end\n", ""));
}

#[test]
fn count_ends_the_subscriber() {
    let world = World::new();
    let subscriber = world.subscribe(&["n", "--count", "2"]);
    world.run_with_input(&["topic", "pub", "n"], b"1\n2\n3\n");
    let (code, output, _) = subscriber.finish();
    assert_eq!((code, text(&output)), (Some(0), "1\n2\n"));
}

#[test]
fn frames_have_a_fixed_size() {
    let world = World::new();
    let subscriber = world.subscribe(&["frames", "--count", "3"]);
    world.run_with_input(&["topic", "pub", "frames", "--frame", "4"], b"abcdefg\nij");
    let (code, output, _) = subscriber.finish();
    assert_eq!((code, text(&output)), (Some(0), "abcd\nefg\n\nij\n"));
}

#[test]
fn the_whole_input_is_one_message_and_comes_out_unchanged() {
    let world = World::new();
    let content: Vec<u8> = (0..3_000_000_u32).map(|index| (index.wrapping_mul(index) >> 7) as u8).collect();
    let subscriber = world.subscribe(&["map", "--count", "1", "--raw"]);
    let path = world.file("map", &content);
    let publisher = world
        .command(&["topic", "pub", "map", "--whole", "--reliable"])
        .stdin(std::fs::File::open(path).unwrap())
        .output()
        .unwrap();
    assert!(publisher.status.success(), "{publisher:?}");
    let (code, output, _) = subscriber.finish();
    assert_eq!(code, Some(0));
    assert!(output == content, "{} bytes of {}", output.len(), content.len());
}

#[test]
fn hexadecimal_and_json() {
    let world = World::new();
    let hexadecimal = world.subscribe(&["t", "--hex", "--count", "2"]);
    let json = world.subscribe(&["t", "--json", "--count", "2"]);
    world.run_with_input(&["topic", "pub", "t"], b"say \"hi\"\n\xff\x00\n");
    assert_eq!(text(&hexadecimal.finish().1), "7361792022686922\nff00\n");
    assert_eq!(text(&json.finish().1), "{\"payload\":\"say \\\"hi\\\"\"}\n{\"payload_hex\":\"ff00\"}\n");
}

#[test]
fn history_is_for_those_who_ask() {
    let world = World::new();
    let publisher = world.command(&["--log", "info", "topic", "pub", "load", "--history", "2"]);
    let mut publisher = start_publisher(publisher);
    let input = publisher.child().stdin.as_mut().unwrap();
    input.write_all(b"1\n2\n3\n").unwrap();
    // It has published the third once somebody received it.
    let early = world.run(&["topic", "sub", "load", "--from-history", "--count", "2"]);
    let output = text(&early.stdout);
    assert!(["1\n2\n", "2\n3\n"].contains(&output), "{output:?}");
    let mut all = world.subscribe(&["load", "--from-history"]);
    let mut lines = BufReader::new(all.child().stdout.take().unwrap()).lines();
    assert!(lines.by_ref().any(|line| line.unwrap() == "3"));
    let late = world.subscribe(&["load", "--count", "1"]);
    let input = publisher.child().stdin.as_mut().unwrap();
    input.write_all(b"4\n").unwrap();
    assert_eq!(text(&late.finish().1), "4\n");
    assert_eq!(publisher.finish().0, Some(0));
}

/// One whose input stays open.
fn start_publisher(mut command: std::process::Command) -> Running {
    Running::after(command.stdin(Stdio::piped()).spawn().unwrap(), "publishing")
}

#[test]
fn the_end_of_a_reliable_publisher_loses_nothing() {
    let world = World::new();
    let mut subscriber = world.subscribe(&["big", "--count", "1000"]);
    // Far more than the pipe to us takes: the subscriber still has most of it to read when the publisher has ended.
    let lines: String = (0..1000).map(|number| format!("{number:04000}\n")).collect();
    let published = world.run_with_input(&["topic", "pub", "big", "--reliable"], lines.as_bytes());
    assert!(published.status.success(), "{published:?}");
    let mut output = String::new();
    subscriber.child().stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output == lines, "{} bytes of {}", output.len(), lines.len());
    let (code, _, said) = subscriber.finish();
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn a_reliable_publisher_waits_for_the_slowest() {
    let world = World::new();
    let mut subscriber = world.subscribe(&["big", "--count", "5000"]);
    let lines: String = (0..5000).map(|number| format!("{number:0500}\n")).collect();
    let path = world.file("lines", lines.as_bytes());
    let mut publisher = world
        .command(&["topic", "pub", "big", "--reliable", "--depth", "16"])
        .stdin(std::fs::File::open(path).unwrap())
        .spawn()
        .unwrap();
    let mut output = String::new();
    subscriber.child().stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output == lines, "{} bytes of {}", output.len(), lines.len());
    assert!(publisher.wait().unwrap().success());
}

#[test]
fn what_is_overwritten_is_counted() {
    let world = World::new();
    let mut subscriber = world.subscribe(&["fast"]);
    let lines: String = (0..20_000).map(|number| format!("{number:0200}\n")).collect();
    let published = world.run_with_input(&["topic", "pub", "fast", "--depth", "16"], lines.as_bytes());
    assert!(published.status.success(), "{published:?}");
    let mut received = 0;
    let mut output = BufReader::new(subscriber.child().stdout.take().unwrap()).lines().map(Result::unwrap);
    while output.next().unwrap().parse::<u64>().unwrap() != 19_999 {
        received += 1;
    }
    subscriber.signal(Signal::TERM);
    let (code, _, said) = subscriber.finish();
    assert_eq!(code, Some(0));
    let lost: u64 = said.lines().map(|line| line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(received + 1 + lost, 20_000, "{said}");
    assert!(lost > 0 && said.contains("lost"), "{said}");
}

#[test]
fn a_reader_that_leaves_ends_the_subscriber_even_when_nothing_comes() {
    let world = World::new();
    let mut subscriber = world.subscribe(&["silence"]);
    drop(subscriber.child().stdout.take());
    let (code, _, said) = subscriber.finish();
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn a_reader_that_left_before_is_no_error() {
    let world = World::new();
    let _node = world.node();
    for arguments in [
        &["topic", "list", "--json"][..],
        &["service", "list", "--json"],
        &["status"],
        &["topic", "sub", "t"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn signals_end_it_in_order() {
    let world = World::new();
    for signal in [Signal::INT, Signal::TERM] {
        // Being alone, it runs the broker: its socket must go with it.
        let subscriber = world.subscribe(&["t"]);
        assert!(world.runtime_directory().join("default.sock").exists());
        subscriber.signal(signal);
        let (code, output, said) = subscriber.finish();
        assert_eq!((code, output.len(), said.as_str()), (Some(0), 0, ""));
        assert!(!world.runtime_directory().join("default.sock").exists());

        let publisher = start_publisher(world.command(&["--log", "info", "topic", "pub", "t"]));
        publisher.signal(signal);
        assert_eq!(publisher.finish().0, Some(0));
        assert!(!world.runtime_directory().join("default.sock").exists());
    }
}

#[test]
fn a_signal_ends_a_publisher_that_waits_for_a_subscriber() {
    let world = World::new();
    let node = world.node();
    let subscriber = node.topic::<[u8]>("full").unwrap().subscriber().open().unwrap();
    let arguments = ["--log", "debug", "topic", "pub", "full", "--reliable", "--depth", "2"];
    let mut command = world.command(&arguments);
    let input = world.file("lines", b"line\n".repeat(1000).as_slice());
    let child = command.stdin(std::fs::File::open(input).unwrap()).spawn().unwrap();
    let publisher = Running::after(child, "waiting for subscribers");
    publisher.signal(Signal::TERM);
    let (code, ..) = publisher.finish();
    assert!(code.is_none() || code == Some(0), "{code:?}");
    drop(subscriber);
}

#[test]
fn silence_beyond_the_timeout_has_a_code_of_its_own() {
    let world = World::new();
    let output = world.run(&["topic", "sub", "t", "--timeout", "0.01"]);
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("no message came within 0.01 s"));
}

#[test]
fn any_type_can_be_read_and_no_other_written() {
    let world = World::new();
    let node = world.node();
    let mut publisher = node.topic::<u64>("counter").unwrap().publisher().history(1).open().unwrap();
    publisher.publish(&0x0102_0304_0506_0708).unwrap();
    let output = world.run(&["topic", "sub", "counter", "--from-history", "--count", "1", "--hex"]);
    assert_eq!(text(&output.stdout), "0807060504030201\n");
    let refused = world.run_with_input(&["topic", "pub", "counter"], b"");
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("u64") && said.contains("u8"), "{said}");
}

#[test]
fn bad_names_are_refused_with_a_better_one() {
    let world = World::new();
    for command in ["pub", "sub", "info", "hz"] {
        let output = world.run(&["topic", command, "/camera/"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("write \"camera\""), "{output:?}");
    }
    assert_eq!(world.run(&["topic", "sub", ""]).status.code(), Some(2));
    assert_eq!(world.run(&["topic", "pub", "t", "--frame", "0"]).status.code(), Some(2));
    assert_eq!(world.run(&["topic", "pub", "t", "--frame", "1", "--whole"]).status.code(), Some(2));
    assert_eq!(world.run(&["topic", "sub", "t", "--hex", "--json"]).status.code(), Some(2));
    let output = world.run(&["--instance", "a/b", "status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("can't name an instance"));
    assert!(!world.runtime_directory().exists());
}

#[test]
fn a_message_beyond_the_budget_is_refused_rather_than_waited_for() {
    let world = World::new();
    let arguments = ["topic", "pub", "t", "--whole", "--budget", "4"];
    let output = world.run_with_input(&arguments, &vec![0; 8 << 20]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("byte budget"), "{output:?}");
}
