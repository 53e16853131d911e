//! Streams of answers that their client does not read: they hold up their server, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::header::{ResponseHeader, Status};
use super::link::lock;
use super::{CallError, Client, Pending, Request, RespondError, Server, outgoing};
use crate::limits::{CALLS_MAX, STREAM_ANSWERS_MAX, STREAM_CHUNKS_MAX};
use crate::{LoanError, Node, Payload};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

struct Scene<Res: Payload + ?Sized> {
    _directory: tempfile::TempDir,
    server: Server<u64, Res>,
    client: Client<u64, Res>,
}

fn scene<Res: Payload + ?Sized>(budget_bytes: usize) -> Scene<Res> {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::builder().directory(directory.path()).open().unwrap();
    let service = node.service::<u64, Res>("count").unwrap();
    let server = service.server().budget_bytes(budget_bytes).open().unwrap();
    let client = service.client().open().unwrap();
    Scene { _directory: directory, server, client }
}

impl<Res: Payload + ?Sized> Scene<Res> {
    fn call(&self) -> (Pending<'_, Res>, Request<u64, Res>) {
        let pending = self.client.call(&0).unwrap();
        (pending, self.server.wait(LONG).unwrap().unwrap())
    }
}

fn is_full(sent: &Result<(), RespondError>) -> bool {
    matches!(sent, Err(RespondError::Loan(LoanError::Full)))
}

/// Streams numbers, from `first` on, until there is no room; returns the number that found none.
fn fill(request: &Request<u64, u64>, first: u64) -> u64 {
    let mut number = first;
    let full = loop {
        match request.send(&number) {
            Ok(()) => number += 1,
            full => break full,
        }
    };
    assert!(is_full(&full), "{full:?}");
    number
}

#[test]
fn a_stream_that_nobody_reads_holds_no_other_call_up() {
    let scene = scene::<u64>(1 << 20);
    let (stream, streaming) = scene.call();
    let mut sent = fill(&streaming, 0);
    assert_eq!(sent, STREAM_ANSWERS_MAX as u64);
    for number in 0..3 * CALLS_MAX as u64 {
        let (other, waiting) = scene.call();
        assert!(is_full(&streaming.send(&0)), "its client has received it, and nobody has taken it");
        waiting.respond(&number).unwrap();
        assert_eq!(*other.wait(LONG).unwrap(), number);
    }
    // Another stream has a window of its own.
    let (second, streaming_second) = scene.call();
    fill(&streaming_second, 0);
    streaming_second.finish().unwrap();
    for number in 0..STREAM_ANSWERS_MAX as u64 {
        assert_eq!(*second.wait(LONG).unwrap(), number);
    }
    assert!(second.next(LONG).unwrap().is_none());
    // And the first goes on where it was, whenever somebody reads it.
    for number in 0..10 * STREAM_ANSWERS_MAX as u64 {
        assert_eq!(*stream.wait(LONG).unwrap(), number);
        sent = fill(&streaming, sent);
    }
    streaming.respond(&sent).unwrap();
    let mut rest = Vec::new();
    while let Some(answer) = stream.next(LONG).unwrap() {
        rest.push(*answer);
    }
    assert_eq!(rest, (10 * STREAM_ANSWERS_MAX as u64..=sent).collect::<Vec<_>>());
}

#[test]
fn every_call_but_one_may_be_a_stream_that_nobody_reads() {
    let scene = scene::<u64>(1 << 20);
    let mut streams = Vec::new();
    while streams.len() < CALLS_MAX - 1 {
        let (pending, request) = scene.call();
        // Nobody looks into the ring but whoever waits for an answer.
        while let Err(error) = (0..STREAM_ANSWERS_MAX as u64).try_for_each(|number| request.send(&number)) {
            assert!(is_full(&Err(error)));
            assert_eq!(scene.client.servers().unwrap(), 1);
            if is_full(&request.send(&0)) {
                break;
            }
        }
        streams.push((pending, request));
    }
    let (other, waiting) = scene.call();
    waiting.respond(&7).unwrap();
    assert_eq!(*other.wait(LONG).unwrap(), 7);
}

