//! What once went wrong, found by review: each of these failed before it was mended.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use common::{Child, LONG, SHORT, directory, node_in};
use onecopy::broker::protocol::{Address, Delivery, Event, NodeId, PortId, Request};
use onecopy::broker::transport::PacketSocket;
use onecopy::instance::Instance;
use onecopy::payload_type::PayloadType;
use onecopy::{LoanError, Readiness, ReceiveError, Subscriber, WaitError};
use onecopy_memory::ring::{Geometry, RingWriter};
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "out of descriptors");
        let node = stage.node();
        let mut subscriber = node.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
        // What waiting needs is there before nothing more can be had.
        assert!(matches!(subscriber.wait(SHORT), Err(WaitError::Timeout)));
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: Some(4), ..limit }).unwrap();
        stage.say("ready");
        let lost = loop {
            match subscriber.wait(LONG) {
                Ok(message) => assert!(message.len() <= 1000),
                Err(error) => break error,
            }
        };
        assert!(matches!(lost, WaitError::Receive(ReceiveError::MemoryLost(_))), "{lost}");
        assert_eq!(subscriber.publishers(), 0);
        stage.say("lost");
        stage.stay();
    });
}

/// A publisher that keeps to the protocol only as far as a test wants it to.
struct RawPublisher {
    socket: PacketSocket,
    writer: RingWriter,
}

impl RawPublisher {
    fn open(directory: &std::path::Path, payload: PayloadType, history: u64) -> Self {
        let instance = Instance::in_directory(directory, "default").unwrap();
        let socket = instance.connect().unwrap().unwrap();
        instance.introduce(&socket, NodeId(7), "raw").unwrap();
        let writer =
            RingWriter::create(Geometry::new(64, history, 48, false), payload.layout_hash()).unwrap();
        let request = Request::OpenPublisher {
            publisher: PortId { node: NodeId(7), serial: 1 },
            address: Address::Topic("raw".to_owned()),
            payload,
            delivery: Delivery::Overwrite,
            history,
        };
        socket.send_request(&request, Some(writer.descriptor().as_fd())).unwrap();
        Self { socket, writer }
    }

    /// Takes events until `wanted` finds what it looks for.
    fn next<R>(&self, wanted: impl Fn(Event, Option<OwnedFd>) -> Option<R>) -> R {
        loop {
            let (event, descriptor) = self.socket.receive_event().unwrap();
            if let Some(found) = wanted(event, descriptor) {
                return found;
            }
        }
    }

    /// Lets the next subscriber in, from its history on.
    fn attach(&self) {
        let route = self.next(|event, _| match event {
            Event::Attach { route, .. } => Some(route),
            _ => None,
        });
        self.socket.send_request(&Request::Attached { route, start: 0 }, None).unwrap();
    }

    fn doorbell(&self) -> OwnedFd {
        self.next(|event, descriptor| descriptor.filter(|_| matches!(event, Event::MaySleep { .. })))
    }
}

fn is_readable(readiness: &Readiness, timeout: Duration) -> bool {
    let mut polled = [PollFd::new(readiness, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&timeout.try_into().unwrap())).unwrap() == 1
}

/// The next number, without going to sleep for it.
fn look_for_number(subscriber: &mut Subscriber<u64>) -> u64 {
    loop {
        if let Some(number) = subscriber.receive().unwrap() {
            return *number;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_doorbell_that_nobody_can_ring_keeps_nobody_awake() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut subscriber = node.topic::<u64>("raw").unwrap().subscriber().open().unwrap();
    let mut raw = RawPublisher::open(directory.path(), PayloadType::value::<u64>(), 0);
    raw.attach();
    raw.writer.publish_inline(&[], &1_u64.to_ne_bytes());
    assert_eq!(look_for_number(&mut subscriber), 1);
    let readiness = subscriber.readiness().unwrap();
    assert!(subscriber.receive().unwrap().is_none());
    // It never rang: it may have got lost, so there is another. But not without end.
    for _ in 0..3 {
        drop(raw.doorbell());
        assert!(is_readable(&readiness, LONG));
        assert!(subscriber.receive().unwrap().is_none());
    }
    assert!(!is_readable(&readiness, SHORT), "it is readable for ever");
    assert!(matches!(subscriber.wait(SHORT), Err(WaitError::Timeout)));
    raw.writer.publish_inline(&[], &2_u64.to_ne_bytes());
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 2);
}

#[test]
fn a_doorbell_is_handed_over_by_the_next_broker() {
    let directory = directory();
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    let broker = instance.serve().unwrap().spawn().unwrap();
    let (publishing, subscribing) = (node_in(directory.path()), node_in(directory.path()));
    let mut publisher = publishing.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    let mut subscriber = subscribing.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    assert!(subscriber.receive().unwrap().is_none());
    broker.stop().unwrap();
    let readiness = subscriber.readiness().unwrap();
    publisher.publish(&1).unwrap();
    assert!(is_readable(&readiness, LONG));
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 1);
}

#[test]
fn a_late_joiner_inside_a_batch_loses_nothing_that_is_reliable() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut publisher = topic.publisher().history(8).depth(64).reliable().open().unwrap();
    let batch = Vec::from_iter(0..publisher.batch_max() as u64);
    publisher.publish_batch(&batch).unwrap();
    let mut late = topic.subscriber().open().unwrap();
    let mut end = batch.len() as u64;
    while publisher.publish(&end).is_ok() {
        end += 1;
    }
    let received = Vec::from_iter(std::iter::from_fn(|| late.receive().unwrap().map(|number| *number)));
    assert_eq!(received, Vec::from_iter(batch.len() as u64 - 8..end));
    assert_eq!(late.lost(), 0);
}

