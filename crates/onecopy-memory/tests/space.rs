//! A reliable writer that sleeps until readers make space, and readers that sleep until there is a message, on real
//! futexes and doorbells: with what this kernel offers, and, in a process of its own, with the fall-backs.

mod pair;

use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use onecopy_memory::hold::ReaderTable;
use onecopy_memory::kernel::{DISABLE_VARIABLE, features};
use onecopy_memory::layout::SegmentKind;
use onecopy_memory::ring::{Geometry, RingReader};
use onecopy_memory::segment::View;
use onecopy_memory::sync::{Futex, full_barrier};
use onecopy_memory::wait::{Doorbell, Heard, Woken, poll_readable, wait, wait_any};
use pair::{Publisher, Subscriber, peer};

const MESSAGES: u64 = 2000;

/// Runs the tests of this file that are named `within`, in a process without the newer features.
fn run_with_fall_backs(within: &str) {
    if std::env::var_os(DISABLE_VARIABLE).is_some() {
        return;
    }
    let program = std::env::current_exe().expect("the test program");
    let output = Command::new(program)
        .args([within, "--exact"])
        .env(DISABLE_VARIABLE, "futex_waitv,membarrier,noexec_seal")
        .output()
        .expect("the test program starts again");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}

fn reliable(depth: u64) -> Publisher {
    Publisher::new(Geometry::new(depth, 0, 48, true), 1 << 20)
}

/// The thread that attaches a reader counts it from a place that is rather too low while the publishing
/// thread goes on, and may fill the ring as seen from there. The reader then begins at the head, with nothing
/// to receive and nobody to wake it.
#[test]
fn a_reader_that_begins_at_the_head_wakes_a_writer_that_waits_for_it() {
    let mut publisher = reliable(4);
    let view = View::open(
        publisher.writer.descriptor().try_clone_to_owned().expect("a descriptor"),
        SegmentKind::Ring,
    );
    let table = ReaderTable::create().expect("memory for a table");
    let mut reader = RingReader::open(&view.expect("an honest ring"), &table, Box::new(())).expect("room");
    publisher.writer.readers().attach((1, 1), peer(&table, &reader));
    while publisher.writer.has_room(1) {
        publisher.publish_number();
    }
    let wait = publisher.writer.expect_space().expect("a reader to wait for");
    reader.start(publisher.writer.head());
    assert_eq!(wait.sleep(Some(Instant::now() + Duration::from_secs(60))), Woken::Maybe);
    publisher.writer.stop_expecting_space();
    assert!(publisher.writer.has_room(1));
}

/// A process that waits through descriptors only listens to the doorbell that it gave for another ring.
#[test]
fn a_reader_that_makes_space_rings_the_doorbell_of_its_counterpart() {
    let (mut publisher, counterpart) = (reliable(4), reliable(4));
    let table = ReaderTable::create().expect("memory for a table");
    let mut subscriber = publisher.subscribe(&table, 1);
    let _listening = counterpart.subscribe(&table, 2);
    let (doorbell, ringer) = Doorbell::pair().expect("a descriptor");
    counterpart.writer.readers().may_sleep((1, 2), Some(ringer));
    assert!(doorbell.was_rung(), "as every doorbell when it arrives");
    subscriber.reader.ring_on_space(counterpart.writer.readers());
    while publisher.writer.has_room(1) {
        publisher.publish_number();
    }
    assert!(matches!(subscriber.try_receive(&[]), Ok(Some(_))));
    assert!(!doorbell.was_rung(), "nobody waits");
    publisher.publish_number();
    let wait = publisher.writer.expect_space().expect("a reader to wait for");
    assert!(!wait.is_over() && !publisher.writer.has_room(1));
    assert!(matches!(subscriber.try_receive(&[]), Ok(Some(_))));
    assert!(doorbell.was_rung() && wait.is_over() && publisher.writer.has_room(1));
    publisher.writer.stop_expecting_space();
}

/// Sleeps as the library does, on the futex or on the doorbell.
fn sleep(subscriber: &mut Subscriber, doorbell: Option<&Doorbell>) {
    let value = subscriber.reader.prepare_sleep(doorbell.is_some());
    full_barrier();
    if !subscriber.reader.is_ready() {
        match doorbell {
            Some(doorbell) => {
                poll_readable(&[std::os::fd::AsFd::as_fd(doorbell)], None).expect("a readable descriptor");
            }
            None if features().futex_waitv => {
                wait_any(&[(subscriber.reader.wake_word(), value)], None);
            }
            None => {
                wait(subscriber.reader.wake_word(), value, None);
            }
        }
    }
    subscriber.reader.cancel_sleep();
    if let Some(doorbell) = doorbell {
        doorbell.was_rung();
    }
}

fn read_all(subscriber: &mut Subscriber, doorbell: Option<&Doorbell>) {
    for expected in 0..MESSAGES {
        let number = loop {
            match subscriber.number() {
                Some(number) => break number,
                None => sleep(subscriber, doorbell),
            }
        };
        assert_eq!(number, expected);
    }
}

/// One reader sleeps on the futex and one on its doorbell, the writer on both of them.
#[test]
fn both_sides_sleep() {
    run_with_fall_backs("both_sides_sleep");
    let mut publisher = reliable(4);
    let table = ReaderTable::create().expect("memory for a table");
    let (doorbell, ringer) = Doorbell::pair().expect("descriptors are not used up");
    let mut readers = [0, 1].map(|number| publisher.subscribe(&table, number));
    publisher.writer.readers().may_sleep((1, 0), None);
    publisher.writer.readers().may_sleep((1, 1), Some(ringer));
    thread::scope(|scope| {
        let [first, second] = &mut readers;
        scope.spawn(|| read_all(first, None));
        scope.spawn(|| read_all(second, Some(&doorbell)));
        for _ in 0..MESSAGES {
            let woken = publisher.writer.wait_for_readers(None, |writer| writer.has_room(1));
            assert_eq!(woken, Woken::Maybe);
            publisher.publish_number();
        }
    });
    assert!(readers.iter().all(|subscriber| subscriber.reader.lost() == 0));
}

