//! Slow subscribers: what is lost is counted exactly, what is reliable waits, memory that is held is not reused.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::time::Duration;

use common::{LONG, SHORT, directory, node_in};
use onecopy::{Error, LoanError};

#[test]
fn lost_is_exact() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().depth(16).open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let (mut expected, mut published) = (0, 0);
    for burst in [1, 15, 16, 17, 40, 1000, 3] {
        for _ in 0..burst {
            publisher.publish(&published).unwrap();
            published += 1;
        }
        let (lost_before, first_missed) = (subscriber.lost(), expected);
        let mut received = 0;
        while let Some(value) = subscriber.receive().unwrap().map(|message| *message) {
            assert_eq!(value, first_missed + (subscriber.lost() - lost_before) + received);
            received += 1;
        }
        expected = published;
        assert_eq!(received + subscriber.lost() - lost_before, burst, "every message is received or lost");
        assert_eq!(subscriber.lost() - lost_before, burst.saturating_sub(16), "a ring of 16 keeps 16");
    }
    drop(publisher);
    assert!(subscriber.receive().unwrap().is_none());
    while subscriber.publishers() > 0 {
        node.inventory().unwrap();
        assert!(subscriber.receive().unwrap().is_none());
    }
    assert_eq!(subscriber.lost(), 1 + 24 + 984, "the count outlives the publisher");
}

#[test]
fn batches_that_are_overwritten_count_every_message() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().depth(64).open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let (mut next, mut published) = (0, 0_u64);
    for length in (1..=16).cycle().take(200) {
        publisher.publish_batch(&(published..published + length).collect::<Vec<_>>()).unwrap();
        published += length;
        if published.is_multiple_of(7) {
            let lost_before = subscriber.lost();
            if let Some(value) = subscriber.receive().unwrap().map(|message| *message) {
                assert_eq!(value, next + subscriber.lost() - lost_before);
                next = value + 1;
            }
        }
    }
    let mut received_last = None;
    while let Some(message) = subscriber.receive().unwrap() {
        received_last = Some(*message);
    }
    assert_eq!(received_last, Some(published - 1));
}

#[test]
fn memory_taken_from_a_slow_subscriber_is_lost_not_corrupt() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().budget_bytes(1_200_000).open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    publisher.publish(&[1; 800_000]).unwrap();
    // There is room for one: this takes it back, and then nothing is published for a while.
    drop(publisher.loan_slice(800_000).unwrap());
    for _ in 0..1000 {
        assert!(subscriber.receive().unwrap().is_none());
    }
    assert!(matches!(subscriber.wait(SHORT), Err(onecopy::WaitError::Timeout)));
    assert_eq!(subscriber.lost(), 1);
    publisher.publish(&[3; 100_000]).unwrap();
    assert_eq!(subscriber.wait(LONG).unwrap()[..], [3; 100_000]);
}

#[test]
fn reliable_publishers_are_told_full() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().reliable().depth(8).open().unwrap();
    for value in 0..100 {
        publisher.publish(&value).unwrap();
    }
    let mut subscriber = topic.subscriber().open().unwrap();
    for value in 0..8 {
        publisher.publish(&value).unwrap();
    }
    assert!(matches!(publisher.publish(&8), Err(Error::Loan(LoanError::Full))));
    assert!(matches!(publisher.loan().map(drop), Err(LoanError::Full)));
    assert!(matches!(publisher.loan_within(SHORT).map(drop), Err(LoanError::Timeout)));
    assert!(matches!(publisher.loan_batch(2).map(drop), Err(LoanError::Full)));
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 0);
    publisher.publish(&8).unwrap();
    // Half of a list fits.
    for _ in 0..2 {
        subscriber.receive().unwrap().unwrap();
    }
    let error = publisher.publish_batch(&[9, 10, 11, 12]).unwrap_err();
    let Error::Loan(LoanError::Partial { published: 2, cause }) = error else { panic!("{error}") };
    assert!(matches!(*cause, LoanError::Full));
    let received: Vec<u64> = std::iter::from_fn(|| subscriber.receive().unwrap().map(|m| *m)).collect();
    assert_eq!(received, (3..11).collect::<Vec<_>>());
    // A subscriber that goes is waited for no longer.
    for value in 0..8 {
        publisher.publish(&value).unwrap();
    }
    drop(subscriber);
    publisher.loan_within(LONG).unwrap().publish().unwrap();
}

#[test]
fn a_reliable_stream_loses_nothing() {
    const MESSAGES: u64 = 20_000;
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut publisher = topic.publisher().reliable().depth(4).open().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut subscriber = topic.subscriber().open().unwrap();
            scope.spawn(move || {
                for expected in 0..MESSAGES {
                    assert_eq!(*subscriber.wait(LONG).unwrap(), expected);
                }
                assert_eq!(subscriber.lost(), 0);
            });
        }
        for value in 0..MESSAGES {
            let mut loan = publisher.loan_within(LONG).unwrap();
            *loan = value;
            loan.publish().unwrap();
        }
    });
}

