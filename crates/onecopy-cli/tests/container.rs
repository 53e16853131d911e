//! A program in a container: its own processes, mounts, network and IPC, and nothing of the host but the directory of
//! the instance. Only root can make one here (`ONECOPY_TEST_ONE_USER=1` leaves it out).

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{World, json, text};
use rustix::process::Signal;

/// Runs the command in a container whose only way out is the instance's directory.
fn in_container(world: &World, script: &str) -> std::process::Output {
    let root = world.path().join("root");
    for folder in ["run", "bin", "lib", "lib64", "usr", "proc", "program"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_onecopy")).parent().unwrap();
    let (root, run, program) = (root.display(), world.runtime_directory(), program.display());
    let run = run.display();
    let set_up = format!(
        "set -e
         mount --bind {run} {root}/run
         for folder in bin lib lib64 usr; do
             if [ -d /$folder ]; then mount --bind /$folder {root}/$folder; fi
         done
         mount --bind {program} {root}/program
         mount -t proc proc {root}/proc
         exec chroot {root} /bin/sh -c '{script}'"
    );
    let arguments = ["--mount", "--pid", "--ipc", "--net", "--uts", "--fork", "sh", "-c", &set_up];
    std::process::Command::new("unshare").args(arguments).env("ONECOPY_RUNTIME_DIR", "/run").output().unwrap()
}

#[test]
fn a_program_in_a_container_takes_part() {
    if std::env::var_os("ONECOPY_TEST_ONE_USER").is_some() {
        return;
    }
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let subscriber = world.subscribe(&["camera", "--count", "2"]);
    // The host's process has no number there.
    let output = in_container(&world, "printf \"one\\ntwo\\n\" | /program/onecopy topic pub camera");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&subscriber.finish().1), "one\ntwo\n");
    assert_eq!(json(&world.run(&["status", "--json"]))["nodes"], serde_json::json!([]), "it is told gone");
    // From inside, too, everybody is seen.
    let other = world.start(&["--log", "info", "topic", "sub", "camera"], "subscribed");
    let output = in_container(&world, "/program/onecopy status --json");
    let nodes = json(&output)["nodes"].clone();
    let is_seen = nodes.as_array().unwrap().iter().any(|node| node["pid"] == other.id());
    assert!(is_seen, "{nodes}; {}", text(&output.stderr));
    broker.signal(Signal::TERM);
    assert_eq!(broker.finish().0, Some(0));
}
