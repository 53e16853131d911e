//! Processes that are killed at any point of what they do to a region: those who are left see whole values,
//! versions that never fall, every update that was committed, and a lock that is free at once.
//!
//! `ONECOPY_CHAOS_ROUNDS` is how many processes each test kills; without it, some dozens.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod regions_values;

use std::time::{Duration, Instant};

use common::{Child, LONG, Stage, directory, node_in};
use onecopy::region::{Region, RegionBuilder, RegionError};
use onecopy::{Node, Payload};
use regions_values::{Random, Tally, bytes_with, check_bytes, count, new_tally, total_of};

/// Counted in a tally, by the one who updates.
const PARENT: usize = 1;
const SURVIVOR: usize = 2;
const VICTIM: usize = 3;
/// Words of a tally that is copied out, and of one that is held.
const SMALL: usize = 8;
const LARGE: usize = 2000;
const BYTES_MAX: usize = 100_000;

#[test]
fn child() {
    common::play(|stage| match stage.role.as_str() {
        "update small" => update::<SMALL>(stage),
        "update large" => update::<LARGE>(stage),
        "survive small" => survive::<SMALL>(stage),
        "survive large" => survive::<LARGE>(stage),
        "write" => write(stage),
        "hold" => hold(stage),
        "grow" => grow(stage),
        "own small" => own::<SMALL>(stage),
        "own large" => own::<LARGE>(stage),
        "keep single" => keep(stage, false),
        "keep shared" => keep(stage, true),
        "broker" => broker(stage),
        role => panic!("no role {role}"),
    });
}

