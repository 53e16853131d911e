//! Clients on tokio that ask more than their servers take: tasks wait, are given up, and find out who is gone.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use common::{LONG, SHORT, directory, node_in};
use onecopy::service::{AsyncClient, AsyncServer, CallError, CallOptions, Server, Service};
use onecopy::{LoanError, Node, Payload};

/// Several times what a ring of requests takes.
const MANY: u64 = 5000;

struct Ends<Req: Payload + ?Sized> {
    _directory: tempfile::TempDir,
    server: Server<Req, u64>,
    client: AsyncClient<Req, u64>,
}

fn service<Req: Payload + ?Sized>(node: &Node) -> Service<Req, u64> {
    node.service("take").unwrap()
}

fn ends<Req: Payload + ?Sized>(budget_bytes: usize) -> Ends<Req> {
    let directory = directory();
    let (node, others) = (node_in(directory.path()), node_in(directory.path()));
    let server = service(&others).server().open().unwrap();
    let client = service(&node).client().budget_bytes(budget_bytes).open().unwrap().into_async().unwrap();
    Ends { _directory: directory, server, client }
}

async fn in_time<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(LONG, future).await.expect("a wake-up was lost")
}

/// Whether it has to wait, and is given up then.
async fn waits(future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

/// Sends numbers until one would wait; returns that one.
async fn fill(client: &AsyncClient<u64, u64>) -> u64 {
    let mut number = 0;
    while !waits(client.notify_when_possible(&number)).await {
        number += 1;
    }
    number
}

async fn many_tasks_ask(server: Arc<AsyncServer<u64, u64>>, client: AsyncClient<u64, u64>) {
    let asking: Vec<_> = (0..4)
        .map(|task| {
            let client = client.clone();
            tokio::spawn(async move {
                for number in 0..MANY {
                    client.notify_when_possible(&(number * 4 + task)).await.unwrap();
                }
            })
        })
        .collect();
    let answering = tokio::spawn(async move {
        let mut next = [0; 4];
        for taken in 0..4 * MANY {
            let request = server.recv().await.unwrap();
            let (number, task) = (*request / 4, (*request % 4) as usize);
            assert_eq!(number, next[task], "the requests of a task stay in order");
            next[task] += 1;
            if taken.is_multiple_of(97) {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(next, [MANY; 4]);
    });
    for task in asking {
        in_time(task).await.unwrap();
    }
    in_time(answering).await.unwrap();
}

#[tokio::test]
async fn many_tasks_ask_on_one_thread() {
    let Ends { _directory, server, client } = ends(1 << 20);
    many_tasks_ask(Arc::new(server.into_async().unwrap()), client).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_ask_on_several_threads() {
    let Ends { _directory, server, client } = ends(1 << 20);
    many_tasks_ask(Arc::new(server.into_async().unwrap()), client).await;
}

#[tokio::test]
async fn tasks_wait_for_a_server_whose_thread_sleeps() {
    let Ends { _directory, server, client } = ends::<u64>(1 << 20);
    let taking = tokio::task::spawn_blocking(move || {
        for number in 0..MANY {
            assert_eq!(*server.wait(LONG).unwrap().unwrap(), number);
        }
    });
    for number in 0..MANY {
        in_time(client.notify_when_possible(&number)).await.unwrap();
    }
    in_time(taking).await.unwrap();
}

#[tokio::test]
async fn a_request_that_is_given_up_is_not_sent() {
    let Ends { _directory, server, client } = ends::<u64>(1 << 20);
    let next = fill(&client).await;
    assert!(waits(client.call_when_possible(&next, CallOptions::new())).await);
    let asking = {
        let client = client.clone();
        tokio::spawn(async move {
            client.notify_when_possible(&next).await.unwrap();
            let mut pending = client.call_when_possible(&7, CallOptions::new()).await.unwrap();
            *pending.recv().await.unwrap()
        })
    };
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    for number in 0..=next {
        // The task may have to run first.
        let request = loop {
            match server.receive().unwrap() {
                Some(request) => break request,
                None => tokio::task::yield_now().await,
            }
        };
        assert_eq!(*request, number);
    }
    let server = server.into_async().unwrap();
    let request = in_time(server.recv()).await.unwrap();
    assert_eq!(*request, 7);
    in_time(request.respond(&49)).await.unwrap();
    assert_eq!(in_time(asking).await.unwrap(), 49);
}

#[tokio::test]
async fn memory_that_the_server_holds_is_waited_for() {
    const BYTES: usize = 300_000;
    let Ends { _directory, server, client } = ends::<[u8]>(1 << 20);
    let server = server.into_async().unwrap();
    let mut held = Vec::new();
    while !waits(client.loan_slice_when_possible(BYTES)).await {
        let mut loan = in_time(client.loan_slice_when_possible(BYTES)).await.unwrap();
        loan.fill(1);
        loan.notify().unwrap();
        held.push(in_time(server.recv()).await.unwrap());
    }
    assert!(held.len() >= 2);
    let asking = {
        let client = client.clone();
        tokio::spawn(async move {
            let mut loan = client.loan_slice_when_possible(BYTES).await.unwrap();
            loan.fill(7);
            let mut pending = loan.call_when_possible(CallOptions::new()).await.unwrap();
            *pending.recv().await.unwrap()
        })
    };
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    // In another thread than the server's tasks: whoever lets go tells.
    std::thread::spawn(move || drop(held)).join().unwrap();
    let request = in_time(server.recv()).await.unwrap();
    assert!(request.iter().all(|byte| *byte == 7) && request.len() == BYTES);
    in_time(request.respond(&7)).await.unwrap();
    assert_eq!(in_time(asking).await.unwrap(), 7);
    let never = in_time(client.call_when_possible(&vec![0; 2 << 20], CallOptions::new())).await;
    assert!(matches!(never, Err(CallError::Loan(LoanError::Budget(_)))));
}

#[tokio::test]
async fn a_task_that_waits_sees_its_server_go_and_its_deadline_pass() {
    let Ends { _directory, server, client } = ends::<u64>(1 << 20);
    fill(&client).await;
    let late = in_time(client.call_when_possible(&0, CallOptions::new().deadline(SHORT))).await;
    assert!(matches!(late, Err(CallError::DeadlinePassed)));
    let asking = tokio::spawn(async move {
        let mut pending = client.call_when_possible(&0, CallOptions::new()).await?;
        pending.recv().await.map(drop)
    });
    tokio::task::yield_now().await;
    assert!(!asking.is_finished());
    drop(server);
    let ended = in_time(asking).await.unwrap();
    // A server that stops reading has room for all, and is not known to have ended yet.
    assert!(matches!(ended, Err(CallError::NoServer | CallError::PeerDied { .. })), "{ended:?}");
}

#[test]
fn a_client_that_has_to_wait_says_that_its_runtime_has_ended() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (runtime, other) = (build(), build());
    let ends = runtime.block_on(async { ends::<u64>(1 << 20) });
    runtime.block_on(fill(&ends.client));
    drop(runtime);
    let ended = other.block_on(async { in_time(ends.client.notify_when_possible(&0)).await });
    assert!(matches!(ended, Err(CallError::Wait(_))), "{ended:?}");
}

#[test]
fn futures_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    fn all(client: &AsyncClient<[u8], u64>) {
        is_send(client.call_when_possible(&[], CallOptions::new()));
        is_send(client.notify_when_possible(&[]));
        is_send(async {
            client.loan_slice_when_possible(1).await?.call_when_possible(CallOptions::new()).await
        });
    }
    let _ = all;
}
