//! Servers on tokio that send more than their clients take: tasks wait, are given up, and find out who is gone.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;

use common::{Child, LONG, SHORT, directory, node_in};
use onecopy::service::{
    AsyncClient, AsyncPending, AsyncRequest, AsyncServer, CallOptions, RespondError, Service,
};
use onecopy::{LoanError, Node, Payload};

/// Many times what a server may be ahead.
const MANY: u64 = 5000;

struct Ends<Res: Payload + ?Sized> {
    _directory: tempfile::TempDir,
    node: Node,
    server: AsyncServer<u64, Res>,
    client: AsyncClient<u64, Res>,
}

fn ends<Res: Payload + ?Sized>(budget_bytes: usize) -> Ends<Res> {
    let directory = directory();
    let (node, others) = (node_in(directory.path()), node_in(directory.path()));
    let server = service(&others).server().budget_bytes(budget_bytes).open().unwrap().into_async().unwrap();
    let client = service(&node).client().open().unwrap().into_async().unwrap();
    Ends { _directory: directory, node, server, client }
}

fn service<Res: Payload + ?Sized>(node: &Node) -> Service<u64, Res> {
    node.service("count").unwrap()
}

impl<Res: Payload + ?Sized> Ends<Res> {
    async fn call(&self) -> (AsyncPending<Res>, AsyncRequest<u64, Res>) {
        let pending = self.client.call(&0).unwrap();
        (pending, in_time(self.server.recv()).await.unwrap())
    }
}

async fn in_time<R>(future: impl Future<Output = R>) -> R {
    tokio::time::timeout(LONG, future).await.expect("a wake-up was lost")
}

/// Whether it has to wait, and is given up then.
async fn waits(future: impl Future) -> bool {
    let mut future = std::pin::pin!(future);
    let waits = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await;
    tokio::task::yield_now().await;
    waits
}

/// Sends numbers, from `first` on, until one would wait; returns that one. Lets other tasks run now and then.
async fn fill(request: &AsyncRequest<u64, u64>, first: u64) -> u64 {
    let mut number = first;
    let mut full = 0;
    while full < 10 {
        (number, full) =
            if waits(request.send(&number)).await { (number, full + 1) } else { (number + 1, 0) };
    }
    number
}

async fn count(request: AsyncRequest<u64, u64>) -> Result<(), RespondError> {
    for number in 0..*request {
        request.send(&number).await?;
    }
    request.finish().await
}