/// Rounds of killing: as many as the environment says, or as many as take half a minute, between ten and fifty.
fn rounds() -> impl Iterator<Item = u64> {
    let told = std::env::var("ONECOPY_CHAOS_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let begin = Instant::now();
    (0..told.unwrap_or(50))
        .take_while(move |round| *round < 10 || told.is_some() || begin.elapsed() < Duration::from_secs(30))
}

fn shared_tally<const WORDS: usize>(node: &Node) -> RegionBuilder<Tally<WORDS>> {
    node.region("tally").unwrap().shared().lock_timeout(LONG)
}

/// Two regions in turn, by two ways: whatever it is killed in, it is killed in the middle of something.
fn update<const WORDS: usize>(stage: &Stage) {
    let node = stage.node();
    let mut tally = shared_tally::<WORDS>(&node).open().unwrap();
    stage.say("ready");
    for round in 0_u64.. {
        match round % 4 {
            0 => tally.lock(LONG).unwrap().fill(7),
            1 => {
                let mut guard = tally.lock(LONG).unwrap();
                count(&mut guard, VICTIM);
                guard.commit().unwrap();
            }
            _ => {
                tally.update(|tally| count(tally, VICTIM)).unwrap();
            }
        }
    }
}

fn survive<const WORDS: usize>(stage: &Stage) {
    let node = stage.node();
    let tally = shared_tally::<WORDS>(&node).open().unwrap();
    stage.say("ready");
    while stage.hear().is_some() {
        tally.update(|tally| count(tally, SURVIVOR)).unwrap();
        stage.say("updated");
    }
}

/// Bytes of every length.
fn write(stage: &Stage) {
    let node = stage.node();
    let region = node.region_bytes("bytes").unwrap().shared().lock_timeout(LONG).open().unwrap();
    stage.say("ready");
    for number in 0.. {
        region.write(&bytes_with(number, number as usize * 7919 % BYTES_MAX)).unwrap();
    }
}

/// Has the lock and half a value when it is killed.
fn hold(stage: &Stage) {
    let node = stage.node();
    let mut region = node.region_bytes("bytes").unwrap().shared().lock_timeout(LONG).open().unwrap();
    stage.say("ready");
    while stage.hear().is_some() {
        let mut guard = region.lock(LONG).unwrap();
        guard.set_len(BYTES_MAX).unwrap();
        guard[..BYTES_MAX / 2].fill(0xee);
        stage.say("held");
        if stage.hear().is_some_and(|line| line == "commit") {
            guard.copy_from_slice(&bytes_with(1, BYTES_MAX));
            stage.say(&guard.commit().unwrap().to_string());
        }
    }
}

fn grow(stage: &Stage) {
    let node = stage.node();
    let region = node.region_bytes("growing").unwrap().shared().lock_timeout(LONG).open().unwrap();
    stage.say("ready");
    for number in 0.. {
        let capacity_bytes = region.capacity_bytes().unwrap() + 8;
        region.resize(capacity_bytes).unwrap();
        region.write(&bytes_with(number, capacity_bytes)).unwrap();
    }
}

fn single_tally<const WORDS: usize>(node: &Node) -> Region<Tally<WORDS>> {
    node.region("single").unwrap().open_or_create(&new_tally()).unwrap()
}

/// The one writer of a region, as soon as the last one is gone.
fn own<const WORDS: usize>(stage: &Stage) {
    let node = stage.node();
    let mut tally = single_tally::<WORDS>(&node);
    assert!(tally.is_writer(), "the last writer was killed");
    stage.say("ready");
    for round in 0_u64.. {
        if round % 3 == 0 {
            tally.lock(LONG).map(|mut guard| guard.fill(7)).unwrap();
        }
        tally.update(|tally| count(tally, VICTIM)).unwrap();
    }
}

fn kept_in_file(node: &Node, directory: &std::path::Path, shared: bool) -> Region<[u8]> {
    let builder = node.region_bytes("kept").unwrap().file(directory.join("file")).lock_timeout(LONG);
    let builder = if shared { builder.shared() } else { builder };
    builder.open_or_create(&bytes_with(0, 100)).unwrap()
}

/// Says each version once it is on the disk.
fn keep(stage: &Stage, shared: bool) {
    let node = stage.node();
    let region = kept_in_file(&node, &stage.directory, shared);
    assert!(region.is_writer());
    check_bytes(&region.read().unwrap());
    stage.say("ready");
    for number in 0.. {
        let version = region.write(&bytes_with(number, number as usize * 7919 % 20_000)).unwrap();
        stage.say(&version.to_string());
    }
}

/// The first node of the instance, which has a region and its lock.
fn broker(stage: &Stage) {
    let node = stage.node();
    assert!(node.is_broker());
    let mut region =
        node.region_bytes("bytes").unwrap().shared().open_or_create(&bytes_with(0, 1000)).unwrap();
    let single = node.region::<Tally<SMALL>>("single").unwrap().create(&new_tally()).unwrap();
    single.update(|tally| count(tally, VICTIM)).unwrap();
    let mut guard = region.lock(LONG).unwrap();
    guard.fill(0xee);
    stage.say("held");
    stage.stay();
}

/// What a process that goes on has seen of a region; versions that it sees don't fall.
#[derive(Default)]
struct Seen {
    version: u64,
}

impl Seen {
    fn version_of<P: Payload + ?Sized>(&mut self, region: &Region<P>, check: impl FnOnce(&P)) -> u64 {
        let value = region.read().unwrap();
        check(&value);
        assert!(value.version() >= self.version, "from {} back to {}", self.version, value.version());
        self.version = value.version();
        self.version
    }

    /// Looks at the region until it was written so many times.
    fn follow<P: Payload + ?Sized>(&mut self, region: &Region<P>, times: u64, check: impl Fn(&P)) {
        let end = self.version + times;
        while self.version_of(region, &check) < end {}
    }
}

fn updates_survive<const WORDS: usize>(size: &str) {
    let directory = directory();
    let node = node_in(directory.path());
    let tally = shared_tally::<WORDS>(&node).open_or_create(&new_tally()).unwrap();
    let mut survivor = Child::spawn(&format!("survive {size}"), directory.path());
    survivor.expect("ready");
    let (mut seen, mut random) = (Seen::default(), Random::from_environment());
    let check = |tally: &Tally<WORDS>| {
        total_of(tally);
    };
    for round in rounds() {
        // In every other round they wait for each other too.
        let mut victims: Vec<Child> = (0..round % 2 + 1)
            .map(|_| {
                let mut victim = Child::spawn(&format!("update {size}"), directory.path());
                victim.expect("ready");
                victim
            })
            .collect();
        seen.version_of(&tally, check);
        seen.follow(&tally, random.below(30), check);
        victims.iter_mut().for_each(Child::kill);
        let own = tally.update(|tally| count(tally, PARENT)).unwrap();
        survivor.tell("update");
        survivor.expect("updated");
        assert!(seen.version_of(&tally, check) == own + 1, "round {round}: the dead wrote on");
        let value = tally.read().unwrap();
        assert_eq!(total_of(&value), value.version() - 1, "round {round}: each version is one update");
        assert_eq!((value[PARENT], value[SURVIVOR]), (round + 1, round + 1));
    }
}

#[test]
fn no_update_of_a_small_value_is_lost() {
    updates_survive::<SMALL>("small");
}

#[test]
fn no_update_of_a_large_value_is_lost() {
    updates_survive::<LARGE>("large");
}

#[test]
fn bytes_of_any_length_stay_whole() {
    let directory = directory();
    let node = node_in(directory.path());
    let builder = node.region_bytes("bytes").unwrap().shared().capacity(BYTES_MAX).lock_timeout(LONG);
    let mut region = builder.open_or_create(&bytes_with(0, 40)).unwrap();
    let (mut seen, mut random) = (Seen::default(), Random::from_environment());
    for _ in rounds() {
        let mut victim = Child::spawn("write", directory.path());
        victim.expect("ready");
        let held = region.read().unwrap();
        seen.version_of(&region, check_bytes);
        seen.follow(&region, random.below(20), check_bytes);
        victim.kill();
        check_bytes(&held);
        drop(held);
        seen.version_of(&region, check_bytes);
        let guard = region.lock(LONG).unwrap();
        check_bytes(&guard);
        drop(guard);
        assert!(!region.lock(LONG).unwrap().was_abandoned(), "told once");
    }
}

#[test]
fn the_lock_of_a_killed_holder_goes_to_the_next_who_is_told() {
    let directory = directory();
    let node = node_in(directory.path());
    let builder = node.region_bytes("bytes").unwrap().shared().capacity(BYTES_MAX);
    let mut region = builder.open_or_create(&bytes_with(0, 40)).unwrap();
    for round in rounds() {
        let mut victim = Child::spawn("hold", directory.path());
        victim.expect("ready");
        victim.tell("hold");
        victim.expect("held");
        let before = region.version().unwrap();
        if round % 2 == 0 {
            victim.kill();
            let guard = region.lock(LONG).unwrap();
            assert!(guard.was_abandoned() && guard.version() == before);
            check_bytes(&guard);
        } else {
            // Somebody who is asleep on it already, most of the time.
            let (about_to, wait) = std::sync::mpsc::channel();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let node = node_in(directory.path());
                    let mut region = node.region_bytes("bytes").unwrap().shared().open().unwrap();
                    about_to.send(()).unwrap();
                    let guard = region.lock(LONG).unwrap();
                    assert!(guard.was_abandoned() && guard.version() == before);
                    check_bytes(&guard);
                });
                wait.recv().unwrap();
                victim.kill();
            });
        }
        let mut guard = region.lock(LONG).unwrap();
        assert!(!guard.was_abandoned(), "told once");
        guard.copy_from_slice(&bytes_with(round, 40));
        assert_eq!(guard.commit().unwrap(), before + 1);
    }
}