#[test]
fn memory_grows_while_there_is_no_broker() {
    let directory = directory();
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    let broker = instance.serve().unwrap().spawn().unwrap();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().reliable().open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    publisher.publish(&[1; 400_000]).unwrap();
    drop(subscriber.receive().unwrap().unwrap());
    broker.stop().unwrap();
    let mut held = Vec::new();
    for value in 0..20 {
        publisher.publish(&[value; 400_000]).unwrap();
        held.push(subscriber.wait(LONG).unwrap().keep());
    }
    assert!(held.iter().zip(0..).all(|(message, value)| message.iter().all(|byte| *byte == value)));
}

#[test]
fn a_message_may_be_as_large_as_the_budget() {
    const BUDGET: usize = 16 << 20;
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().budget_bytes(BUDGET).open().unwrap();
    let mut subscriber = topic.subscriber().open().unwrap();
    let mut kept = Vec::new();
    for value in 0..10 {
        publisher.publish(&vec![value; 1 << 20]).unwrap();
        kept.push(subscriber.wait(LONG).unwrap().keep());
    }
    let error = publisher.loan_slice(BUDGET).map(drop).unwrap_err();
    assert!(matches!(error, LoanError::Budget(_)), "{error}");
    assert!(kept.iter().enumerate().all(|(value, kept)| kept.iter().all(|byte| *byte == value as u8)));
    drop(kept);
    for (round, length) in [BUDGET, BUDGET - 1, BUDGET / 2 + 1, 1 << 20, BUDGET].into_iter().enumerate() {
        let mut loan = publisher.loan_slice(length).unwrap();
        loan.fill(round as u8);
        loan.publish().unwrap();
        let message = subscriber.wait(LONG).unwrap();
        assert!(message.len() == length && message.iter().all(|byte| *byte == round as u8));
    }
    assert!(publisher.committed_bytes() <= BUDGET + (1 << 20), "{}", publisher.committed_bytes());
    let error = publisher.loan_slice_within(BUDGET + 1, Duration::MAX).map(drop).unwrap_err();
    assert!(matches!(error, LoanError::Budget(_)), "{error}");
    // Who comes late is given what there is.
    drop(subscriber);
    let mut late = topic.subscriber().open().unwrap();
    publisher.publish(&vec![9; BUDGET]).unwrap();
    assert!(late.wait(LONG).unwrap().iter().all(|byte| *byte == 9));
}

#[test]
fn a_wide_type_in_a_slot_costs_its_publisher_only() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut subscriber = node.topic::<u128>("raw").unwrap().subscriber().open().unwrap();
    let mut raw = RawPublisher::open(directory.path(), PayloadType::value::<u128>(), 0);
    raw.attach();
    raw.writer.publish_inline(&[], &[1; 16]);
    let error = loop {
        match subscriber.receive() {
            Ok(message) => assert!(message.is_none(), "nothing that moves can be aligned for it"),
            Err(error) => break error,
        }
        std::thread::yield_now();
    };
    assert!(matches!(error, ReceiveError::Publisher { .. }), "{error}");
}

/// Takes the second for which a subscriber waits for a publisher that is stuck.
#[test]
fn history_is_skipped_however_late_its_publisher_attaches() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut raw = RawPublisher::open(directory.path(), PayloadType::value::<u64>(), 8);
    for number in 0..5_u64 {
        raw.writer.publish_inline(&[], &number.to_ne_bytes());
    }
    raw.next(|event, _| matches!(event, Event::Opened { .. }).then_some(()));
    let mut subscriber = node.topic::<u64>("raw").unwrap().subscriber().skip_history().open().unwrap();
    assert_eq!(subscriber.publishers(), 0);
    raw.attach();
    raw.writer.publish_inline(&[], &5_u64.to_ne_bytes());
    assert_eq!((look_for_number(&mut subscriber), subscriber.lost()), (5, 0));
}

#[test]
fn a_message_that_is_forgotten_does_not_stand_for_the_next() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("texts").unwrap();
    let (mut publisher, mut subscriber) =
        (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap());
    publisher.publish(&[1; 1000]).unwrap();
    std::mem::forget(subscriber.receive().unwrap().unwrap());
    publisher.publish(b"small").unwrap();
    assert_eq!(*subscriber.receive().unwrap().unwrap(), *b"small");
}

#[test]
fn a_batch_that_is_forgotten_does_not_lengthen_the_next_message() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<u64>("numbers").unwrap();
    let (mut publisher, mut subscriber) =
        (topic.publisher().open().unwrap(), topic.subscriber().open().unwrap());
    std::mem::forget(publisher.loan_batch(3).unwrap());
    publisher.publish(&7).unwrap();
    assert_eq!(*subscriber.receive().unwrap().unwrap(), 7);
    publisher.publish_batch(&[8, 9]).unwrap();
    publisher.publish(&10).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| subscriber.receive().unwrap().map(|number| *number)).collect();
    assert_eq!(rest, [8, 9, 10]);
}

#[test]
fn a_subscriber_that_cannot_take_memory_in_holds_nobody_up() {
    let directory = directory();
    let node = node_in(directory.path());
    let topic = node.topic::<[u8]>("large").unwrap();
    let mut publisher = topic.publisher().reliable().depth(4).open().unwrap();
    let mut child = Child::spawn("out of descriptors", directory.path());
    child.expect("ready");
    assert_eq!(publisher.subscribers(), 1);
    publisher.publish(&[1; 1000]).unwrap();
    publisher.publish(&vec![2; 3 << 20]).unwrap();
    child.expect("lost");
    for _ in 0..20 {
        publisher.loan_slice_within(1000, LONG).unwrap().publish().unwrap();
    }
    assert!(child.end().success());
}
