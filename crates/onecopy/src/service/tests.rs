//! Clients and servers that do not keep to the protocol, and clients that take nothing: what it costs is theirs.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use onecopy_memory::wait::{Woken, poll_readable};

use super::header::{RequestHeader, ResponseHeader};
use super::link::{SharedLink, lock};
use super::outgoing;
use super::{CallError, Client, Request, RespondError, Server};
use crate::{LoanError, Node};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(20);

struct Scene {
    _directory: tempfile::TempDir,
    server: Server<u64, u64>,
    client: Client<u64, u64>,
    /// The same service, to whoever misbehaves.
    other: Client<u64, u64>,
}

fn scene() -> Scene {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::builder().directory(directory.path()).open().unwrap();
    let service = node.service::<u64, u64>("square").unwrap();
    let server = service.server().open().unwrap();
    let (client, other) = (service.client().open().unwrap(), service.client().open().unwrap());
    Scene { _directory: directory, server, client, other }
}

/// Sends whatever it likes to the server; `false` if there is no room.
fn send_junk(client: &Client<u64, u64>, header: RequestHeader, payload: &[u8]) -> bool {
    let mut exchange = lock(&client.exchange);
    outgoing::send::<[u8], _>(&mut exchange.link(0).sender, &header, payload).is_ok()
}

/// The server's way to whoever asked last.
fn link_of(server: &Server<u64, u64>, client: &Client<u64, u64>) -> SharedLink {
    client.notify(&0).unwrap();
    let request = server.wait(LONG).unwrap().unwrap();
    request.link.clone()
}

fn answer_junk(link: &SharedLink, header: ResponseHeader, payload: &[u8]) -> bool {
    outgoing::send::<[u8], _>(&mut link.sender(), &header, payload).is_ok()
}

fn works(server: &Server<u64, u64>, client: &Client<u64, u64>) {
    let pending = client.call(&7).unwrap();
    loop {
        let request = server.wait(LONG).unwrap().unwrap();
        let _ = request.respond(&request.wrapping_mul(*request));
        if *request == 7 {
            break;
        }
    }
    assert_eq!(*pending.wait(LONG).unwrap(), 49);
}

#[test]
fn requests_with_any_header_cost_nobody_else_anything() {
    let Scene { server, client, other, .. } = scene();
    let offsets = (0..200).chain([1 << 20, 1 << 32, u64::MAX - 8, u64::MAX - 7, u64::MAX]);
    for interest in offsets {
        for (id, flags, deadline) in
            [(0, 0, 0), (u64::MAX, 2, 1), (1024, u64::MAX, u64::MAX), (5, 3, 0), (1024, 0, u64::MAX)]
        {
            let header = RequestHeader { id, deadline, interest, flags };
            for payload in [&[][..], &[1; 7], &[1; 8], &[1; 9], &[1; 3000]] {
                while !send_junk(&other, header, payload) {
                    drop(server.receive().unwrap());
                }
            }
        }
        works(&server, &client);
    }
}

#[test]
fn a_request_of_the_wrong_size_is_answered_with_what_is_wrong() {
    let Scene { _directory, server, client, .. } = scene();
    let node = Node::builder().directory(_directory.path()).open().unwrap();
    let careless = node.any_service("square").unwrap().client().open().unwrap();
    let pending = careless.call(b"five!").unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(server.wait(SHORT).unwrap().is_none());
            }
        });
        let error = pending.wait(LONG).unwrap_err().to_string();
        is_over.store(true, Ordering::Relaxed);
        assert!(error.contains("8 bytes") && error.contains('5'), "{error}");
    });
    works(&server, &client);
}

