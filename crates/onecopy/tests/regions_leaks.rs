//! Opening, writing, growing and closing regions leaves nothing behind in a process that lives on. The only test of its
//! binary, since it counts what the whole process has.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::unix::fs::MetadataExt;

use common::{LONG, directory, node_in};
use onecopy::Node;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Possessions {
    descriptors: usize,
    threads: usize,
    mappings: usize,
    /// Memory behind the shared memory that is open.
    blocks: u64,
}

fn possessions() -> Possessions {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let descriptors: Vec<_> =
        std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path()).collect();
    let blocks = descriptors.iter().filter(|path| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:onecopy"))
    });
    Possessions {
        descriptors: descriptors.len(),
        threads: std::fs::read_dir("/proc/self/task").unwrap().count(),
        mappings: maps.lines().filter(|line| line.contains("memfd:onecopy")).count(),
        blocks: blocks.map(|path| std::fs::metadata(path).unwrap().blocks()).sum(),
    }
}

/// Every way to have a region, dropped in an order that depends on the round.
fn use_regions(node: &Node, other: &Node, round: usize) {
    for shared in [false, true] {
        let name = if shared { "shared" } else { "single" };
        let builder = |node: &Node| {
            let builder = node.region_bytes(name).unwrap().capacity(5000).lock_timeout(LONG);
            if shared { builder.shared() } else { builder }
        };
        let mut region = builder(node).open_or_create(b"first").unwrap();
        let view = builder(other).open().unwrap();
        let any = other.any_region(name).unwrap().open().unwrap();
        region.write(&[1; 5000]).unwrap();
        let held = view.read().unwrap();
        let mut guard = region.lock(LONG).unwrap();
        guard.fill(2);
        if round.is_multiple_of(2) {
            guard.commit().unwrap();
        } else {
            drop(guard);
        }
        let mut watch = view.watch().unwrap();
        let readiness = watch.readiness().unwrap();
        region.resize(1 << 20).unwrap();
        let version = region.write(&vec![3; 1 << 20]).unwrap();
        while watch.wait(LONG).unwrap().version() < version {}
        assert!(any.wait_for_change(version - 1, LONG).unwrap().version() <= version);
        assert_eq!(node.inventory().unwrap().regions.len(), 1);
        assert!(node.region::<u8>(name).unwrap().open().is_err());
        match round % 3 {
            0 => {
                drop((region, any));
                drop((held, view, readiness));
            }
            1 => {
                drop((readiness, view));
                drop((region, held, any));
            }
            _ => {
                drop(any);
                drop((view, readiness, region, held));
            }
        }
    }
}

#[test]
fn a_hundred_rounds_leave_nothing() {
    let directory = directory();
    let mut before = None;
    for round in 0..100 {
        let node = node_in(directory.path());
        let other = node_in(directory.path());
        use_regions(&node, &other, round);
        let possibly_last = if round % 2 == 0 { (node, other) } else { (other, node) };
        drop(possibly_last.0);
        drop(possibly_last.1);
        if round == 5 {
            before = Some(possessions());
        }
    }
    let before = before.unwrap();
    // A joined thread may stay visible for an instant.
    let too_long = std::time::Instant::now() + LONG;
    while possessions().threads > before.threads && std::time::Instant::now() < too_long {
        std::thread::yield_now();
    }
    assert_eq!(possessions(), before);
    assert_eq!((before.mappings, before.blocks), (0, 0), "and that is nothing");

    // The same within a node that stays.
    let node = node_in(directory.path());
    let other = node_in(directory.path());
    let mut before = None;
    for round in 0..100 {
        use_regions(&node, &other, round);
        // Broker and control threads have done what came before the answer.
        other.inventory().unwrap();
        node.inventory().unwrap();
        other.inventory().unwrap();
        if round == 5 {
            before = Some(possessions());
        }
    }
    assert_eq!(Some(possessions()), before);
}
