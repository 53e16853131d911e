//! Programs in containers: each with its own processes, mounts, network and IPC, and nothing of the host but the directory
//! of the instance. Only root can make one here (`ONECOPY_TEST_ONE_USER=1` leaves it out).

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::process::{Command, Stdio};

use common::{Running, World, json, text};
use rustix::process::Signal;

/// What a container has of its own.
const NAME_SPACES: [&str; 5] = ["--mount", "--pid", "--ipc", "--net", "--uts"];

/// Whether containers can be made here. Whoever may not make one is told so, and nothing is tried.
fn has_containers() -> bool {
    if std::env::var_os("ONECOPY_TEST_ONE_USER").is_some() {
        println!("left out, as ONECOPY_TEST_ONE_USER is set: this test makes containers");
        return false;
    }
    let tried = Command::new("unshare").args(NAME_SPACES).args(["--fork", "true"]).output();
    match tried {
        Ok(tried) if tried.status.success() => true,
        Ok(tried) => {
            let said = text(&tried.stderr).trim();
            println!("left out: this process may not have name spaces of its own ({said}); root may");
            false
        }
        Err(error) => {
            println!("left out: there is no `unshare` here ({error})");
            false
        }
    }
}

/// A shell in a container of that name, whose only way out is the instance's directory.
fn container(world: &World, name: &str, script: &str) -> Command {
    let root = world.path().join(name);
    for folder in ["run", "bin", "lib", "lib64", "usr", "proc", "program"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    std::fs::create_dir_all(world.runtime_directory()).unwrap();
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
    let mut command = Command::new("unshare");
    command.args(NAME_SPACES).args(["--kill-child", "--fork", "sh", "-c", &set_up]);
    command.env("ONECOPY_RUNTIME_DIR", "/run").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn in_container(world: &World, script: &str) -> std::process::Output {
    container(world, "root", script).output().unwrap()
}

#[test]
fn a_program_in_a_container_takes_part() {
    if !has_containers() {
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

/// Neither has a number in the other's eyes, and one of them is the broker.
#[test]
fn two_containers_meet_without_anything_on_the_host() {
    if !has_containers() {
        return;
    }
    let world = World::new();
    let subscribe = "/program/onecopy --log info topic sub camera --count 2";
    let mut receiver = container(&world, "receiver", subscribe);
    let receiver = Running::after(receiver.spawn().unwrap(), "subscribed");
    let publish = "printf \"one\\ntwo\\n\" | /program/onecopy topic pub camera";
    let sent = container(&world, "sender", publish).output().unwrap();
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    let (code, output, said) = receiver.finish();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(text(&output), "one\ntwo\n");
}