#[test]
fn large_answers_that_nobody_reads_leave_memory_for_others() {
    const BUDGET_BYTES: usize = 16 << 20;
    let item = vec![1; 100_000];
    let scene = scene::<[u8]>(BUDGET_BYTES);
    let mut streams: Vec<_> = (0..8).map(|_| scene.call()).collect();
    let sent: Vec<usize> = streams
        .iter()
        .map(|(_, request)| std::iter::repeat_with(|| request.send(&item)).take_while(Result::is_ok).count())
        .collect();
    // Each has its share as long as all have theirs.
    assert!(sent.iter().all(|sent| (1..STREAM_CHUNKS_MAX).contains(sent)), "{sent:?}");
    assert!(sent[0] * item.len() <= BUDGET_BYTES / 16 && sent[0] * item.len() >= BUDGET_BYTES / 32);
    let (other, waiting) = scene.call();
    waiting.respond(&vec![2; BUDGET_BYTES / 4]).unwrap();
    assert_eq!(other.wait(LONG).unwrap().len(), BUDGET_BYTES / 4);
    // An answer that is taken, and let go, makes room for the next, however many there are.
    let (stream, request) = &streams[0];
    for _ in 0..200 {
        assert!(stream.wait(LONG).unwrap().is_held());
        request.send(&item).unwrap();
    }
    // What is held is not lost room for ever: a stream that is dropped gives all of it back.
    streams.truncate(1);
    let (stream, request) = &streams[0];
    while request.send(&item).is_ok() {}
    assert_eq!(scene.client.servers().unwrap(), 1);
    while stream.receive().unwrap().is_some() {}
    let mut sender = request.link.sender();
    let sender = &mut *sender;
    sender.writer.collect(&mut sender.pool);
    assert_eq!(sender.pool.used_bytes(), 0);
}

