//! A writer and two readers on threads of their own, for a while: every message is whole and in order, and on a ring
//! that overwrites every one that was not received is counted as lost.

mod pair;

use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use onecopy_memory::hold::ReaderTable;
use onecopy_memory::ring::Geometry;
use onecopy_memory::sync::full_barrier;
use onecopy_memory::wait::wait_any;
use pair::{Message, Publisher, Subscriber};

const MESSAGES: u64 = 200_000;
const BUDGET_BYTES: usize = 1 << 20;

/// The contents that every byte of message `number` follows from.
fn contents(number: u64) -> Vec<u8> {
    let words = if number.is_multiple_of(3) { 1 + number % 200 } else { 1 + number % 6 };
    (0..words).flat_map(|word| (number ^ word.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_ne_bytes()).collect()
}

fn is_chunk(number: u64) -> bool {
    number.is_multiple_of(3)
}

fn check(message: &Message, number: u64) {
    assert_eq!(message.bytes(), contents(number), "message {number}");
}

/// Receives until the last message, holding some on the way, and returns how many it got.
fn read(subscriber: &mut Subscriber, segments: &Mutex<Vec<OwnedFd>>, ended: &AtomicBool) -> u64 {
    let mut received = 0;
    let mut kept = std::collections::VecDeque::new();
    loop {
        // In this order: whatever was published before the end is found after it.
        let is_over = ended.load(Ordering::Acquire);
        let message = {
            let segments = segments.lock().expect("nobody panicked");
            subscriber.try_receive(&segments).expect("the writer is honest")
        };
        if let Some(message) = message {
            let number = subscriber.reader.cursor() - 1;
            check(&message, number);
            received += 1;
            if is_chunk(number) {
                kept.push_back((message, number));
            }
            if kept.len() > 20 {
                let (message, number) = kept.pop_front().expect("there are some");
                check(&message, number);
            }
        } else if is_over && !subscriber.reader.is_ready() {
            return received;
        } else {
            let value = subscriber.reader.prepare_sleep(false);
            full_barrier();
            if !subscriber.reader.is_ready() && !ended.load(Ordering::Acquire) {
                // Without futex_waitv it returns at once, and the loop polls.
                wait_any(&[(subscriber.reader.wake_word(), value)], None);
            }
            subscriber.reader.cancel_sleep();
        }
    }
}

fn write(publisher: &mut Publisher, shared: &Mutex<Vec<OwnedFd>>) {
    for number in 0..MESSAGES {
        let contents = contents(number);
        publisher.writer.wait_for_readers(None, |writer| writer.has_room(1));
        if !is_chunk(number) {
            publisher.writer.publish_inline(&[], &contents);
            continue;
        }
        let mut chunk = loop {
            match publisher.allocate(contents.len()) {
                Ok(chunk) => break chunk,
                Err(_) => {
                    let Publisher { writer, pool, .. } = &mut *publisher;
                    writer.wait_for_readers(None, |writer| writer.may_allocate(pool, contents.len()));
                }
            }
        };
        shared.lock().expect("nobody panicked").append(&mut publisher.segments);
        chunk.bytes_mut()[..contents.len()].copy_from_slice(&contents);
        publisher.writer.publish_chunk(chunk, 0, contents.len(), 1);
    }
}

fn stress(geometry: Geometry) -> [(u64, u64); 2] {
    let mut publisher = Publisher::new(geometry, BUDGET_BYTES);
    let table = ReaderTable::create().expect("memory for a table");
    let mut readers = [0, 1].map(|number| publisher.subscribe(&table, number));
    for number in [0, 1] {
        publisher.writer.readers().may_sleep((1, number), None);
    }
    let (segments, ended) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        let reading = readers.each_mut().map(|subscriber| {
            let (segments, ended) = (&segments, &ended);
            scope.spawn(move || (read(subscriber, segments, ended), subscriber.reader.lost()))
        });
        write(&mut publisher, &segments);
        ended.store(true, Ordering::Release);
        publisher.writer.readers().wake_all();
        reading.map(|reading| reading.join().expect("the reader ends"))
    })
}

#[test]
fn a_reliable_ring_loses_nothing() {
    assert_eq!(stress(Geometry::new(64, 0, 48, true)), [(MESSAGES, 0); 2]);
}

#[test]
fn a_ring_that_overwrites_counts_what_is_lost() {
    for (received, lost) in stress(Geometry::new(64, 0, 48, false)) {
        assert_eq!(received + lost, MESSAGES);
        assert!(received > 0);
    }
}
