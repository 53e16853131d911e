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
use super::{CallError, Client, RespondError, Server, outgoing};
use crate::Node;
use crate::limits::STREAM_ANSWERS_MAX;

const LONG: Duration = Duration::from_secs(60);

fn ends() -> (tempfile::TempDir, Server<u64, u64>, Client<u64, u64>) {
    let directory = tempfile::tempdir().unwrap();
    let node = Node::builder().directory(directory.path()).open().unwrap();
    let service = node.service::<u64, u64>("count").unwrap();
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
