//! Regions with a file: what is written is in the file, whoever writes it.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{World, text};
use rustix::process::Signal;

fn succeed(world: &World, arguments: &[&str]) {
    let output = world.run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
}

fn read(world: &World, name: &str) -> String {
    text(&world.run(&["region", "read", name]).stdout).to_owned()
}

#[test]
fn what_is_written_without_naming_the_file_is_there_after_a_crash() {
    let world = World::new();
    let path = world.path().join("notes.region");
    let create = ["region", "create", "notes", "--keep", "--text", "first", "--file", path.to_str().unwrap()];
    let mut broker = world.start(&["serve"], "serves at");
    succeed(&world, &create);
    for value in ["second", "third"] {
        succeed(&world, &["region", "write", "notes", "--text", value]);
        broker.signal(Signal::KILL);
        broker.finish();
        broker = world.start(&["serve"], "serves at");
        assert_eq!(world.run(&["region", "read", "notes"]).status.code(), Some(3));
        succeed(&world, &create);
        assert_eq!(read(&world, "notes"), value);
    }
    // An heir of the region knows the file.
    let next = world.start(&["serve", "--replace"], "serves at");
    broker.finish();
    succeed(&world, &["region", "resize", "notes", "100000"]);
    let mut edit = world.command(&["region", "edit", "notes"]);
    assert!(edit.env("EDITOR", "sed -i s/third/fourth/").env_remove("VISUAL").status().unwrap().success());
    next.signal(Signal::KILL);
    next.finish();
    let _broker = world.start(&["serve"], "serves at");
    succeed(&world, &create);
    assert_eq!(read(&world, "notes"), "fourth");
    let refused = world.run(&["region", "write", "notes", "--text", "x", "--file", "other.region"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("notes.region"), "{refused:?}");
    assert_eq!(read(&world, "notes"), "fourth");
}

#[test]
fn a_shared_region_says_which_file_to_name() {
    let world = World::new();
    let path = world.path().join("notes.region");
    let file = ["--file", path.to_str().unwrap()];
    let _broker = world.start(&["serve"], "serves at");
    let create = ["region", "create", "notes", "--shared", "--keep", "--text", "first"];
    succeed(&world, &[&create[..], &file].concat());
    for (command, before) in
        [(&["write", "notes", "--text", "second"][..], "first"), (&["resize", "notes", "100000"], "second")]
    {
        let command = [&["region"], command].concat();
        let refused = world.run(&command);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("notes.region"), "{refused:?}");
        assert!(text(&refused.stderr).contains("--file"), "{refused:?}");
        assert_eq!(read(&world, "notes"), before);
        succeed(&world, &[&command[..], &file].concat());
    }
}
