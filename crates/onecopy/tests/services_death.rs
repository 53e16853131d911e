//! Servers and clients in processes that are killed at any point: calls end at once or go to another server,
//! requests of the dead are seen to be cancelled, memory comes back, and every answer that arrives is whole.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use common::{Child, LONG, Stage, directory, node_in, pattern};
use onecopy::Node;
use onecopy::service::{CallError, CallOptions, Client};

const SERVICE: &str = "digest";
const HASH_BYTES: usize = 32;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "answer" => answer(stage),
        "keep" => keep(stage),
        "ask" => ask(stage),
        "ask-once" => ask_once(stage),
        "account" => account(stage),
        role => panic!("no role {role}"),
    });
}

/// Answers each request with its hash and its bytes, until it is killed.
fn answer(stage: &Stage) {
    let node = stage.node();
    let server = node.service::<[u8], [u8]>(SERVICE).unwrap().server().open().unwrap();
    stage.say("ready");
    loop {
        let Some(request) = server.wait(LONG).unwrap() else { continue };
        let mut response = request.loan_slice(HASH_BYTES + request.len()).unwrap();
        response[..HASH_BYTES].copy_from_slice(blake3::hash(&request).as_bytes());
        response[HASH_BYTES..].copy_from_slice(&request);
        response.respond().unwrap();
    }
}

/// Takes requests and does not answer them.
fn keep(stage: &Stage) {
    let node = stage.node();
    let server = node.service::<[u8], [u8]>(SERVICE).unwrap().server().open().unwrap();
    stage.say("ready");
    let mut kept = Vec::new();
    loop {
        if let Some(request) = server.wait(LONG).unwrap() {
            kept.push(request);
            stage.say("kept");
        }
    }
}

/// Calls as fast as it can and checks each answer, until it is killed.
fn ask(stage: &Stage) {
    let node = stage.node();
    let client = node.service::<[u8], [u8]>(SERVICE).unwrap().client().open().unwrap();
    client.wait_for_server(LONG).unwrap();
    stage.say("ready");
    for number in 0_u64.. {
        call_and_check(&client, number, 0).unwrap();
    }
}

/// Makes one call and shows that it goes on.
fn ask_once(stage: &Stage) {
    let node = stage.node();
    let client = node.service::<[u8], [u8]>(SERVICE).unwrap().client().open().unwrap();
    client.wait_for_server(LONG).unwrap();
    let pending = client.call(&vec![7; 500_000]).unwrap();
    stage.say("called");
    while let Some(line) = stage.hear() {
        assert_eq!(line, "wait");
        let answer = pending.wait(LONG).unwrap();
        stage.say(&answer.len().to_string());
        // Held, so that it stays mapped.
        stage.stay();
    }
}

/// A server that tells what it sees and what shared memory it has.
fn account(stage: &Stage) {
    let node = stage.node();
    let server = node.service::<[u8], [u8]>(SERVICE).unwrap().server().open().unwrap();
    let memory = || shared_memory(Path::new("/proc/self")).len();
    let before = memory();
    stage.say("ready");
    while stage.hear().is_some() {
        let request = server.wait(LONG).unwrap().unwrap();
        assert!(!request.is_cancelled());
        stage.say("taken");
        stage.hear().unwrap();
        while !request.is_cancelled() {
            std::thread::yield_now();
        }
        request.respond(&[1; 100_000]).unwrap();
        drop(request);
        let too_long = Instant::now() + LONG;
        while (server.clients().unwrap() > 0 || memory() > before) && Instant::now() < too_long {
            assert!(server.receive().unwrap().is_none());
        }
        stage.say(&format!("{} clients, {} more", server.clients().unwrap(), memory() - before));
    }
}

/// Shared memory that a process has mapped or open.
fn shared_memory(process: &Path) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    for descriptor in std::fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        let is_ours = std::fs::read_link(descriptor.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:onecopy"));
        if let (true, Ok(metadata)) = (is_ours, std::fs::metadata(descriptor.path())) {
            found.insert(metadata.ino());
        }
    }
    for line in std::fs::read_to_string(process.join("maps")).unwrap_or_default().lines() {
        if line.contains("/memfd:onecopy") {
            found.insert(line.split_whitespace().nth(4).unwrap().parse().unwrap());
        }
    }
    found
}

fn of_child(child: &Child) -> BTreeSet<u64> {
    shared_memory(Path::new(&format!("/proc/{}", child.pid())))
}

fn client_of(node: &Node) -> Client<[u8], [u8]> {
    node.service(SERVICE).unwrap().client().open().unwrap()
}

