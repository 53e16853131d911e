//! A process that takes part in a shared region and scribbles over its memory costs the others that region:
//! they get errors, or values that make no sense, but they end no call with a panic, a crash or a hang. Of a
//! region with a single writer nobody else can write a byte.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;
mod regions_values;

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use common::{Child, LONG, SHORT, Stage, directory, node_in};
use onecopy::Node;
use onecopy::region::{Region, RegionError};
use onecopy_memory::layout::SegmentKind;
use onecopy_memory::segment::{SegmentError, SharedSegment, View};
use regions_values::Random;
use rustix::fs::{Mode, OFlags, SealFlags};
use rustix::io::Errno;

const CALLS: u64 = 1500;
const TIMEOUT: Duration = Duration::from_millis(2);
/// Where a segment's own header ends, and the region's part of the first page: geometry, current copy, lock,
/// watchers, and the first seats.
const REGION_BEGIN: u64 = 512;
const REGION_END: u64 = 4096;

#[test]
fn child() {
    common::play(|stage| {
        let (role, seed) = stage.role.split_once(' ').unwrap();
        let random = Random::new(seed.parse().unwrap());
        match role {
            "scribble" => scribble(stage, random),
            "suffer" => suffer(stage, random),
            "own" => own(stage),
            role => panic!("no role {role}"),
        }
    });
}

fn small(node: &Node) -> Result<Region<[u64; 4]>, RegionError> {
    node.region("small").unwrap().shared().lock_timeout(TIMEOUT).open_or_create(&[0; 4])
}

fn large(node: &Node) -> Result<Region<[u8]>, RegionError> {
    node.region_bytes("large")
        .unwrap()
        .shared()
        .capacity(10_000)
        .lock_timeout(TIMEOUT)
        .open_or_create(b"large")
}

/// Shared memory that this process has open and that several may write: of shared regions, and nothing else.
fn writable_memory() -> Vec<OwnedFd> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let opened = entries.filter_map(|entry| {
        let path = entry.unwrap().path();
        let target = std::fs::read_link(&path).ok()?;
        if !target.to_string_lossy().starts_with("/memfd:onecopy") {
            return None;
        }
        rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
    });
    opened
        .filter(|memory| {
            !rustix::fs::fcntl_get_seals(memory)
                .unwrap()
                .intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
        })
        .collect()
}

/// A number that has a meaning somewhere, or none anywhere.
fn some_word(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => random.below(64),
        1 => u64::MAX - random.below(64),
        // A version with the number of a copy; a seat; a lock that somebody waits for.
        2 => (random.below(1000) << 4) | random.below(16),
        3 => [1 << 31, 1 << 30, (1 << 30) + 1, 1 << 63, 1 << 10 | 1][random.below(5) as usize],
        _ => random.below(u64::MAX),
    }
}

/// Takes part, and writes anything anywhere until it is killed.
fn scribble(stage: &Stage, mut random: Random) {
    let node = stage.node();
    let (small, large) = (small(&node).unwrap(), large(&node).unwrap());
    stage.say("ready");
    stage.hear().unwrap();
    loop {
        // It goes along when a region moves.
        let _ = (small.version(), large.version());
        let memory = writable_memory();
        assert!(memory.len() >= 2, "both regions are there to be written");
        for _ in 0..200 {
            let region = &memory[random.below(memory.len() as u64) as usize];
            let size = rustix::fs::fstat(region).unwrap().st_size as u64;
            let end = if random.below(4) == 0 { size } else { REGION_END.min(size) };
            let offset = REGION_BEGIN + random.below((end - REGION_BEGIN) / 4) * 4;
            let word = some_word(&mut random).to_ne_bytes();
            let length = if random.below(2) == 0 { 4 } else { 8 };
            // A word that crosses the end is written in part, or not.
            let _ = rustix::io::pwrite(region, &word[..length], offset);
        }
        std::thread::yield_now();
    }
}

