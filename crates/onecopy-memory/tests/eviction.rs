//! A reliable writer that goes on without readers that do not move: what it may overwrite then, and what not;
//! and how they find out, or never need to.

mod pair;

use std::time::{Duration, Instant};

use onecopy_memory::hold::ReaderTable;
use onecopy_memory::ring::{Geometry, RingFault};
use onecopy_memory::wait::Woken;
use pair::{Publisher, Subscriber};

const DEPTH: u64 = 4;

fn publisher(evict_after: Duration) -> Publisher {
    let geometry = Geometry::new(DEPTH, 0, 48, true).with_evict_after(evict_after);
    Publisher::new(geometry, 1 << 20)
}

fn numbers(subscriber: &mut Subscriber) -> Vec<u64> {
    std::iter::from_fn(|| subscriber.number()).collect()
}

/// Sleeps in the writer until there is room, for ever if need be.
fn publish_sleeping(publisher: &mut Publisher) {
    let woken = publisher.writer.wait_for_readers(None, |writer| writer.has_room(1));
    assert_eq!(woken, Woken::Maybe);
    publisher.publish_number();
}

#[test]
fn a_writer_goes_on_without_a_reader_that_does_not_move_and_the_reader_is_told() {
    let table = ReaderTable::create().expect("memory");
    let mut publisher = publisher(Duration::from_millis(20));
    let mut stuck = publisher.subscribe(&table, 1);
    let mut other = publisher.subscribe(&table, 2);
    let began = Instant::now();
    for number in 0..3 * DEPTH {
        publish_sleeping(&mut publisher);
        assert_eq!(numbers(&mut other), [number]);
    }
    assert!(began.elapsed() >= Duration::from_millis(20), "it was waited for");
    assert_eq!(publisher.writer.evictions(), 1);
    let fault = stuck.try_receive(&[]).expect_err("the first message is gone");
    assert_eq!(fault, RingFault::Evicted { missed: 3 * DEPTH });
    assert_eq!(stuck.reader.lost(), 3 * DEPTH);
    assert_eq!(numbers(&mut other), [], "who keeps up is not concerned");
}

#[test]
fn a_reader_that_comes_back_in_time_loses_nothing_and_is_waited_for_again() {
    let table = ReaderTable::create().expect("memory");
    let mut publisher = publisher(Duration::ZERO);
    let mut reader = publisher.subscribe(&table, 1);
    (0..DEPTH).for_each(|_| publish_sleeping(&mut publisher));
    assert!(publisher.writer.has_room(1), "it is given up at once");
    assert_eq!(publisher.writer.evictions(), 1);
    assert_eq!(numbers(&mut reader), [0, 1, 2, 3], "nothing was published since");
    (0..DEPTH).for_each(|_| publish_sleeping(&mut publisher));
    assert_eq!(publisher.writer.evictions(), 1);
    assert!(publisher.writer.has_room(1), "given up once more");
    assert_eq!(publisher.writer.evictions(), 2, "it had been waited for again");
    assert_eq!(numbers(&mut reader), [4, 5, 6, 7]);
}

/// Without a limit, and before it, nothing is overwritten.
#[test]
fn nobody_is_evicted_before_its_time() {
    let table = ReaderTable::create().expect("memory");
    for geometry in [Geometry::new(DEPTH, 0, 48, true), publisher(Duration::MAX).writer.geometry()] {
        let mut publisher = Publisher::new(geometry, 1 << 20);
        let mut reader = publisher.subscribe(&table, 1);
        (0..DEPTH).for_each(|_| publish_sleeping(&mut publisher));
        let deadline = Instant::now() + Duration::from_millis(5);
        let woken = publisher.writer.wait_for_readers(Some(deadline), |writer| writer.has_room(1));
        assert_eq!((woken, publisher.writer.evictions()), (Woken::TimedOut, 0));
        assert_eq!(numbers(&mut reader), [0, 1, 2, 3]);
        assert!(publisher.writer.has_room(1));
    }
}

/// Unread memory is taken from an evicted reader; what it holds is not, however short the rest is.
#[test]
fn what_an_evicted_reader_holds_does_not_change() {
    let table = ReaderTable::create().expect("memory");
    let geometry = Geometry::new(64, 0, 48, true).with_evict_after(Duration::ZERO);
    let length = 64 << 10;
    let mut publisher = Publisher::new(geometry, 4 * length + (64 << 10));
    let mut stuck = publisher.subscribe(&table, 1);
    publisher.publish_chunk(length).expect("memory");
    let held = stuck.receive(&publisher).expect("a message");
    for _ in 0..50 {
        publisher.publish_chunk(length).expect("memory of what was not read");
        assert!(held.bytes().iter().all(|byte| *byte == 0), "a held message changed");
    }
    assert!(publisher.writer.evictions() > 0);
    assert!(matches!(stuck.try_receive(&publisher.segments), Err(RingFault::Evicted { .. })));
    drop(stuck);
    assert!(held.bytes().iter().all(|byte| *byte == 0), "it is held, whoever received it is gone");
}

/// Nobody is evicted for what it holds: that would be of no use, since it stays.
#[test]
fn holding_alone_is_no_reason() {
    let table = ReaderTable::create().expect("memory");
    let geometry = Geometry::new(64, 0, 48, true).with_evict_after(Duration::ZERO);
    let length = 64 << 10;
    let mut publisher = Publisher::new(geometry, 4 * length);
    let mut reader = publisher.subscribe(&table, 1);
    let mut held = Vec::new();
    while publisher.publish_chunk(length).is_ok() {
        held.push(reader.receive(&publisher).expect("a message"));
    }
    assert!(!held.is_empty());
    assert_eq!(publisher.writer.evictions(), 0);
    held.clear();
    publisher.publish_chunk(length).expect("memory that was let go");
    assert!(reader.receive(&publisher).is_some());
}
