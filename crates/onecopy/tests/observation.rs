//! Counters as somebody sees them who asks the broker only, also those of a process that is stopped.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use common::{Child, LONG, SHORT, Stage, directory, node_in, play};
use onecopy::observation::SubscriberCounters;
use onecopy::service::{CallError, CallOptions};
use onecopy::{Inventory, LoanError, Node, SubscriberEntry};

#[test]
fn child() {
    play(|stage| match stage.role.as_str() {
        "subscriber" => subscriber(stage),
        "client" => client(stage),
        other => panic!("no such role: {other}"),
    });
}

/// Receives as many messages as it is told to, each time.
fn subscriber(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    stage.say("ready");
    while let Some(line) = stage.hear() {
        for _ in 0..line.parse().unwrap() {
            drop(subscriber.wait(LONG).unwrap());
        }
        // What is received is told at the latest when there is nothing more.
        while line == "0" && subscriber.receive().unwrap().is_some() {}
        stage.say("done");
    }
}

/// Makes calls until it is to end.
fn client(stage: &Stage) {
    let node = stage.node();
    let client = node.service::<u64, u64>("half").unwrap().client().open().unwrap();
    for number in 0..100_u64 {
        match client.call(&number).unwrap().wait(LONG) {
            Ok(half) => assert_eq!(*half, number / 2),
            Err(CallError::Failed(_)) => assert_eq!(number % 2, 1),
            Err(error) => panic!("{error}"),
        }
    }
    client.notify(&7).unwrap();
    let given_up = client.call(&8).unwrap();
    stage.hear();
    drop(given_up);
    stage.say("done");
    stage.stay();
}

fn subscriber_of(inventory: &Inventory) -> (&SubscriberEntry, SubscriberCounters) {
    let topic = inventory.topics.iter().find(|topic| topic.name == "numbers").unwrap();
    let [subscriber] = &topic.subscribers[..] else { panic!("there is one subscriber") };
    (subscriber, subscriber.counters())
}

#[test]
fn a_stopped_subscriber_shows_its_lag_and_its_losses() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut publisher =
        node.topic::<u64>("numbers").unwrap().publisher().depth(64).history(2).open().unwrap();
    for number in 0..5 {
        publisher.publish(&number).unwrap();
    }
    let mut child = Child::spawn("subscriber", directory.path());
    child.expect("ready");
    let inventory = node.inventory().unwrap();
    let (entry, counters) = subscriber_of(&inventory);
    assert_eq!((counters.received, counters.lost, counters.lag), (0, 0, 2), "the history is yet to be read");
    assert_eq!(entry.feeds.len(), 1);
    child.tell("2");
    child.expect("done");
    child.tell("0");
    child.expect("done");
    assert_eq!(entry.counters().received, 2);

    child.stop();
    for number in 0..100 {
        publisher.publish(&number).unwrap();
    }
    let counters = entry.counters();
    assert_eq!((counters.received, counters.lost, counters.lag), (2, 0, 100));
    assert!(counters.lag_permille > 1000, "messages are being lost");
    child.go_on();
    child.tell("1");
    child.expect("done");
    child.tell("0");
    child.expect("done");
    let counters = entry.counters();
    assert_eq!(counters.lag, 0);
    assert_eq!(counters.received + counters.lost, 102);
    assert!(counters.lost >= 36, "100 messages went through a ring of 64");

    child.end();
    assert_eq!(entry.feeds[0].counters(), None);
    assert!(node.inventory().unwrap().topics[0].subscribers.is_empty());
}

#[test]
fn a_sleeping_subscriber_shows_that_it_sleeps() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    let mut child = Child::spawn("subscriber", directory.path());
    child.expect("ready");
    let inventory = node.inventory().unwrap();
    assert!(!subscriber_of(&inventory).1.is_asleep);
    child.tell("1");
    while !subscriber_of(&inventory).1.is_asleep {
        std::thread::yield_now();
    }
    publisher.publish(&1).unwrap();
    child.expect("done");
    let counters = subscriber_of(&inventory).1;
    assert!(!counters.is_asleep && counters.sleeps >= 1);
    let counters = inventory.topics[0].publishers[0].counters().unwrap();
    assert!(counters.wakes >= 1);
}

#[test]
fn a_publisher_that_finds_no_room_counts_it() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut publisher = topic.publisher().reliable().depth(4).open().unwrap();
    let _subscriber = topic.subscriber().open().unwrap();
    for number in 0..4 {
        publisher.publish(&number).unwrap();
    }
    assert!(matches!(publisher.loan(), Err(LoanError::Full)));
    assert!(matches!(publisher.loan(), Err(LoanError::Full)));
    assert!(matches!(publisher.loan_within(SHORT), Err(LoanError::Timeout)));
    let inventory = node.inventory().unwrap();
    let counters = inventory.topics[0].publishers[0].counters().unwrap();
    assert_eq!((counters.messages, counters.full), (4, 1));
    assert!(counters.waits >= 1);
}

