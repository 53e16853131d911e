//! A region that is made larger while its broker is stopped: whatever others write meanwhile is not lost.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, directory, node_in};
use onecopy::Node;
use onecopy::region::Region;

#[test]
fn child() {
    common::play(|stage| panic!("no role {}", stage.role));
}

fn notes(node: &Node) -> Region<[u8]> {
    let builder = node.region_bytes("notes").unwrap().shared().capacity(100).lock_timeout(LONG);
    builder.open_or_create(b"first").unwrap()
}

#[test]
fn what_is_written_while_the_broker_is_stopped_and_a_region_grows_stays() {
    let directory = directory();
    let broker = Child::broker(directory.path());
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    let (growing, writing) = (notes(&node), notes(&other));
    broker.stop();
    // The broker does not say that it has told the others, nor that it won't.
    growing.resize(1000).unwrap();
    std::thread::scope(|scope| {
        let broker = &broker;
        let writer = scope.spawn(move || {
            let mut writing = writing;
            // Before the broker goes on, or after that: there is no third.
            let version = writing.write(b"second").unwrap();
            assert_eq!(writing.lock(LONG).unwrap().version(), version);
            writing
        });
        broker.go_on();
        let writing = writer.join().unwrap();
        // Everything that the broker had to tell has come.
        for node in [&node, &other] {
            node.inventory().unwrap();
        }
        assert_eq!(growing.read().unwrap().as_text().unwrap(), "second");
        assert_eq!(growing.write(b"third").unwrap(), writing.wait_for_change(3, LONG).unwrap().version());
        assert_eq!(writing.read().unwrap().as_text().unwrap(), "third");
        assert_eq!((growing.capacity_bytes().unwrap(), writing.capacity_bytes().unwrap()), (1000, 1000));
    });
    assert!(broker.end().success());
}
