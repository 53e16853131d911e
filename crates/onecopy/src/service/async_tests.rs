//! Waits of tasks that are given up, and space that others have taken by the time a task is listed.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake};
use std::time::Duration;

use super::header::{ResponseHeader, Status};
use super::link::lock;
use super::tasks::Tasks;
use super::{CallError, CallOptions, Client, RespondError, Server, Service, outgoing};
use crate::Node;
use crate::error::{ReceiveError, WaitError};
use crate::inbox::{News, PeerNews};
use crate::limits::STREAM_ANSWERS_MAX;

const LONG: Duration = Duration::from_secs(60);

fn service(directory: &tempfile::TempDir) -> Service<u64, u64> {
    let node = Node::builder().directory(directory.path()).open().unwrap();
    node.service::<u64, u64>("count").unwrap()
}

fn ends() -> (tempfile::TempDir, Server<u64, u64>, Client<u64, u64>) {
    let directory = tempfile::tempdir().unwrap();
    let service = service(&directory);
    let (server, client) = (service.server().open().unwrap(), service.client().open().unwrap());
    (directory, server, client)
}

/// Polls it once and shows what that leaves behind to `look`, then drops it.
async fn poll_once(future: impl Future, look: impl FnOnce()) -> bool {
    let mut future = std::pin::pin!(future);
    let is_pending = poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    look();
    is_pending
}

#[tokio::test]
async fn a_wait_that_is_dropped_leaves_nothing_behind() {
    let (_directory, server, client) = ends();
    let (server, client) = (server.into_async().unwrap(), client.into_async().unwrap());
    client.wait_for_server().await.unwrap();
    let waiting = || {
        let exchange = lock(&client.shared.exchange);
        let waiting = lock(&server.shared.waiting);
        (waiting.for_requests.count(), waiting.for_space.count(), exchange.for_space.count())
    };
    for _ in 0..3 {
        assert!(poll_once(server.recv(), || assert_eq!(waiting(), (1, 0, 0))).await);
    }
    let _pending = client.call(&0).unwrap();
    let request = server.recv().await.unwrap();
    while request.get_ref().send(&0).is_ok() {}
    for _ in 0..3 {
        assert!(poll_once(request.send(&0), || assert_eq!(waiting(), (0, 1, 0))).await);
    }
    assert_eq!(waiting(), (0, 0, 0));
    while client.notify(&0).is_ok() {}
    for _ in 0..3 {
        assert!(poll_once(client.notify_when_possible(&0), || assert_eq!(waiting(), (0, 0, 1))).await);
    }
    assert_eq!(waiting(), (0, 0, 0));
}

/// It takes nothing more of the stream: what tells is that it stops reading altogether.
#[tokio::test]
async fn a_task_that_waits_sees_that_its_client_has_given_the_server_up() {
    let (_directory, server, client) = ends();
    let server = server.into_async().unwrap();
    let _unread = client.call(&0).unwrap();
    let request = server.recv().await.unwrap();
    let other = client.call(&0).unwrap();
    let header = ResponseHeader { id: request.get_ref().content.header.id, status: Status::Item as u64 };
    let link = request.get_ref().link.clone();
    while request.get_ref().send(&0).is_ok() {}
    let waiting = tokio::spawn(async move { request.send(&0).await });
    tokio::task::yield_now().await;
    outgoing::send::<[u8], _>(&mut link.sender(), &header, b"misfit").unwrap();
    assert!(matches!(other.wait(LONG), Err(CallError::Receive(_))));
    let ended = tokio::time::timeout(LONG, waiting).await.expect("nobody told it").unwrap();
    assert!(matches!(ended, Err(RespondError::PeerDied { .. } | RespondError::Cancelled)), "{ended:?}");
}

/// Sends the server what is no request: a batch.
fn break_protocol(client: &Client<u64, u64>) {
    let mut exchange = lock(&client.exchange);
    let sender = &mut exchange.link(0).sender;
    let chunk = sender.chunk(200).unwrap();
    sender.writer.publish_chunk(chunk, 64, 8, 2);
}

/// Its client may go on reading, but could not tell it.
#[tokio::test]
async fn a_task_that_waits_sees_that_its_server_has_given_the_client_up() {
    let (_directory, server, client) = ends();
    let server = server.into_async().unwrap();
    let _unread = client.call(&0).unwrap();
    let request = Arc::new(server.recv().await.unwrap());
    while request.get_ref().send(&0).is_ok() {}
    let sending = Arc::clone(&request);
    let waiting = tokio::spawn(async move { sending.send(&0).await });
    let (done, is_done) = std::sync::mpsc::channel();
    let sending = Arc::clone(&request);
    std::thread::spawn(move || done.send(sending.get_ref().send_within(&0, Duration::MAX)));
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    break_protocol(&client);
    assert!(server.get_ref().receive().unwrap().is_none());
    let ended = tokio::time::timeout(LONG, waiting).await.expect("nobody told it").unwrap();
    assert!(matches!(ended, Err(RespondError::Receive(_))), "{ended:?}");
    let ended = is_done.recv_timeout(LONG).expect("nobody told it");
    assert!(matches!(ended, Err(RespondError::Receive(_))), "{ended:?}");
    // Whoever comes later waits no more.
    let ended = tokio::time::timeout(LONG, request.send(&0)).await.expect("nobody told it");
    assert!(matches!(ended, Err(RespondError::Receive(_))), "{ended:?}");
    assert!(request.is_cancelled());
}