#[test]
fn a_region_whose_grower_is_killed_goes_on_for_all() {
    let directory = directory();
    let (node, other) = (node_in(directory.path()), node_in(directory.path()));
    let builder =
        |node: &Node| node.region_bytes("growing").unwrap().shared().capacity(64).lock_timeout(LONG);
    let region = builder(&node).open_or_create(&bytes_with(0, 64)).unwrap();
    let view = builder(&other).open().unwrap();
    let (mut seen, mut viewed, mut random) = (Seen::default(), Seen::default(), Random::from_environment());
    for round in rounds() {
        let mut victim = Child::spawn("grow", directory.path());
        victim.expect("ready");
        seen.version_of(&region, check_bytes);
        seen.follow(&region, random.below(12), check_bytes);
        viewed.version_of(&view, check_bytes);
        victim.kill();
        // Alternately: whoever comes first may have to finish what the dead had begun.
        let (first, second) = if round % 2 == 0 { (&region, &view) } else { (&view, &region) };
        let version = first.write(&bytes_with(round, 50)).unwrap();
        while second.version().unwrap() < version {
            drop(second.wait_for_change(version - 1, LONG).unwrap());
        }
        let later = second.write(&bytes_with(round, 60)).unwrap();
        assert!(later > version, "{later} after {version}");
        seen.version_of(&region, check_bytes);
        viewed.version_of(&view, check_bytes);
        assert_eq!(first.capacity_bytes().unwrap(), second.capacity_bytes().unwrap());
    }
}

fn heirs_go_on<const WORDS: usize>(size: &str) {
    let directory = directory();
    let node = node_in(directory.path());
    drop(single_tally::<WORDS>(&node));
    let mut view: Option<Region<Tally<WORDS>>> = None;
    let (mut seen, mut random, mut total) = (Seen::default(), Random::from_environment(), 0);
    for _ in rounds() {
        let mut victim = Child::spawn(&format!("own {size}"), directory.path());
        victim.expect("ready");
        let view = view.get_or_insert_with(|| node.region("single").unwrap().open().unwrap());
        let totals = |tally: &Tally<WORDS>| {
            total_of(tally);
        };
        seen.version_of(view, totals);
        seen.follow(view, random.below(40), totals);
        victim.kill();
        seen.version_of(view, |tally| {
            assert!(total_of(tally) >= total, "what was committed stays");
            total = total_of(tally);
        });
    }
}

