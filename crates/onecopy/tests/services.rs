//! Requests and responses between nodes: values and slices, loans, streams, deadlines, cancellation, several servers.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::time::Duration;

use onecopy::service::{CallError, CallOptions, Request, Server};
use onecopy::{Node, OpenError, Payload};

const SOON: Duration = Duration::from_secs(20);

fn node(directory: &tempfile::TempDir) -> Node {
    Node::builder().directory(directory.path()).open().unwrap()
}

fn take<Req: Payload + ?Sized, Res: Payload + ?Sized>(
    server: &Server<Req, Res>,
    count: usize,
) -> Vec<Request<Req, Res>> {
    (0..count).map(|_| server.wait(SOON).unwrap().expect("a request is on its way")).collect()
}

/// It has a ring to its client, of which it never learned.
#[test]
fn a_server_that_never_looked_ends_the_calls_of_its_clients() {
    let directory = common::directory();
    let node = node(&directory);
    let service = node.service::<u64, u64>("half").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let call = client.call(&2).unwrap();
    drop(server);
    assert!(matches!(call.wait(SOON), Err(CallError::PeerDied { .. })));
    assert_eq!(client.servers().unwrap(), 0);
}

#[test]
fn calls_are_answered_in_whatever_order() {
    let directory = tempfile::tempdir().unwrap();
    let (asking, answering) = (node(&directory), node(&directory));
    let server = answering.service::<u64, u64>("square").unwrap().server().open().unwrap();
    let client = asking.service::<u64, u64>("square").unwrap().client().open().unwrap();
    assert_eq!(client.servers().unwrap(), 1);
    let calls: Vec<_> = (0..10).map(|number| client.call(&number).unwrap()).collect();
    for request in take(&server, 10).iter().rev() {
        request.respond(&(**request * **request)).unwrap();
    }
    for (number, call) in calls.iter().enumerate() {
        assert_eq!(*call.wait(SOON).unwrap(), (number * number) as u64);
        assert!(matches!(call.receive(), Err(CallError::Finished)));
    }
}

#[test]
fn slices_and_large_responses_travel_without_a_copy() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<[u8], [u32]>("count").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let mut loan = client.loan_slice(100_000).unwrap();
    loan.fill(7);
    let pending = loan.call().unwrap();
    let request = server.wait(SOON).unwrap().unwrap();
    assert!(request.iter().all(|byte| *byte == 7) && request.len() == 100_000);
    let mut response = request.loan_slice(50_000).unwrap();
    response.fill(9);
    response.respond().unwrap();
    drop(request);
    let response = pending.wait(SOON).unwrap();
    assert!(response.is_held() && response.is_last());
    assert!(response.iter().all(|element| *element == 9) && response.len() == 50_000);
}

#[test]
fn a_stream_of_answers_ends_where_the_server_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("count").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let pending = client.call(&3).unwrap();
    let request = server.wait(SOON).unwrap().unwrap();
    for number in 0..*request {
        request.send(&number).unwrap();
    }
    request.finish().unwrap();
    let mut answers = Vec::new();
    while let Some(answer) = pending.next(SOON).unwrap() {
        answers.push(*answer);
    }
    assert_eq!(answers, [0, 1, 2]);
}

#[test]
fn the_server_sees_that_nobody_waits_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("slow").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let (cancelled, dropped, kept) =
        (client.call(&1).unwrap(), client.call(&2).unwrap(), client.call(&3).unwrap());
    let requests = take(&server, 3);
    assert!(requests.iter().all(|request| !request.is_cancelled()));
    cancelled.cancel();
    drop(dropped);
    assert_eq!(
        requests.iter().map(|request| request.is_cancelled()).collect::<Vec<_>>(),
        [true, true, false]
    );
    assert!(matches!(cancelled.wait(SOON), Err(CallError::Cancelled)));
    requests.into_iter().for_each(|request| request.respond(&0).unwrap());
    assert_eq!(*kept.wait(SOON).unwrap(), 0);
    // What was cancelled before the server came to it, it never sees.
    client.call(&4).unwrap().cancel();
    assert!(server.receive().unwrap().is_none());
}

#[test]
fn a_deadline_travels_with_the_request() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("late").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let long = client.call_with(&1, CallOptions::new().deadline(SOON)).unwrap();
    let request = server.wait(SOON).unwrap().unwrap();
    assert!(request.time_left().is_some_and(|left| left <= SOON && !left.is_zero()));
    request.respond(&1).unwrap();
    long.wait(SOON).unwrap();
    let late = client.call_with(&2, CallOptions::new().deadline(Duration::ZERO)).unwrap();
    assert!(server.receive().unwrap().is_none(), "a request that is late already is passed over");
    assert!(matches!(late.wait(SOON), Err(CallError::DeadlinePassed)));
}