async fn read_slowly(mut numbers: AsyncPending<u64>, pause_every: u64) {
    let mut expected = 0;
    while let Some(number) = numbers.next().await.unwrap() {
        assert_eq!(*number, expected);
        expected += 1;
        if expected.is_multiple_of(pause_every) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(expected, MANY);
}

async fn streams_of_many_clients() {
    let ends = ends::<u64>(1 << 20);
    let serving = tokio::spawn(async move {
        let mut counting = Vec::new();
        for _ in 0..12 {
            counting.push(tokio::spawn(count(ends.server.recv().await.unwrap())));
        }
        for task in counting {
            task.await.unwrap().unwrap();
        }
    });
    let mut reading = Vec::new();
    for number in 0..4 {
        let client = service::<u64>(&ends.node).client().open().unwrap().into_async().unwrap();
        for stream in 0..3 {
            let numbers = client.call(&MANY).unwrap();
            reading.push(tokio::spawn(read_slowly(numbers, 1 + 40 * (number * 3 + stream))));
        }
    }
    for task in reading {
        in_time(task).await.unwrap();
    }
    in_time(serving).await.unwrap();
}

#[tokio::test]
async fn many_tasks_stream_to_many_on_one_thread() {
    streams_of_many_clients().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_stream_to_many_on_several_threads() {
    streams_of_many_clients().await;
}

#[test]
fn child() {
    common::play(|stage| {
        let node = stage.node();
        let client = service::<u64>(&node).client().open().unwrap();
        client.wait_for_server(LONG).unwrap();
        let numbers = client.call(&MANY).unwrap();
        match stage.role.as_str() {
            "read" => {
                for expected in 0..MANY {
                    assert_eq!(*numbers.wait(LONG).unwrap(), expected);
                }
                assert!(numbers.next(LONG).unwrap().is_none());
                stage.say("done");
            }
            "ignore" => stage.stay(),
            role => panic!("no role {role}"),
        }
    });
}

#[tokio::test]
async fn clients_of_other_processes_are_waited_for_until_they_are_killed() {
    let Ends { _directory, node, server, client } = ends::<u64>(1 << 20);
    drop((client, node));
    let mut killed = Child::spawn("ignore", _directory.path());
    let request = in_time(server.recv()).await.unwrap();
    assert_eq!(request.client_pid(), killed.pid());
    let next = fill(&request, 0).await;
    let waiting = tokio::spawn(async move { request.send(&next).await });
    let readers: Vec<_> = (0..2).map(|_| Child::spawn("read", _directory.path())).collect();
    for _ in &readers {
        let request = in_time(server.recv()).await.unwrap();
        tokio::spawn(count(request));
    }
    for mut reader in readers {
        in_time(tokio::task::spawn_blocking(move || reader.expect("done"))).await.unwrap();
    }
    assert!(!waiting.is_finished());
    killed.kill();
    let ended = in_time(waiting).await.unwrap();
    assert!(matches!(ended, Err(RespondError::PeerDied { pid }) if pid == killed.pid()), "{ended:?}");
}

/// Nobody waits for requests while it streams, and clients whose threads sleep take what it sends.
#[tokio::test]
async fn a_server_of_one_task_streams_to_threads() {
    let Ends { _directory, node, server, client } = ends::<u64>(1 << 20);
    drop(client);
    let reading: Vec<_> = (0..3)
        .map(|_| {
            let client = service::<u64>(&node).client().open().unwrap();
            tokio::task::spawn_blocking(move || {
                let numbers = client.call(&MANY).unwrap();
                let mut expected = 0;
                while let Some(number) = numbers.next(LONG).unwrap() {
                    assert_eq!(*number, expected);
                    expected += 1;
                }
                assert_eq!(expected, MANY);
            })
        })
        .collect();
    for _ in 0..3 {
        let request = in_time(server.recv()).await.unwrap();
        in_time(count(request)).await.unwrap();
    }
    for thread in reading {
        in_time(thread).await.unwrap();
    }
}

#[tokio::test]
async fn a_send_that_is_given_up_sends_nothing_and_loses_nothing() {
    let ends = ends::<u64>(1 << 20);
    let (mut numbers, request) = ends.call().await;
    let mut next = fill(&request, 0).await;
    for number in 0..MANY {
        assert_eq!(*in_time(numbers.recv()).await.unwrap(), number);
        if number.is_multiple_of(100) {
            next = fill(&request, next).await;
        }
    }
    in_time(request.finish()).await.unwrap();
    for number in MANY..next {
        assert_eq!(*in_time(numbers.recv()).await.unwrap(), number);
    }
    assert!(in_time(numbers.next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_that_waits_holds_no_other_answer_up() {
    let ends = ends::<u64>(1 << 20);
    let (mut unread, streaming) = ends.call().await;
    let next = fill(&streaming, 0).await;
    let waiting = tokio::spawn(async move {
        streaming.send(&next).await.unwrap();
        streaming.finish().await.unwrap();
    });
    for number in 0..1000 {
        let (mut other, request) = ends.call().await;
        in_time(request.respond(&number)).await.unwrap();
        assert_eq!(*in_time(other.recv()).await.unwrap(), number);
    }
    assert!(!waiting.is_finished());
    for number in 0..=next {
        assert_eq!(*in_time(unread.recv()).await.unwrap(), number);
    }
    in_time(waiting).await.unwrap();
    assert!(in_time(unread.next()).await.unwrap().is_none());
}

/// Fills the stream of a call, waits in a task of its own, ends the call by `end`, and returns what the task was told.
async fn ended_by(end: impl FnOnce(Ends<u64>, AsyncPending<u64>)) -> RespondError {
    let ends = ends::<u64>(1 << 20);
    let (pending, request) = ends.call().await;
    let next = fill(&request, 0).await;
    let sending = tokio::spawn(async move { request.send(&next).await });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    end(ends, pending);
    in_time(sending).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn a_task_that_waits_sees_that_nobody_wants_the_rest() {
    let mut kept = Vec::new();
    let cancelled = ended_by(|ends, pending| {
        pending.cancel();
        kept.push((ends, pending));
    });
    assert!(matches!(cancelled.await, RespondError::Cancelled));
    let mut kept = Vec::new();
    let dropped = ended_by(|ends, pending| {
        drop(pending);
        kept.push(ends);
    });
    assert!(matches!(dropped.await, RespondError::Cancelled));
}

#[tokio::test]
async fn a_task_that_waits_sees_its_deadline_pass() {
    let ends = ends::<u64>(1 << 20);
    let mut deadline = SHORT;
    // One that leaves the server the time to see the request.
    let (_pending, request) = loop {
        deadline *= 2;
        let pending = ends.client.call_with(&0, CallOptions::new().deadline(deadline)).unwrap();
        if let Ok(request) = tokio::time::timeout(deadline, ends.server.recv()).await {
            break (pending, request.unwrap());
        }
    };
    let sending = async {
        loop {
            if let Err(error) = request.send(&0).await {
                break error;
            }
        }
    };
    assert!(matches!(in_time(sending).await, RespondError::DeadlinePassed));
}

#[tokio::test]
async fn a_task_that_waits_sees_its_client_and_its_server_go() {
    let mut kept = Vec::new();
    let client_gone = ended_by(|ends, pending| {
        let Ends { _directory, node, server, client } = ends;
        kept.push((_directory, server));
        // Without a word: the call is not given up before its memory is gone.
        drop((node, client));
        std::mem::drop(pending);
    });
    assert!(matches!(client_gone.await, RespondError::PeerDied { .. } | RespondError::Cancelled));
    let mut kept = Vec::new();
    let server_gone = ended_by(|ends, pending| {
        let Ends { _directory, node, server, client } = ends;
        drop(server);
        kept.push((_directory, node, client, pending));
    });
    assert!(matches!(server_gone.await, RespondError::ServerClosed));
}

#[test]
fn a_request_says_that_its_runtime_has_ended() {
    let build = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (runtime, other) = (build(), build());
    let (ends, _pending, request, next) = runtime.block_on(async {
        let ends = ends::<u64>(1 << 20);
        let (pending, request) = ends.call().await;
        let next = fill(&request, 0).await;
        (ends, pending, request, next)
    });
    drop(runtime);
    let (sent, received) =
        other.block_on(async { (in_time(request.send(&next)).await, in_time(ends.server.recv()).await) });
    assert!(matches!(sent, Err(RespondError::Wait(_))), "{sent:?}");
    assert!(received.is_err());
}

#[tokio::test]
async fn memory_that_the_client_holds_is_waited_for() {
    const ANSWER_BYTES: usize = 300_000;
    let ends = ends::<[u8]>(1 << 20);
    let mut held = Vec::new();
    // The last answers to calls, which the client keeps.
    let (mut pending, request) = loop {
        let (mut pending, request) = ends.call().await;
        if waits(request.loan_slice(ANSWER_BYTES)).await {
            break (pending, request);
        }
        let mut loan = in_time(request.loan_slice(ANSWER_BYTES)).await.unwrap();
        loan.fill(1);
        in_time(loan.respond()).await.unwrap();
        held.push(in_time(pending.recv()).await.unwrap());
    };
    assert!(held.len() >= 2);
    let answering = tokio::spawn(async move { request.respond(&[7; ANSWER_BYTES]).await });
    tokio::task::yield_now().await;
    assert!(!answering.is_finished());
    // Whoever lets go tells, in whatever thread.
    std::thread::spawn(move || drop(held)).join().unwrap();
    assert!(in_time(pending.recv()).await.unwrap().iter().all(|byte| *byte == 7));
    in_time(answering).await.unwrap().unwrap();
    // What no budget allows is not waited for.
    let (_pending, request) = ends.call().await;
    let never = in_time(request.respond(&vec![0; 2 << 20])).await;
    assert!(matches!(never, Err(RespondError::Loan(LoanError::Budget(_)))), "{never:?}");
}

#[tokio::test]
async fn loans_of_a_stream_wait_and_keep_what_was_written() {
    let ends = ends::<[u8]>(1 << 20);
    let (mut items, request) = ends.call().await;
    let sending = tokio::spawn(async move {
        for number in 0..100_u8 {
            let mut loan = request.loan_slice(60_000).await?;
            loan.fill(number);
            loan.send().await?;
        }
        request.finish().await
    });
    let mut expected = 0;
    while let Some(item) = in_time(items.next()).await.unwrap() {
        assert!(item.len() == 60_000 && item.iter().all(|byte| *byte == expected));
        expected += 1;
    }
    assert_eq!(expected, 100);
    in_time(sending).await.unwrap().unwrap();
}

/// It was lent without waiting, and whoever gives it back knows of no task.
#[tokio::test]
async fn a_loan_that_is_dropped_wakes_a_task_that_waits_for_its_memory() {
    const ITEM_BYTES: usize = 400_000;
    let ends = ends::<[u8]>(1 << 20);
    let (_items, request) = ends.call().await;
    let request = Arc::new(request);
    let loan = request.get_ref().loan_slice(ITEM_BYTES).unwrap();
    let sending = Arc::clone(&request);
    let sending = tokio::spawn(async move { sending.send(&[1; ITEM_BYTES]).await });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    drop(loan);
    in_time(sending).await.unwrap().unwrap();
}

/// They wait without the memory that was lent to them: it is for last answers as well.
#[tokio::test]
async fn first_items_that_wait_leave_memory_for_last_answers() {
    const BUDGET_BYTES: usize = 4 << 20;
    const ITEM_BYTES: usize = BUDGET_BYTES / 16;
    let ends = ends::<[u8]>(BUDGET_BYTES);
    let (mut pending, mut sending) = (Vec::new(), Vec::new());
    for number in 0..20 {
        let (items, request) = ends.call().await;
        pending.push(items);
        sending.push(tokio::spawn(async move {
            let mut loan = request.loan_slice(ITEM_BYTES).await?;
            loan.fill(number);
            loan.send().await?;
            request.finish().await
        }));
        tokio::task::yield_now().await;
    }
    assert!(sending.iter().any(|sending| !sending.is_finished()));
    let (mut other, request) = ends.call().await;
    request.get_ref().respond(&[7; BUDGET_BYTES / 4]).unwrap();
    assert_eq!(in_time(other.recv()).await.unwrap().len(), BUDGET_BYTES / 4);
    // Side by side: whichever item is the next to find room, somebody reads it.
    let reading = pending.into_iter().enumerate().map(|(number, mut items)| {
        tokio::spawn(async move {
            let item = items.recv().await.unwrap();
            assert!(item.len() == ITEM_BYTES && item.iter().all(|byte| usize::from(*byte) == number));
        })
    });
    for reading in reading.collect::<Vec<_>>() {
        in_time(reading).await.unwrap();
    }
    for sending in sending {
        in_time(sending).await.unwrap().unwrap();
    }
}

/// One of them waits on a futex, and stops first or last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_threads_wait_for_one_client() {
    let ends = ends::<u64>(1 << 20);
    let (first, second) = (ends.client.call(&MANY).unwrap(), ends.client.call(&MANY).unwrap());
    let request = in_time(ends.server.recv()).await.unwrap();
    let by_task = tokio::spawn(count(in_time(ends.server.recv()).await.unwrap()));
    let by_thread = tokio::task::spawn_blocking(move || {
        for number in 0..*request {
            request.get_ref().send_within(&number, LONG).unwrap();
        }
        request.get_ref().finish().unwrap();
    });
    let reading = [tokio::spawn(read_slowly(first, 7)), tokio::spawn(read_slowly(second, 300))];
    for task in reading {
        in_time(task).await.unwrap();
    }
    in_time(by_task).await.unwrap().unwrap();
    in_time(by_thread).await.unwrap();
}

#[test]
fn futures_may_move_between_threads() {
    fn is_send<T: Send>(_: T) {}
    fn all(server: &AsyncServer<u64, [u8]>, request: &AsyncRequest<u64, [u8]>) {
        is_send(server.recv());
        is_send(request.send(&[]));
        is_send(request.respond(&[]));
        is_send(request.fail(""));
        is_send(async { request.loan_slice(1).await?.send().await });
    }
    let _ = all;
}

/// What is given back at this end, nobody at the other one tells of.
#[tokio::test]
async fn memory_of_a_loan_that_is_dropped_goes_to_whoever_waits_for_it() {
    const ANSWER_BYTES: usize = 300_000;
    let ends = ends::<[u8]>(1 << 20);
    let (_pending, request) = ends.call().await;
    let request = Arc::new(request);
    let mut loans = Vec::new();
    while !waits(request.loan_slice(ANSWER_BYTES)).await {
        loans.push(request.loan_slice(ANSWER_BYTES).await.unwrap());
    }
    let waiting = tokio::spawn({
        let request = Arc::clone(&request);
        async move { request.loan_slice(ANSWER_BYTES).await.map(|loan| loan.len()) }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(loans);
    assert_eq!(in_time(waiting).await.unwrap().unwrap(), ANSWER_BYTES);
}

/// Whoever looks at a server takes the rings of its doorbells, which were for others.
#[tokio::test]
async fn a_look_at_the_server_takes_no_wake_up_from_whoever_waits() {
    let Ends { _directory, node, server, client } = ends::<u64>(1 << 20);
    drop(client);
    let client = service::<u64>(&node).client().open().unwrap();
    client.wait_for_server(LONG).unwrap();
    let numbers = client.call(&0).unwrap();
    let request = in_time(server.recv()).await.unwrap();
    let next = fill(&request, 0).await;
    let sending = tokio::spawn(async move { request.send(&next).await });
    tokio::task::yield_now().await;
    assert!(!sending.is_finished());
    // No other task runs meanwhile.
    for expected in 0..next {
        assert_eq!(*numbers.wait(LONG).unwrap(), expected);
    }
    assert_eq!(server.get_ref().clients().unwrap(), 1);
    in_time(sending).await.unwrap().unwrap();
}
