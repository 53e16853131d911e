//! A writer and readers over separate mappings: every kind of message, history, lapping, holds, the byte budget.

mod pair;

use onecopy_memory::hold::{HoldError, ReaderTable};
use onecopy_memory::layout::{INLINE_BYTES_MAX, SegmentKind};
use onecopy_memory::ring::{Geometry, MessageParts, Observer, Received, RingFault, RingReader};
use onecopy_memory::segment::View;
use pair::{Message, Publisher, peer};

const MIB: usize = 1 << 20;

fn table() -> std::sync::Arc<ReaderTable> {
    ReaderTable::create().expect("memory for a table")
}

fn overwriting(depth: u64, history: u64) -> Geometry {
    Geometry::new(depth, history, 48, false)
}

#[test]
fn payloads_of_every_inline_length_arrive_whole() {
    let geometry = Geometry::new(4, 0, INLINE_BYTES_MAX, false);
    let mut publisher = Publisher::new(geometry, 0);
    let mut subscriber = publisher.subscribe(&table(), 0);
    for length in 0..=geometry.inline_bytes_max() {
        let payload: Vec<u8> = (0..length as u8).collect();
        publisher.writer.publish_inline(&[], &payload);
        let message = subscriber.receive(&publisher).expect("it was published");
        assert_eq!(message.bytes(), payload);
    }
    assert!(subscriber.receive(&publisher).is_none());
    assert_eq!(subscriber.reader.lost(), 0);
}

#[test]
fn a_header_and_a_payload_are_told_apart() {
    let mut publisher = Publisher::new(Geometry::new(4, 0, 112, false), 0);
    let mut subscriber = publisher.subscribe(&table(), 0);
    for exact in [false, true] {
        publisher.writer.publish_inline(b"id-1234567890", b"payload");
        let (mut header, mut payload) = ([0; 13], [0; 7]);
        let mut parts = MessageParts { header: &mut header, payload: &mut payload, exact, chunk: &mut None };
        let received = subscriber.reader.receive(&mut parts).expect("an honest writer");
        assert!(matches!(received, Received::Inline { length: 7 }));
        assert_eq!((&header, &payload), (b"id-1234567890", b"payload"));
    }
}

#[test]
fn a_reader_with_less_room_is_told_the_real_length() {
    let mut publisher = Publisher::new(overwriting(4, 0), 0);
    let mut subscriber = publisher.subscribe(&table(), 0);
    publisher.writer.publish_inline(&[], &[7; 40]);
    let mut payload = [0; 3];
    let mut parts = MessageParts { header: &mut [], payload: &mut payload, exact: false, chunk: &mut None };
    let received = subscriber.reader.receive(&mut parts).expect("an honest writer");
    assert!(matches!(received, Received::Inline { length: 40 }));
    assert_eq!(payload, [7; 3]);
}

