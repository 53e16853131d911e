//! Models of a shared region: one writer at a time, nobody waits for the dead, no wake-up lost with them.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::thread;
use onecopy_memory::region::{RegionGeometry, SharedRegion};
use onecopy_memory::sync::full_barrier;

fn small() -> RegionGeometry {
    RegionGeometry::new(16, 8).expect("possible sizes")
}

fn large() -> RegionGeometry {
    RegionGeometry::new(4096, 8).expect("possible sizes")
}

/// A region with three seats taken.
fn seats() -> [SharedRegion; 3] {
    let first = SharedRegion::heap(small(), &model::value(1));
    let (second, third) = (first.join_for_model(2), first.join_for_model(3));
    [first, second, third]
}

/// Adds one to the version, in the value as well.
fn increment(region: &SharedRegion) {
    let mut guard = region.lock(None).expect("nobody scribbles");
    let next = guard.version() + 1;
    guard.draft().expect("small values are not held").copy_from_slice(&model::value(next));
    assert_eq!(guard.commit(16), Ok(next));
}

fn expect_version(region: &SharedRegion, version: u64) {
    let mut bytes = [0; 16];
    let value = region.read(&mut bytes).expect("nobody scribbles");
    assert_eq!((value.version, bytes), (version, model::value(version)));
}

#[test]
fn three_lockers() {
    model::check(3, || {
        let [first, second, third] = seats();
        let others = [second, third].map(|other| thread::spawn(move || (increment(&other), other)));
        increment(&first);
        let _seats = others.map(|other| other.join().expect("a locker ends"));
        expect_version(&first, 4);
    });
}

#[test]
fn lockers_that_come_again() {
    model::check(3, || {
        let [first, second, _third] = seats();
        let other = thread::spawn(move || {
            increment(&second);
            increment(&second);
            second
        });
        increment(&first);
        increment(&first);
        let _second = other.join().expect("a locker ends");
        expect_version(&first, 5);
    });
}

/// Two survivors learn of the death, while both want the lock.
#[test]
fn a_holder_that_dies() {
    model::check(3, || {
        let [first, second, third] = seats();
        let dying = thread::spawn(move || {
            let mut guard = third.lock(None).expect("nobody scribbles");
            guard.draft().expect("small values are not held").fill(0xee);
            std::mem::forget(guard);
            third
        });
        let dead = dying.join().expect("it dies quietly");
        let seat = dead.seat();
        let survivor = thread::spawn(move || {
            second.seat_gone(seat);
            increment(&second);
            second
        });
        increment_abandoned(&first, seat);
        let _second = survivor.join().expect("a survivor ends");
        expect_version(&first, 3);
        let _dead = dead;
    });
}

fn increment_abandoned(region: &SharedRegion, dead: onecopy_memory::region::Seat) {
    region.seat_gone(dead);
    increment(region);
}

/// It is asleep already when the holder dies, and only the other survivor gets the news.
#[test]
fn a_locker_that_sleeps_when_the_holder_dies() {
    model::check(3, || {
        let [first, second, third] = seats();
        std::mem::forget(third.lock(None).expect("nobody scribbles"));
        let locker = thread::spawn(move || {
            let guard = second.lock(None).expect("nobody scribbles");
            assert!(guard.was_abandoned());
            drop(guard);
            second
        });
        first.seat_gone(third.seat());
        let _second = locker.join().expect("the locker gets it");
        let _third = third;
    });
}

/// The lock is free, but the one that let it go died before it woke the next.
#[test]
fn an_unlocker_that_dies_before_it_wakes_anybody() {
    model::check(3, || {
        let [first, second, third] = seats();
        let locker = {
            let guard = third.lock(None).expect("nobody scribbles");
            let locker = thread::spawn(move || {
                increment(&second);
                second
            });
            guard.die_unlocking_for_model();
            locker
        };
        first.seat_gone(third.seat());
        let _second = locker.join().expect("the locker gets it");
        let _third = third;
    });
}

