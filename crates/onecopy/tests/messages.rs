//! What travels: every size and alignment, headers, slices, batches, history; within a process and between two.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, LONG, directory, node_in, pattern};
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use onecopy::{Node, PlainData, Publisher, Subscriber};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Debug)]
#[repr(C, align(16))]
struct Align16([u64; 4]);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Debug)]
#[repr(C, align(64))]
struct Align64([u64; 16]);

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Debug, Default)]
#[repr(C)]
struct Stamp {
    frame: u64,
    nanoseconds: u64,
}

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "echo");
        let node = stage.node();
        let mut requests =
            node.topic::<[u8]>("request").unwrap().header::<Stamp>().subscriber().open().unwrap();
        let mut answers = node.topic::<[u8]>("answer").unwrap().header::<Stamp>().publisher().open().unwrap();
        stage.say("ready");
        while stage.hear().is_some() {
            let request = requests.wait(LONG).unwrap();
            let mut answer = answers.loan_slice(request.len()).unwrap();
            answer.copy_from_slice(&request);
            *answer.header_mut() = *request.header();
            answer.publish().unwrap();
        }
    });
}

fn pair<T: PlainData>(node: &Node, name: &str) -> (Publisher<T>, Subscriber<T>) {
    let topic = node.topic::<T>(name).unwrap();
    (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap())
}

/// Sends values alone, in place and in batches, and expects the same from the subscriber.
fn round_trip<T: PlainData + Copy + PartialEq + std::fmt::Debug>(node: &Node, name: &str, values: &[T]) {
    let (mut publisher, mut subscriber) = pair::<T>(node, name);
    for value in values {
        publisher.publish(value).unwrap();
        assert_eq!(subscriber.receive().unwrap().unwrap().copy(), *value, "{name}");
        let mut loan = publisher.loan().unwrap();
        *loan = *value;
        loan.publish().unwrap();
        assert_eq!(*subscriber.wait(LONG).unwrap(), *value, "{name}");
    }
    publisher.publish_batch(values).unwrap();
    for value in values {
        assert_eq!(subscriber.receive().unwrap().unwrap().copy(), *value, "{name} in a batch");
    }
    assert!(subscriber.receive().unwrap().is_none(), "{name}");
    assert_eq!(subscriber.lost(), 0, "{name}");
}

fn filled<const N: usize>(count: usize) -> Vec<[u8; N]> {
    (0..count)
        .map(|seed| {
            let mut value = [0; N];
            value.iter_mut().zip(pattern(seed as u64, N)).for_each(|(byte, random)| *byte = random);
            value
        })
        .collect()
}

#[test]
fn values_of_every_size_and_alignment() {
    let directory = directory();
    let node = node_in(directory.path());
    round_trip(&node, "u8", &(0..=255).collect::<Vec<u8>>());
    round_trip(&node, "u64", &(0..300).collect::<Vec<u64>>());
    round_trip(&node, "48", &filled::<48>(9));
    round_trip(&node, "49", &filled::<49>(9));
    round_trip(&node, "240", &filled::<240>(9));
    round_trip(&node, "241", &filled::<241>(9));
    round_trip(&node, "1000", &filled::<1000>(300));
    round_trip(&node, "64 KiB", &filled::<65536>(3));
    round_trip(&node, "align 16", &(0..20).map(|i| Align16([i, i + 1, i + 2, i + 3])).collect::<Vec<_>>());
    round_trip(&node, "align 64", &(0..20).map(|i| Align64([i; 16])).collect::<Vec<_>>());
}

#[test]
fn slices_of_every_length() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("bytes").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    for len in [0, 1, 7, 8, 111, 112, 113, 239, 240, 241, 4096, 1 << 20, (1 << 20) + 1, 0] {
        let bytes: Vec<u8> = pattern(len as u64, len).collect();
        publisher.publish(&bytes).unwrap();
        // Beyond the arena the publisher adds a segment, which takes its own way to the subscriber.
        let message = subscriber.wait(LONG).unwrap();
        assert!(*message == bytes[..], "{len} bytes");
        assert_eq!(message.is_held(), len > 112, "{len} bytes");
    }
    let wide = node.topic::<[Align16]>("wide").unwrap();
    let mut publisher = wide.publisher().open().unwrap();
    let mut subscriber = wide.subscriber().open().unwrap();
    for len in [0, 1, 2, 1000] {
        let mut loan = publisher.loan_slice(len).unwrap();
        loan.iter_mut().enumerate().for_each(|(index, value)| *value = Align16([index as u64; 4]));
        loan.publish().unwrap();
        let message = subscriber.receive().unwrap().unwrap();
        assert_eq!(message.len(), len);
        assert!(message.iter().enumerate().all(|(index, value)| *value == Align16([index as u64; 4])));
    }
}