#[test]
fn chunks_arrive_without_a_copy_and_the_pool_grows_for_them() {
    let mut publisher = Publisher::new(overwriting(8, 0), 64 * MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    for length in [0, 1, 4096, MIB, 5 * MIB] {
        publisher.publish_chunk(length).expect("within the budget");
        let number = publisher.writer.head() as u8 - 1;
        let message = subscriber.receive(&publisher).expect("it was published");
        assert!(matches!(&message, Message::Chunk { count: 1, skip: 0, .. }));
        assert_eq!(message.bytes(), [number].repeat(length));
    }
    assert!(publisher.segments.len() > 1);
}

#[test]
fn a_batch_is_one_chunk_and_counts_as_many_messages() {
    let mut publisher = Publisher::new(overwriting(16, 0), MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    publisher.publish(&[1, 2, 3, 4], 4).expect("within the budget");
    publisher.publish_number();
    let message = subscriber.receive(&publisher).expect("it was published");
    assert!(matches!(message, Message::Chunk { count: 4, skip: 0, .. }));
    assert_eq!(message.bytes(), [1, 2, 3, 4]);
    assert_eq!(subscriber.number(), Some(4));
    assert_eq!(subscriber.reader.cursor(), 5);
}

#[test]
fn history_begins_where_a_late_joiner_was_promised() {
    let mut publisher = Publisher::new(overwriting(16, 3), 0);
    for _ in 0..2 {
        publisher.publish_number();
    }
    let mut early = publisher.subscribe(&table(), 0);
    for _ in 0..8 {
        publisher.publish_number();
    }
    let mut late = publisher.subscribe(&table(), 1);
    assert_eq!(Vec::from_iter(std::iter::from_fn(|| early.number())), Vec::from_iter(0..10));
    assert_eq!(Vec::from_iter(std::iter::from_fn(|| late.number())), [7, 8, 9]);
    assert_eq!((early.reader.lost(), late.reader.lost()), (0, 0));
}

#[test]
fn history_may_begin_in_the_middle_of_a_batch() {
    let mut publisher = Publisher::new(overwriting(16, 3), MIB);
    publisher.publish_number();
    publisher.publish(&[10, 11, 12, 13], 4).expect("within the budget");
    publisher.publish_number();
    let mut subscriber = publisher.subscribe(&table(), 0);
    // Six messages so far: the last three are two of the batch and the one after it.
    let message = subscriber.receive(&publisher).expect("history");
    assert!(matches!(message, Message::Chunk { count: 4, skip: 2, .. }), "{message:?}");
    assert_eq!(subscriber.number(), Some(5));
    assert_eq!(subscriber.reader.lost(), 0);
}

/// The batch was overwritten between the writer's answer and the reader's start; no message ever starts at the
/// promised position's slot again, since batches of the same size follow.
#[test]
fn a_start_in_the_middle_of_a_lapped_batch_is_a_lap() {
    let mut publisher = Publisher::new(overwriting(16, 2), MIB);
    let table = table();
    publisher.publish(&[0; 4], 4).expect("within the budget");
    let ring = publisher.writer.descriptor().try_clone_to_owned().expect("a descriptor");
    let view = onecopy_memory::segment::View::open(ring, onecopy_memory::layout::SegmentKind::Ring);
    let view = view.expect("an honest ring");
    let mut reader =
        onecopy_memory::ring::RingReader::open(&view, &table, Box::new(())).expect("room in the table");
    let start = publisher.writer.readers().attach((1, 0), peer(&table, &reader));
    assert_eq!(start, 2);
    for _ in 0..8 {
        publisher.publish(&[0; 4], 4).expect("within the budget");
    }
    reader.start(start);
    let mut subscriber = pair::Subscriber { reader };
    let mut received = 0;
    while let Some(message) = subscriber.receive(&publisher) {
        let Message::Chunk { count, skip: 0, .. } = message else { panic!("{message:?}") };
        received += count;
    }
    assert_eq!(received, 16);
    assert_eq!(received + subscriber.reader.lost(), publisher.writer.head() - start);
}

#[test]
fn a_lapped_reader_knows_exactly_how_many_it_lost() {
    let mut publisher = Publisher::new(overwriting(8, 0), 0);
    let mut subscriber = publisher.subscribe(&table(), 0);
    let mut received = 0;
    for burst in [1, 7, 8, 9, 30, 100] {
        for _ in 0..burst {
            publisher.publish_number();
        }
        while let Some(number) = subscriber.number() {
            received += 1;
            assert_eq!(number + 1, subscriber.reader.cursor());
        }
        assert_eq!(received + subscriber.reader.lost(), publisher.writer.head());
    }
    assert_eq!(subscriber.reader.lost(), 1 + 22 + 92);
}

#[test]
fn a_reliable_ring_is_full_until_its_slowest_reader_moves() {
    let mut publisher = Publisher::new(Geometry::new(4, 0, 48, true), 0);
    assert!(publisher.writer.has_room(1000), "nobody to wait for");
    let table = table();
    let mut quick = publisher.subscribe(&table, 0);
    let mut slow = publisher.subscribe(&table, 1);
    for _ in 0..4 {
        assert!(publisher.writer.has_room(1));
        publisher.publish_number();
        quick.number();
    }
    assert!(!publisher.writer.has_room(1));
    assert_eq!(slow.number(), Some(0));
    assert!(publisher.writer.has_room(1) && !publisher.writer.has_room(2));
    publisher.writer.readers().detach((1, 1));
    assert!(publisher.writer.has_room(4));
    assert_eq!((quick.reader.lost(), slow.reader.lost()), (0, 0));
}

/// A late joiner that starts inside a batch needs the slot of its first message.
#[test]
fn a_reliable_ring_keeps_the_batch_that_a_late_joiner_starts_in() {
    let mut publisher = Publisher::new(Geometry::new(64, 8, 48, true), MIB);
    publisher.publish(&Vec::from_iter(0..16), 16).expect("within the budget");
    let mut late = publisher.subscribe(&table(), 0);
    while publisher.writer.has_room(1) {
        publisher.publish_number();
    }
    assert_eq!(publisher.writer.head(), 64, "one ring from the batch on");
    let Some(Message::Chunk { chunk, count, skip }) = late.receive(&publisher) else {
        panic!("the batch is gone")
    };
    assert_eq!((chunk.bytes().len(), count, skip), (16, 16, 8));
    for expected in 16..64 {
        assert_eq!(late.number(), Some(expected));
    }
    assert_eq!(late.reader.lost(), 0);
    assert!(publisher.writer.has_room(48), "it holds nobody up any more");
}

/// The same before the reader itself has said where it is.
#[test]
fn a_reader_that_has_not_started_counts_from_the_batch_that_it_may_need() {
    let mut publisher = Publisher::new(Geometry::new(64, 8, 48, true), MIB);
    publisher.publish(&[0; 16], 16).expect("within the budget");
    let ring = publisher.writer.descriptor().try_clone_to_owned().expect("a descriptor");
    let view = View::open(ring, SegmentKind::Ring).expect("an honest ring");
    let table = table();
    let reader = RingReader::open(&view, &table, Box::new(())).expect("room in the table");
    assert_eq!(publisher.writer.readers().attach((1, 0), peer(&table, &reader)), 8);
    while publisher.writer.has_room(1) {
        publisher.publish_number();
    }
    assert!(publisher.writer.head() <= 64, "the batch is overwritten");
}

/// Nothing is held and all was read: a message as large as the budget fits, whatever was there before.
#[test]
fn a_message_may_be_as_large_as_the_budget() {
    for reliable in [false, true] {
        let mut publisher = Publisher::new(Geometry::new(64, 0, 1000, reliable), 16 * MIB);
        let table = table();
        let mut subscriber = publisher.subscribe(&table, 0);
        for _ in 0..8 {
            publisher.publish_chunk(MIB).expect("within the budget");
        }
        let held = Vec::from_iter(std::iter::from_fn(|| subscriber.receive(&publisher)));
        publisher.allocate(16 * MIB).expect_err("a half is held");
        drop(held);
        for _ in 0..2 {
            publisher.publish_chunk(16 * MIB).expect("nothing is held");
            let large = subscriber.receive(&publisher).expect("it was published");
            assert!(
                large.bytes().len() == 16 * MIB && large.bytes().iter().all(|byte| *byte == large.bytes()[0])
            );
        }
        assert_eq!((publisher.pool.committed_bytes(), subscriber.reader.lost()), (16 * MIB, 0));
    }
}

#[test]
fn a_reader_that_ends_holds_nobody_up() {
    let mut publisher = Publisher::new(Geometry::new(2, 0, 48, true), 0);
    let subscriber = publisher.subscribe(&table(), 0);
    publisher.publish_number();
    publisher.publish_number();
    assert!(!publisher.writer.has_room(1));
    drop(subscriber);
    assert!(publisher.writer.has_room(1));
}

#[test]
fn a_held_chunk_stays_as_it_is_while_its_writer_laps() {
    let mut publisher = Publisher::new(overwriting(4, 0), 4 * MIB);
    let table = table();
    let mut subscriber = publisher.subscribe(&table, 0);
    publisher.publish_chunk(MIB / 2).expect("within the budget");
    let held = subscriber.receive(&publisher).expect("it was published");
    for _ in 0..50 {
        publisher.publish_chunk(MIB / 2).expect("what is not held is reused");
        assert!(held.bytes().iter().all(|byte| *byte == 0));
    }
    assert!(publisher.pool.committed_bytes() <= 4 * MIB);
    // Still so when its reader is gone.
    drop(subscriber);
    for _ in 0..10 {
        publisher.publish_chunk(MIB / 2).expect("what is not held is reused");
    }
    assert!(held.bytes().iter().all(|byte| *byte == 0));
}

#[test]
fn memory_runs_out_only_when_it_is_held() {
    let mut publisher = Publisher::new(overwriting(64, 0), MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    // Nobody reads: the oldest messages are taken back.
    for _ in 0..32 {
        publisher.publish_chunk(MIB / 8).expect("unread messages give way");
    }
    let mut held = Vec::new();
    while let Some(message) = subscriber.receive(&publisher) {
        held.push(message);
    }
    assert!(!held.is_empty());
    assert_eq!(held.len() as u64 + subscriber.reader.lost(), 32);
    let error = loop {
        match publisher.publish_chunk(MIB / 8) {
            Ok(()) => held.extend(subscriber.receive(&publisher)),
            Err(error) => break error,
        }
    };
    assert_eq!((error.requested_bytes, error.budget_bytes), (MIB / 8, MIB));
    for message in &held {
        assert!(message.bytes().iter().all(|byte| *byte == message.bytes()[0]));
    }
    held.pop();
    publisher.publish_chunk(MIB / 8).expect("one was given back");
}

/// Everything that is out was taken back and nothing new has come: the reader is neither at fault nor ready.
#[test]
fn a_reader_whose_every_message_was_revoked_just_waits() {
    let mut publisher = Publisher::new(overwriting(64, 0), MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    publisher.publish_chunk(MIB / 2).expect("within the budget");
    let chunk = publisher.allocate(MIB / 2).expect("the only message gives way");
    for _ in 0..100 {
        assert!(subscriber.receive(&publisher).is_none());
        assert!(!subscriber.reader.is_ready());
    }
    assert_eq!(subscriber.reader.lost(), 1);
    publisher.writer.publish_chunk(chunk, 0, 1, 1);
    assert!(subscriber.receive(&publisher).is_some());
    assert_eq!(subscriber.reader.lost(), 1);
}

#[test]
fn a_message_that_can_never_fit_costs_readers_nothing() {
    let mut publisher = Publisher::new(overwriting(64, 0), MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    publisher.publish_chunk(1000).expect("within the budget");
    publisher.allocate(2 * MIB).expect_err("twice the budget");
    assert!(subscriber.receive(&publisher).is_some());
    assert_eq!(subscriber.reader.lost(), 0);
}

#[test]
fn a_reliable_ring_never_takes_back_what_was_not_read() {
    let mut publisher = Publisher::new(Geometry::new(64, 0, 1000, true), MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    let mut published = 0;
    while publisher.publish_chunk(MIB / 8).is_ok() {
        published += 1;
    }
    for number in 0..published {
        let message = subscriber.receive(&publisher).expect("nothing is lost");
        assert_eq!(message.bytes()[0], number);
    }
    publisher.publish_chunk(MIB / 8).expect("all was read");
    assert_eq!(subscriber.reader.lost(), 0);
}

#[test]
fn as_many_messages_can_be_held_as_the_error_says() {
    const HELD_MAX: u64 = 65_535;
    let mut publisher = Publisher::new(overwriting(1 << 17, 0), 64 * MIB);
    let mut subscriber = publisher.subscribe(&table(), 0);
    let mut held = Vec::new();
    for number in 0..HELD_MAX {
        publisher.publish(&number.to_ne_bytes(), 1).expect("within the budget");
        held.push(subscriber.receive(&publisher).expect("it was published"));
    }
    publisher.publish(&HELD_MAX.to_ne_bytes(), 1).expect("within the budget");
    let error = subscriber.try_receive(&publisher.segments).expect_err("one too many");
    assert_eq!(error, RingFault::Hold(HoldError::TooManyHeld));
    held.swap_remove(1000);
    held.push(subscriber.receive(&publisher).expect("the message is still there"));
    // All of them go out of the ring and are reclaimed around.
    publisher.writer.collect(&mut publisher.pool);
    for _ in 0..100 {
        publisher.publish(&[0; 8], 1).expect("within the budget");
    }
    publisher.writer.collect(&mut publisher.pool);
    let mut numbers: Vec<_> = held
        .iter()
        .map(|message| u64::from_ne_bytes(message.bytes().try_into().expect("a number")))
        .collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq((0..=HELD_MAX).filter(|number| *number != 1000)));
}

#[test]
fn blocks_of_readers_that_are_gone_are_used_again() {
    let mut publisher = Publisher::new(overwriting(64, 0), MIB);
    let table = table();
    let mut blocks = Vec::new();
    for number in 0..100 {
        let mut subscriber = publisher.subscribe(&table, number);
        for _ in 0..12 {
            publisher.publish_chunk(64).expect("within the budget");
        }
        let held = Vec::from_iter(std::iter::from_fn(|| subscriber.receive(&publisher)));
        assert_eq!(held.len(), 12);
        blocks.push(subscriber.reader.state().block());
        drop(subscriber);
        drop(held);
        publisher.writer.readers().detach((1, number));
    }
    assert!(blocks.iter().max() < Some(&10));
    assert_eq!(publisher.writer.readers().count(), 0);
}

#[test]
fn an_observer_sees_the_counters() {
    let mut publisher = Publisher::new(overwriting(4, 0), MIB);
    let observer = Observer::open(publisher.writer.descriptor().try_clone_to_owned().expect("a descriptor"));
    let observer = observer.expect("an honest ring");
    publisher.publish_number();
    publisher.publish(&[0; 100], 1).expect("within the budget");
    let counters = observer.counters();
    assert_eq!((counters.messages, counters.bytes, counters.wakes), (2, 108, 0));
    assert_eq!(observer.geometry(), publisher.writer.geometry());
}