/// Makes every call there is, again and again; says how many there were, and how many of them gave an error.
fn suffer(stage: &Stage, mut random: Random) {
    let node = stage.node();
    let (mut small_region, mut large_region) = (small(&node).unwrap(), large(&node).unwrap());
    stage.say("ready");
    stage.hear().unwrap();
    let mut errors = 0;
    for call in 0..CALLS {
        if call % 100 == 99 {
            // Coming to it anew may fail as well; then the old one is as good.
            (small_region, large_region) = match (small(&node), large(&node)) {
                (Ok(small), Ok(large)) => (small, large),
                _ => (small_region, large_region),
            };
        }
        let error = match random.below(2) {
            0 => call_small(&mut small_region, random.below(8)),
            _ => call_large(&mut large_region, random.below(9)),
        };
        if let Err(error) = error {
            assert!(!error.to_string().is_empty());
            errors += 1;
        }
    }
    stage.say(&format!("{CALLS} calls"));
    stage.say(&errors.to_string());
    stage.stay();
}

fn call_small(region: &mut Region<[u64; 4]>, choice: u64) -> Result<(), RegionError> {
    let version = region.version()?;
    match choice {
        0 => drop(region.read()?),
        1 => drop(region.get()?.to_vec()),
        2 => drop(region.write(&[version; 4])?.to_string()),
        3 => drop(region.update(|value| value[0] = value[0].wrapping_add(1))?.to_string()),
        4 => drop(region.compare_and_set(version, &[1; 4])?.to_string()),
        5 => {
            let mut guard = region.lock(TIMEOUT)?;
            guard[0] = 5;
            guard.commit()?;
        }
        6 => drop(region.lock(TIMEOUT)?),
        _ => drop(region.wait_for_change(version, TIMEOUT)?),
    }
    Ok(())
}

fn call_large(region: &mut Region<[u8]>, choice: u64) -> Result<(), RegionError> {
    let version = region.version()?;
    match choice {
        0 => {
            let value = region.read()?;
            assert!(value.len() <= region.capacity_bytes()?);
            // Every byte of it can be looked at.
            std::hint::black_box(value.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        }
        1 => drop(region.write(&vec![1; region.capacity_bytes()?])?.to_string()),
        2 => drop(region.write_text("text")?.to_string()),
        3 => drop(region.compare_and_set(version, b"set")?.to_string()),
        4 => {
            let mut guard = region.lock(TIMEOUT)?;
            guard.fill(3);
            guard.set_len(10_000)?;
            guard.fill(4);
            guard.commit()?;
        }
        5 => drop(region.lock(TIMEOUT)?),
        6 => drop(region.wait_for_change(version, TIMEOUT)?),
        7 => {
            let mut watch = region.watch()?;
            watch.readiness()?;
            drop((watch.receive()?, watch.wait(TIMEOUT)?));
        }
        _ => region.resize(region.capacity_bytes()? + 64)?,
    }
    Ok(())
}

#[test]
fn a_scribbling_participant_costs_errors_only() {
    let mut errors = 0;
    for seed in 1..=6 {
        let directory = directory();
        let _broker = node_in(directory.path());
        let mut victims: Vec<Child> = (0..2)
            .map(|victim| Child::spawn(&format!("suffer {}", seed * 2 + victim), directory.path()))
            .collect();
        victims.iter_mut().for_each(|victim| victim.expect("ready"));
        let mut hostile = Child::spawn(&format!("scribble {seed}"), directory.path());
        hostile.expect("ready");
        hostile.tell("go");
        victims.iter_mut().for_each(|victim| victim.tell("go"));
        // Together, so that one that hangs can be told from one that waits for the other.
        let errors_now: u64 = std::thread::scope(|scope| {
            let (done, wait) = std::sync::mpsc::channel();
            for victim in &mut victims {
                let done = done.clone();
                scope.spawn(move || {
                    victim.expect(&format!("{CALLS} calls"));
                    done.send(victim.line().parse::<u64>().unwrap()).unwrap();
                });
            }
            let all: Result<Vec<u64>, _> = (0..2).map(|_| wait.recv_timeout(LONG)).collect();
            // What is left of them ends with the scope only when they end.
            all.unwrap_or_else(|_| {
                eprintln!("seed {seed}: a call hangs");
                std::process::abort()
            })
            .iter()
            .sum()
        });
        println!("seed {seed}: {errors_now} errors of {} calls", CALLS * 2);
        errors += errors_now;
        for victim in victims {
            assert!(victim.end().success());
        }
    }
    assert!(errors > 100, "the scribbling is noticed: {errors}");
}

fn own(stage: &Stage) {
    let node = stage.node();
    let small = node.region::<[u64; 4]>("mine").unwrap().create(&[1; 4]).unwrap();
    let large = node.region_bytes("mine too").unwrap().create(&[1; 5000]).unwrap();
    stage.say("ready");
    stage.stay();
    drop((small, large));
}

/// Every shared memory that a process has open, opened again by us, for writing if `flags` say so.
fn memory_of(process: u32, flags: OFlags) -> Vec<Result<OwnedFd, Errno>> {
    let entries = std::fs::read_dir(PathBuf::from(format!("/proc/{process}/fd"))).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| {
        std::fs::read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:onecopy"))
    });
    paths.map(|path| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())).collect()
}