/// The holder wakes one of two sleepers; that one dies before it does anything.
#[test]
fn a_locker_that_dies_when_it_is_woken() {
    model::check(3, || {
        let [first, second, third] = seats();
        let guard = first.lock(None).expect("nobody scribbles");
        let dying = thread::spawn(move || {
            third.die_waiting_for_model();
            third
        });
        let locker = thread::spawn(move || {
            increment(&second);
            second
        });
        drop(guard);
        let dead = dying.join().expect("it dies quietly");
        first.seat_gone(dead.seat());
        let _second = locker.join().expect("the locker gets it");
        let _dead = dead;
    });
}

/// The others stand back from a free lock for somebody who is dead.
#[test]
fn a_starving_locker_that_dies() {
    model::check(3, || {
        let [first, second, third] = seats();
        third.die_starving_for_model();
        let locker = thread::spawn(move || {
            increment(&second);
            second
        });
        first.seat_gone(third.seat());
        let _second = locker.join().expect("the locker gets it");
        let _third = third;
    });
}

#[test]
fn a_copy_that_a_seat_holds_while_a_writer_looks_for_one() {
    model::check(3, || {
        let contents = model::Contents::new(1);
        let writer = SharedRegion::heap(large(), &[]);
        let reader = writer.join_for_model(2);
        let reading = {
            let contents = contents.clone();
            thread::spawn(move || {
                let (hold, version, copy) = reader.hold_for_model();
                contents.expect(copy, version);
                drop(hold);
                reader
            })
        };
        for version in 2..=3 {
            let guard = writer.lock(None).expect("nobody scribbles");
            let copy = guard.choose_for_model();
            contents.write(copy, version);
            guard.commit_for_model(copy);
        }
        let _reader = reading.join().expect("the reader ends");
    });
}

/// The reader sits down while the writer looks at the seats.
#[test]
fn a_copy_that_a_new_seat_holds() {
    model::check(3, || {
        let contents = model::Contents::new(1);
        let writer = Arc::new(SharedRegion::heap(large(), &[]));
        let reading = {
            let (contents, writer) = (contents.clone(), Arc::clone(&writer));
            thread::spawn(move || {
                let reader = writer.join_for_model(2);
                let (hold, version, copy) = reader.hold_for_model();
                contents.expect(copy, version);
                drop(hold);
                drop(reader);
            })
        };
        for version in 2..=3 {
            let guard = writer.lock(None).expect("nobody scribbles");
            let copy = guard.choose_for_model();
            contents.write(copy, version);
            guard.commit_for_model(copy);
        }
        reading.join().expect("the reader ends");
    });
}

fn sleep_until(region: &SharedRegion, version: u64) {
    while region.version() < version {
        let value = region.prepare_sleep();
        full_barrier();
        if region.version() < version {
            region.wake_word().wait(value);
        }
    }
}

#[test]
fn a_change_that_comes_while_its_watchers_fall_asleep() {
    model::check(3, || {
        let [first, second, third] = seats();
        let watchers = [second, third].map(|watcher| {
            thread::spawn(move || {
                sleep_until(&watcher, 3);
                watcher
            })
        });
        increment(&first);
        increment(&first);
        let _seats = watchers.map(|watcher| watcher.join().expect("the watcher sees it"));
    });
}

/// In a model, a locker reserves the lock when it was woken once in vain: others then sleep on a free lock, too.
#[test]
fn a_locker_that_is_passed_over() {
    model::check(3, || {
        let [first, second, _third] = seats();
        let other = thread::spawn(move || {
            for _ in 0..3 {
                increment(&second);
            }
            second
        });
        increment(&first);
        let _second = other.join().expect("a locker ends");
        expect_version(&first, 5);
    });
}

#[test]
fn two_lockers_that_are_passed_over() {
    model::check(3, || {
        let [first, second, third] = seats();
        let others = [second, third].map(|other| {
            thread::spawn(move || {
                increment(&other);
                increment(&other);
                other
            })
        });
        increment(&first);
        increment(&first);
        let _seats = others.map(|other| other.join().expect("a locker ends"));
        expect_version(&first, 7);
    });
}
