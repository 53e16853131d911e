//! A region with several writers, over real segments: the lock, the seats, and what a death or a scribbler does.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::layout::{HELD_PER_SEAT, REGION_HEADER_OFFSET, SegmentKind};
use onecopy_memory::region::{
    CompareError, LockError, OpenError, ReadError, RegionFault, RegionGeometry, RegionWriter, Seat,
    SharedRegion, WriteError,
};
use onecopy_memory::segment::{SegmentError, View};
use onecopy_memory::sync::full_barrier;
use onecopy_memory::wait;
use proptest::prelude::*;

const LOCK: usize = REGION_HEADER_OFFSET + 256;

fn seat(line: u32) -> Seat {
    Seat::new(line, 0).expect("a line that exists")
}

fn create(capacity_bytes: usize, value: &[u8]) -> SharedRegion {
    let geometry = RegionGeometry::new(capacity_bytes, 8).expect("possible sizes");
    SharedRegion::create(geometry, 0, 1, value, seat(1)).expect("memory for a region")
}

#[test]
fn all_who_take_part_find_what_the_maker_noted() {
    let geometry = RegionGeometry::new(100, 1).expect("possible sizes");
    let first = SharedRegion::create_with_note(geometry, 0, (1, b"value"), seat(1), b"a note");
    let first = first.expect("memory for a region");
    let second = join(&first, 2);
    second.write(&[7; 100], None).expect("nobody has the lock");
    assert_eq!((first.note(), second.note()), (b"a note".to_vec(), b"a note".to_vec()));
    assert!(create(100, b"value").note().is_empty());
}

fn descriptor(region: &SharedRegion) -> OwnedFd {
    region.descriptor().try_clone_to_owned().expect("a descriptor")
}

fn join(region: &SharedRegion, line: u32) -> SharedRegion {
    SharedRegion::open(descriptor(region), seat(line)).expect("an honest region")
}

fn read(region: &SharedRegion) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; region.geometry().capacity_bytes()];
    let value = region.read(&mut bytes).expect("nobody scribbles");
    bytes.truncate(value.length);
    (value.version, bytes)
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_millis(1))
}

/// The process on `region`'s seat dies with the lock.
fn die_locked(region: &SharedRegion) {
    let mut guard = region.lock(None).expect("nobody scribbles");
    guard.draft().expect("room").fill(0xee);
    std::mem::forget(guard);
}

#[test]
fn everyone_writes_and_everyone_reads() {
    for capacity_bytes in [48, 1 << 20] {
        let first = create(capacity_bytes, b"first");
        let second = join(&first, 2);
        assert_eq!(read(&second), (1, b"first".to_vec()));
        assert_eq!(second.write(b"second", None), Ok(2));
        assert_eq!(read(&first), (2, b"second".to_vec()));
        let mut guard = first.lock(None).expect("nobody scribbles");
        assert_eq!((guard.version(), guard.length(), guard.was_abandoned()), (2, 6, false));
        assert_eq!(&guard.draft().expect("room")[..6], b"second");
        guard.draft().expect("room")[..5].copy_from_slice(b"third");
        assert_eq!(read(&second), (2, b"second".to_vec()));
        assert_eq!(guard.commit(5), Ok(3));
        assert_eq!(read(&second), (3, b"third".to_vec()));
        second.lock(None).expect("it was let go").draft().expect("room").fill(0xee);
        assert_eq!(read(&first), (3, b"third".to_vec()));
        let too_large = first.write(&vec![0; capacity_bytes + 1], None);
        assert!(matches!(too_large, Err(WriteError::TooLarge { .. })));
        assert_eq!(first.write(b"fourth", None), Ok(4));
    }
}

#[test]
fn only_the_expected_version_is_replaced() {
    let (first, ours) = (create(8, b"a"), 1);
    assert_eq!(first.compare_and_set(ours, b"b", None), Ok(2));
    let conflict = CompareError::Conflict { current: 2 };
    assert_eq!(first.compare_and_set(ours, b"c", None), Err(conflict));
    // One that nobody has written yet is no more expected than one that is gone.
    assert_eq!(first.compare_and_set(3, b"c", None), Err(conflict));
    assert_eq!(first.compare_and_set(u64::MAX, b"c", None), Err(conflict));
    assert_eq!(read(&first), (2, b"b".to_vec()));
}

