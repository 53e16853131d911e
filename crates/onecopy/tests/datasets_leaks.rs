//! Datasets take memory as long as somebody looks at them, and leave nothing behind. The only test of its
//! binary, since it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;

use common::possessions::Possessions;
use common::{Child, LONG, SHORT, Stage, directory, node_in, pattern};
use onecopy::Node;
use onecopy::dataset::Backing;
use onecopy::instance::Instance;

const BYTES: usize = 200_000;

#[test]
fn child() {
    common::play(hold);
}

fn content() -> Vec<u8> {
    pattern(7, BYTES).collect()
}

fn hold(stage: &Stage) {
    let node = stage.node();
    let published = node.dataset("index").unwrap().publish_bytes(&content()).unwrap();
    stage.say("published");
    stage.stay();
    drop(published);
}

fn shared_bytes() -> u64 {
    Possessions::own().shared_bytes
}

/// Every way to have a dataset, dropped in an order that depends on the round.
fn use_datasets(node: &Node, other: &Node, path: &Path, round: usize) {
    let dataset = node.dataset("data").unwrap();
    let first = dataset.clone().huge_pages().publish_bytes(&vec![1; 3 << 20]).unwrap();
    let view = other.dataset("data").unwrap().open().unwrap();
    let second = dataset.clone().lock_memory().publish_bytes(b"locked").unwrap();
    let newer = view.wait_for_newer(LONG).unwrap();
    let file = dataset.clone().backing(Backing::File).publish_file(path).unwrap();
    let read = other.dataset("data").unwrap().open_within(LONG).unwrap();
    read.verify().unwrap();
    let draft = dataset.builder().section::<u64>("words", 1000).allocate().unwrap();
    assert_eq!(node.inventory().unwrap().datasets.len(), 1);
    assert!(other.dataset("none").unwrap().open().is_err());
    assert!(other.dataset("none").unwrap().open_within(SHORT).is_err());
    assert!(dataset.publish_file("/nowhere").is_err());
    match round % 3 {
        0 => drop((first, view, second, newer, file, read, draft)),
        1 => drop((draft, read, file, newer, second, view, first)),
        _ => {
            drop((view, draft, first));
            drop((read, newer, second, file));
        }
    }
}

fn rounds_leave_nothing() {
    let directory = directory();
    let path = directory.path().join("file");
    std::fs::write(&path, content()).unwrap();
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    let mut before = None;
    for round in 0..60 {
        use_datasets(&node, &other, &path, round);
        // Broker and control threads have done what came before the answer.
        other.inventory().unwrap();
        node.inventory().unwrap();
        other.inventory().unwrap();
        if round == 5 {
            before = Some(Possessions::own());
        }
    }
    assert_eq!(Some(Possessions::own()), before);
    drop((node, other));
    assert_eq!((Possessions::own().mappings, shared_bytes()), (0, 0));
}

fn memory_goes_with_the_last_who_looks_at_it() {
    let directory = directory();
    let instance = Instance::in_directory(directory.path(), onecopy::instance::DEFAULT_INSTANCE).unwrap();
    let server = instance.serve().unwrap().spawn().unwrap();
    let node = node_in(directory.path());
    let before = shared_bytes();
    let mut publisher = Child::spawn("hold", directory.path());
    publisher.expect("published");
    let view = node.dataset("index").unwrap().open().unwrap();
    node.keep_dataset("index", true).unwrap();
    publisher.kill();
    assert_eq!(view.bytes().unwrap(), content());
    drop(view);
    // Now the broker alone has it: in this test, in this process.
    assert_eq!(node.dataset("index").unwrap().open().unwrap().bytes().unwrap(), content());
    assert!(shared_bytes() >= before + BYTES as u64);
    // Kept, it is replaced: the old version's memory goes as well.
    let published = node.dataset("index").unwrap().publish_bytes(&vec![9; 1 << 20]).unwrap();
    assert_eq!(published.version(), 2);
    drop(published);
    assert_eq!(node.dataset("index").unwrap().open().unwrap().bytes().unwrap(), vec![9; 1 << 20]);
    node.inventory().unwrap();
    assert!((1 << 20..1_200_000).contains(&(shared_bytes() - before)), "{}", shared_bytes() - before);
    node.keep_dataset("index", false).unwrap();
    node.inventory().unwrap();
    assert_eq!(shared_bytes(), before);
    drop(node);
    server.stop().unwrap();
}

#[test]
fn what_nobody_looks_at_takes_nothing() {
    memory_goes_with_the_last_who_looks_at_it();
    rounds_leave_nothing();
}