fn call_and_check(client: &Client<[u8], [u8]>, number: u64, retries: u32) -> Result<(), CallError> {
    let len = if number.is_multiple_of(3) { number * 7919 % 200_000 } else { number % 90 };
    let bytes: Vec<u8> = pattern(number, len as usize).collect();
    let pending = client.call_with(&bytes, CallOptions::new().retries(retries))?;
    let answer = pending.wait(LONG)?;
    let (hash, echo) = answer.split_at_checked(HASH_BYTES).unwrap();
    assert_eq!(hash, blake3::hash(&bytes).as_bytes());
    assert!(echo == bytes);
    Ok(())
}

fn spawn(role: &str, directory: &Path) -> Child {
    let mut child = Child::spawn(role, directory);
    child.expect("ready");
    child
}

fn wait_for_servers(client: &Client<[u8], [u8]>, count: usize) {
    while client.servers().unwrap() < count {
        std::thread::yield_now();
    }
}

#[test]
fn a_killed_server_ends_its_calls_at_once() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut server = spawn("keep", directory.path());
    let client = client_of(&node);
    let calls: Vec<_> = (0..10).map(|_| client.call(b"?").unwrap()).collect();
    (0..10).for_each(|_| server.expect("kept"));
    std::thread::scope(|scope| {
        scope.spawn(|| server.kill());
        // It sleeps through the kill, and there is no other end to its sleep than that.
        for call in &calls {
            assert!(matches!(call.wait(std::time::Duration::MAX), Err(CallError::PeerDied { .. })));
        }
    });
    let died = calls[0].wait(LONG);
    assert!(matches!(died, Err(CallError::PeerDied { pid }) if pid == server.pid()), "{died:?}");
    assert!(matches!(client.call(b"?"), Err(CallError::NoServer)));
    // Nothing of the dead server is left to end this sleep early, nor to keep it awake.
    assert!(matches!(client.wait_for_server(common::SHORT), Err(CallError::NoServer)));
    let _second = spawn("answer", directory.path());
    client.wait_for_server(LONG).unwrap();
    call_and_check(&client, 1, 0).unwrap();
}

#[test]
fn a_killed_server_that_ran_the_broker_ends_its_calls_at_once() {
    if !onecopy_memory::kernel::features().futex_waitv {
        // Sleeping for the first time takes a doorbell there, which only a broker can hand over: WaitError::NoDoorbell.
        return;
    }
    let directory = directory();
    let mut first = spawn("keep", directory.path());
    let node = node_in(directory.path());
    assert!(!node.is_broker());
    let client = client_of(&node);
    let once = client.call(b"once").unwrap();
    let again = client.call_with(b"again", CallOptions::new().retries(1)).unwrap();
    (0..2).for_each(|_| first.expect("kept"));
    let _second = spawn("answer", directory.path());
    wait_for_servers(&client, 2);
    first.kill();
    assert!(matches!(once.wait(LONG), Err(CallError::PeerDied { pid }) if pid == first.pid()));
    assert_eq!(&again.wait(LONG).unwrap()[HASH_BYTES..], b"again");
    // The other server does not need the broker.
    for number in 0..100 {
        call_and_check(&client, number, 0).unwrap();
    }
}

#[test]
fn an_idempotent_call_goes_from_server_to_server_as_often_as_it_may() {
    let directory = directory();
    let node = node_in(directory.path());
    let client = client_of(&node);
    let mut first = spawn("keep", directory.path());
    wait_for_servers(&client, 1);
    let once = client.call_with(b"once", CallOptions::new().retries(1)).unwrap();
    let twice = client.call_with(b"twice", CallOptions::new().retries(2)).unwrap();
    (0..2).for_each(|_| first.expect("kept"));
    let mut second = spawn("keep", directory.path());
    wait_for_servers(&client, 2);
    first.kill();
    std::thread::scope(|scope| {
        let second = &mut second;
        let keeping = scope.spawn(|| (0..2).for_each(|_| second.expect("kept")));
        while !keeping.is_finished() {
            assert!(once.receive().unwrap().is_none());
        }
    });
    let _third = spawn("answer", directory.path());
    wait_for_servers(&client, 2);
    second.kill();
    assert!(matches!(once.wait(LONG), Err(CallError::PeerDied { pid }) if pid == second.pid()));
    assert_eq!(&twice.wait(LONG).unwrap()[HASH_BYTES..], b"twice");
}

#[test]
fn a_killed_clients_requests_are_cancelled_and_its_memory_comes_back() {
    let directory = directory();
    let _broker = node_in(directory.path());
    let mut server = spawn("account", directory.path());
    for _ in 0..3 {
        let mut client = Child::spawn("ask-once", directory.path());
        client.expect("called");
        server.tell("take");
        server.expect("taken");
        client.kill();
        server.tell("look");
        server.expect("0 clients, 0 more");
    }
}

