//! What is refused, with messages that say why; and what one side's trouble must not do to the other.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::fd::OwnedFd;

use common::{Child, LONG, directory, node_in};
use onecopy::instance::Instance;
use onecopy::{Delivery, Error, LoanError, Node, OpenError, Subscriber};
use rustix::net::SendFlags;

#[test]
fn child() {
    common::play(|stage| {
        let node = stage.node();
        match stage.role.as_str() {
            "broker" => {
                assert!(node.is_broker());
                let mut publisher = node.topic::<u64>("from broker").unwrap().publisher().open().unwrap();
                stage.say("ready");
                while stage.hear().is_some() {
                    publisher.publish(&1).unwrap();
                    stage.say("published");
                }
            }
            "echo" => {
                let mut requests = node.topic::<[u8]>("request").unwrap().subscriber().open().unwrap();
                let mut answers = node.topic::<[u8]>("answer").unwrap().publisher().open().unwrap();
                stage.say("ready");
                for round in 0.. {
                    let request = requests.wait(LONG).unwrap().to_vec();
                    if request.is_empty() {
                        break;
                    }
                    if round == 0 {
                        become_known_as_sleeper(&node, &mut requests);
                    }
                    answers.publish(&request).unwrap();
                }
            }
            "sleepless echo" => {
                let mut answers = node.topic::<u64>("answer").unwrap().publisher().open().unwrap();
                stage.say("ready");
                for value in 0.. {
                    if stage.hear().is_none() {
                        break;
                    }
                    answers.publish(&value).unwrap();
                }
            }
            role => panic!("no role {role}"),
        }
    });
}

fn message_of(error: impl std::error::Error) -> String {
    error.to_string()
}

#[test]
fn a_topic_has_one_type_one_header_and_one_delivery() {
    let directory = directory();
    let node = node_in(directory.path());
    let other = node_in(directory.path());
    let _publisher = node.topic::<u64>("pose").unwrap().publisher().open().unwrap();

    let message = message_of(other.topic::<[u32; 2]>("pose").unwrap().subscriber().open().unwrap_err());
    assert!(message.contains("u64") && message.contains("[u32; 2]") && message.contains("pose"), "{message}");
    let message = message_of(other.topic::<[u64]>("pose").unwrap().publisher().open().err().unwrap());
    assert!(message.contains("[u64]"), "{message}");
    let with_header = other.topic::<u64>("pose").unwrap().header::<u16>();
    let message = message_of(with_header.subscriber().open().unwrap_err());
    assert!(message.contains("u16"), "{message}");
    let reliable = other.topic::<u64>("pose").unwrap().publisher().reliable();
    let error = reliable.open().err().unwrap();
    let message = error.to_string().to_lowercase();
    assert!(message.contains("reliable") && message.contains("overwrite"), "{message}");
    assert!(matches!(error, OpenError::Refused(_)));

    // Nobody else noticed, and the refused ones may do it right.
    let entry = node.topic_entry("pose").unwrap().unwrap();
    assert_eq!((entry.publishers.len(), entry.subscribers.len()), (1, 0));
    assert_eq!(entry.delivery, Some(Delivery::Overwrite));
    other.topic::<u64>("pose").unwrap().subscriber().open().unwrap();
}

#[test]
fn a_subscriber_alone_decides_the_type_until_it_goes() {
    let directory = directory();
    let node = node_in(directory.path());
    let subscriber = node.topic::<u64>("pose").unwrap().subscriber().open().unwrap();
    assert!(node.topic::<u32>("pose").unwrap().publisher().open().is_err());
    drop(subscriber);
    node.topic::<u32>("pose").unwrap().publisher().open().unwrap();
}

#[test]
fn names_and_sizes_that_cannot_be() {
    let directory = directory();
    let node = node_in(directory.path());
    for name in ["", "/", "/a", "a/", "a//b", "a\nb", &"x".repeat(256)] {
        assert!(matches!(node.topic::<u64>(name), Err(Error::TopicName(_))), "{name:?}");
        assert!(matches!(node.any_topic(name), Err(Error::TopicName(_))), "{name:?}");
    }
    let longest = "ä".repeat(127) + "x";
    node.topic::<u64>(&longest).unwrap().publisher().open().unwrap();
    let most = onecopy::limits::HISTORY_MAX;
    let error = node.topic::<u64>("pose").unwrap().publisher().history(most + 1).open().err().unwrap();
    assert!(
        matches!(error, OpenError::HistoryTooLong { requested, most: limit } if requested == limit + 1),
        "{error}"
    );
    for instance in ["", ".", "a/b", "a b", &"x".repeat(65)] {
        let builder = Node::builder().directory(directory.path()).instance(instance);
        assert!(matches!(builder.open(), Err(OpenError::Instance(_))), "{instance:?}");
    }
    let missing = directory.path().join("not").join("there");
    assert!(matches!(Node::builder().directory(missing).open(), Err(OpenError::Instance(_))));
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(matches!(Node::builder().directory(file).open(), Err(OpenError::Instance(_))));
}

