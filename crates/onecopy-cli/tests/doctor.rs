//! `onecopy doctor`: exit codes, JSON, and what it finds in a world that is broken on purpose.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{World, json, text};

/// The finding of this name.
fn finding(report: &serde_json::Value, check: &str) -> serde_json::Value {
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["check"] == check);
    found.unwrap_or_else(|| panic!("no {check} in {report}")).clone()
}

#[test]
fn it_looks_without_making_anything() {
    let world = World::new();
    let output = world.run(&["doctor", "--json"]);
    let report = json(&output);
    assert_eq!(output.status.code() == Some(0), report["healthy"] == true);
    assert_eq!(finding(&report, "shared memory")["level"], "ok");
    assert_eq!(finding(&report, "runtime directory")["level"], "ok");
    assert!(finding(&report, "broker")["text"].as_str().unwrap().contains("does not run"));
    assert!(!world.runtime_directory().exists());
}

#[test]
fn a_directory_that_others_can_write_is_a_problem_with_its_cure() {
    let world = World::new();
    let directory = world.runtime_directory();
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    let output = world.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(10));
    let said = text(&output.stdout);
    assert!(said.contains("problem  runtime directory") && said.contains("chmod 700 '"), "{said}");
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(finding(&json(&world.run(&["doctor", "--json"])), "runtime directory")["level"], "ok");
}

#[test]
fn features_that_are_turned_off_and_slow_subscribers_are_told() {
    let world = World::new();
    let node = world.node();
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut publisher = topic.publisher().depth(4).open().unwrap();
    let _subscriber = topic.subscriber().open().unwrap();
    for number in 0..5 {
        publisher.publish(&number).unwrap();
    }
    let output = world.command(&["doctor", "--json"]).env("ONECOPY_DISABLE", "membarrier").output().unwrap();
    assert_eq!(output.status.code(), Some(10));
    let report = json(&output);
    let membarrier = finding(&report, "membarrier");
    assert_eq!((&membarrier["level"], &membarrier["fix"]), (&"note".into(), &"unset ONECOPY_DISABLE".into()));
    assert!(finding(&report, "slow subscriber")["text"].as_str().unwrap().contains("5 messages"));
    assert_eq!(finding(&report, "versions")["level"], "ok");
    assert_eq!(finding(&report, "broker's open files")["level"], "ok");
}
