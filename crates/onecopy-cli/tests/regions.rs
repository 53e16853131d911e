//! `onecopy region …` as people use it: created, read, written, edited, watched, kept, removed.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use common::{Running, World, json, text};
use rustix::process::Signal;

/// A region that its command holds until the end of the test.
fn create(world: &World, arguments: &[&str]) -> Running {
    world.start(&[&["region", "create"], arguments].concat(), "is held until")
}

fn version(world: &World, name: &str) -> u64 {
    json(&world.run(&["region", "info", name, "--json"]))["version"].as_u64().unwrap()
}

fn read(world: &World, name: &str) -> Vec<u8> {
    let output = world.run(&["region", "read", name]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    output.stdout
}

/// Writes a value, and expects silence.
fn write(world: &World, arguments: &[&str]) {
    let output = world.run(&[&["region", "write"], arguments].concat());
    assert_eq!((output.status.code(), text(&output.stdout), text(&output.stderr)), (Some(0), "", ""));
}

/// An editor that is a shell script, with the file as `$1`.
fn edit(world: &World, arguments: &[&str], script: &str) -> Output {
    let path = world.file("editor", format!("#!/bin/sh\n{script}\n").as_bytes());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = world.command(&[&["region", "edit"], arguments].concat());
    command.env("EDITOR", &path).env_remove("VISUAL").output().unwrap()
}

/// Where an edited text was kept.
fn kept_text(world: &World) -> Option<PathBuf> {
    let directories = std::fs::read_dir(world.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut edited =
        directories.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("onecopy-edit-"));
    let directory = edited.next()?;
    assert!(edited.next().is_none());
    Some(std::fs::read_dir(directory).unwrap().next().unwrap().unwrap().path())
}

#[test]
fn what_is_written_is_read_until_nobody_holds_it() {
    let world = World::new();
    for signal in [Signal::INT, Signal::TERM] {
        let region = create(&world, &["notes", "--text", "first"]);
        assert_eq!(read(&world, "notes"), b"first");
        write(&world, &["notes", "--text", "-second"]);
        assert_eq!(read(&world, "notes"), b"-second");
        let bytes = [0, 255, 10, 0];
        assert!(world.run_with_input(&["region", "write", "notes"], &bytes).status.success());
        assert_eq!(read(&world, "notes"), bytes);
        assert_eq!(text(&world.run(&["region", "read", "notes", "--hex"]).stdout), "00ff0a00\n");
        region.signal(signal);
        let (code, output, said) = region.finish();
        assert_eq!((code, output.len(), said.as_str()), (Some(0), 0, ""));
        assert_eq!(world.run(&["region", "read", "notes"]).status.code(), Some(3));
        assert!(!world.runtime_directory().join("default.sock").exists());
    }
}

#[test]
fn the_first_value_comes_from_standard_input() {
    let world = World::new();
    let content = vec![b'x'; 100_000];
    let path = world.file("value", &content);
    let mut command = world.command(&["region", "create", "large"]);
    let child = command.stdin(std::fs::File::open(path).unwrap()).spawn().unwrap();
    let _region = Running::after(child, "is held until");
    assert!(read(&world, "large") == content, "more than the usual capacity");
    let info = json(&world.run(&["region", "info", "large", "--json"]));
    assert_eq!([&info["length_bytes"], &info["capacity_bytes"]], [100_000, 100_000]);
}

#[test]
fn list_and_info_tell_what_there_is() {
    let world = World::new();
    let _plain = create(&world, &["a/plain", "--capacity", "128"]);
    let _shared = create(&world, &["b/shared", "--shared", "--text", "four"]);
    let node = world.node();
    let typed = node.region::<u64>("c/typed").unwrap().open_or_create(&7).unwrap();
    typed.write(&8).unwrap();

    let list = json(&world.run(&["region", "list", "--json"]));
    let field = |field: &str| -> Vec<_> { (0..3).map(|index| list[index][field].clone()).collect() };
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(field("name"), ["a/plain", "b/shared", "c/typed"]);
    assert_eq!(field("mode"), ["single-writer", "shared", "single-writer"]);
    assert_eq!(field("capacity_bytes"), [128, 65536, 8]);
    assert_eq!(field("version"), [1, 1, 2]);
    assert_eq!(field("kept"), [false; 3]);
    assert!(field("writer_pid")[..2].iter().all(serde_json::Value::is_null), "it is for others to write");
    assert_eq!(field("writer_pid")[2], std::process::id());
    assert_eq!(list, json(&world.run(&["status", "--json"]))["regions"]);

    let info = json(&world.run(&["region", "info", "c/typed", "--json"]));
    assert_eq!(info["payload"]["element"]["name"], "u64");
    assert_eq!(info["length_bytes"], 8);
    let shown = world.run(&["region", "info", "b/shared"]);
    for word in
        ["mode      shared", "length    4 bytes", "capacity  65536 bytes", "version   1", "kept      no"]
    {
        assert!(text(&shown.stdout).contains(word), "{word}: {shown:?}");
    }
    assert!(text(&world.run(&["region", "list"]).stdout).contains("REGION"));
}

#[test]
fn a_version_guards_against_overwriting_what_was_not_read() {
    let world = World::new();
    for (name, options) in [("single", &[][..]), ("shared", &["--shared"])] {
        let _region = create(&world, &[&[name, "--text", "one"], options].concat());
        let seen = json(&world.run(&["region", "read", name, "--json"]));
        assert_eq!(seen, serde_json::json!({"version": 1, "payload": "one"}));
        write(&world, &[name, "--if-version", "1", "--text", "two"]);
        let refused = world.run(&["region", "write", name, "--if-version", "1", "--text", "three"]);
        assert_eq!(refused.status.code(), Some(7));
        let current = version(&world, name);
        assert!(text(&refused.stderr).contains(&format!("version {current} by now")), "{refused:?}");
        assert_eq!(read(&world, name), b"two");
        write(&world, &[name, "--if-version", &current.to_string(), "--text", "three"]);
        assert_eq!(read(&world, name), b"three");
    }
}

#[test]
fn a_living_writer_is_named_and_a_shared_region_is_everybodys() {
    let world = World::new();
    let node = world.node();
    let single = node.region_bytes("single").unwrap().open_or_create(b"mine").unwrap();
    let by_us = format!("written by process {}", std::process::id());
    let edited = edit(&world, &["single"], "echo theirs > $1");
    assert!(kept_text(&world).is_none(), "the editor was not even started");
    for refused in [world.run(&["region", "write", "single", "--text", "theirs"]), edited] {
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains(&by_us), "{refused:?}");
    }
    assert_eq!(&*single.read().unwrap(), b"mine");

    let shared = node.region_bytes("shared").unwrap().shared().open_or_create(b"ours").unwrap();
    write(&world, &["shared", "--text", "theirs"]);
    assert_eq!(shared.read().unwrap().as_text().unwrap(), "theirs");
}