/// Where sleeping takes a doorbell, that has to be handed out while there is a broker.
fn become_known_as_sleeper(node: &Node, subscriber: &mut Subscriber<[u8]>) {
    if !onecopy_memory::kernel::features().futex_waitv {
        subscriber.readiness().unwrap();
        // The broker answers after it has passed on what came before.
        node.inventory().unwrap();
    }
}

#[test]
fn messages_go_on_without_the_broker() {
    let directory = directory();
    let mut broker = Child::spawn("broker", directory.path());
    broker.expect("ready");
    let node = node_in(directory.path());
    assert!(!node.is_broker());
    let mut echo = Child::spawn("echo", directory.path());
    echo.expect("ready");
    let mut requests = node.topic::<[u8]>("request").unwrap().publisher().open().unwrap();
    let mut answers = node.topic::<[u8]>("answer").unwrap().subscriber().open().unwrap();
    let mut from_broker = node.topic::<u64>("from broker").unwrap().subscriber().open().unwrap();
    broker.tell("publish");
    broker.expect("published");
    for len in [1, 100, 100_000] {
        requests.publish(&vec![7; len]).unwrap();
        assert_eq!(answers.wait(LONG).unwrap().len(), len);
    }
    become_known_as_sleeper(&node, &mut answers);
    broker.kill();
    for len in [1, 100, 100_000] {
        for _ in 0..1000 {
            requests.publish(&vec![8; len]).unwrap();
            assert_eq!(answers.wait(LONG).unwrap().len(), len);
        }
    }
    // What it published before is still there.
    assert_eq!(*from_broker.wait(LONG).unwrap(), 1);
    // Another node is the broker now, and new things can be opened.
    let topic = node.topic::<u64>("new").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let other = node_in(directory.path());
    assert!(!other.is_broker());
    let mut subscriber = other.topic::<u64>("new").unwrap().subscriber().open().unwrap();
    publisher.publish(&1).unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), 1);
    requests.publish(&[]).unwrap();
    assert!(echo.end().success());
}

#[test]
fn a_subscriber_may_begin_to_sleep_when_the_broker_is_gone() {
    let directory = directory();
    let mut broker = Child::spawn("broker", directory.path());
    broker.expect("ready");
    let mut echo = Child::spawn("sleepless echo", directory.path());
    let node = node_in(directory.path());
    echo.expect("ready");
    let mut answers = node.topic::<u64>("answer").unwrap().subscriber().open().unwrap();
    broker.kill();
    // Neither has slept before, so neither was announced as a sleeper. Where sleeping needs a doorbell, the
    // next broker hands it over.
    for value in 0..1000 {
        echo.tell("publish");
        assert_eq!(*answers.wait(LONG).unwrap(), value);
    }
    assert!(echo.end().success());
}

#[test]
fn strangers_on_the_socket_disturb_nobody() {
    let directory = directory();
    let node = node_in(directory.path());
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    // Fewer than a process may try before it is turned away: this one has nodes as well.
    for round in 0..10_u64 {
        // One that says nothing, one that leaves in the middle of the handshake, one that talks nonsense.
        let silent = instance.connect().unwrap().unwrap();
        let leaver: OwnedFd = instance.connect().unwrap().unwrap().into();
        let babbler: OwnedFd = instance.connect().unwrap().unwrap().into();
        drop(leaver);
        let nonsense: Vec<u8> = common::pattern(round, 1 + round as usize * 400).collect();
        rustix::net::send(&babbler, &nonsense, SendFlags::NOSIGNAL).unwrap();
        let late = node_in(directory.path());
        let mut late = late.topic::<u64>("counter").unwrap().subscriber().open().unwrap();
        publisher.publish(&round).unwrap();
        assert_eq!(*late.wait(LONG).unwrap(), round);
        assert_eq!(*subscriber.wait(LONG).unwrap(), round);
        drop(silent);
    }
    assert_eq!(node.inventory().unwrap().nodes.len(), 1);
}

#[test]
fn a_message_too_large_for_any_budget_is_a_typed_error() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut publisher =
        node.topic::<[u8]>("large").unwrap().publisher().budget_bytes(1 << 20).open().unwrap();
    let error = publisher.loan_slice(2 << 20).map(drop).unwrap_err();
    assert!(matches!(&error, LoanError::Budget(_)), "{error}");
    assert!(error.to_string().contains("budget"), "{error}");
    publisher.publish(&[1; 1000]).unwrap();
}
