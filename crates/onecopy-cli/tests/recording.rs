//! `onecopy topic record` and `onecopy topic replay`, in processes, with real topics.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::time::Duration;

use common::{Running, World, json, text};
use onecopy::Delivery;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(20);

/// Starts recording, and waits until it has begun.
fn record(world: &World, arguments: &[&str]) -> Running {
    world.start(&[&["--log", "info", "topic", "record"], arguments].concat(), "recording")
}

#[test]
fn a_recording_is_replayed_with_types_headers_and_delivery() {
    let world = World::new();
    let path = world.path().join("drive.mcap");
    let path = path.to_str().unwrap();
    {
        let node = world.node();
        let poses = node.topic::<[f64; 3]>("pose").unwrap().header::<u64>();
        let mut poses = poses.publisher().reliable().open().unwrap();
        let mut images = node.topic::<[u8]>("image").unwrap().publisher().open().unwrap();
        let recording = record(&world, &[path, "pose", "image", "--count", "20", "--json"]);
        for number in 0..10_u64 {
            let mut pose = poses.loan().unwrap();
            *pose = [number as f64; 3];
            *pose.header_mut() = number;
            pose.publish().unwrap();
            images.publish(&vec![number as u8; 1000 * number as usize]).unwrap();
        }
        let (code, output, _) = recording.finish();
        assert_eq!(code, Some(0));
        let summary: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!([&summary["messages"], &summary["lost"]], [20, 0]);
        assert_eq!(summary["topics"][0]["name"], "image");
        assert_eq!(summary["topics"][1]["bytes"], 240);
        assert_eq!(summary["file_bytes"], std::fs::metadata(path).unwrap().len());
    }

    let node = world.node();
    let mut poses = node.topic::<[f64; 3]>("pose").unwrap().header::<u64>().subscriber().open().unwrap();
    let mut images = node.topic::<[u8]>("image").unwrap().subscriber().open().unwrap();
    let replayed = world.run(&["topic", "replay", path, "--rate", "inf", "--json"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
    let summary = json(&replayed);
    assert_eq!((&summary["messages"], &summary["complete"]), (&20.into(), &true.into()));
    for number in 0..10_u64 {
        let pose = poses.wait(SOON).unwrap();
        assert_eq!((*pose, *pose.header()), ([number as f64; 3], number));
        assert_eq!(&*images.wait(SOON).unwrap(), vec![number as u8; 1000 * number as usize]);
    }
    assert_eq!(node.topic_entry("pose").unwrap().unwrap().delivery, Some(Delivery::Reliable));

    let only = json(&world.run(&["topic", "replay", path, "--rate", "inf", "--only", "image", "--json"]));
    assert_eq!(only["topics"], serde_json::json!([{"name": "image", "messages": 10}]));
}

#[test]
fn one_message_is_not_called_messages() {
    let world = World::new();
    let path = world.path().join("one.mcap");
    let path = path.to_str().unwrap();
    let node = world.node();
    let mut publisher = node.topic::<u8>("byte").unwrap().publisher().reliable().open().unwrap();
    let recording = record(&world, &[path, "byte", "--count", "1"]);
    publisher.publish(&7).unwrap();
    let (code, _, said) = recording.finish();
    assert!(code == Some(0) && said.contains("onecopy: 1 message in "), "{said}");
    let info = world.run(&["topic", "info", "byte"]);
    assert!(text(&info.stdout).contains("u8 (1 byte, aligned to 1)"), "{}", text(&info.stdout));
    drop(publisher);
    let replayed = world.run(&["topic", "replay", path, "--rate", "inf"]);
    assert!(text(&replayed.stderr).contains("1 message on 1 topic in "), "{}", text(&replayed.stderr));
}

#[test]
fn a_signal_ends_a_recording_and_a_kill_leaves_whole_chunks() {
    let world = World::new();
    let node = world.node();
    let mut publisher = node.topic::<u64>("numbers").unwrap().publisher().reliable().open().unwrap();
    for (name, signal) in [("term.mcap", Signal::TERM), ("kill.mcap", Signal::KILL)] {
        let path = world.path().join(name);
        let shown = path.to_str().unwrap();
        let recording = record(&world, &[shown, "numbers"]);
        while publisher.subscribers() == 0 {
            std::thread::yield_now();
        }
        for number in 0..1000 {
            publisher.loan_within(SOON).map(|mut loan| *loan = number).unwrap();
            publisher.publish(&number).unwrap();
        }
        // A chunk takes several writes, and counts when the last of them is done.
        let replay =
            || world.run(&["--instance", "other", "topic", "replay", shown, "--rate", "inf", "--json"]);
        while std::fs::metadata(&path).unwrap().len() < 10_000 || json(&replay())["messages"] == 0 {
            std::thread::yield_now();
        }
        recording.signal(signal);
        let (code, _, said) = recording.finish();
        let is_whole = signal == Signal::TERM;
        assert_eq!(code, is_whole.then_some(0), "{said}");
        while publisher.subscribers() > 0 {
            std::thread::yield_now();
        }
        let replayed = replay();
        assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed.stderr));
        let summary = json(&replayed);
        assert_eq!(summary["complete"], is_whole);
        assert_eq!(text(&replayed.stderr).contains("is missing"), !is_whole);
        let messages = summary["messages"].as_u64().unwrap();
        assert!(if is_whole { messages == 1000 } else { (1..=1000).contains(&messages) }, "{messages}");
    }
}

#[test]
fn what_can_not_be_is_told() {
    let world = World::new();
    let text_file = world.file("notes.txt", b"these are notes, and no recording at all");
    let text_file = text_file.to_str().unwrap();
    let output = world.run(&["topic", "replay", text_file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is no recording"), "{}", text(&output.stderr));
    let output = world.run(&["topic", "record", text_file, "numbers", "--duration", "0.01"]);
    assert!(text(&output.stderr).contains("--force"), "{}", text(&output.stderr));
    assert_eq!(std::fs::read(text_file).unwrap(), b"these are notes, and no recording at all");
    let output = world.run(&["topic", "replay", "nowhere.mcap"]);
    assert!(text(&output.stderr).contains("nowhere.mcap"));
    for rate in ["0", "-1", "quick"] {
        assert_eq!(world.run(&["topic", "replay", text_file, "--rate", rate]).status.code(), Some(2));
    }
}

#[test]
fn a_loop_goes_on_until_a_signal() {
    let world = World::new();
    let path = world.path().join("short.mcap");
    let shown = path.to_str().unwrap();
    let node = world.node();
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let recording = record(&world, &[shown, "numbers", "--count", "2"]);
    for number in 0..2 {
        publisher.publish(&number).unwrap();
    }
    assert_eq!(recording.finish().0, Some(0));
    drop(publisher);
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut command = world.command(&["topic", "replay", shown, "--loop", "--json"]);
    let child = command.spawn().unwrap();
    for number in 0..6 {
        assert_eq!(*subscriber.wait(SOON).unwrap(), number % 2);
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(json(&output)["rounds"].as_u64().unwrap() >= 2);
}