#[test]
fn a_flood_of_requests_that_nobody_waits_for_does_not_hold_the_server_up() {
    let Scene { server, client, other, .. } = scene();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let other = other;
            while !is_over.load(Ordering::Relaxed) {
                send_junk(&other, RequestHeader { id: 1 << 40, ..RequestHeader::default() }, &[0; 8]);
            }
        });
        for _ in 0..5 {
            assert!(server.wait(SHORT).unwrap().is_none(), "nobody waits for any of them");
        }
        works(&server, &client);
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn answers_that_nobody_asked_for_are_dropped() {
    let Scene { server, client, other, .. } = scene();
    let link = link_of(&server, &client);
    let (mine, theirs) = (client.call(&1).unwrap(), other.call(&1).unwrap());
    let requests: Vec<_> = (0..2).map(|_| server.wait(LONG).unwrap().unwrap()).collect();
    let id = requests[0].content.header.id;
    for junk in [0, 1, id + 1, id + 1024, id - 1024, u64::MAX] {
        for status in [0, 1, 2, 3, 4, 5, 6, u64::MAX] {
            answer_junk(&link, ResponseHeader { id: junk, status }, &[9; 8]);
        }
    }
    assert!(mine.receive().unwrap().is_none() && theirs.receive().unwrap().is_none());
    requests.iter().for_each(|request| request.respond(&3).unwrap());
    assert_eq!((*mine.wait(LONG).unwrap(), *theirs.wait(LONG).unwrap()), (3, 3));
    // A status that there is not ends the call.
    let odd = client.call(&1).unwrap();
    let request = server.wait(LONG).unwrap().unwrap();
    answer_junk(&link, ResponseHeader { id: request.content.header.id, status: 77 }, &[]);
    assert!(matches!(odd.wait(LONG), Err(CallError::Unanswered)));
}

#[test]
fn a_server_that_answers_with_the_wrong_size_is_given_up() {
    let Scene { _directory, server, client, .. } = scene();
    let link = link_of(&server, &client);
    let (first, second) = (client.call(&1).unwrap(), client.call(&2).unwrap());
    let request = server.wait(LONG).unwrap().unwrap();
    answer_junk(&link, ResponseHeader { id: request.content.header.id, status: 0 }, &[1; 9]);
    // The one that it answered, and the one that it would have had to answer.
    assert!(matches!(second.wait(LONG), Err(CallError::Receive(_))));
    assert!(matches!(first.wait(LONG), Err(CallError::Receive(_))));
    assert!(matches!(client.call(&1), Err(CallError::NoServer)));
    while !request.is_cancelled() {
        std::thread::yield_now();
    }
    let honest = Node::builder().directory(_directory.path()).open().unwrap();
    let honest = honest.service::<u64, u64>("square").unwrap().server().open().unwrap();
    client.wait_for_server(LONG).unwrap();
    works(&honest, &client);
}

#[test]
fn a_server_that_never_stops_talking_does_not_hold_its_client_up() {
    let Scene { server, client, .. } = scene();
    let link = link_of(&server, &client);
    let (pending, is_over) = (client.call(&1).unwrap(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                answer_junk(&link, ResponseHeader { id: 3, status: 1 }, &[0; 8]);
            }
        });
        for _ in 0..5 {
            assert!(matches!(pending.wait(SHORT), Err(CallError::Timeout)));
            assert!(pending.receive().unwrap().is_none());
            client.wait_for_server(SHORT).unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Streams numbers until the window is full, and says how many.
fn fill(request: &Request<u64, u64>) -> u64 {
    let mut sent = 0;
    let full = loop {
        match request.send(&sent) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, RespondError::Loan(LoanError::Full)), "{full}");
    sent
}

#[test]
fn a_client_that_takes_nothing_costs_the_others_nothing() {
    let Scene { server, client, other, .. } = scene();
    let stream = other.call(&1).unwrap();
    let second = other.call(&2).unwrap();
    let [streaming, waiting] = [(); 2].map(|()| server.wait(LONG).unwrap().unwrap());
    let sent = fill(&streaming);
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| streaming.send_within(&sent, LONG));
        let sending_too = scope.spawn(|| streaming.send_within(&0, SHORT));
        // While it sleeps, everybody else goes on: the server, other clients, and this one's other calls.
        assert!(matches!(sending_too.join().unwrap(), Err(RespondError::Loan(LoanError::Timeout))));
        works(&server, &client);
        waiting.respond(&22).unwrap();
        assert!(!waiting.is_cancelled());
        for number in 0..=sent {
            assert_eq!(*stream.wait(LONG).unwrap(), number);
        }
        sending.join().unwrap().unwrap();
    });
    assert_eq!(*second.wait(LONG).unwrap(), 22);
    streaming.finish().unwrap();
    assert!(stream.next(LONG).unwrap().is_none());
}