#[test]
fn what_a_server_drops_or_fails_its_client_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, [u64; 1000]>("fails").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let (first, second) = (client.call(&1).unwrap(), client.call(&2).unwrap());
    drop(server.wait(SOON).unwrap().unwrap());
    server.wait(SOON).unwrap().unwrap().fail("no such number: é").unwrap();
    assert!(matches!(first.wait(SOON), Err(CallError::Unanswered)));
    assert!(matches!(second.wait(SOON), Err(CallError::Failed(text)) if text == "no such number: é"));
    client.notify(&3).unwrap();
    let request = server.wait(SOON).unwrap().unwrap();
    assert!(request.is_one_way() && *request == 3);
}

#[test]
fn each_request_goes_to_exactly_one_server() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("shared").unwrap();
    let servers: Vec<_> = (0..3).map(|_| service.server().open().unwrap()).collect();
    let client = service.client().open().unwrap();
    let calls: Vec<_> = (0..30).map(|number| client.call(&number).unwrap()).collect();
    let mut seen = Vec::new();
    for (number, server) in servers.iter().enumerate() {
        let requests = take(server, 10);
        assert!(server.receive().unwrap().is_none(), "server {number}");
        seen.extend(requests.iter().map(|request| **request));
        requests.iter().for_each(|request| request.respond(&(number as u64)).unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..30).collect::<Vec<_>>());
    assert!(calls.iter().all(|call| *call.wait(SOON).unwrap() < 3));
}

/// Nodes draw their numbers: once in half a million million runs, all clients begin with the same server.
#[test]
fn clients_that_make_one_call_each_find_all_servers() {
    let directory = tempfile::tempdir().unwrap();
    let nodes = [(); 2].map(|()| node(&directory));
    let servers = nodes.map(|node| node.service::<u64, u64>("shared").unwrap().server().open().unwrap());
    for number in 0..40 {
        let client = node(&directory).service::<u64, u64>("shared").unwrap().client().open().unwrap();
        client.notify(&number).unwrap();
    }
    for server in servers {
        assert!(server.wait(SOON).unwrap().is_some());
    }
}

#[test]
fn a_server_that_ends_leaves_its_calls_to_another_or_ends_them() {
    let directory = tempfile::tempdir().unwrap();
    let (asking, answering) = (node(&directory), node(&directory));
    let service = asking.service::<u64, u64>("ends").unwrap();
    let server = answering.service::<u64, u64>("ends").unwrap().server().open().unwrap();
    let client = service.client().open().unwrap();
    let (once, again) =
        (client.call(&1).unwrap(), client.call_with(&2, CallOptions::new().retries(1)).unwrap());
    let second = service.server().open().unwrap();
    client.wait_for_server(SOON).unwrap();
    while client.servers().unwrap() < 2 {
        std::thread::yield_now();
    }
    drop(server);
    drop(answering);
    let pid = std::process::id();
    assert!(matches!(once.wait(SOON), Err(CallError::PeerDied { pid: died }) if died == pid));
    let request = second.wait(SOON).unwrap().unwrap();
    request.respond(&(*request * 2)).unwrap();
    assert_eq!(*again.wait(SOON).unwrap(), 4);
}

#[test]
fn without_a_server_there_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("nobody").unwrap();
    let client = service.client().open().unwrap();
    assert!(matches!(client.call(&1), Err(CallError::NoServer)));
    assert!(matches!(client.wait_for_server(Duration::ZERO), Err(CallError::NoServer)));
    let error = node.service::<u64, u32>("nobody").unwrap().server().open().err().unwrap();
    assert!(matches!(error, OpenError::Refused(_)) && error.to_string().contains("u32"), "{error}");
}

#[test]
fn a_full_ring_pushes_back_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let node = node(&directory);
    let service = node.service::<u64, u64>("full").unwrap();
    let server = service.server().open().unwrap();
    let client = service.client().open().unwrap();
    let mut sent = 0;
    while client.notify(&sent).is_ok() {
        sent += 1;
    }
    assert!(sent >= 1000, "{sent}");
    let received: Vec<u64> = take(&server, sent as usize).iter().map(|request| **request).collect();
    assert_eq!(received, (0..sent).collect::<Vec<_>>());
    client.notify(&sent).unwrap();
}
