//! Awaiting the values of a region on a runtime of one thread: whoever blocked it would hang the test.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use common::{directory, node_in, run};
use onecopy::Node;
use onecopy::region::{AsyncWatch, Region};

const VALUES: u64 = 1000;

/// A region that one node writes and another one watches.
fn pair(writer: &Node, watcher: &Node, is_shared: bool) -> (Region<u64>, AsyncWatch<u64>) {
    let builder = |node: &Node| {
        let builder = node.region::<u64>("number").unwrap();
        if is_shared { builder.shared() } else { builder }
    };
    let region = builder(writer).open_or_create(&0).unwrap();
    (region, builder(watcher).open().unwrap().into_async_watch().unwrap())
}

/// Looks for a value once, which is not there yet.
async fn begin_to_wait(mut changed: std::pin::Pin<&mut impl Future>) {
    let is_pending = poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_pending()));
    assert!(is_pending.await, "nothing was written");
}

fn check(check_value: impl AsyncFn(&Region<u64>, &mut AsyncWatch<u64>, u64)) {
    for is_shared in [false, true] {
        let directory = directory();
        let (writer, watcher) = (node_in(directory.path()), node_in(directory.path()));
        run(async {
            let (region, mut watch) = pair(&writer, &watcher, is_shared);
            for value in 1..=VALUES {
                check_value(&region, &mut watch, value).await;
            }
        });
    }
}

#[test]
fn who_waits_is_woken_by_each_value() {
    check(async |region, watch, value| {
        let mut changed = pin!(watch.changed());
        begin_to_wait(changed.as_mut()).await;
        region.write(&value).unwrap();
        assert_eq!(*changed.await.unwrap(), value);
    });
}

#[test]
fn a_wait_that_is_dropped_loses_nothing() {
    check(async |region, watch, value| {
        {
            let mut changed = pin!(watch.changed());
            begin_to_wait(changed.as_mut()).await;
            region.write(&value).unwrap();
            // The runtime looks at its descriptors, so the future may be woken; and then it is dropped.
            tokio::task::yield_now().await;
        }
        assert_eq!(*watch.changed().await.unwrap(), value);
    });
}

#[test]
fn only_the_newest_of_several_values_comes() {
    check(async |region, watch, value| {
        region.write(&(VALUES + value)).unwrap();
        region.write(&value).unwrap();
        let seen = watch.changed().await.unwrap();
        assert_eq!((*seen, seen.version()), (value, 1 + 2 * value));
    });
}
