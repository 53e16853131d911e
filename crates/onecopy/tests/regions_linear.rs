//! Several processes use one region at once and note what they asked for, when, and what they got: there must
//! be one order of it all that a region in a single place could have gone through.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod regions_history;
mod regions_values;

use std::path::Path;

use common::{Child, LONG, Stage, directory};
use onecopy::region::{Region, RegionBuilder, RegionError};
use regions_history::{Operation, Outcome, check, is_linearizable};
use regions_values::Random;

/// Words of a value that is copied out, and of one that is held.
const SMALL: usize = 4;
const LARGE: usize = 500;
const FIRST: (u64, u64) = (1, 0);

#[test]
fn child() {
    common::play(|stage| {
        let words: Vec<&str> = stage.role.split(' ').collect();
        let [mode, size, process, seed, operations] = words[..] else { panic!("no role {}", stage.role) };
        let [process, seed, operations] = [process, seed, operations].map(|number| number.parse().unwrap());
        match size {
            "small" => act::<SMALL>(stage, mode == "shared", process, seed, operations),
            _ => act::<LARGE>(stage, mode == "shared", process, seed, operations),
        }
    });
}

/// Every word of a value follows from its number.
fn value_of<const WORDS: usize>(number: u64) -> [u64; WORDS] {
    std::array::from_fn(|word| number.wrapping_add(word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn number_of<const WORDS: usize>(value: &[u64; WORDS]) -> u64 {
    // The multiplier's inverse.
    let number = value[0].wrapping_mul(0xf1de_83e1_9937_733d);
    assert!(*value == value_of(number), "a value is torn");
    number
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The first process makes the region; of one with a single writer, the others read only.
fn act<const WORDS: usize>(stage: &Stage, shared: bool, process: u64, seed: u64, operations: u64) {
    let node = stage.node();
    let builder: RegionBuilder<[u64; WORDS]> = node.region("history").unwrap().lock_timeout(LONG);
    let builder = if shared { builder.shared() } else { builder };
    let mut region = match process {
        0 => builder.create(&value_of(FIRST.1)),
        _ => builder.open(),
    }
    .unwrap();
    let mut random = Random::new(seed << 8 | process);
    let mut history = Vec::new();
    let mut known_version = 1;
    stage.say("ready");
    stage.hear().unwrap();
    for number in 1..=operations {
        let value = process << 32 | number;
        let choice = if region.is_writer() { random.below(8) } else { 0 };
        if random.below(16) == 0 {
            std::thread::yield_now();
        }
        let invoked_ns = now_ns();
        let outcome = call(&mut region, choice, value, known_version);
        let responded_ns = now_ns();
        known_version = outcome.version();
        history.push(Operation { process: process as u32, invoked_ns, responded_ns, outcome });
    }
    for operation in history {
        stage.say(&operation.to_string());
    }
    stage.say("end");
    // Whoever ends must not take the region along.
    stage.stay();
}

fn call<const WORDS: usize>(
    region: &mut Region<[u64; WORDS]>,
    choice: u64,
    value: u64,
    known_version: u64,
) -> Outcome {
    match choice {
        0..=2 => {
            let read = region.read().unwrap();
            Outcome::Read { version: read.version(), value: number_of(&read) }
        }
        3 => Outcome::Wrote { version: region.write(&value_of(value)).unwrap(), value },
        4 => {
            let mut before = 0;
            let update = |current: &mut [u64; WORDS]| {
                before = number_of(current);
                *current = value_of(value);
            };
            let version = region.update(update).unwrap();
            Outcome::Updated { version, before, value }
        }
        5 => match region.compare_and_set(known_version, &value_of(value)) {
            Ok(version) => Outcome::Set { version, expected: known_version, value },
            Err(RegionError::Conflict { current }) => {
                Outcome::Conflict { version: current, expected: known_version }
            }
            Err(error) => panic!("{error}"),
        },
        6 => {
            let mut guard = region.lock(LONG).unwrap();
            let before = number_of(&guard);
            *guard = value_of(value);
            Outcome::Updated { version: guard.commit().unwrap(), before, value }
        }
        _ => {
            let mut guard = region.lock(LONG).unwrap();
            let (version, seen) = (guard.version(), number_of(&guard));
            guard[0] = 0;
            Outcome::Read { version, value: seen }
        }
    }
}

fn record(directory: &Path, role: &str, processes: u64, seed: u64, operations: u64) -> Vec<Operation> {
    let mut children: Vec<Child> = (0..processes)
        .map(|process| {
            let mut child = Child::spawn(&format!("{role} {process} {seed} {operations}"), directory);
            child.expect("ready");
            child
        })
        .collect();
    children.iter_mut().for_each(|child| child.tell("go"));
    let mut history = Vec::new();
    for child in &mut children {
        history.extend(
            std::iter::from_fn(|| Some(child.line()).filter(|line| line != "end"))
                .map(|line| Operation::parse(&line)),
        );
    }
    history
}

fn check_histories(processes: u64, seeds: std::ops::Range<u64>, operations: u64) {
    for role in ["shared small", "shared large", "single small", "single large"] {
        for seed in seeds.clone() {
            let directory = directory();
            let history = record(directory.path(), role, processes, seed, operations);
            assert_eq!(history.len() as u64, processes * operations);
            if let Err(reason) = check(FIRST, &history) {
                panic!("{role}, seed {seed}, {processes} processes, {operations} operations each: {reason}");
            }
            println!("{role}, seed {seed}: {}", concurrency(&history));
        }
    }
}

/// How much the processes got into each other's way, for those who read the test's output.
fn concurrency(history: &[Operation]) -> String {
    let versions = history.iter().map(|operation| operation.outcome.version()).max().unwrap_or(0);
    let mut in_order = history.to_vec();
    in_order.sort_by_key(|operation| operation.invoked_ns);
    let overlapping = in_order
        .windows(2)
        .filter(|pair| pair[0].process != pair[1].process && pair[1].invoked_ns < pair[0].responded_ns)
        .count();
    format!("{} operations, {versions} versions, {overlapping} overlapping pairs", history.len())
}

#[test]
fn short_histories_are_linearizable() {
    check_histories(4, 1..4, 60);
}

#[test]
fn long_histories_are_linearizable() {
    check_histories(4, 100..101, 3000);
}

fn operation(process: u32, invoked_ns: u64, responded_ns: u64, outcome: Outcome) -> Operation {
    Operation { process, invoked_ns, responded_ns, outcome }
}

#[test]
fn what_no_region_can_do_is_found() {
    let wrote = |version, value| Outcome::Wrote { version, value };
    let read = |version, value| Outcome::Read { version, value };
    let right = vec![
        operation(0, 10, 20, wrote(2, 7)),
        operation(1, 15, 40, Outcome::Updated { version: 3, before: 7, value: 8 }),
        operation(2, 30, 50, read(2, 7)),
        operation(2, 60, 70, Outcome::Set { version: 4, expected: 3, value: 9 }),
        operation(1, 65, 80, Outcome::Conflict { version: 4, expected: 3 }),
    ];
    assert_eq!(check(FIRST, &right), Ok(()));
    let wrong = [
        ("stale", operation(3, 90, 95, read(3, 8))),
        ("from the future", operation(3, 1, 5, read(2, 7))),
        ("never written", operation(3, 90, 95, read(5, 7))),
        ("another's value", operation(3, 90, 95, read(4, 7))),
        ("a lost update", operation(3, 90, 95, wrote(4, 11))),
        ("of the wrong value", operation(3, 90, 95, Outcome::Updated { version: 5, before: 8, value: 1 })),
        ("of another version", operation(3, 90, 95, Outcome::Set { version: 5, expected: 3, value: 1 })),
        ("without reason", operation(3, 90, 95, Outcome::Conflict { version: 4, expected: 4 })),
        ("before it was made", operation(3, 1, 5, wrote(5, 11))),
        ("below the first", operation(3, 1, 5, wrote(0, 11))),
    ];
    for (name, operation) in wrong {
        let mut history = right.clone();
        history.push(operation);
        assert!(check(FIRST, &history).is_err() && !is_linearizable(FIRST, &history), "{name}");
    }
    // Two readers that see the writes of others in two orders.
    let history = [
        operation(0, 10, 100, wrote(2, 7)),
        operation(1, 20, 30, read(2, 7)),
        operation(2, 40, 50, read(1, 0)),
    ];
    assert!(check(FIRST, &history).is_err());
}

/// A history that some order explains, unless something in it is then changed.
fn some_history(random: &mut Random) -> Vec<Operation> {
    let (mut version, mut value) = FIRST;
    let mut history = Vec::new();
    for number in 0..random.below(7) + 2 {
        let new = number + 100;
        let stale = version.saturating_sub(random.below(2));
        let outcome = match random.below(6) {
            0 | 1 => Outcome::Read { version, value },
            2 => Outcome::Wrote { version: version + 1, value: new },
            3 => Outcome::Updated { version: version + 1, before: value, value: new },
            _ if stale != version => Outcome::Conflict { version, expected: stale },
            _ => Outcome::Set { version: version + 1, expected: version, value: new },
        };
        (version, value) = (outcome.version(), outcome.made().unwrap_or(value));
        let instant = number * 10 + 50;
        let (before, after) = (random.below(25), random.below(25));
        history.push(operation(0, instant - before, instant + after, outcome));
    }
    for _ in 0..random.below(3) {
        let index = random.below(history.len() as u64) as usize;
        let other = history[random.below(history.len() as u64) as usize];
        match random.below(3) {
            0 => history[index].outcome = other.outcome,
            1 => {
                (history[index].invoked_ns, history[index].responded_ns) =
                    (other.invoked_ns, other.responded_ns)
            }
            _ => drop(history.swap_remove(index)),
        }
        if history.is_empty() {
            break;
        }
    }
    history
}

#[test]
fn the_quick_check_says_what_the_thorough_one_says() {
    let mut verdicts = [0, 0];
    for seed in 0..20_000 {
        let history = some_history(&mut Random::new(seed));
        let quick = check(FIRST, &history);
        assert_eq!(quick.is_ok(), is_linearizable(FIRST, &history), "seed {seed}: {quick:?} {history:#?}");
        verdicts[usize::from(quick.is_ok())] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 3000), "{verdicts:?} of each kind");
}