#[test]
fn a_client_that_holds_all_memory_makes_a_stream_wait_and_not_spin() {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::builder().directory(directory.path()).open().unwrap();
    let service = node.service::<u64, [u8]>("large").unwrap();
    let server = service.server().budget_bytes(2 << 20).open().unwrap();
    let client = service.client().open().unwrap();
    let stream = client.call(&1).unwrap();
    let request = server.wait(LONG).unwrap().unwrap();
    let mut held = Vec::new();
    while request.send(&[1; 300_000]).is_ok() {
        held.push(stream.wait(LONG).unwrap());
    }
    assert!(held.len() >= 3);
    let sent = request.send_within(&[2; 300_000], SHORT);
    assert!(matches!(sent, Err(RespondError::Loan(LoanError::Timeout))), "{sent:?}");
    let never = request.send_within(&vec![2; 3 << 20], LONG);
    assert!(matches!(never, Err(RespondError::Loan(LoanError::Budget(_)))), "{never:?}");
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| request.send_within(&[3; 300_000], LONG));
        held.clear();
        assert!(stream.wait(LONG).unwrap().iter().all(|byte| *byte == 3));
        sending.join().unwrap().unwrap();
    });
}

#[test]
fn calls_are_bounded_and_come_back() {
    let Scene { server, client, .. } = scene();
    // From here on the server hears it, and has told that it has read everything.
    works(&server, &client);
    assert!(server.receive().unwrap().is_none());
    let calls: Vec<_> = std::iter::from_fn(|| client.call(&1).ok()).collect();
    assert_eq!(calls.len(), crate::limits::CALLS_MAX);
    assert!(matches!(
        client.call(&1),
        Err(CallError::TooManyCalls { .. } | CallError::Loan(LoanError::Full))
    ));
    drop(calls);
    assert!(server.receive().unwrap().is_none(), "they were all given up");
    // Answers that cross the end of their calls fill nothing up.
    for _ in 0..10_000 {
        let pending = loop {
            match client.call(&1) {
                // One look passes over a bounded number of calls that were given up, and some may be left.
                Err(CallError::Loan(LoanError::Full)) => assert!(server.receive().unwrap().is_none()),
                called => break called.unwrap(),
            }
        };
        let request = server.wait(LONG).unwrap().unwrap();
        request.respond(&1).unwrap();
        drop(pending);
    }
    works(&server, &client);
}

#[test]
fn a_descriptor_speaks_for_all_calls() {
    let Scene { server, client, .. } = scene();
    let readiness = client.readiness().unwrap();
    let calls: Vec<_> = (0..3).map(|number| client.call(&number).unwrap()).collect();
    let is_readable = |timeout| {
        let deadline = std::time::Instant::now().checked_add(timeout);
        poll_readable(&[readiness.as_fd()], deadline).unwrap() == Woken::Maybe
    };
    assert!(calls.iter().all(|call| call.receive().unwrap().is_none()));
    let requests: Vec<_> = (0..3).map(|_| server.wait(LONG).unwrap().unwrap()).collect();
    // The first call's look takes the last one's answer in: the descriptor still has to say so.
    requests[2].respond(&2).unwrap();
    assert!(is_readable(LONG));
    assert!(calls[0].receive().unwrap().is_none());
    assert!(is_readable(Duration::ZERO), "the answer to another call was taken in silence");
    assert_eq!(*calls[2].receive().unwrap().unwrap(), 2);
    // A look that ends with an answer leaves the promise to the others in force, and so does a call.
    requests[1].respond(&1).unwrap();
    assert!(is_readable(LONG));
    assert_eq!(*calls[1].receive().unwrap().unwrap(), 1);
    let _another = client.call(&9).unwrap();
    while is_readable(Duration::ZERO) {
        assert!(calls[0].receive().unwrap().is_none());
    }
    requests[0].respond(&0).unwrap();
    assert!(is_readable(LONG));
    assert_eq!(*calls[0].receive().unwrap().unwrap(), 0);
}