#[test]
fn contention_loses_no_update() {
    const ROUNDS: u64 = 2_000;
    for capacity_bytes in [8, 4096] {
        let first = create(capacity_bytes, &0_u64.to_ne_bytes());
        std::thread::scope(|scope| {
            for line in 2..10 {
                // Two threads on each seat, too.
                let region = Arc::new(join(&first, line));
                for _ in 0..2 {
                    let region = Arc::clone(&region);
                    scope.spawn(move || {
                        for _ in 0..ROUNDS {
                            let mut guard = region.lock(None).expect("nobody scribbles");
                            let (number, _) =
                                guard.draft().expect("room").split_first_chunk_mut().expect("a number");
                            *number = (u64::from_ne_bytes(*number) + 1).to_ne_bytes();
                            guard.commit(8).expect("it fits");
                        }
                    });
                }
            }
        });
        assert_eq!(read(&first), (16 * ROUNDS + 1, (16 * ROUNDS).to_ne_bytes().to_vec()));
    }
}

#[test]
fn a_holder_that_is_slow_is_named() {
    let first = create(8, b"a");
    let second = join(&first, 2);
    let guard = second.lock(None).expect("nobody scribbles");
    let late = first.lock(soon()).map(drop);
    assert_eq!(late, Err(LockError::Timeout { holder: Some(seat(2)) }));
    assert!(matches!(first.write(b"b", soon()), Err(WriteError::Lock(LockError::Timeout { .. }))));
    drop(guard);
    first.write(b"b", None).expect("it was let go");
}

#[test]
fn a_dead_holder_leaves_the_value_and_the_next_is_told() {
    for capacity_bytes in [48, 4096] {
        let first = create(capacity_bytes, b"whole");
        let (dead, waiting) = (join(&first, 2), join(&first, 3));
        die_locked(&dead);
        let waiter = std::thread::spawn(move || {
            let mut guard = waiting.lock(None).expect("nobody scribbles");
            assert!(guard.was_abandoned());
            assert_eq!(&guard.draft().expect("room")[..5], b"whole");
            drop(guard);
            waiting
        });
        first.seat_gone(dead.seat());
        // A second survivor says it too.
        first.seat_gone(dead.seat());
        let waiting = waiter.join().expect("it got the lock");
        assert!(!waiting.lock(None).expect("nobody scribbles").was_abandoned());
        assert_eq!(read(&first), (1, b"whole".to_vec()));
    }
}

#[test]
fn late_news_of_a_death_do_not_hit_the_successor() {
    let first = create(4096, b"value");
    let dead = join(&first, 2);
    die_locked(&dead);
    let gone = dead.seat();
    std::mem::forget(dead);
    first.seat_gone(gone);
    let again = Seat::new(2, 1).expect("the same line");
    let successor = SharedRegion::open(descriptor(&first), again).expect("an honest region");
    let held = successor.hold().expect("room");
    let guard = successor.lock(None).expect("it was taken from the dead");
    first.seat_gone(gone);
    assert_eq!(first.lock(soon()).map(drop), Err(LockError::Timeout { holder: Some(again) }));
    drop(guard);
    for round in 0..100 {
        first.write(&[round; 5], None).expect("room");
    }
    assert_eq!(held.bytes(), b"value");
}

#[test]
fn whoever_comes_after_everybody_died_finds_out() {
    let first = create(8, b"value");
    let memory = descriptor(&first);
    die_locked(&first);
    let other = join(&first, 2);
    std::mem::forget((first, other));
    let alone = SharedRegion::open(memory, seat(3)).expect("an honest region");
    assert_eq!(alone.seated(), [seat(1), seat(2), seat(3)]);
    alone.seat_gone(seat(1));
    assert!(alone.lock(None).expect("nobody scribbles").was_abandoned());
    // On a line that is given again, the predecessor is gone without being told.
    let again = Seat::new(2, 1).expect("the same line");
    let _again = SharedRegion::open(descriptor(&alone), again).expect("an honest region");
    assert_eq!(alone.seated(), [again, seat(3)]);
}

#[test]
fn a_seat_has_one_occupant() {
    let first = create(8, b"value");
    let taken = SharedRegion::open(descriptor(&first), seat(1)).expect_err("the creator sits there");
    assert!(matches!(taken, OpenError::SeatTaken { .. }));
    drop(join(&first, 2));
    let _again = join(&first, 2);
}

#[test]
fn held_values_stay_and_are_counted() {
    let first = create(4096, b"first");
    let second = join(&first, 2);
    let held: Vec<_> = (0..HELD_PER_SEAT).map(|_| second.hold().expect("room")).collect();
    assert!(matches!(second.hold(), Err(ReadError::SeatFull)));
    for round in 0..100 {
        first.write(&[round; 5], None).expect("room");
        second.write(&[round; 5], None).expect("room");
    }
    assert!(held.iter().all(|held| held.bytes() == b"first"));
    drop(second);
    // The seat stays as long as something is held.
    first.write(b"later", None).expect("room");
    assert!(held.iter().all(|held| held.bytes() == b"first" && held.version() == 1));
    drop(held);
    assert_eq!(first.seated(), [seat(1)]);
    let small = create(8, b"value");
    assert!(matches!(small.hold(), Err(ReadError::Small)));
}

