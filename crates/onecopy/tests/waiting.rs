//! Sleeping: no wake-up is lost, whichever way a subscriber waits, and a timeout is a typed error.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::sync::mpsc;
use std::time::Duration;

use common::{Child, LONG, SHORT, directory, node_in};
use onecopy::{Readiness, WaitError, wait_any};
use rustix::event::{PollFd, PollFlags, epoll};

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "echo");
        let node = stage.node();
        let mut pings = node.topic::<u64>("ping").unwrap().subscriber().open().unwrap();
        let mut pongs = node.topic::<u64>("pong").unwrap().publisher().open().unwrap();
        stage.say("ready");
        loop {
            let ping = pings.wait(LONG).unwrap().copy();
            pongs.publish(&ping).unwrap();
            if ping == u64::MAX {
                break;
            }
        }
    });
}

fn is_readable(readiness: &Readiness, timeout: Option<&Duration>) -> bool {
    let mut polled = [PollFd::new(readiness, PollFlags::IN)];
    let timeout = timeout.map(|timeout| (*timeout).try_into().unwrap());
    rustix::event::poll(&mut polled, timeout.as_ref()).unwrap() == 1
}

#[test]
fn nothing_comes_in_time() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("silence").unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    assert!(matches!(subscriber.wait(SHORT), Err(WaitError::Timeout)));
    let _publisher = topic.publisher().open().unwrap();
    assert!(matches!(subscriber.wait(SHORT), Err(WaitError::Timeout)));
    assert!(matches!(subscriber.wait(Duration::ZERO), Err(WaitError::Timeout)));
    assert!(matches!(wait_any(&mut [&mut subscriber], SHORT), Err(WaitError::Timeout)));
    assert!(matches!(wait_any(&mut [], SHORT), Err(WaitError::Timeout)));
}

#[test]
fn two_processes_wake_each_other() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut child = Child::spawn("echo", directory.path());
    child.expect("ready");
    let mut pings = node.topic::<u64>("ping").unwrap().publisher().open().unwrap();
    let mut pongs = node.topic::<u64>("pong").unwrap().subscriber().open().unwrap();
    for ping in (0..5000).chain([u64::MAX]) {
        pings.publish(&ping).unwrap();
        assert_eq!(*pongs.wait(LONG).unwrap(), ping);
    }
    assert!(child.end().success());
}

#[test]
fn one_subscriber_is_woken_by_each_of_many_publishers() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("shared").unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let (go, goes) = mpsc::channel::<u64>();
    let (opened, opens) = mpsc::channel();
    std::thread::scope(|scope| {
        let topic = &topic;
        scope.spawn(move || {
            // More than the kernel waits on with one futex_waitv, towards the end.
            let mut publishers = Vec::new();
            for value in goes {
                publishers.push(topic.publisher().depth(2).open().unwrap());
                publishers.last_mut().unwrap().publish(&value).unwrap();
                publishers[value as usize / 2].publish(&(value + 1000)).unwrap();
                opened.send(()).unwrap();
            }
        });
        for value in 0..140 {
            go.send(value).unwrap();
            let mut received = [0; 2].map(|_: u64| subscriber.wait(LONG).unwrap().copy());
            received.sort_unstable();
            assert_eq!(received, [value, value + 1000]);
            opens.recv().unwrap();
        }
        drop(go);
    });
}

#[test]
fn waiting_for_subscribers_of_different_types() {
    let directory = directory();
    let node = node_in(directory.path());
    let numbers = node.topic::<u64>("numbers").unwrap();
    let texts = node.topic::<[u8]>("texts").unwrap();
    let mut number_subscriber = numbers.subscriber().open().unwrap();
    let mut text_subscriber = texts.subscriber().open().unwrap();
    let (go, goes) = mpsc::channel::<u64>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number_publisher = numbers.publisher().open().unwrap();
            let mut text_publisher = texts.publisher().open().unwrap();
            for value in goes {
                match value % 3 {
                    0 => number_publisher.publish(&value).unwrap(),
                    1 => text_publisher.publish(value.to_string().as_bytes()).unwrap(),
                    _ => number_publisher.publish_batch(&[value, value]).unwrap(),
                }
            }
        });
        for value in 0..600 {
            go.send(value).unwrap();
            loop {
                wait_any(&mut [&mut number_subscriber, &mut text_subscriber], LONG).unwrap();
                if let Some(number) = number_subscriber.receive().unwrap().map(|number| *number) {
                    assert_eq!(number, value);
                    // The second of a batch is there without anybody being woken for it.
                    if value % 3 == 2 {
                        wait_any(&mut [&mut number_subscriber, &mut text_subscriber], LONG).unwrap();
                        assert_eq!(*number_subscriber.receive().unwrap().unwrap(), value);
                    }
                    break;
                }
                if let Some(text) = text_subscriber.receive().unwrap() {
                    assert_eq!(*text, *value.to_string().as_bytes());
                    break;
                }
            }
        }
        drop(go);
    });
}

