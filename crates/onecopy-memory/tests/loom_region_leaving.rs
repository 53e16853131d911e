//! Models of what ends in a shared region: its lock for good, a lock that is handed on as it was found, and a
//! seat that is given up while something is held.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::region::{LockError, RegionGeometry, SharedRegion};
use onecopy_memory::sync::{Arc, AtomicBool, AtomicU64, Ordering};

fn region(bytes: usize, value: &[u8]) -> SharedRegion {
    SharedRegion::heap(RegionGeometry::new(bytes, 8).expect("possible sizes"), value)
}

/// The value moves to another region. Who comes for the old lock, or sleeps on it, gets it before that or is
/// told, and then knows what the one who moved it has done.
#[test]
fn a_lock_that_is_retired_while_others_want_it() {
    model::check(3, || {
        let mover = region(16, &model::value(1));
        let (second, third) = (mover.join_for_model(2), mover.join_for_model(3));
        let elsewhere = Arc::new(AtomicU64::new(0));
        let lockers = [second, third].map(|locker| {
            let elsewhere = Arc::clone(&elsewhere);
            thread::spawn(move || {
                match locker.lock(None) {
                    Ok(guard) => assert_eq!(guard.version(), 1),
                    Err(LockError::Retired) => assert_eq!(elsewhere.load(Ordering::Relaxed), 2),
                    Err(error) => panic!("{error}"),
                }
                locker
            })
        });
        let guard = mover.lock(None).expect("nobody else retires it");
        elsewhere.store(2, Ordering::Relaxed);
        guard.retire();
        let _seats = lockers.map(|locker| locker.join().expect("nobody sleeps for ever"));
        assert!(matches!(mover.lock(None).map(drop), Err(LockError::Retired)), "for good");
    });
}

/// The first survivor finds the lock abandoned and can't do what has to be done about it; the second is told
/// all the same.
#[test]
fn an_abandoned_lock_that_is_passed_on() {
    model::check(3, || {
        let first = region(16, &model::value(1));
        let (second, dead) = (first.join_for_model(2), first.join_for_model(3));
        std::mem::forget(dead.lock(None).expect("nobody scribbles"));
        let seat = dead.seat();
        let other = thread::spawn(move || {
            second.seat_gone(seat);
            let guard = second.lock(None).expect("nobody scribbles");
            assert!(guard.was_abandoned(), "whoever had it before passed it on");
            guard.pass_on();
            second
        });
        first.seat_gone(seat);
        let guard = first.lock(None).expect("nobody scribbles");
        assert!(guard.was_abandoned(), "whoever had it before passed it on");
        guard.pass_on();
        let _second = other.join().expect("it gets the lock");
        assert!(first.lock(None).expect("nobody scribbles").was_abandoned());
        assert!(!first.lock(None).expect("nobody scribbles").was_abandoned(), "told once");
        let _dead = dead;
    });
}

/// Dropped when its seat may be reported as gone.
struct Token {
    is_held: Arc<AtomicU64>,
    is_dropped: Arc<AtomicBool>,
}

impl Drop for Token {
    fn drop(&mut self) {
        assert_eq!(self.is_held.load(Ordering::Relaxed), 0, "a value is looked at, and its seat is given up");
        let was_dropped = self.is_dropped.swap(true, Ordering::Relaxed);
        assert!(!was_dropped, "a seat is given up once");
    }
}

#[test]
fn a_seat_that_is_given_up_while_two_values_are_held() {
    model::check(3, || {
        let reader = region(4096, &[]);
        let (is_held, is_dropped) = (Arc::new(AtomicU64::new(2)), Arc::new(AtomicBool::new(false)));
        let reader = Arc::new(reader);
        let (first, ..) = reader.hold_for_model();
        let (second, ..) = reader.hold_for_model();
        let looking = {
            let is_held = Arc::clone(&is_held);
            thread::spawn(move || {
                is_held.fetch_sub(1, Ordering::Relaxed);
                drop(second);
            })
        };
        let leaving = {
            let (is_held, is_dropped) = (Arc::clone(&is_held), Arc::clone(&is_dropped));
            let reader = Arc::clone(&reader);
            thread::spawn(move || reader.leave(Box::new(Token { is_held, is_dropped })))
        };
        is_held.fetch_sub(1, Ordering::Relaxed);
        drop(first);
        looking.join().expect("the looker ends");
        leaving.join().expect("the leaver ends");
        assert!(is_dropped.load(Ordering::Relaxed), "nobody gave the seat up");
    });
}