#[test]
fn nobody_but_its_writer_can_write_a_region_with_a_single_writer() {
    let directory = directory();
    let mut owner = Child::spawn("own 0", directory.path());
    owner.expect("ready");
    let node = node_in(directory.path());
    let small = node.region::<[u64; 4]>("mine").unwrap().open().unwrap();
    let large = node.region_bytes("mine too").unwrap().open().unwrap();
    assert!(matches!(small.write(&[2; 4]), Err(RegionError::ReadOnly { pid, .. }) if pid == owner.pid()));

    // More than one descriptor each, since the owner's process also runs the broker.
    let regions: BTreeSet<u64> = memory_of(owner.pid(), OFlags::RDONLY)
        .into_iter()
        .map(Result::unwrap)
        .filter(|memory| View::open(memory.try_clone().unwrap(), SegmentKind::Region).is_ok())
        .map(|memory| rustix::fs::fstat(memory).unwrap().st_ino)
        .collect();
    assert_eq!(regions.len(), 2, "the owner has two regions");
    for memory in memory_of(owner.pid(), OFlags::RDWR) {
        // A kernel that refuses the opening itself is as good.
        let Ok(memory) = memory else { continue };
        assert_eq!(rustix::io::pwrite(&memory, &[9; 8], REGION_BEGIN + 128), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memory, 0), Err(Errno::PERM));
        let mapped = SharedSegment::open(memory, SegmentKind::Region);
        assert!(
            matches!(mapped, Err(SegmentError::System { call: "mmap", .. } | SegmentError::Kind { .. })),
            "{mapped:?}"
        );
    }
    // What we have ourselves of the regions is mapped for reading only, and can't be made more.
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ours = 0;
    let mut is_one = false;
    for line in maps.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [_, permissions, _, _, inode, ..] = fields[..]
            && line.contains("/memfd:onecopy")
        {
            is_one = regions.contains(&inode.parse().unwrap());
            if is_one {
                ours += 1;
                assert_eq!(permissions, "r--s", "{line}");
            }
        } else if let Some(flags) = line.strip_prefix("VmFlags:") {
            let may_write = flags.split_whitespace().any(|flag| flag == "mw");
            assert!(!(is_one && may_write), "mprotect could make it writable");
            is_one = false;
        }
    }
    assert_eq!(ours, 2, "both regions are mapped here");
    assert_eq!((small.get().unwrap(), large.read().unwrap().len()), ([1; 4], 5000));
    assert!(matches!(small.wait_for_change(1, SHORT), Err(RegionError::Timeout)));
}
