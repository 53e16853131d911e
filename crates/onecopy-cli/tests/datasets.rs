//! `onecopy dataset …` as people use it: published, listed, printed, verified, kept, removed.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{Running, World, json, text};
use rustix::process::Signal;

/// A dataset that its command holds until the end of the test.
fn publish(world: &World, arguments: &[&str]) -> Running {
    world.start(&[&["dataset", "publish"], arguments].concat(), "is held until")
}

fn content() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number ^ number >> 9) as u8).collect()
}

#[test]
fn a_file_is_published_as_long_as_its_command_runs() {
    let world = World::new();
    let path = world.file("data", &content());
    for backing in ["memory", "file"] {
        let running = publish(&world, &["data", path.to_str().unwrap(), "--backing", backing]);
        assert!(world.run(&["dataset", "cat", "data"]).stdout == content());
        let verified = world.run(&["dataset", "verify", "data"]);
        let hash = blake3::hash(&content()).to_hex().to_string();
        assert_eq!(
            (verified.status.code(), text(&verified.stdout)),
            (Some(0), format!("{hash}  data\n").as_str())
        );
        let info = json(&world.run(&["dataset", "info", "data", "--json"]));
        assert_eq!([&info["backing"], &info["blake3"], &info["name"]], [backing, &hash, "data"]);
        assert_eq!([&info["content_bytes"], &info["version"]], [3_000_000, 1]);
        assert_eq!(info["publisher_pid"], running.id());
        assert_eq!(
            (&info["problem"], info["file"].is_null()),
            (&serde_json::Value::Null, backing == "memory")
        );
        running.signal(Signal::TERM);
        let (code, output, said) = running.finish();
        assert_eq!((code, output.len(), said.as_str()), (Some(0), 0, ""));
        assert_eq!(world.run(&["dataset", "cat", "data"]).status.code(), Some(3));
    }
}

#[test]
fn what_serve_keeps_outlives_its_publisher_until_it_is_removed() {
    let world = World::new();
    let path = world.file("data", b"kept");
    let refused = world.run(&["dataset", "publish", "data", path.to_str().unwrap(), "--keep"]);
    assert_eq!(refused.status.code(), Some(3), "nobody keeps it: {refused:?}");
    let _serve = world.start(&["serve"], "serves at");
    for version in 1..=2 {
        let kept = world.run(&["dataset", "publish", "data", path.to_str().unwrap(), "--keep"]);
        assert!(
            kept.status.success() && text(&kept.stderr).contains("is kept by `onecopy serve`"),
            "{kept:?}"
        );
        let list = json(&world.run(&["dataset", "list", "--json"]));
        let expected = serde_json::json!([{
            "name": "data", "version": version, "backing": "memory", "content_bytes": 4, "sections": 0,
            "publisher_pid": null, "viewers": 0, "kept": true
        }]);
        assert_eq!(list, expected);
        assert_eq!(json(&world.run(&["status", "--json"]))["datasets"], expected);
    }
    assert_eq!(world.run(&["dataset", "cat", "data"]).stdout, b"kept");
    let from_pipe = world.run_with_input(&["dataset", "publish", "data", "-", "--keep"], b"from a pipe");
    assert!(from_pipe.status.success(), "{from_pipe:?}");
    let node = world.node();
    let view = node.dataset("data").unwrap().open().unwrap();
    assert_eq!((view.version(), view.bytes().unwrap()), (3, &b"from a pipe"[..]));
    let removed = world.run(&["dataset", "remove", "data"]);
    assert_eq!(removed.status.code(), Some(0));
    assert!(text(&removed.stderr).contains("ends when the last process closes it"));
    assert_eq!(world.run(&["dataset", "remove", "data"]).status.code(), Some(1));
    assert_eq!(view.bytes().unwrap(), b"from a pipe");
    drop((view, node));
    assert_eq!(world.run(&["dataset", "remove", "data"]).status.code(), Some(3));
    let list = world.run(&["dataset", "list"]);
    assert_eq!((list.status.code(), text(&list.stdout)), (Some(0), ""));
}

#[test]
fn a_changed_file_is_said_to_be_stale() {
    let world = World::new();
    let path = world.file("data", &content());
    let _held = publish(&world, &["data", path.to_str().unwrap(), "--backing", "file"]);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1000).unwrap();
    for command in ["cat", "verify"] {
        let output = world.run(&["dataset", command, "data"]);
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        assert!(text(&output.stderr).contains("was cut short since it was published"), "{output:?}");
    }
    let info = json(&world.run(&["dataset", "info", "data", "--json"]));
    assert!(info["problem"].as_str().unwrap().contains("was cut short"), "{info}");
    assert!(text(&world.run(&["dataset", "info", "data"]).stdout).contains("problem    /"));
}

#[test]
fn sections_are_shown_and_printed() {
    let world = World::new();
    let node = world.node();
    let builder =
        node.dataset("table").unwrap().builder().section::<u64>("numbers", 3).section::<u8>("text", 5);
    let mut draft = builder.allocate().unwrap();
    draft.section_mut::<u64>("numbers").unwrap()[1] = 1;
    draft.section_mut::<u8>("text").unwrap().copy_from_slice(b"words");
    let _published = draft.publish().unwrap();
    assert_eq!(world.run(&["dataset", "cat", "table", "--section", "text"]).stdout, b"words");
    let absent = world.run(&["dataset", "cat", "table", "--section", "texts"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("there are \"numbers\", \"text\""));
    let info = json(&world.run(&["dataset", "info", "table", "--json"]));
    let expected = serde_json::json!({
        "name": "numbers", "type": "u64", "element_bytes": 8, "align_bytes": 8, "offset_bytes": 0, "bytes": 24,
        "elements": 3
    });
    assert_eq!(info["sections"][0], expected);
    let shown = world.run(&["dataset", "info", "table"]);
    for word in ["content    69 bytes", "backing    memory", "SECTION", "u64 (8 bytes, aligned to 8)"] {
        assert!(text(&shown.stdout).contains(word), "{word}: {shown:?}");
    }
    assert!(text(&world.run(&["dataset", "list"]).stdout).contains("DATASET"));
}

#[test]
fn options_that_contradict_each_other_are_refused_before_anything_happens() {
    let world = World::new();
    let path = world.file("data", b"data");
    let path = path.to_str().unwrap();
    for arguments in [
        &["data", path, "--keep", "--lock"][..],
        &["data", path, "--backing", "file", "--lock"],
        &["data", path, "--backing", "file", "--hugepages"],
        &["data", "-", "--backing", "file"],
        &["data", path, "--backing", "cloud"],
        &["/data", path],
        &["data"],
    ] {
        let output = world.run(&[&["dataset", "publish"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    }
    let absent = world.run(&["dataset", "publish", "data", "/nowhere/at/all"]);
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("cannot open /nowhere/at/all: No such file"), "{absent:?}");
    assert!(!world.runtime_directory().join("default.sock").exists());
}