/// What can't be told before somebody receives must not keep what can.
#[tokio::test]
async fn a_task_that_waits_sees_that_its_client_has_parted_whatever_else_there_is() {
    let (_directory, server, client) = ends();
    let server = server.into_async().unwrap();
    let _unread = client.call(&0).unwrap();
    let request = server.recv().await.unwrap();
    while request.get_ref().send(&0).is_ok() {}
    let peer = request.get_ref().link.client;
    let waiting = tokio::spawn(async move { request.send(&0).await });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    {
        let mut reception = lock(&server.get_ref().reception);
        reception.mail.feeds.tell_later(ReceiveError::MemoryLost("it is tested".to_owned()));
        reception.mail.feeds.inbox().post(News::Peer(PeerNews::Parted { peer }));
    }
    let ended = tokio::time::timeout(LONG, waiting).await.expect("nobody told it").unwrap();
    assert!(matches!(ended, Err(RespondError::PeerDied { .. })), "{ended:?}");
    assert!(matches!(server.recv().await, Err(WaitError::Receive(ReceiveError::MemoryLost(_)))));
}

/// Other servers, which can tell it, have no room for what is bound to this one.
#[tokio::test]
async fn a_written_request_does_not_wait_for_a_server_that_could_not_tell() {
    let (directory, server, client) = ends();
    let other = service(&directory).server().open().unwrap();
    let client = client.into_async().unwrap();
    while client.servers().unwrap() < 2 {
        tokio::task::yield_now().await;
    }
    let (deaf, dropped) = (client.loan().unwrap(), client.loan().unwrap());
    assert_ne!(deaf.draft.server, dropped.draft.server);
    let (mut full, mut notified) = (0, 0);
    while full < 2 {
        // They take turns, so two in a row that find no room are both.
        full = if client.notify(&0).is_ok() { 0 } else { full + 1 };
        notified += 1;
    }
    assert!(notified > 2);
    lock(&client.shared.exchange).mail.feeds.deafen(deaf.draft.server);
    let ended = tokio::time::timeout(LONG, deaf.call_when_possible(CallOptions::new())).await;
    let ended = ended.expect("it waits for others").map(drop);
    assert!(matches!(ended, Err(CallError::Wait(WaitError::NoDoorbell))), "{ended:?}");
    let lost = dropped.draft.server;
    let waiting = dropped.call_when_possible(CallOptions::new());
    let give_up = async {
        let mut exchange = lock(&client.shared.exchange);
        exchange.mail.feeds.drop_peer(lost, "it is tested");
        exchange.look().unwrap();
    };
    let (ended, ()) = tokio::time::timeout(LONG, async { tokio::join!(waiting, give_up) }).await.unwrap();
    assert!(matches!(ended.map(drop), Err(CallError::NoServer)));
    drop((server, other));
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_that_comes_too_late_for_a_ring_looks_again_by_itself() {
    let (_directory, server, client) = ends();
    let stream = client.call(&0).unwrap();
    let request = server.wait(LONG).unwrap().unwrap();
    while request.send(&0).is_ok() {}
    let wait = request.link.sender().writer.expect_space().unwrap();
    let early = request.link.sender().writer.expect_space().unwrap();
    let (woken, woken_early) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let mut tasks = Tasks::default();
    let early = tasks.enter_for_space(early, &Arc::clone(&woken_early).into());
    tasks.wake_for_space();
    assert_eq!(woken_early.0.load(Ordering::Relaxed), 0, "nothing has come");
    // The client tells of it once, and somebody else takes what has come.
    (0..STREAM_ANSWERS_MAX / 2).for_each(|_| drop(stream.wait(LONG).unwrap()));
    while request.send(&0).is_ok() {}
    let late = tasks.enter_for_space(wait, &Arc::clone(&woken).into());
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    tasks.wake_for_space();
    assert_eq!(woken_early.0.load(Ordering::Relaxed), 1);
    [early, late].into_iter().for_each(|key| tasks.leave(key));
    assert!(tasks.is_empty());
    request.link.sender().writer.stop_expecting_space();
    request.link.sender().writer.stop_expecting_space();
}