#[test]
fn a_small_value_goes_from_writer_to_writer() {
    heirs_go_on::<SMALL>("small");
}

#[test]
fn a_large_value_goes_from_writer_to_writer() {
    heirs_go_on::<LARGE>("large");
}

/// The region has an end in each round, so that the next one begins with the file.
fn files_stay_whole(mode: &str) {
    let directory = directory();
    let node = node_in(directory.path());
    let (mut random, mut said) = (Random::from_environment(), 0);
    for round in rounds() {
        let mut victim = Child::spawn(&format!("keep {mode}"), directory.path());
        victim.expect("ready");
        for _ in 0..random.below(10) {
            said = victim.line().parse().unwrap();
        }
        victim.kill();
        // Said, but not heard before it was killed.
        said = std::iter::from_fn(|| victim.try_line()).last().map_or(said, |line| line.parse().unwrap());
        let region = kept_in_file(&node, directory.path(), mode == "shared");
        let value = region.read().unwrap();
        check_bytes(&value);
        assert!(value.version() >= said, "round {round}: {said} was on the disk, {} is", value.version());
        said = value.version();
    }
    let left = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 3, "the socket and its lock, and the file: nothing of the dead");
}

#[test]
fn the_file_of_a_single_writer_stays_whole() {
    files_stay_whole("single");
}

#[test]
fn the_file_of_several_writers_stays_whole() {
    files_stay_whole("shared");
}

#[test]
fn a_holder_that_is_slow_is_named_and_goes_on() {
    let directory = directory();
    let node = node_in(directory.path());
    let builder = node.region_bytes("bytes").unwrap().shared().capacity(BYTES_MAX);
    let mut region = builder.lock_timeout(common::SHORT).open_or_create(&bytes_with(0, 40)).unwrap();
    let mut holder = Child::spawn("hold", directory.path());
    holder.expect("ready");
    for _ in 0..3 {
        holder.tell("hold");
        holder.expect("held");
        holder.stop();
        let version = region.version().unwrap();
        check_bytes(&region.read().unwrap());
        let errors = [
            region.lock(common::SHORT).map(drop).unwrap_err(),
            region.write(b"x").unwrap_err(),
            region.compare_and_set(version, b"x").unwrap_err(),
            region.resize(BYTES_MAX * 2).unwrap_err(),
        ];
        for error in errors {
            let pid = holder.pid();
            let names_it = matches!(error, RegionError::Locked { pid: named } if named == pid);
            assert!(names_it && error.to_string().contains(&pid.to_string()), "{error}");
        }
        check_bytes(&region.read().unwrap());
        holder.go_on();
        holder.tell("commit");
        holder.expect(&(version + 1).to_string());
        let guard = region.lock(LONG).unwrap();
        assert!(!guard.was_abandoned() && guard.version() == version + 1);
        assert_eq!(*guard, *bytes_with(1, BYTES_MAX));
    }
}

#[test]
fn a_killed_broker_takes_its_lock_along_and_nothing_else() {
    for _ in rounds().take(10) {
        let directory = directory();
        let mut broker = Child::spawn("broker", directory.path());
        broker.expect("held");
        let (node, other) = (node_in(directory.path()), node_in(directory.path()));
        let open =
            |node: &Node| node.region_bytes("bytes").unwrap().shared().lock_timeout(LONG).open().unwrap();
        let (mut region, view) = (open(&node), open(&other));
        let single = other.region::<Tally<SMALL>>("single").unwrap().open().unwrap();
        broker.kill();
        assert_eq!(*region.read().unwrap(), *bytes_with(0, 1000));
        let mut guard = region.lock(LONG).unwrap();
        assert!(guard.was_abandoned() && guard.version() == 1);
        guard.copy_from_slice(&bytes_with(1, 1000));
        assert_eq!(guard.commit().unwrap(), 2);
        assert_eq!(*view.wait_for_change(1, LONG).unwrap(), *bytes_with(1, 1000));
        assert_eq!(view.write(&bytes_with(2, 500)).unwrap(), 3);
        assert_eq!(*region.wait_for_change(2, LONG).unwrap(), *bytes_with(2, 500));
        assert_eq!(total_of(&single.read().unwrap()), 1);
        // Whoever is the broker now tells the others of larger memory.
        region.resize(2 * BYTES_MAX).unwrap();
        let version = region.write(&bytes_with(3, 500)).unwrap();
        // Its lock leads there, whether the news have come or not.
        assert_eq!(view.write(&bytes_with(4, 500)).unwrap(), version + 1);
        assert_eq!(*region.wait_for_change(version, LONG).unwrap(), *bytes_with(4, 500));
        assert!(!region.lock(LONG).unwrap().was_abandoned());
    }
}