#[test]
fn what_a_client_sent_without_wanting_an_answer_arrives_after_its_end() {
    let directory = directory();
    let node = node_in(directory.path());
    let server = node.service::<u64, u64>("notes").unwrap().server().open().unwrap();
    let other = node_in(directory.path());
    let client = other.service::<u64, u64>("notes").unwrap().client().open().unwrap();
    (0..100).for_each(|number| client.notify(&number).unwrap());
    let pending = client.call(&100).unwrap();
    drop(pending);
    drop(client);
    drop(other);
    while server.clients().unwrap() > 0 {
        std::thread::yield_now();
    }
    for number in 0..100 {
        assert_eq!(*server.receive().unwrap().unwrap(), number);
    }
    assert!(server.receive().unwrap().is_none());
}

#[test]
fn a_client_has_no_memory_of_another_clients_answers() {
    let directory = directory();
    let broker = node_in(directory.path());
    let mut server = spawn("answer", directory.path());
    let servers_alone = of_child(&server);
    let clients = [0, 1].map(|_| {
        let mut client = Child::spawn("ask-once", directory.path());
        client.expect("called");
        client.tell("wait");
        client.expect("500032");
        client
    });
    let [first, second] = clients.each_ref().map(of_child);
    // The server's reader state, where it tells how far it has come, is all that both see.
    let common: BTreeSet<_> = first.intersection(&second).copied().collect();
    assert!(common.is_subset(&servers_alone) && common.len() <= 1, "{common:?} of {servers_alone:?}");
    let of_both = of_child(&server);
    assert!(
        first.iter().chain(&second).all(|memory| of_both.contains(memory)),
        "the server has its clients' memory"
    );
    server.kill();
    drop(broker);
}

/// The next of numbers that look random.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// How many rounds of killing: some hundred, or as many as the environment says.
fn rounds() -> u64 {
    std::env::var("ONECOPY_CHAOS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(120)
}

#[test]
fn servers_killed_at_any_point_leave_whole_answers_and_calls_that_end() {
    let directory = directory();
    let node = node_in(directory.path());
    let client = client_of(&node);
    let (mut state, mut number, died) = (0x9e37_79b9_7f4a_7c15, 0, std::cell::Cell::new(0));
    let mut survivor = spawn("answer", directory.path());
    // Half of the rounds may end calls. That one does shows that the kills come in time to matter.
    for round in (0..).take_while(|round| *round < rounds() || died.get() == 0) {
        let mut next = spawn("answer", directory.path());
        wait_for_servers(&client, 2);
        let (turns, retries) = (random(&mut state) % 20_000, (round % 2) as u32);
        std::thread::scope(|scope| {
            let killing = scope.spawn(|| {
                (0..turns).for_each(|_| std::hint::spin_loop());
                survivor.kill();
            });
            let mut calls_after = 0;
            while calls_after < 5 {
                calls_after += u32::from(killing.is_finished());
                number += 1;
                match call_and_check(&client, number, retries) {
                    Ok(()) => {}
                    Err(CallError::PeerDied { .. }) if retries == 0 => died.set(died.get() + 1),
                    Err(error) => panic!("call {number}: {error}"),
                }
            }
        });
        std::mem::swap(&mut survivor, &mut next);
    }
    assert!(number > rounds() * 5);
}

#[test]
fn clients_killed_at_any_point_leave_the_others_alone() {
    let directory = directory();
    let node = node_in(directory.path());
    let server = node.service::<[u8], [u8]>(SERVICE).unwrap().server().open().unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d;
    let mut steady = Child::spawn("ask", directory.path());
    let mut answered_steady = 0_u64;
    for _ in 0..rounds() {
        let mut victim = Child::spawn("ask", directory.path());
        let mut left = 1 + random(&mut state) % 400;
        let mut killed = false;
        let mut steady_after = 0;
        while steady_after < 3 || !killed {
            let request = server.wait(LONG).unwrap().expect("the steady client goes on asking");
            let from_steady = request.client_pid() == steady.pid();
            let bytes = [blake3::hash(&request).as_bytes().as_slice(), &request].concat();
            if !from_steady {
                left = left.saturating_sub(1);
                if left == 0 && !killed {
                    victim.kill();
                    killed = true;
                }
            }
            // Also to the dead: it makes no difference to the server.
            request.respond(&bytes).unwrap();
            answered_steady += u64::from(from_steady);
            steady_after += u64::from(from_steady && killed);
        }
    }
    assert!(answered_steady >= 3 * rounds());
    steady.expect("ready");
    steady.kill();
    while server.clients().unwrap() > 0 {
        drop(server.receive().unwrap());
    }
}
