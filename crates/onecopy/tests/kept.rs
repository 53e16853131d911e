//! Kept messages that outlive everything they came from: subscriber, node, publisher, and the publisher's process.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, Stage, directory, node_in, pattern};
use onecopy::{KeptMessage, Subscriber};

const LARGE: usize = 1 << 20;
/// Fits a slot, and so is copied out of it or out of its batch.
type Small = u64;
/// Fits no slot, and so is held, alone or as a part of its batch.
type Wide = [u64; 125];
/// What comes with each message: itself larger than a slot.
type Header = [u64; 40];

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "publish");
        publish_everything(stage);
    });
}

fn header(seed: u64) -> Header {
    std::array::from_fn(|index| seed + index as u64)
}

fn publish_everything(stage: &Stage) {
    let node = stage.node();
    let mut bytes =
        node.topic::<[u8]>("bytes").unwrap().header::<Header>().publisher().history(8).open().unwrap();
    for len in [0, 1, 100, LARGE] {
        let mut loan = bytes.loan_slice(len).unwrap();
        *loan.header_mut() = header(len as u64);
        loan.iter_mut().zip(pattern(len as u64, len)).for_each(|(byte, value)| *byte = value);
        loan.publish().unwrap();
    }
    let mut small =
        node.topic::<Small>("small").unwrap().header::<u16>().publisher().history(8).open().unwrap();
    let mut batch = small.loan_batch(3).unwrap();
    batch.copy_from_slice(&[1, 2, 3]);
    *batch.header_mut() = 9;
    batch.publish().unwrap();
    let mut wide = node.topic::<Wide>("wide").unwrap().publisher().history(8).open().unwrap();
    wide.publish_batch(&[[1; 125], [2; 125], [3; 125]]).unwrap();
    wide.publish(&[4; 125]).unwrap();
    stage.say("published");
    stage.stay();
}

/// The next so many messages, all at once.
fn keep<P: onecopy::Payload + ?Sized, H: onecopy::PlainData>(
    subscriber: &mut Subscriber<P, H>,
    count: usize,
) -> Vec<KeptMessage<P, H>> {
    (0..count).map(|_| subscriber.wait(LONG).unwrap().keep()).collect()
}

fn mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:onecopy")).count()
}

/// The only test of its binary, since it counts what the whole process has mapped.
#[test]
fn they_outlive_everything_and_then_leave_nothing() {
    let directory = directory();
    let mut publisher = Child::spawn("publish", directory.path());
    publisher.expect("published");
    let node = node_in(directory.path());
    let mut bytes = node.topic::<[u8]>("bytes").unwrap().header::<Header>().subscriber().open().unwrap();
    let mut small = node.topic::<Small>("small").unwrap().header::<u16>().subscriber().open().unwrap();
    let mut wide = node.topic::<Wide>("wide").unwrap().subscriber().open().unwrap();
    let mut unread = node.topic::<Wide>("wide").unwrap().subscriber().open().unwrap();
    let kept = (keep(&mut bytes, 4), keep(&mut small, 3), keep(&mut wide, 4));
    // One that goes with the rest of its batch not given out.
    let first_of_batch = unread.wait(LONG).unwrap().keep();
    drop((bytes, small, wide, unread, node));
    publisher.kill();

    let (bytes, small, wide) = kept;
    for (message, len) in bytes.iter().zip([0, 1, 100, LARGE]) {
        assert_eq!(*message.header(), header(len as u64), "{len} bytes");
        assert!(message.iter().copied().eq(pattern(len as u64, len)), "{len} bytes");
        assert_eq!(message.as_bytes().len(), len);
    }
    for (message, value) in small.iter().zip(1..) {
        assert_eq!((**message, *message.header()), (value, 9));
        assert!(!message.is_held());
    }
    for (message, value) in wide.iter().zip(1..) {
        assert_eq!(**message, [value; 125]);
        assert!(message.is_held());
    }
    assert!(mappings() > 0);
    drop((bytes, small));
    // On another thread, and out of order.
    let mut wide = wide;
    std::thread::spawn(move || {
        drop(wide.remove(2));
        wide.pop();
        assert_eq!(*wide[1], [2; 125]);
    })
    .join()
    .unwrap();
    assert_eq!(*first_of_batch, [1; 125]);
    drop(first_of_batch);
    // A joined thread's last words: the node's control thread may let go of the last mapping.
    while mappings() > 0 {
        std::thread::yield_now();
    }
}