#[test]
fn a_value_must_be_one_of_the_regions() {
    let world = World::new();
    let node = world.node();
    let number = node.region::<u64>("number").unwrap().shared().open_or_create(&7).unwrap();
    let _samples =
        node.region_slice::<f32>("samples").unwrap().capacity(4).shared().open_or_create(&[]).unwrap();
    for (name, bytes, words) in [
        ("number", 9, &["9 bytes", "u64"][..]),
        ("number", 0, &["0 bytes", "u64"]),
        ("samples", 6, &["6 bytes", "f32"]),
        ("samples", 20, &["20 bytes", "room for 16", "onecopy region resize samples 20"]),
    ] {
        let refused = world.run_with_input(&["region", "write", name], &vec![1; bytes]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(words.iter().all(|word| text(&refused.stderr).contains(word)), "{refused:?}");
        assert_eq!(version(&world, name), 1, "nothing happened to it");
    }
    assert!(world.run_with_input(&["region", "write", "number"], &8_u64.to_ne_bytes()).status.success());
    assert_eq!(number.get().unwrap(), 8);
}

#[test]
fn resize_makes_room_and_keeps_the_value() {
    let world = World::new();
    for (name, options) in [("single", &[][..]), ("shared", &["--shared"])] {
        let _region = create(&world, &[&[name, "--capacity", "4", "--text", "four"], options].concat());
        assert_eq!(world.run(&["region", "write", name, "--text", "five!"]).status.code(), Some(1));
        assert_eq!(world.run(&["region", "resize", name, "5"]).status.code(), Some(0));
        assert_eq!(read(&world, name), b"four");
        write(&world, &[name, "--text", "five!"]);
        let smaller = world.run(&["region", "resize", name, "2"]);
        assert_eq!(smaller.status.code(), Some(0));
        assert!(text(&smaller.stderr).contains("room for 5 bytes already"), "{smaller:?}");
        assert_eq!(read(&world, name), b"five!");
    }
    let node = world.node();
    let _number = node.region::<u64>("number").unwrap().shared().open_or_create(&7).unwrap();
    let fixed = world.run(&["region", "resize", "number", "100"]);
    assert_eq!(fixed.status.code(), Some(1));
    assert!(text(&fixed.stderr).contains("size is fixed"), "{fixed:?}");
}

#[test]
fn serve_keeps_what_it_is_asked_to() {
    let world = World::new();
    let absent = world.run(&["region", "create", "notes", "--keep"]);
    assert_eq!(absent.status.code(), Some(3));
    assert!(text(&absent.stderr).contains("--keep needs `onecopy serve`"), "{absent:?}");
    let broker = world.start(&["serve"], "serves at");
    let created = world.run(&["region", "create", "notes", "--keep", "--text", "first"]);
    assert_eq!(created.status.code(), Some(0), "{created:?}");
    assert_eq!(read(&world, "notes"), b"first");
    write(&world, &["notes", "--text", "second"]);
    assert_eq!(read(&world, "notes"), b"second");
    assert_eq!(json(&world.run(&["region", "list", "--json"]))[0]["kept"], true);
    let twice = world.run(&["region", "create", "notes", "--keep"]);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice.stderr).contains("exists already"), "{twice:?}");

    let mut watcher = world.command(&["region", "watch", "notes"]).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "second");
    let removed = world.run(&["region", "remove", "notes"]);
    assert_eq!(removed.status.code(), Some(0));
    assert!(text(&removed.stderr).contains("ends when the last process closes it"), "{removed:?}");
    let again = world.run(&["region", "remove", "notes"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is not kept"), "{again:?}");
    drop(lines);
    assert!(watcher.wait().unwrap().success());
    assert_eq!(json(&world.run(&["region", "list", "--json"])), serde_json::json!([]));
    assert_eq!(world.run(&["region", "remove", "notes"]).status.code(), Some(3));
    broker.signal(Signal::TERM);
    assert_eq!(broker.finish().0, Some(0));
}

#[test]
fn a_broker_inside_a_program_keeps_nothing() {
    let world = World::new();
    let _node = world.node();
    let refused = world.run(&["region", "create", "notes", "--keep"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("run `onecopy serve`, which keeps regions"), "{refused:?}");
    assert_eq!(json(&world.run(&["region", "list", "--json"])), serde_json::json!([]));
}

#[test]
fn a_file_keeps_the_value_from_one_run_to_the_next() {
    let world = World::new();
    let path = world.path().join("notes.region");
    let file = ["--file", path.to_str().unwrap()];
    let first = create(&world, &[&["notes", "--text", "first"], &file[..]].concat());
    write(&world, &[&["notes", "--text", "second"], &file[..]].concat());
    let info = json(&world.run(&["region", "info", "notes", "--json"]));
    assert_eq!(info["file"].as_str(), path.canonicalize().unwrap().to_str());
    drop(first);
    let second = create(&world, &[&["notes", "--text", "other"], &file[..]].concat());
    assert_eq!(read(&world, "notes"), b"second");
    let edited = edit(&world, &[&["notes"], &file[..]].concat(), "echo third > $1");
    assert!(edited.status.success(), "{edited:?}");
    drop(second);
    let _third = create(&world, &[&["notes"], &file[..]].concat());
    assert_eq!(read(&world, "notes"), b"third");
    let foreign = world.file("foreign", b"something else");
    let refused = world.run(&["region", "create", "more", "--file", foreign.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("does not hold this region's value"), "{refused:?}");
}

#[test]
fn an_editor_changes_the_value() {
    let world = World::new();
    let _region = create(&world, &["app/mode", "--text", "slow"]);
    let edited = edit(&world, &["app/mode"], "sed -i s/slow/fast/ $1; echo >> $1");
    assert_eq!((edited.status.code(), text(&edited.stdout)), (Some(0), ""));
    assert_eq!(read(&world, "app/mode"), b"fast", "the added end of line is gone");
    assert!(kept_text(&world).is_none());
    let seen = version(&world, "app/mode");
    for (script, code, word) in
        [("true", 0, "unchanged"), ("exit 3", 1, "exit status: 3"), ("rm $1", 1, "cannot read")]
    {
        let output = edit(&world, &["app/mode"], script);
        assert_eq!(output.status.code(), Some(code));
        assert!(text(&output.stderr).contains(word), "{output:?}");
        assert!(kept_text(&world).is_none() && version(&world, "app/mode") == seen);
    }
    assert!(world.run_with_input(&["region", "write", "app/mode"], &[0xff]).status.success());
    let binary = edit(&world, &["app/mode"], "true");
    assert_eq!(binary.status.code(), Some(1));
    assert!(text(&binary.stderr).contains("no UTF-8 text"), "{binary:?}");
}

#[test]
fn edited_text_survives_what_keeps_it_from_being_written() {
    let world = World::new();
    let program = env!("CARGO_BIN_EXE_onecopy");
    for (script, code) in [
        (format!("echo mine > $1; {program} region write notes --text theirs"), 7),
        ("echo mine > $1; exit 1".to_owned(), 1),
        ("for line in 1 2 3 4 5 6 7 8 9; do echo mine, much too long; done > $1".to_owned(), 1),
    ] {
        let _region = create(&world, &["notes", "--capacity", "64", "--text", "first"]);
        let output = edit(&world, &["notes"], &script);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let path = kept_text(&world).unwrap();
        assert!(text(&output.stderr).contains(&format!("kept in {}", path.display())), "{output:?}");
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("mine"));
        let current = version(&world, "notes");
        let advice = format!("--if-version {current} < {}", path.display());
        assert_eq!(text(&output.stderr).contains(&advice), code == 7, "{output:?}");
        if code == 7 {
            assert_eq!(read(&world, "notes"), b"theirs");
            let mut retry =
                world.command(&["region", "write", "notes", "--if-version", &current.to_string()]);
            assert!(retry.stdin(std::fs::File::open(&path).unwrap()).status().unwrap().success());
            assert_eq!(read(&world, "notes"), b"mine\n");
        } else {
            assert_eq!(read(&world, "notes"), b"first");
        }
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}

#[test]
fn a_watcher_begins_with_what_is_and_sees_what_comes() {
    let world = World::new();
    for (name, options) in [("single", &[][..]), ("shared", &["--shared"])] {
        let _region = create(&world, &[&[name, "--text", "one"], options].concat());
        let mut watcher = world.command(&["region", "watch", name, "--count", "3"]).spawn().unwrap();
        let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.next().unwrap(), "one");
        write(&world, &[name, "--text", "two"]);
        assert_eq!(lines.next().unwrap(), "two");
        // Unchanged: not worth a line.
        write(&world, &[name, "--text", "two"]);
        write(&world, &[name, "--text", "three"]);
        assert_eq!(lines.next().unwrap(), "three");
        assert_eq!(lines.next(), None);
        assert_eq!(watcher.wait().unwrap().code(), Some(0));
    }
    let formats = world.run(&["region", "watch", "single", "--json", "--hex"]);
    assert_eq!(formats.status.code(), Some(2));
}

#[test]
fn a_watcher_outlives_the_writer_and_follows_the_next() {
    let world = World::new();
    let broker = world.start(&["serve"], "serves at");
    let region = create(&world, &["mode", "--text", "one"]);
    let mut watcher = world.command(&["region", "watch", "mode", "--json"]).spawn().unwrap();
    let mut lines = BufReader::new(watcher.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "{\"version\":1,\"payload\":\"one\"}");
    region.signal(Signal::KILL);
    region.finish();
    let node = world.node();
    let writer = node.region_bytes("mode").unwrap().open_or_create(b"").unwrap();
    assert!(writer.is_writer());
    let version = writer.write(&[0xff]).unwrap();
    assert_eq!(lines.next().unwrap(), format!("{{\"version\":{version},\"payload_hex\":\"ff\"}}"));
    drop(lines);
    assert!(watcher.wait().unwrap().success());
    drop((writer, node));
    broker.signal(Signal::TERM);
    assert_eq!(broker.finish().0, Some(0));
}

#[test]
fn signals_and_readers_that_leave_end_it_in_order() {
    let world = World::new();
    let _region = create(&world, &["notes", "--text", "one"]);
    for signal in [Signal::INT, Signal::TERM] {
        let watcher = world.start(&["--log", "debug", "region", "watch", "notes"], "waiting for another");
        watcher.signal(signal);
        let (code, output, _) = watcher.finish();
        assert_eq!((code, text(&output)), (Some(0), "one\n"));
    }
    for arguments in [
        &["region", "list"][..],
        &["region", "info", "notes", "--json"],
        &["region", "read", "notes"],
        &["region", "watch", "notes"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = world.command(arguments).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{arguments:?}");
    }
    // Its input does not end, so the value is not known yet.
    let mut writer =
        world.command(&["--log", "info", "region", "write", "notes"]).stdin(Stdio::piped()).spawn().unwrap();
    while process_of_node(&world, "onecopy region write").is_none() {
        assert!(writer.try_wait().unwrap().is_none());
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&writer), Signal::TERM).unwrap();
    assert_eq!(writer.wait().unwrap().code(), Some(130));
    assert_eq!(read(&world, "notes"), b"one");
}

/// The process of the node of that name, once it is there.
fn process_of_node(world: &World, name: &str) -> Option<u64> {
    let status = json(&world.run(&["status", "--json"]));
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name)?["pid"].as_u64()
}

#[test]
fn absence_and_bad_arguments_have_their_codes() {
    let world = World::new();
    for arguments in [
        &["list"][..],
        &["info", "notes"],
        &["read", "notes"],
        &["write", "notes", "--text", "x"],
        &["edit", "notes"],
        &["watch", "notes"],
        &["resize", "notes", "1"],
        &["remove", "notes"],
    ] {
        let output = world.run(&[&["region"], arguments].concat());
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(3), ""), "{arguments:?}");
        assert!(!world.runtime_directory().exists(), "looking at nothing makes nothing");
    }
    let _node = world.node();
    assert!(text(&world.run(&["region", "list"]).stderr).contains("no regions"));
    for command in ["info", "read", "edit", "watch", "remove"] {
        let output = world.run(&["region", command, "nobody/home"]);
        assert_eq!(output.status.code(), Some(3), "{command}");
        assert!(text(&output.stderr).contains("there is no region \"nobody/home\""), "{output:?}");
        assert_eq!(world.run(&["region", command, "/notes/"]).status.code(), Some(2));
    }
    for arguments in [
        &["create", "notes", "--capacity", "0"][..],
        &["write", "notes", "--if-version", "x"],
        &["resize", "notes", "0"],
        &["resize", "notes"],
    ] {
        assert_eq!(world.run(&[&["region"], arguments].concat()).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_and_completions_know_the_commands() {
    let world = World::new();
    for command in ["list", "info", "create", "read", "write", "edit", "watch", "resize", "remove"] {
        let help = world.run(&["region", command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains("Examples:\n  onecopy region"), "{command}");
    }
    assert!(text(&world.run(&["--help"]).stdout).contains("region"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&world.run(&["completions", shell]).stdout).contains("if-version"), "{shell}");
    }
}