#[test]
fn a_loan_that_is_dropped_was_never_there() {
    let directory = directory();
    let node = node_in(directory.path());
    let (mut publisher, mut subscriber) = pair::<[u8; 5000]>(&node, "large");
    let committed = {
        drop(publisher.loan().unwrap());
        publisher.committed_bytes()
    };
    for _ in 0..10_000 {
        drop(publisher.loan().unwrap());
        drop(publisher.loan_batch(3).unwrap());
    }
    assert!(publisher.committed_bytes() <= committed.max(1 << 20));
    assert!(subscriber.receive().unwrap().is_none());
    publisher.publish(&[7; 5000]).unwrap();
    assert_eq!(subscriber.receive().unwrap().unwrap()[4999], 7);
}

fn headers_of<H: PlainData + PartialEq + std::fmt::Debug + Copy>(node: &Node, name: &str, header: H) {
    let topic = node.topic::<[u8]>(name).unwrap().header::<H>();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut untyped = node.any_topic(name).unwrap().subscriber().open().unwrap();
    for len in [0, 1, 100, 200, 5000] {
        let bytes: Vec<u8> = pattern(len as u64, len).collect();
        let mut loan = publisher.loan_slice(len).unwrap();
        *loan.header_mut() = header;
        loan.copy_from_slice(&bytes);
        loan.publish().unwrap();
        let message = subscriber.receive().unwrap().unwrap();
        assert_eq!((message.header(), &*message), (&header, &bytes[..]), "{name}, {len} bytes");
        assert_eq!(&*untyped.receive().unwrap().unwrap(), &bytes[..], "{name} untyped, {len} bytes");
    }
    // It keeps its value.
    publisher.publish(b"again").unwrap();
    assert_eq!(subscriber.receive().unwrap().unwrap().header(), &header);
}

#[test]
fn headers_small_odd_and_larger_than_a_slot() {
    let directory = directory();
    let node = node_in(directory.path());
    headers_of(&node, "u8", 200_u8);
    headers_of(&node, "three", [1_u8, 2, 3]);
    headers_of(&node, "stamp", Stamp { frame: 1, nanoseconds: 2 });
    headers_of(&node, "slot", [3_u64; 30]);
    headers_of(&node, "beyond", [4_u64; 100]);
    headers_of(&node, "wide", Align64([5; 16]));
    let topic = node.topic::<u32>("batch").unwrap().header::<Stamp>();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut batch = publisher.loan_batch(3).unwrap();
    batch.copy_from_slice(&[1, 2, 3]);
    batch.header_mut().frame = 9;
    batch.publish().unwrap();
    for expected in 1..=3 {
        let message = subscriber.receive().unwrap().unwrap();
        assert_eq!((*message, message.header().frame), (expected, 9));
    }
}

#[test]
fn late_joiners_start_in_the_history() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().history(5).open().unwrap();
    let mut early = topic.subscriber().open().unwrap();
    for value in 0..3 {
        publisher.publish(&value).unwrap();
    }
    let mut joiner = topic.subscriber().open().unwrap();
    for value in 3..20 {
        publisher.publish(&value).unwrap();
    }
    let mut late = topic.subscriber().open().unwrap();
    for (subscriber, first) in [(&mut early, 0), (&mut joiner, 0), (&mut late, 15)] {
        let received: Vec<u64> = std::iter::from_fn(|| subscriber.receive().unwrap().map(|m| *m)).collect();
        assert_eq!(received, (first..20).collect::<Vec<_>>());
        assert_eq!(subscriber.lost(), 0);
    }
}

#[test]
fn subscribers_join_in_the_middle_of_batches() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    for history in [1, 3, 7, 10, 13, 20] {
        let mut publisher = topic.publisher().depth(64).history(history).open().unwrap();
        for first in [0, 10, 20] {
            publisher.publish_batch(&(first..first + 10).collect::<Vec<_>>()).unwrap();
            let mut late = topic.subscriber().open().unwrap();
            let end = first + 10;
            let received: Vec<u64> = std::iter::from_fn(|| late.receive().unwrap().map(|m| *m)).collect();
            assert_eq!(received, (end.saturating_sub(history)..end).collect::<Vec<_>>(), "history {history}");
            assert_eq!(late.lost(), 0);
        }
    }
}

#[test]
fn batches_longer_than_one_are_cut() {
    let directory = directory();
    let node = node_in(directory.path());
    let (mut publisher, mut subscriber) = pair::<u32>(&node, "numbers");
    let most = publisher.batch_max();
    assert!(matches!(
        publisher.loan_batch(most + 1),
        Err(onecopy::LoanError::BatchTooLong { requested, most: limit }) if requested == limit + 1
    ));
    let values: Vec<u32> = (0..3 * most as u32 + 1).collect();
    publisher.publish_batch(&values).unwrap();
    let received: Vec<u32> = std::iter::from_fn(|| subscriber.receive().unwrap().map(|m| *m)).collect();
    assert_eq!(received, values);
}

