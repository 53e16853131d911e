//! Servers that come, serve and go, several at once: each call is answered, or ends with its server.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::service::{CallError, Client, Service};
use onecopy::{Node, WaitError};

const PROCESSES: usize = 3;
/// Times that each process opens a server.
const TURNS: usize = 60;
/// Requests that each server takes before it goes, with others waiting behind.
const REQUESTS: usize = 3;
/// How long a server, or a client without one, looks out at most.
const MOMENT: Duration = Duration::from_millis(10);
const UNDER_WAY: u64 = 8;

#[test]
fn child() {
    common::play(serve);
}

fn doubling(node: &Node) -> Service<u64, u64> {
    node.service::<u64, u64>("doubles").unwrap()
}

/// Opens a server, answers some requests and closes it, again and again.
fn serve(stage: &Stage) {
    let node = stage.node();
    stage.say("ready");
    stage.hear();
    for _ in 0..TURNS {
        let server = doubling(&node).server().open().unwrap();
        for _ in 0..REQUESTS {
            match server.wait(MOMENT) {
                Ok(Some(request)) => {
                    let answer = 2 * *request;
                    request.respond(&answer).unwrap();
                }
                Ok(None) | Err(WaitError::Timeout) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    stage.say("done");
    stage.stay();
}

/// Calls until there are no more servers; returns how many calls were answered.
fn call(client: &Client<u64, u64>, is_over: &AtomicBool) -> u64 {
    let mut answered = 0;
    for first in (0..).step_by(UNDER_WAY as usize) {
        let calls: Vec<_> = (first..first + UNDER_WAY).map(|number| (number, client.call(&number))).collect();
        for (number, call) in calls {
            match call.and_then(|call| call.wait(LONG).map(|answer| *answer)) {
                Ok(answer) => {
                    assert_eq!(answer, 2 * number);
                    answered += 1;
                }
                Err(CallError::NoServer) if is_over.load(Ordering::Relaxed) => return answered,
                Err(CallError::NoServer) => drop(client.wait_for_server(MOMENT)),
                Err(CallError::PeerDied { .. } | CallError::Unanswered) => {}
                Err(error) => panic!("{number}: {error}"),
            }
        }
    }
    unreachable!("the numbers don't end")
}

#[test]
fn calls_end_with_servers_that_go() {
    let directory = directory();
    let node = node_in(directory.path());
    let is_over = Arc::new(AtomicBool::new(false));
    let callers = [(); 2].map(|()| {
        let (client, is_over) = (doubling(&node).client().open().unwrap(), Arc::clone(&is_over));
        std::thread::spawn(move || call(&client, &is_over))
    });
    let mut children = Child::spawn_together((0..PROCESSES).map(|_| "serves".to_owned()), directory.path());
    children.iter_mut().for_each(|child| child.expect("done"));
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.join().unwrap() > 0);
    }
}