#[test]
fn a_descriptor_for_event_loops() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let readiness = subscriber.readiness().unwrap();
    assert!(subscriber.receive().unwrap().is_none());
    assert!(!is_readable(&readiness, Some(&SHORT)), "nobody is there");

    let outer = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    epoll::add(&outer, &readiness, epoll::EventData::new_u64(7), epoll::EventFlags::IN).unwrap();
    let (go, goes) = mpsc::channel::<u64>();
    std::thread::scope(|scope| {
        let topic = &topic;
        scope.spawn(move || {
            let mut publishers: Vec<_> = (0..3).map(|_| topic.publisher().open().unwrap()).collect();
            for value in goes {
                publishers[value as usize % 3].publish(&value).unwrap();
            }
        });
        for value in 0..1000 {
            go.send(value).unwrap();
            loop {
                let mut events = Vec::with_capacity(1);
                epoll::wait(&outer, rustix::buffer::spare_capacity(&mut events), None).unwrap();
                assert_eq!(events[0].data.u64(), 7);
                if let Some(message) = subscriber.receive().unwrap() {
                    assert_eq!(*message, value);
                    break;
                }
            }
            assert!(subscriber.receive().unwrap().is_none());
        }
        drop(go);
    });
}

#[test]
fn a_descriptor_is_readable_at_once_and_after_other_ways_of_waiting() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    publisher.publish(&1).unwrap();
    let readiness = subscriber.readiness().unwrap();
    assert!(is_readable(&readiness, None));
    assert_eq!(*subscriber.wait(LONG).unwrap(), 1);
    assert!(subscriber.receive().unwrap().is_none());
    // A wait for anything takes back what the descriptor said; it must not stay silent for that.
    while wait_any(&mut [&mut subscriber], SHORT).is_ok() {
        assert!(subscriber.receive().unwrap().is_none());
    }
    publisher.publish(&2).unwrap();
    assert!(is_readable(&readiness, Some(&LONG)));
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 2);
    assert!(subscriber.receive().unwrap().is_none());
    assert!(matches!(subscriber.wait(SHORT), Err(WaitError::Timeout)));
    publisher.publish(&3).unwrap();
    assert!(is_readable(&readiness, Some(&LONG)));
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 3);
}

#[cfg(feature = "tokio")]
mod asynchronous {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn messages_are_awaited() {
        let directory = directory();
        let node = node_in(directory.path());
        let topic = node.topic::<u64>("numbers").unwrap();
        let mut publisher = topic.publisher().reliable().depth(8).open().unwrap();
        runtime().block_on(async {
            let mut subscriber = topic.subscriber().open().unwrap().into_async().unwrap();
            let sender = std::thread::spawn(move || {
                for value in 0..5000_u64 {
                    let mut loan = publisher.loan_within(LONG).unwrap();
                    *loan = value;
                    loan.publish().unwrap();
                }
            });
            for value in 0..5000 {
                assert_eq!(*subscriber.recv().await.unwrap(), value);
            }
            sender.join().unwrap();
            assert!(tokio::time::timeout(SHORT, subscriber.recv()).await.is_err());
            assert_eq!(subscriber.get_mut().lost(), 0);
        });
    }

    #[test]
    fn everything_may_be_dropped_inside_a_runtime() {
        for _ in 0..20 {
            let directory = directory();
            runtime().block_on(async {
                let node = node_in(directory.path());
                let topic = node.topic::<[u8; 1000]>("numbers").unwrap();
                let mut publisher = topic.publisher().open().unwrap();
                let mut subscriber = topic.subscriber().open().unwrap().into_async().unwrap();
                publisher.publish(&[1; 1000]).unwrap();
                let held = subscriber.recv().await.unwrap().keep();
                drop(node);
                drop(topic);
                drop(subscriber);
                drop(publisher);
                assert_eq!(*held, [1; 1000]);
            });
        }
    }
}