#[test]
fn a_writer_finds_no_copy_when_all_are_held() {
    let first = create(4096, b"first");
    let others = [2, 3, 4].map(|line| join(&first, line));
    let mut held = Vec::new();
    let refused = loop {
        held.push(others[held.len() % 3].hold().expect("three seats hold more than all copies"));
        if let Err(refused) = first.write(b"next", None) {
            break refused;
        }
    };
    assert_eq!(refused, WriteError::AllHeld);
    // The guard was let go all the same.
    held.pop();
    held.pop();
    first.write(b"next", None).expect("a copy was let go");
}

#[test]
fn the_two_modes_do_not_mix() {
    let shared = create(8, b"value");
    let view = View::open(descriptor(&shared), SegmentKind::Region).expect_err("others may write it");
    assert!(matches!(view, SegmentError::NotSealed));
    let geometry = RegionGeometry::new(8, 8).expect("possible sizes");
    let single = RegionWriter::create(geometry, 0, 1, b"value").expect("memory for a region");
    let memory = single.descriptor().try_clone_to_owned().expect("a descriptor");
    SharedRegion::open(memory, seat(2)).expect_err("only its owner may write it");
}

#[test]
fn a_watcher_wakes_when_the_version_moves() {
    let first = create(8, &[]);
    let watcher = join(&first, 2);
    let watching = std::thread::spawn(move || {
        while watcher.version() < 2 {
            let value = watcher.prepare_sleep();
            full_barrier();
            if watcher.version() < 2 {
                wait::wait(watcher.wake_word(), value, None);
            }
        }
    });
    first.write(&[1], None).expect("it fits");
    watching.join().expect("it wakes");
}

#[test]
fn a_lock_that_names_nobody_is_a_fault_or_taken() {
    let first = create(8, b"value");
    let scribble = |word: u32| {
        rustix::io::pwrite(first.descriptor().as_fd(), &word.to_ne_bytes(), LOCK as u64).expect("a memfd");
    };
    for word in [1 << 10, 5 << 28, 0x7fff_fc00] {
        scribble(word);
        let fault = first.lock(soon()).map(drop);
        assert_eq!(fault, Err(LockError::Fault(RegionFault::CorruptLock { word })));
    }
    // A seat where nobody sits can only have had it.
    scribble(seat(9).to_bits());
    assert!(first.lock(None).expect("nobody has it").was_abandoned());
}

/// Words as they stand in a region: small ones, marked ones, huge ones.
fn word() -> impl Strategy<Value = u64> {
    let marked = |number: u64| prop_oneof![Just(number), Just(number | 1 << 63), Just(number << 4 | 3)];
    prop_oneof![
        (0..64_u64).prop_flat_map(marked),
        any::<u64>(),
        Just(u64::MAX),
        (0..64_u64).prop_map(|n| u64::MAX - n)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever is scribbled over a region in use, everyone gets an answer before the deadline.
    #[test]
    fn scribbles_cost_the_region_and_nothing_else(
        small in any::<bool>(),
        scribbles in prop::collection::vec((0_usize..192, word(), 0..4_u8), 1..40),
    ) {
        let capacity_bytes = if small { 64 } else { 4096 };
        let first = create(capacity_bytes, b"value");
        let second = join(&first, 2);
        let copies = 1024 + 65_536;
        for (place, word, step) in scribbles {
            // Header, the first seats, the first copies.
            let offset = match place {
                0..64 => REGION_HEADER_OFFSET + place * 8,
                64..128 => 1024 + (place - 64) * 8,
                _ => copies + (place - 128) * 8,
            };
            rustix::io::pwrite(first.descriptor().as_fd(), &word.to_ne_bytes(), offset as u64).expect("a memfd");
            let mut bytes = [0; 128];
            let deadline = Some(Instant::now());
            match step {
                0 => drop(second.read(&mut bytes).map(|value| assert!(value.length <= capacity_bytes))),
                1 => drop(second.hold().map(|held| held.bytes().to_vec())),
                2 => drop(first.write(&word.to_ne_bytes(), deadline)),
                _ => drop(first.lock(deadline).map(|mut guard| {
                    let _ = guard.draft().map(|draft| draft.fill(1));
                    guard.commit(3)
                })),
            }
            second.seat_gone(Seat::new(3, 0).expect("a line that exists"));
            let _ = (second.seated(), second.version(), second.prepare_sleep());
        }
    }
}
