//! Datasets of processes that are killed, and files that change while they are read: whoever lives on has
//! whole versions only, and the memory goes with the last who looks at it.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;

use common::{Child, LONG, Stage, directory, node_in, pattern};
use onecopy::Node;
use onecopy::dataset::{Backing, DatasetError, DatasetView};
use onecopy::instance::Instance;

const LARGE_BYTES: usize = 16 << 20;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "load" => load(stage),
        "replace" => replace(stage),
        "read" => read(stage),
        role => panic!("no role {role}"),
    });
}

/// Loads a file, a line a piece, and goes on with the next version.
fn load(stage: &Stage) {
    let node = stage.node();
    let path = stage.directory.join("file");
    let dataset = node.dataset("file").unwrap();
    let _published = dataset.publish_file_with(path, |_| {
        stage.say("piece");
        stage.hear().unwrap();
    });
    stage.say("published");
    stage.stay();
}

/// A version's content: its hash is told apart from its bytes, and its first bytes say which it is.
fn content(seed: u64) -> Vec<u8> {
    seed.to_ne_bytes().into_iter().chain(pattern(seed, 200_000)).collect()
}

fn assert_whole(view: &DatasetView) {
    let bytes = view.bytes().unwrap();
    let seed = u64::from_ne_bytes(*bytes.first_chunk().unwrap());
    assert!(bytes == content(seed), "version {} of {seed} is torn", view.version());
    view.verify().unwrap();
}

/// Publishes versions without end.
fn replace(stage: &Stage) {
    let node = stage.node();
    let dataset = node.dataset("index").unwrap();
    let mut published = dataset.publish_bytes(&content(0)).unwrap();
    stage.say("published");
    for seed in 1.. {
        published = dataset.publish_bytes(&content(seed)).unwrap();
    }
    drop(published);
}

/// Reads a file's dataset each time it is told to, and says what it got.
fn read(stage: &Stage) {
    let node = stage.node();
    let view = node.dataset("file").unwrap().open().unwrap();
    let mut buffer = vec![0; LARGE_BYTES];
    stage.say("open");
    while stage.hear().is_some() {
        match view.read_at(0, &mut buffer) {
            Ok(()) if buffer.iter().all(|byte| *byte == 1) => stage.say("whole"),
            Ok(()) => stage.say("wrong bytes"),
            Err(DatasetError::Stale { .. }) => stage.say("stale"),
            Err(error) => stage.say(&error.to_string()),
        }
    }
}

/// A broker that outlives whom the test kills, and keeps datasets.
fn serve(directory: &Path) -> onecopy::broker::server::ServerThread {
    Instance::in_directory(directory, onecopy::instance::DEFAULT_INSTANCE)
        .unwrap()
        .serve()
        .unwrap()
        .spawn()
        .unwrap()
}

fn is_gone(node: &Node, name: &str) -> bool {
    // A death is noticed when the kernel says so, which may be after the parent has buried the child.
    let too_long = std::time::Instant::now() + LONG;
    while node.dataset_entry(name).unwrap().is_some() {
        if std::time::Instant::now() > too_long {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn a_publisher_killed_while_it_loads_publishes_nothing() {
    let directory = directory();
    let server = serve(directory.path());
    let node = node_in(directory.path());
    std::fs::write(directory.path().join("file"), vec![1; LARGE_BYTES]).unwrap();
    let pieces = LARGE_BYTES >> 20;
    for killed_after in [1, 2, pieces / 2, pieces - 1, pieces] {
        let mut loader = Child::spawn("load", directory.path());
        for piece in 1..=killed_after {
            loader.expect("piece");
            if piece < killed_after {
                loader.tell("go on");
            }
        }
        assert!(node.dataset_entry("file").unwrap().is_none(), "nobody sees what is not all there");
        loader.kill();
        assert!(matches!(node.dataset("file").unwrap().open(), Err(DatasetError::NotFound { .. })));
    }
    // And one that is not killed.
    let mut loader = Child::spawn("load", directory.path());
    for _ in 0..pieces {
        loader.expect("piece");
        loader.tell("go on");
    }
    loader.expect("published");
    let view = node.dataset("file").unwrap().open().unwrap();
    assert!(view.bytes().unwrap().iter().all(|byte| *byte == 1));
    drop(view);
    drop(loader);
    assert!(is_gone(&node, "file"));
    drop(node);
    server.stop().unwrap();
}

#[test]
fn publishers_killed_at_random_leave_whole_versions_only() {
    let directory = directory();
    let server = serve(directory.path());
    let node = node_in(directory.path());
    let dataset = node.dataset("index").unwrap();
    let mut versions = 0;
    for round in 0..6 {
        let mut publisher = Child::spawn("replace", directory.path());
        publisher.expect("published");
        let mut held: Vec<DatasetView> = Vec::new();
        // Somewhere in the middle of whatever it does by then.
        for _ in 0..5 * (round + 1) {
            let view = dataset.open().unwrap();
            assert_whole(&view);
            if let Some(last) = held.last() {
                assert!(view.version() >= last.version(), "versions never go back");
            }
            held.push(view);
        }
        publisher.kill();
        for view in &held {
            assert_whole(view);
        }
        // The last version is there as long as anybody has the dataset open.
        let last = dataset.open().unwrap();
        assert_whole(&last);
        assert!(held.iter().all(|view| view.version() <= last.version()));
        versions += last.version();
        drop((held, last));
        assert!(is_gone(&node, "index"));
    }
    assert!(versions > 12, "versions were replaced under the readers: {versions} in all");
    drop((dataset, node));
    server.stop().unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_read_harms_nobody() {
    let directory = directory();
    let node = node_in(directory.path());
    let path = directory.path().join("file");
    std::fs::write(&path, vec![1; LARGE_BYTES]).unwrap();
    let published = node.dataset("file").unwrap().backing(Backing::File).publish_file(&path).unwrap();
    let loaded = node.dataset("loaded").unwrap().publish_file(&path).unwrap();
    let mut readers: Vec<_> = (0..3).map(|_| Child::spawn("read", directory.path())).collect();
    readers.iter_mut().for_each(|reader| reader.expect("open"));
    let ask = |readers: &mut [Child]| -> Vec<String> {
        readers.iter_mut().for_each(|reader| reader.tell("read"));
        readers.iter_mut().map(Child::line).collect()
    };
    assert_eq!(ask(&mut readers), ["whole"; 3]);

    // A new file in its place: those who have the old one open read on.
    let next = directory.path().join("next");
    std::fs::write(&next, vec![2; 100]).unwrap();
    std::fs::hard_link(&path, directory.path().join("old")).unwrap();
    std::fs::rename(&next, &path).unwrap();
    assert_eq!(ask(&mut readers), ["whole"; 3]);

    // The file itself cut short in the middle of reading: whatever each gets, it is whole or stale.
    readers.iter_mut().for_each(|reader| reader.tell("read"));
    let old = std::fs::OpenOptions::new().write(true).open(directory.path().join("old")).unwrap();
    old.set_len(4096).unwrap();
    for said in readers.iter_mut().map(Child::line) {
        assert!(["whole", "stale"].contains(&said.as_str()), "{said}");
    }
    assert_eq!(ask(&mut readers), ["stale"; 3]);
    let view = node.dataset("loaded").unwrap().open().unwrap();
    assert!(view.bytes().unwrap().iter().all(|byte| *byte == 1), "what is in memory is as it was");
    drop((published, loaded));
    for reader in readers {
        assert!(reader.end().success());
    }
}
