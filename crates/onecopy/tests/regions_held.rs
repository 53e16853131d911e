//! A value that is held stays as it is, also when what it was read from is gone: handle, node, writer.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod regions_values;

use common::{LONG, directory, node_in};
use onecopy::Node;
use onecopy::region::RegionBuilder;
use regions_values::{bytes_with, check_bytes};

const BYTES: usize = 5000;
/// More than there are copies.
const WRITES: u64 = 40;

fn builder(node: &Node, shared: bool) -> RegionBuilder<[u8]> {
    let builder = node.region_bytes("held").unwrap().capacity(BYTES).lock_timeout(LONG);
    if shared { builder.shared() } else { builder }
}

#[test]
fn what_is_held_outlives_handle_and_node() {
    for shared in [false, true] {
        let directory = directory();
        let node = node_in(directory.path());
        let region = builder(&node, shared).open_or_create(&bytes_with(0, BYTES)).unwrap();
        let write_over = || {
            for seed in 0..WRITES {
                region.write(&bytes_with(seed, BYTES)).unwrap();
                // What others were told of ended ports has been taken in by then.
                node.inventory().unwrap();
            }
        };
        let other = node_in(directory.path());
        let view = builder(&other, shared).open().unwrap();
        region.write(&bytes_with(1000, BYTES)).unwrap();
        let held = view.wait_for_change(1, LONG).unwrap();
        write_over();
        assert_eq!(*held, *bytes_with(1000, BYTES), "shared: {shared}");
        drop(view);
        other.inventory().unwrap();
        write_over();
        assert_eq!(*held, *bytes_with(1000, BYTES), "shared: {shared}, handle dropped");
        drop(other);
        node.inventory().unwrap();
        write_over();
        assert_eq!(*held, *bytes_with(1000, BYTES), "shared: {shared}, node dropped");
        let second = node_in(directory.path());
        let value = builder(&second, shared).open().unwrap().read().unwrap();
        drop((region, node));
        check_bytes(&held);
        check_bytes(&value);
    }
}

#[test]
fn what_is_held_outlives_growing() {
    for shared in [false, true] {
        let directory = directory();
        let (node, other) = (node_in(directory.path()), node_in(directory.path()));
        let region = builder(&node, shared).open_or_create(&bytes_with(1, BYTES)).unwrap();
        let view = builder(&other, shared).open().unwrap();
        let held = view.read().unwrap();
        region.resize(BYTES * 2).unwrap();
        for seed in 0..WRITES {
            region.write(&bytes_with(seed, BYTES * 2)).unwrap();
            check_bytes(&view.read().unwrap());
        }
        assert_eq!(*held, *bytes_with(1, BYTES));
        drop(view);
        assert_eq!(*held, *bytes_with(1, BYTES));
    }
}