#[test]
fn memory_belongs_to_who_made_and_touched_it() {
    const MESSAGE: usize = 1 << 20;
    let directory = directory();
    let owner = Node::builder().directory(directory.path()).name("owner").open().unwrap();
    let other = Node::builder().directory(directory.path()).name("other").open().unwrap();
    let mut publisher = owner.topic::<[u8]>("images").unwrap().publisher().open().unwrap();
    let mut subscriber = other.topic::<[u8]>("images").unwrap().subscriber().open().unwrap();
    let bytes_of = |name: &str| {
        let inventory = other.inventory().unwrap();
        let node = inventory.nodes.iter().find(|node| node.name == name).unwrap();
        assert_eq!(
            node.version.map(|version| version.map(|number| number.to_string()).join(".")).as_deref(),
            Some(env!("CARGO_PKG_VERSION"))
        );
        node.memory_bytes
    };
    let before = [bytes_of("owner"), bytes_of("other")];
    let images: Vec<_> = (0..4)
        .map(|_| {
            publisher.publish(&vec![1; MESSAGE]).unwrap();
            subscriber.wait(LONG).unwrap().keep()
        })
        .collect();
    let after = [bytes_of("owner"), bytes_of("other")];
    assert!(after[0] >= before[0] + 4 * MESSAGE as u64, "{before:?} {after:?}");
    assert!(after[1] < before[1] + MESSAGE as u64, "who reads has made no memory: {before:?} {after:?}");
    let inventory = other.inventory().unwrap();
    let topic = &inventory.topics[0];
    assert!(topic.publishers[0].memory_bytes >= 4 * MESSAGE as u64);
    assert_eq!(topic.subscribers[0].counters().held, 4);
    drop(images);
    assert_eq!(topic.subscribers[0].counters().held, 0);
}

#[test]
fn a_client_counts_its_calls_by_how_they_ended() {
    let directory = directory();
    let node = node_in(directory.path());
    let server = node.service::<u64, u64>("half").unwrap().server().open().unwrap();
    let mut child = Child::spawn("client", directory.path());
    for _ in 0..101 {
        let request = server.wait(LONG).unwrap().unwrap();
        match *request % 2 {
            _ if request.is_one_way() => {}
            0 => request.respond(&(*request / 2)).unwrap(),
            _ => request.fail("it is odd").unwrap(),
        }
    }
    let _unanswered = server.wait(LONG).unwrap().unwrap();
    assert!(server.receive().unwrap().is_none());
    child.tell("give up");
    child.expect("done");
    child.stop();
    let inventory = node.inventory().unwrap();
    let service = &inventory.services[0];
    let calls = service.clients[0].calls.clone().unwrap();
    assert_eq!((calls.calls, calls.notifications, calls.answered, calls.failed), (101, 1, 50, 50));
    assert_eq!((calls.cancelled, calls.late, calls.server_lost, calls.errors()), (1, 0, 0, 50));
    let timed = calls.latencies.count();
    assert!((85..=115).contains(&timed), "{timed} stand for 100 answers");
    assert!(calls.latencies.quantile_ns(0.5) <= calls.latencies.quantile_ns(0.99));
    assert!(service.servers[0].requests.is_some_and(|requests| requests == 102));
    assert!(service.servers[0].calls.is_none() && service.clients[0].requests.is_none());
    child.go_on();
}

#[test]
fn calls_that_come_to_nothing_are_told_apart() {
    let directory = directory();
    let node = node_in(directory.path());
    let elsewhere = node_in(directory.path());
    let server = elsewhere.service::<u64, u64>("half").unwrap().server().open().unwrap();
    let client = node.service::<u64, u64>("half").unwrap().client().open().unwrap();
    let late = client.call_with(&1, CallOptions::new().deadline(SHORT)).unwrap();
    assert!(matches!(late.wait(LONG), Err(CallError::DeadlinePassed)));
    let lost = client.call(&2).unwrap();
    drop(server);
    let error = lost.wait(LONG).err();
    assert!(matches!(error, Some(CallError::PeerDied { .. } | CallError::Unanswered)), "{error:?}");
    let calls = node.inventory().unwrap().services[0].clients[0].calls.clone().unwrap();
    assert_eq!((calls.calls, calls.late, calls.answered, calls.cancelled), (2, 1, 0, 0));
    assert_eq!(calls.server_lost + calls.failed, 1);
}

#[test]
fn a_call_that_there_is_no_room_for_is_not_counted() {
    const BUDGET_BYTES: usize = 1 << 20;
    let directory = directory();
    let node = node_in(directory.path());
    let service = node.service::<[u8], u64>("length").unwrap();
    let _server = service.server().open().unwrap();
    let client = service.client().budget_bytes(BUDGET_BYTES).open().unwrap();
    client.wait_for_server(LONG).unwrap();
    let counted = || {
        let inventory = node.inventory().unwrap();
        let calls = inventory.services[0].clients[0].calls.as_ref().unwrap();
        (calls.calls, calls.notifications, calls.cancelled)
    };
    let large = vec![0; BUDGET_BYTES + 1];
    assert!(matches!(client.call(&large), Err(CallError::Loan(LoanError::Budget(_)))));
    assert!(matches!(client.notify(&large), Err(CallError::Loan(LoanError::Budget(_)))));
    assert_eq!(counted(), (0, 0, 0));
    let first = client.call(b"first").unwrap();
    let mut sent = 0;
    while client.notify(b"full").is_ok() {
        sent += 1;
    }
    for _ in 0..10 {
        assert!(matches!(client.call(b"no room"), Err(CallError::Loan(LoanError::Full))));
        assert!(matches!(client.notify(b"no room"), Err(CallError::Loan(LoanError::Full))));
    }
    assert_eq!(counted(), (1, sent, 0));
    drop(first);
    assert_eq!(counted(), (1, sent, 1));
}