/// The memory is held by a reader that has read everything, like the others: it is not the slowest.
#[test]
fn the_writer_waits_for_whoever_holds_its_memory() {
    run_with_fall_backs("the_writer_waits_for_whoever_holds_its_memory");
    let mut publisher = reliable(64);
    let table = ReaderTable::create().expect("memory for a table");
    let mut readers = [0, 1, 2].map(|number| publisher.subscribe(&table, number));
    publisher.publish_chunk(1 << 19).expect("within the budget");
    let [first, second, holder] = &mut readers;
    drop((first.receive(&publisher), second.receive(&publisher)));
    let held = holder.receive(&publisher).expect("it was published");
    publisher.allocate(1 << 19).expect_err("the memory is held");
    let (waiting, is_waiting) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            is_waiting.recv().expect("the writer looks once before it sleeps");
            drop(held);
        });
        let Publisher { writer, pool, .. } = &mut publisher;
        let woken = writer.wait_for_readers(None, |writer| {
            let ready = writer.may_allocate(pool, 1 << 19);
            // The other end is gone once it has dropped the message.
            let _ = waiting.send(());
            ready
        });
        assert_eq!(woken, Woken::Maybe);
    });
}

#[test]
fn the_writer_goes_on_when_any_reader_is_detached() {
    run_with_fall_backs("the_writer_goes_on_when_any_reader_is_detached");
    let mut publisher = reliable(2);
    let table = ReaderTable::create().expect("memory for a table");
    let _readers = [0, 1, 2].map(|number| publisher.subscribe(&table, number));
    publisher.publish_number();
    publisher.publish_number();
    let readers = std::sync::Arc::clone(publisher.writer.readers());
    let (waiting, is_waiting) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            is_waiting.recv().expect("the writer looks once before it sleeps");
            // None of these may wait until the writer is through.
            [2, 0, 1].into_iter().for_each(|number| readers.detach((1, number)));
        });
        publisher.writer.wait_for_readers(None, |writer| {
            let ready = writer.has_room(1);
            let _ = waiting.send(());
            ready
        });
    });
    assert!(publisher.writer.has_room(2));
}

#[test]
fn a_deadline_ends_the_wait() {
    run_with_fall_backs("a_deadline_ends_the_wait");
    let mut publisher = reliable(2);
    let table = ReaderTable::create().expect("memory for a table");
    let _readers = [0, 1].map(|number| publisher.subscribe(&table, number));
    publisher.publish_number();
    publisher.publish_number();
    let deadline = std::time::Instant::now() + std::time::Duration::from_millis(1);
    let woken = publisher.writer.wait_for_readers(Some(deadline), |writer| writer.has_room(1));
    assert_eq!(woken, Woken::TimedOut);
}

/// Whoever changes the words that somebody sleeps on, again and again, keeps nobody from noticing the time.
#[test]
fn a_deadline_holds_also_for_those_who_are_always_woken() {
    run_with_fall_backs("a_deadline_holds_also_for_those_who_are_always_woken");
    let past = Some(std::time::Instant::now());
    let futex = Futex::default();
    let changed = futex.value().wrapping_sub(1);
    assert_eq!(wait(&futex, changed, past), Woken::TimedOut);
    if features().futex_waitv {
        assert_eq!(wait_any(&[(&futex, changed)], past), Woken::TimedOut);
    }

    let mut publisher = reliable(2);
    let table = ReaderTable::create().expect("memory for a table");
    let _readers = [0, 1].map(|number| publisher.subscribe(&table, number));
    let list = std::sync::Arc::clone(publisher.writer.readers());
    publisher.publish_number();
    publisher.publish_number();
    let mut looks = 0;
    let woken = publisher.writer.wait_for_readers(past, |writer| {
        looks += 1;
        assert!(looks < 100, "the wait does not end");
        // The list of readers is another at each look.
        list.may_sleep((1, 0), None);
        writer.has_room(1)
    });
    assert_eq!(woken, Woken::TimedOut);
}

#[test]
fn a_doorbell_says_when_nobody_can_ring_it_any_more() {
    let (doorbell, ringer) = Doorbell::pair().expect("descriptors are not used up");
    assert_eq!(doorbell.listen(), Heard { rung: false, is_broken: false });
    ringer.ring();
    assert_eq!(doorbell.listen(), Heard { rung: true, is_broken: false });
    ringer.ring();
    drop(ringer);
    assert_eq!(doorbell.listen(), Heard { rung: true, is_broken: true });
    assert_eq!(doorbell.listen(), Heard { rung: false, is_broken: true });
}

#[test]
fn more_readers_than_one_call_can_wait_for() {
    run_with_fall_backs("more_readers_than_one_call_can_wait_for");
    let mut publisher = reliable(2);
    let table = ReaderTable::create().expect("memory for a table");
    let mut readers = Vec::from_iter((0..150).map(|number| publisher.subscribe(&table, number)));
    publisher.publish_number();
    publisher.publish_number();
    let (waiting, is_waiting) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            is_waiting.recv().expect("the writer looks once before it sleeps");
            for subscriber in &mut readers {
                assert_eq!(subscriber.number(), Some(0));
            }
            readers
        });
        publisher.writer.wait_for_readers(None, |writer| {
            let ready = writer.has_room(1);
            let _ = waiting.send(());
            ready
        });
    });
}