/// Of each of several streams, all loans that there is memory for.
#[test]
fn unsent_loans_of_many_streams_leave_memory_for_last_answers() {
    const BUDGET_BYTES: usize = 16 << 20;
    const ITEM_BYTES: usize = BUDGET_BYTES / 64;
    let scene = scene::<[u8]>(BUDGET_BYTES);
    let streams: Vec<_> = (0..40).map(|_| scene.call()).collect();
    let loans: Vec<_> = streams
        .iter()
        .map(|(_, request)| {
            // Some find room, and those that do not are streams all the same.
            let _sent = request.send(&vec![1; ITEM_BYTES]);
            std::iter::repeat_with(|| request.loan_slice(ITEM_BYTES))
                .map_while(Result::ok)
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(loans.iter().any(|loans| !loans.is_empty()));
    let (other, waiting) = scene.call();
    waiting.respond(&vec![2; BUDGET_BYTES / 4]).unwrap();
    assert_eq!(other.wait(LONG).unwrap().len(), BUDGET_BYTES / 4);
    // What was lent can be sent, once there is room: nothing of it is counted twice.
    let (stream, request) = &streams[0];
    drop(loans);
    while stream.receive().unwrap().is_some() {}
    let loan = request.loan_slice(ITEM_BYTES).unwrap();
    assert!(request.loan_slice(ITEM_BYTES).is_ok());
    loan.send().unwrap();
    assert_eq!(stream.wait(LONG).unwrap().len(), ITEM_BYTES);
}

/// Nobody can know of the first one that is lent whether it is the last.
#[test]
fn a_last_answer_is_lent_where_streams_have_taken_their_half() {
    const BUDGET_BYTES: usize = 16 << 20;
    let scene = scene::<[u8]>(BUDGET_BYTES);
    let streams: Vec<_> = (0..20).map(|_| scene.call()).collect();
    for (_, request) in &streams {
        while request.send(&[1; 100_000]).is_ok() {}
    }
    let (other, waiting) = scene.call();
    // A stream of small answers has taken no memory yet.
    waiting.send(&[]).unwrap();
    let loan = waiting.loan_slice(BUDGET_BYTES / 4).unwrap();
    assert!(is_full(&waiting.loan_slice(BUDGET_BYTES / 64).map(drop)), "one of the two is not the last");
    loan.respond().unwrap();
    assert!(other.wait(LONG).unwrap().is_empty());
    assert_eq!(other.wait(LONG).unwrap().len(), BUDGET_BYTES / 4);
    let (other, waiting) = scene.call();
    assert!(is_full(&waiting.loan_slice(BUDGET_BYTES / 16).unwrap().send()), "it is no last answer");
    drop(other);
}

/// Nobody at the other end tells of memory that is given back at this one.
#[test]
fn a_loan_that_is_dropped_wakes_a_thread_that_waits_for_its_memory() {
    let scene = scene::<[u8]>(1 << 20);
    let (_stream, request) = scene.call();
    let request = Arc::new(request);
    let loan = request.loan_slice(400_000).unwrap();
    let (done, is_done) = mpsc::channel();
    let sending = Arc::clone(&request);
    std::thread::spawn(move || done.send(sending.send_within(&[1; 400_000], Duration::MAX)));
    while !*lock(&request.link.is_awaited) {
        std::thread::yield_now();
    }
    drop(loan);
    is_done.recv_timeout(LONG).expect("a wake-up was lost").unwrap();
}

#[test]
fn small_chunks_that_nobody_reads_leave_holds_for_others() {
    let scene = scene::<[u8]>(1 << 30);
    let (_stream, request) = scene.call();
    let sent = std::iter::repeat_with(|| request.send(&[1; 300])).take_while(Result::is_ok).count();
    assert_eq!(sent, STREAM_CHUNKS_MAX);
    // One that fits a slot is not concerned.
    request.send(&[]).unwrap();
}

#[test]
fn an_answer_larger_than_its_share_has_the_memory_to_itself() {
    let scene = scene::<[u8]>(4 << 20);
    let (stream, request) = scene.call();
    let item = vec![1; 3 << 20];
    for _ in 0..3 {
        request.send(&item).unwrap();
        assert!(is_full(&request.send(&item)));
        let held = stream.wait(LONG).unwrap();
        assert!(is_full(&request.send(&item)), "it is taken, but held");
        drop(held);
    }
    let never = request.send(&vec![1; 5 << 20]);
    assert!(matches!(never, Err(RespondError::Loan(LoanError::Budget(_)))), "{never:?}");
}

#[test]
fn whoever_waits_for_a_client_sees_that_it_has_given_up() {
    let scene = scene::<u64>(1 << 20);
    for ended in 0..3 {
        let options = super::CallOptions::new();
        let options = if ended == 0 { options.deadline(SHORT) } else { options };
        let stream = scene.client.call_with(&0, options).unwrap();
        let request = match scene.server.wait(if ended == 0 { SHORT } else { LONG }).unwrap() {
            Some(request) => request,
            // It came too late for its deadline.
            None => continue,
        };
        let sent = std::iter::repeat_with(|| request.send(&0)).take_while(Result::is_ok).count();
        assert!(sent <= STREAM_ANSWERS_MAX);
        std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut sent = Ok(());
                while sent.is_ok() {
                    sent = request.send_within(&1, LONG);
                }
                sent
            });
            match ended {
                // The deadline, which the client notices when it looks.
                0 => while stream.wait(LONG).is_ok() {},
                1 => stream.cancel(),
                _ => drop(stream),
            }
            let sent = sending.join().unwrap();
            assert!(matches!(sent, Err(RespondError::Cancelled)), "{sent:?}");
        });
    }
}

#[test]
fn a_server_that_sends_more_than_is_taken_is_given_up() {
    let scene = scene::<u64>(1 << 20);
    let (stream, request) = scene.call();
    let (other, _waiting) = scene.call();
    let header = ResponseHeader { id: request.content.header.id, status: Status::Item as u64 };
    for number in 0..STREAM_ANSWERS_MAX + 2 {
        outgoing::send::<u64, _>(&mut request.link.sender(), &header, &number.to_ne_bytes()).unwrap();
    }
    assert!(matches!(other.wait(LONG), Err(CallError::Receive(_))));
    // What it had sent until then is there.
    for number in 0..=STREAM_ANSWERS_MAX as u64 {
        assert_eq!(*stream.wait(LONG).unwrap(), number);
    }
    assert!(matches!(stream.wait(LONG), Err(CallError::Receive(_))));
    assert_eq!(scene.client.servers().unwrap(), 0);
}