#[test]
fn held_messages_exhaust_the_budget_and_any_thread_gives_them_back() {
    let directory = directory();
    let node = node_in(directory.path());
    for reliable in [true, false] {
        let topic = node.topic::<[u8]>(if reliable { "reliable" } else { "overwrite" }).unwrap();
        let builder = topic.publisher().budget_bytes(4 << 20);
        let mut publisher = if reliable { builder.reliable() } else { builder }.open().unwrap();
        // It never holds anything, and is the slowest.
        let idle = topic.subscriber().open().unwrap();
        let mut subscriber = topic.subscriber().open().unwrap();
        let mut held = Vec::new();
        let exhausted = loop {
            match publisher.publish(&[held.len() as u8; 900_000]) {
                Ok(()) => held.push(subscriber.wait(LONG).unwrap().keep()),
                Err(Error::Loan(LoanError::Budget(exhausted))) => break exhausted,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!((exhausted.budget_bytes, exhausted.requested_bytes), (4 << 20, 900_000));
        assert!(held.len() >= 2, "{} held", held.len());
        assert!(matches!(publisher.loan_slice_within(900_000, SHORT).map(drop), Err(LoanError::Timeout)));
        for (index, message) in held.iter().enumerate() {
            assert!(message.iter().all(|byte| *byte == index as u8), "held memory was reused");
        }
        drop(idle);
        std::thread::scope(|scope| {
            let (thread, its_number) = std::sync::mpsc::channel();
            scope.spawn(move || {
                thread.send(rustix::thread::gettid().as_raw_nonzero()).unwrap();
                // Without an end: a lost wake-up must not pass for a slow one.
                publisher.loan_slice_within(900_000, Duration::MAX).unwrap().publish().unwrap();
            });
            let stat = format!("/proc/self/task/{}/stat", its_number.recv().unwrap());
            while !std::fs::read_to_string(&stat).unwrap().contains(") S ") {
                std::thread::yield_now();
            }
            drop(held);
        });
        assert_eq!(subscriber.wait(LONG).unwrap().len(), 900_000);
    }
}

#[test]
fn waiting_for_memory_is_over_at_once_when_nobody_can_give_any() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().reliable().history(16).budget_bytes(2 << 20).open().unwrap();
    let is_budget = |result: Result<(), LoanError>| matches!(result, Err(LoanError::Budget(_)));
    assert!(is_budget(publisher.loan_slice_within(3 << 20, LONG).map(drop)), "larger than the budget");
    assert!(is_budget(publisher.loan_slice_within(usize::MAX / 4, LONG).map(drop)));
    assert!(matches!(
        node.topic::<[u64]>("words")
            .unwrap()
            .publisher()
            .open()
            .unwrap()
            .loan_slice(usize::MAX / 2)
            .map(drop),
        Err(LoanError::TooLong { .. })
    ));
    while publisher.publish(&[0; 500_000]).is_ok() {}
    assert!(is_budget(publisher.loan_slice_within(500_000, LONG).map(drop)), "the history keeps it");
}

#[test]
fn thousands_of_messages_can_be_held() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8; 300]>("large").unwrap();
    let mut publisher = topic.publisher().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut held = Vec::new();
    for value in 0..5000_u32 {
        publisher.publish(&[value as u8; 300]).unwrap();
        held.push(subscriber.wait(LONG).unwrap().keep());
    }
    assert!(held.iter().enumerate().all(|(index, message)| **message == [index as u8; 300]));
    // In an order that is neither first nor last first.
    while !held.is_empty() {
        held.swap_remove(held.len() / 2);
    }
    publisher.publish(&[1; 300]).unwrap();
    assert_eq!(*subscriber.receive().unwrap().unwrap(), [1; 300]);
}

#[test]
fn skipping_history_skips_nothing_that_comes_later() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("counter").unwrap();
    let mut early = topic.publisher().history(8).open().unwrap();
    (0..5).for_each(|number| early.publish(&number).unwrap());
    let mut subscriber = topic.subscriber().skip_history().open().unwrap();
    assert!(subscriber.receive().unwrap().is_none());
    early.publish(&5).unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), 5);
    // What a publisher that comes later published first is no history to this subscriber.
    let mut late = topic.publisher().history(8).open().unwrap();
    late.publish(&6).unwrap();
    assert_eq!(*subscriber.wait(LONG).unwrap(), 6);
    assert_eq!(subscriber.lost(), 0);
}
