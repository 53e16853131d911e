//! Awaiting messages on a runtime of one thread: whoever blocked it would hang the test.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::future::{Future, poll_fn, ready};
use std::pin::pin;
use std::task::Poll;

use common::{Child, LONG, directory, node_in, run};
use onecopy::{AsyncSubscriber, Node, PlainData, Publisher};

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "count");
        let node = stage.node();
        stage.say("ready");
        stage.hear().unwrap();
        let mut publisher = node.topic::<u64>("counter").unwrap().publisher().open().unwrap();
        while let Some(line) = stage.hear() {
            publisher.publish(&line.parse().unwrap()).unwrap();
        }
    });
}

fn pair<T: PlainData>(node: &Node, name: &str) -> (Publisher<T>, AsyncSubscriber<T>) {
    let topic = node.topic::<T>(name).unwrap();
    let publisher = topic.publisher().open().unwrap();
    (publisher, topic.subscriber().open().unwrap().into_async().unwrap())
}

/// Looks for a message once, and drops the future of `recv`.
async fn glance(subscriber: &mut AsyncSubscriber<u64>) -> Option<u64> {
    tokio::select! {
        biased;
        message = subscriber.recv() => Some(*message.unwrap()),
        () = ready(()) => None,
    }
}

#[test]
fn a_recv_that_is_dropped_before_its_message_loses_nothing() {
    let directory = directory();
    let node = node_in(directory.path());
    run(async {
        let (mut publisher, mut subscriber) = pair::<u64>(&node, "numbers");
        for value in 0..1000 {
            if let Some(early) = glance(&mut subscriber).await {
                panic!("{early} was not published");
            }
            publisher.publish(&value).unwrap();
            assert_eq!(*subscriber.recv().await.unwrap(), value);
        }
        assert_eq!(subscriber.get_mut().lost(), 0);
    });
}

#[test]
fn a_recv_that_is_dropped_after_it_was_woken_loses_nothing() {
    let directory = directory();
    let node = node_in(directory.path());
    run(async {
        let (mut publisher, mut subscriber) = pair::<u64>(&node, "numbers");
        for value in 0..1000 {
            {
                let mut recv = pin!(subscriber.recv());
                let is_pending = poll_fn(|context| Poll::Ready(recv.as_mut().poll(context).is_pending()));
                assert!(is_pending.await);
                publisher.publish(&value).unwrap();
                // The runtime looks at its descriptors, so the future is woken; and then it is dropped.
                tokio::task::yield_now().await;
            }
            assert_eq!(*subscriber.recv().await.unwrap(), value);
        }
    });
}

#[test]
fn a_timeout_in_the_middle_of_a_stream_loses_nothing() {
    const MESSAGES: u64 = 5000;
    const PAUSE_EVERY: u64 = 500;
    let directory = directory();
    let node = node_in(directory.path());
    run(async {
        let topic = node.topic::<u64>("numbers").unwrap();
        let mut publisher = topic.publisher().reliable().depth(8).open().unwrap();
        let mut subscriber = topic.subscriber().open().unwrap().into_async().unwrap();
        // The stream stops every so often until the subscriber has timed out, and flows in between.
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let sender = std::thread::spawn(move || {
            for value in 0..MESSAGES {
                if value % PAUSE_EVERY == 0 {
                    may_go_on.recv().unwrap();
                }
                let mut loan = publisher.loan_within(LONG).unwrap();
                *loan = value;
                loan.publish().unwrap();
            }
        });
        let mut expected = 0;
        let mut pause = 0;
        while expected < MESSAGES {
            match tokio::time::timeout(std::time::Duration::ZERO, subscriber.recv()).await {
                Ok(message) => {
                    assert_eq!(*message.unwrap(), expected);
                    expected += 1;
                }
                // The sender waits for this one: all that it published so far has been received.
                Err(_) if expected == pause => {
                    go_on.send(()).unwrap();
                    pause += PAUSE_EVERY;
                }
                Err(_) => {}
            }
        }
        sender.join().unwrap();
    });
}

#[test]
fn the_rest_of_a_batch_survives_a_recv_that_is_dropped() {
    let directory = directory();
    let node = node_in(directory.path());
    run(async {
        let (mut publisher, mut subscriber) = pair::<u64>(&node, "numbers");
        publisher.publish_batch(&[1, 2, 3]).unwrap();
        assert_eq!(*subscriber.recv().await.unwrap(), 1);
        drop(subscriber.recv());
        assert_eq!(glance(&mut subscriber).await, Some(2));
        drop(subscriber.recv());
        assert_eq!(*subscriber.recv().await.unwrap(), 3);
        assert_eq!(glance(&mut subscriber).await, None);
    });
}

#[test]
fn a_publisher_that_comes_later_is_heard() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut counter = Child::spawn("count", directory.path());
    counter.expect("ready");
    run(async {
        let topic = node.topic::<u64>("counter").unwrap();
        let mut subscriber = topic.subscriber().open().unwrap().into_async().unwrap();
        assert_eq!(glance(&mut subscriber).await, None);
        let (sum, ()) = tokio::join!(
            async {
                let mut sum = 0;
                for _ in 0..2 {
                    sum += *subscriber.recv().await.unwrap();
                }
                sum
            },
            async {
                // Polled after the other: that one waits already, with nobody there to be heard.
                counter.tell("open");
                counter.tell("1");
                counter.tell("2");
            }
        );
        assert_eq!(sum, 3);
        assert_eq!(subscriber.get_mut().publishers(), 1);
    });
    assert!(counter.end().success());
}

#[test]
fn tasks_of_one_thread_answer_each_other() {
    const ROUNDS: u64 = 1000;
    let directory = directory();
    let node = node_in(directory.path());
    run(async {
        let (mut pings, mut ping_subscriber) = pair::<u64>(&node, "ping");
        let (mut pongs, mut pong_subscriber) = pair::<u64>(&node, "pong");
        let asks = async move {
            for value in 0..ROUNDS {
                pings.publish(&value).unwrap();
                assert_eq!(*pong_subscriber.recv().await.unwrap(), value);
            }
        };
        let answers = async move {
            for _ in 0..ROUNDS {
                let value = *ping_subscriber.recv().await.unwrap();
                pongs.publish(&value).unwrap();
            }
        };
        // A third that never waits for anything must not keep the two from being woken, nor they it.
        let turns = async {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
        };
        let (asks, answers) = (tokio::spawn(asks), tokio::spawn(answers));
        turns.await;
        asks.await.unwrap();
        answers.await.unwrap();
    });
}
