//! Services on tokio: many tasks of one client, several of one server, and tasks that give up or are not polled.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use common::{LONG, SHORT, directory, node_in};
use onecopy::service::{AsyncClient, AsyncPending, AsyncServer, CallError, CallOptions, RespondError};
use onecopy::{LoanError, Node};

fn ends(node: &Node) -> (AsyncServer<u64, u64>, AsyncClient<u64, u64>) {
    let service = node.service::<u64, u64>("square").unwrap();
    let server = service.server().open().unwrap().into_async().unwrap();
    (server, service.client().open().unwrap().into_async().unwrap())
}

/// Polls it once: then its task is known to wait.
async fn poll_once(pending: &mut AsyncPending<u64>) {
    let mut answer = std::pin::pin!(pending.recv());
    std::future::poll_fn(|context| {
        assert!(answer.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
}

async fn many_tasks() {
    let directory = directory();
    let (server, client) = ends(&node_in(directory.path()));
    let server = Arc::new(server);
    let answering: Vec<_> = (0..3)
        .map(|_| {
            let server = Arc::clone(&server);
            tokio::spawn(async move {
                loop {
                    let request = server.recv().await.unwrap();
                    request.respond(&(*request * *request)).await.unwrap();
                }
            })
        })
        .collect();
    let asking: Vec<_> = (0..16_u64)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..300 {
                    let asked = task * 1000 + number;
                    let mut loan = client.loan().unwrap();
                    *loan = asked;
                    assert_eq!(*loan.call().unwrap().recv().await.unwrap(), asked * asked);
                }
            })
        })
        .collect();
    for task in asking {
        tokio::time::timeout(LONG, task).await.expect("a wake-up was lost").unwrap();
    }
    answering.iter().for_each(|task| task.abort());
}

#[tokio::test]
async fn many_tasks_call_many_tasks_on_one_thread() {
    many_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_call_many_tasks_on_several_threads() {
    many_tasks().await;
}

#[tokio::test]
async fn a_wait_that_is_given_up_loses_nothing() {
    let directory = directory();
    let (server, client) = ends(&node_in(directory.path()));
    let (mut kept, mut dropped) = (client.call(&3).unwrap(), client.call(&4).unwrap());
    for pending in [&mut kept, &mut dropped] {
        assert!(tokio::time::timeout(SHORT, pending.recv()).await.is_err());
    }
    let (first, second) = (server.recv().await.unwrap(), server.recv().await.unwrap());
    drop(dropped);
    assert!(!first.is_cancelled() && second.is_cancelled());
    assert!(matches!(second.send(&1).await, Err(RespondError::Cancelled)));
    first.respond(&9).await.unwrap();
    second.respond(&16).await.unwrap();
    assert_eq!(*kept.recv().await.unwrap(), 9);
    assert!(matches!(kept.recv().await, Err(CallError::Finished)));
    // A request that nobody took while its task gave up waiting is still there.
    assert!(tokio::time::timeout(SHORT, server.recv()).await.is_err());
    let _pending = client.call(&5).unwrap();
    assert_eq!(*server.recv().await.unwrap(), 5);
}

#[tokio::test]
async fn a_call_does_not_need_others_to_be_polled() {
    let directory = directory();
    let (server, client) = ends(&node_in(directory.path()));
    let mut calls: Vec<_> = (0..4).map(|number| client.call(&number).unwrap()).collect();
    // The first was waited for first, and then its task has other things to do.
    for pending in &mut calls {
        poll_once(pending).await;
    }
    for _ in 0..4 {
        let request = server.recv().await.unwrap();
        request.respond(&(*request + 10)).await.unwrap();
    }
    for (number, pending) in calls.iter_mut().enumerate().rev() {
        assert_eq!(*pending.recv().await.unwrap(), number as u64 + 10);
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_no_other_call_up_and_loses_nothing() {
    let directory = directory();
    let (server, client) = ends(&node_in(directory.path()));
    let mut stream = client.call(&0).unwrap();
    let request = server.recv().await.unwrap();
    let mut sent = 0;
    // Lets the receiving task run now and then, until there is room nowhere.
    let mut full = 0;
    while full < 10 {
        match request.get_ref().send(&sent) {
            Ok(()) => (sent, full) = (sent + 1, 0),
            Err(RespondError::Loan(LoanError::Full)) => full += 1,
            Err(error) => panic!("{error}"),
        }
        tokio::task::yield_now().await;
    }
    assert!(sent > 100, "{sent}");
    for number in 0..100 {
        let mut other = client.call(&number).unwrap();
        server.recv().await.unwrap().respond(&number).await.unwrap();
        assert_eq!(*other.recv().await.unwrap(), number);
    }
    for number in 0..sent {
        assert_eq!(*stream.recv().await.unwrap(), number);
    }
    request.finish().await.unwrap();
    assert!(stream.next().await.unwrap().is_none());
}

#[tokio::test]
async fn deadlines_cancellation_and_death_end_a_wait() {
    let directory = directory();
    let (own, others) = (node_in(directory.path()), node_in(directory.path()));
    let server = others.service::<u64, u64>("square").unwrap().server().open().unwrap().into_async().unwrap();
    let client = own.service::<u64, u64>("square").unwrap().client().open().unwrap().into_async().unwrap();
    let mut late = client.call_with(&1, CallOptions::new().deadline(SHORT)).unwrap();
    assert!(matches!(late.recv().await, Err(CallError::DeadlinePassed)));
    let mut cancelled = client.call(&2).unwrap();
    cancelled.cancel();
    assert!(matches!(cancelled.recv().await, Err(CallError::Cancelled)));
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let mut pending = client.call(&number).unwrap();
            tokio::spawn(async move { pending.recv().await.map(|answer| *answer) })
        })
        .collect();
    tokio::task::yield_now().await;
    drop(server);
    drop(others);
    for task in waiting {
        let ended = tokio::time::timeout(LONG, task).await.expect("the end was not noticed").unwrap();
        assert!(matches!(ended, Err(CallError::PeerDied { .. })), "{ended:?}");
    }
    assert!(matches!(client.call(&1), Err(CallError::NoServer)));
    let (waited, second) = tokio::join!(client.wait_for_server(), async {
        own.service::<u64, u64>("square").unwrap().server().open().unwrap()
    });
    waited.unwrap();
    client.notify(&7).unwrap();
    assert_eq!(*second.wait(LONG).unwrap().unwrap(), 7);
}

#[test]
fn a_client_says_that_its_runtime_has_ended() {
    let directory = directory();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (server, client) = runtime.block_on(async { ends(&node_in(directory.path())) });
    let mut pending = client.call(&1).unwrap();
    drop(server);
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ended = other.block_on(async { tokio::time::timeout(Duration::from_secs(30), pending.recv()).await });
    assert!(matches!(ended, Ok(Err(CallError::Wait(_)))));
}

#[test]
fn futures_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    fn all(
        client: &AsyncClient<u64, [u8]>,
        server: &AsyncServer<u64, [u8]>,
        mut pending: AsyncPending<[u8]>,
    ) {
        is_send(client.wait_for_server());
        is_send(server.recv());
        is_send(pending.recv());
        is_send(async move { pending.next().await.map(drop) });
    }
    let _ = all;
}