#[test]
fn several_publishers_to_several_subscribers() {
    const MESSAGES: u64 = 400;
    let directory = directory();
    let nodes: Vec<Node> = (0..3).map(|_| node_in(directory.path())).collect();
    let topic = |index: usize| nodes[index % 3].topic::<[u64; 2]>("shared").unwrap();
    let mut first = topic(0).subscriber().open().unwrap();
    let mut publishers: Vec<_> = (0..4).map(|index| topic(index).publisher().open().unwrap()).collect();
    let mut second = topic(1).subscriber().open().unwrap();
    assert_eq!((first.publishers(), publishers[0].subscribers()), (0, 2), "news is taken in by receive()");
    for value in 0..MESSAGES {
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publisher.publish(&[number as u64, value]).unwrap();
        }
    }
    for subscriber in [&mut first, &mut second] {
        let mut next = [0; 4];
        while let Some(message) = subscriber.receive().unwrap() {
            let [number, value] = *message;
            assert_eq!(value, next[number as usize], "publisher {number} in order");
            next[number as usize] += 1;
        }
        assert_eq!(next, [MESSAGES; 4]);
        assert_eq!(subscriber.publishers(), 4);
    }
}

#[test]
fn a_busy_publisher_does_not_silence_another() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut busy = topic.publisher().open().unwrap();
    let mut quiet = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    busy.publish(&0).unwrap();
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 0);
    quiet.publish(&u64::MAX).unwrap();
    // There is always another message of the busy one.
    let heard = (1..1000).any(|value| {
        busy.publish(&value).unwrap();
        *subscriber.receive().unwrap().unwrap() == u64::MAX
    });
    assert!(heard);
}

#[test]
fn nothing_published_after_open_is_missed() {
    let directory = directory();
    let node = node_in(directory.path());
    let other = node_in(directory.path());
    for round in 0..50_u64 {
        let name = format!("round/{round}");
        let (mut publisher, mut subscriber) = if round % 2 == 0 {
            let subscriber = node.topic::<u64>(&name).unwrap().subscriber().open().unwrap();
            (other.topic::<u64>(&name).unwrap().publisher().open().unwrap(), subscriber)
        } else {
            let publisher = node.topic::<u64>(&name).unwrap().publisher().open().unwrap();
            (publisher, other.topic::<u64>(&name).unwrap().subscriber().open().unwrap())
        };
        publisher.publish(&round).unwrap();
        // What a publisher sent before it ended is still received.
        drop(publisher);
        assert_eq!(*subscriber.wait(LONG).unwrap(), round);
    }
}

#[test]
fn opening_and_closing_from_many_threads() {
    let directory = directory();
    let node = node_in(directory.path());
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let node = node.clone();
            scope.spawn(move || {
                for round in 0..40 {
                    let topic = node.topic::<[u64; 40]>("shared").unwrap();
                    let mut publisher = topic.publisher().open().unwrap();
                    let mut subscriber = topic.subscriber().open().unwrap();
                    let value = [thread << 32 | round; 40];
                    publisher.publish(&value).unwrap();
                    while subscriber.wait(LONG).unwrap().copy() != value {}
                }
            });
        }
    });
    let entry = node.topic_entry("shared").unwrap();
    assert!(entry.is_none(), "{entry:?}");
}

#[test]
fn a_held_message_outlives_subscriber_and_node() {
    let directory = directory();
    let publishing = node_in(directory.path());
    let mut publisher =
        publishing.topic::<[u8]>("large").unwrap().publisher().budget_bytes(8 << 20).open().unwrap();
    let subscribing = node_in(directory.path());
    let mut subscriber = subscribing.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
    publisher.publish(&[1; 1 << 20]).unwrap();
    let held = subscriber.wait(LONG).unwrap().keep();
    drop(subscriber);
    for _ in 0..50 {
        publisher.publish(&[2; 1 << 20]).unwrap();
    }
    assert!(held.iter().all(|byte| *byte == 1), "the message changed after its subscriber was dropped");
    drop(subscribing);
    // The broker has heard of everything that came before this.
    publishing.inventory().unwrap();
    for _ in 0..50 {
        publisher.publish(&[3; 1 << 20]).unwrap();
    }
    assert!(held.iter().all(|byte| *byte == 1), "the message changed after its node was dropped");
    // A publisher that comes now need not wait for the subscriber that is only there for its message.
    let later = publishing.topic::<[u8]>("large").unwrap().publisher().open().unwrap();
    assert_eq!(later.subscribers(), 0);
    drop(held);
    while publisher.subscribers() > 0 {
        publishing.inventory().unwrap();
    }
}

#[test]
fn between_processes() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut child = Child::spawn("echo", directory.path());
    child.expect("ready");
    let mut requests = node.topic::<[u8]>("request").unwrap().header::<Stamp>().publisher().open().unwrap();
    let mut answers = node.topic::<[u8]>("answer").unwrap().header::<Stamp>().subscriber().open().unwrap();
    for (frame, len) in [0, 1, 112, 113, 5000, 1 << 20, 3 << 20].into_iter().enumerate() {
        let bytes: Vec<u8> = pattern(len as u64, len).collect();
        let mut loan = requests.loan_slice(len).unwrap();
        loan.copy_from_slice(&bytes);
        loan.header_mut().frame = frame as u64;
        loan.publish().unwrap();
        child.tell("go");
        let answer = answers.wait(LONG).unwrap();
        assert!(*answer == bytes[..] && answer.header().frame == frame as u64, "{len} bytes");
    }
    assert!(child.end().success());
}
