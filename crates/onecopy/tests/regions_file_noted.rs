//! A region that has a file is written there by all who write it, whether they have named the file or not: a write that
//! is not in it is refused.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::{Region, RegionBuilder, RegionError};

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "write" => write(stage),
        "hold" => hold(stage),
        "serve" => stage.serve(),
        role => panic!("no role {role}"),
    });
}

/// Writes a region that has a file.
fn write(stage: &Stage) {
    let node = stage.node();
    let region = with_file(&node, &stage.directory).open_or_create(b"first").unwrap();
    region.write(b"by one that dies").unwrap();
    stage.say("wrote");
    stage.stay();
}

/// Reads a region that is there, and names no file.
fn hold(stage: &Stage) {
    let node = stage.node();
    let region = named(&node).open().unwrap();
    stage.say("holds");
    while stage.hear().is_some() {
        stage.say(region.read().unwrap().as_text().unwrap());
    }
}

fn start(role: &str, directory: &Path, says: &str) -> Child {
    let mut child = Child::spawn(role, directory);
    child.expect(says);
    child
}

/// No text.
fn file(directory: &Path) -> PathBuf {
    directory.canonicalize().unwrap().join(OsStr::from_bytes(b"kept \xff.region"))
}

fn named(node: &Node) -> RegionBuilder<[u8]> {
    node.region_bytes("kept").unwrap().capacity(64).lock_timeout(LONG)
}

fn with_file(node: &Node, directory: &Path) -> RegionBuilder<[u8]> {
    named(node).file(file(directory))
}

/// What the next run would begin with.
fn in_file(directory: &Path, shared: bool) -> Vec<u8> {
    let elsewhere = common::directory();
    std::fs::copy(file(directory), file(elsewhere.path())).unwrap();
    let node = node_in(elsewhere.path());
    let builder = with_file(&node, elsewhere.path());
    let builder = if shared { builder.shared() } else { builder };
    builder.open_or_create(b"nothing").unwrap().read().unwrap().to_vec()
}

/// As somebody does who knows nothing of a file.
fn become_writer(directory: &Path) -> Region<[u8]> {
    let region = named(&node_in(directory)).open_or_create(b"of no use").unwrap();
    assert!(region.is_writer());
    region
}

#[test]
fn the_next_writer_writes_the_file_without_naming_it() {
    let directory = directory();
    let node = node_in(directory.path());
    let first = with_file(&node, directory.path()).open_or_create(b"first").unwrap();
    let held = named(&node).open().unwrap();
    drop(first);
    for round in 0..3_usize {
        let writer = become_writer(directory.path());
        let value = format!("of round {round}").into_bytes();
        writer.write(&value).unwrap();
        assert_eq!(in_file(directory.path(), false), value);
        // The larger memory knows the file as well.
        let larger = vec![b'x'; 65 + 64 * round];
        writer.resize(larger.len()).unwrap();
        writer.write(&larger).unwrap();
        assert_eq!(in_file(directory.path(), false), larger);
    }
    drop(held);
    assert_eq!(*become_writer(directory.path()).read().unwrap(), *b"of no use", "another region");
    assert_eq!(in_file(directory.path(), false).len(), 193);
}

#[test]
fn another_file_than_the_regions_is_refused() {
    let directory = directory();
    let node = node_in(directory.path());
    let other = directory.path().join("other.region");
    for shared in [false, true] {
        let mode = |builder: RegionBuilder<[u8]>| if shared { builder.shared() } else { builder };
        let writer = mode(with_file(&node, directory.path())).open_or_create(b"first").unwrap();
        let held = mode(named(&node)).open().unwrap();
        let refuse = || {
            let refused = mode(named(&node).file(&other)).open_or_create(b"").err();
            let Some(RegionError::OtherFile { path, kept_in, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(kept_in, file(directory.path()));
            assert_eq!(path.file_name(), other.file_name());
        };
        refuse();
        drop(writer);
        refuse();
        assert!(!other.exists());
        // Another name of the same file.
        let detour = directory.path().join(".").join(file(directory.path()).file_name().unwrap());
        mode(named(&node).file(detour)).open_or_create(b"").unwrap().write(b"second").unwrap();
        assert_eq!(in_file(directory.path(), shared), b"second");
        drop(held);
        std::fs::remove_file(file(directory.path())).unwrap();
    }
}

#[test]
fn a_region_that_several_write_is_not_written_past_its_file() {
    let directory = directory();
    let node = node_in(directory.path());
    let with_file = || with_file(&node, directory.path()).shared();
    let first = with_file().open_or_create(b"first").unwrap();
    for larger in [65, 129] {
        let mut other = named(&node_in(directory.path())).shared().open().unwrap();
        assert_eq!(*other.read().unwrap(), *b"first", "reading takes no file");
        let refused =
            [other.write(b"past it").err(), other.resize(1000).err(), other.lock(LONG).map(drop).err()];
        for refused in refused {
            let Some(RegionError::FileNotNamed { kept_in, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(kept_in, file(directory.path()));
        }
        // A larger memory tells the same.
        with_file().open().unwrap().resize(larger).unwrap();
    }
    with_file().open_or_create(b"").unwrap().write(b"second").unwrap();
    assert_eq!(*first.read().unwrap(), *b"second");
    assert_eq!(in_file(directory.path(), true), b"second");
    drop(first);
    let without = named(&node).shared().open_or_create(b"no file").unwrap();
    assert!(matches!(with_file().open_or_create(b"").err(), Some(RegionError::NoFile { .. })));
    without.write(b"still").unwrap();
    assert_eq!(in_file(directory.path(), true), b"second");
}

#[test]
fn the_file_is_known_after_the_writer_and_the_broker_have_died() {
    let directory = directory();
    let mut broker = start("serve", directory.path(), "serves");
    let mut writer = start("write", directory.path(), "wrote");
    let mut holder = start("hold", directory.path(), "holds");
    writer.kill();
    let last = become_writer(directory.path());
    last.write(b"after a writer").unwrap();
    assert_eq!(in_file(directory.path(), false), b"after a writer");
    drop(last);
    broker.kill();
    let _broker = start("serve", directory.path(), "serves");
    become_writer(directory.path()).write(b"after a broker").unwrap();
    holder.tell("read");
    holder.expect("after a broker");
    assert_eq!(in_file(directory.path(), false), b"after a broker");
}

#[test]
fn a_name_that_is_too_long_is_an_error() {
    let directory = directory();
    let node = node_in(directory.path());
    let long = directory.path().join("directory/".repeat(500)).join("file");
    for shared in [false, true] {
        let builder = named(&node).file(&long);
        let builder = if shared { builder.shared() } else { builder };
        assert!(matches!(builder.open_or_create(b"").err(), Some(RegionError::File { .. })));
    }
}
