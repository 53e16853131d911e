//! What writers, readers and clients count, as somebody sees it who only has their memory.

mod pair;

use std::sync::Arc;

use onecopy_memory::counters::{CallEvent, ClientTally, NodeObserver, ReaderProbe};
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::layout::{CLIENTS_MAX, COUNTERS_OFFSET, READERS_BYTES, SegmentKind};
use onecopy_memory::ring::{Geometry, Observer, RingWriter};
use onecopy_memory::segment::{Segment, SegmentError};
use pair::{Publisher, Subscriber};

const WRITER: (u64, u32) = (0xfeed, 3);

fn observe(publisher: &Publisher) -> Observer {
    Observer::open(publisher.writer.descriptor().try_clone_to_owned().expect("a descriptor"))
        .expect("an honest ring")
}

fn look_at(table: &ReaderTable) -> NodeObserver {
    NodeObserver::open(table.descriptor().try_clone_to_owned().expect("a descriptor"))
        .expect("an honest segment")
}

fn subscribe(publisher: &Publisher, table: &Arc<ReaderTable>, number: u32) -> Subscriber {
    let mut subscriber = publisher.subscribe(table, number);
    // The library does it in this order: a reader is identified, and started when its writer has attached it.
    subscriber.reader.state().identify(number, WRITER);
    subscriber.reader.start(subscriber.reader.cursor());
    subscriber
}

fn probe(table: &ReaderTable, number: u32) -> ReaderProbe {
    let readers = look_at(table).readers();
    let found = readers.into_iter().find(|(reader, writer, _)| (*reader, *writer) == (number, WRITER));
    found.expect("the reader is there").2
}

#[test]
fn received_lost_and_lag_follow_from_what_a_reader_tells() {
    let mut publisher = Publisher::new(Geometry::new(4, 0, 48, false), 1 << 20);
    let table = ReaderTable::create().expect("memory for a table");
    let mut subscriber = subscribe(&publisher, &table, 7);
    let probe = probe(&table, 7);
    for _ in 0..3 {
        publisher.publish_number();
    }
    assert_eq!(subscriber.number(), Some(0));
    while subscriber.number().is_some() {}
    let report = probe.look().expect("the reader is there");
    assert_eq!((report.start, report.cursor, report.lost), (Some(0), 3, 0));
    for _ in 0..10 {
        publisher.publish_number();
    }
    assert_eq!(observe(&publisher).messages() - probe.look().unwrap().cursor, 10, "it lags");
    while subscriber.number().is_some() {}
    let report = probe.look().unwrap();
    assert_eq!((report.cursor, report.lost), (13, subscriber.reader.lost()));
    assert_eq!(report.lost, 6, "ten messages went through a ring of four");
}

#[test]
fn a_sleeping_reader_shows_that_it_sleeps_and_how_often() {
    let publisher = Publisher::new(Geometry::new(4, 0, 48, false), 1 << 20);
    let table = ReaderTable::create().expect("memory for a table");
    let mut subscriber = subscribe(&publisher, &table, 1);
    let probe = probe(&table, 1);
    for sleeps in 1..=3 {
        subscriber.reader.prepare_sleep(sleeps == 2);
        let report = probe.look().unwrap();
        assert_eq!((report.sleeps, report.is_asleep), (sleeps, true));
        subscriber.reader.cancel_sleep();
        let report = probe.look().unwrap();
        assert_eq!((report.sleeps, report.is_asleep), (sleeps, false));
    }
}

#[test]
fn what_is_held_shows_and_an_ended_reader_does_not() {
    let mut publisher = Publisher::new(Geometry::new(16, 0, 48, false), 1 << 20);
    let table = ReaderTable::create().expect("memory for a table");
    let mut subscriber = subscribe(&publisher, &table, 1);
    let probe = probe(&table, 1);
    for _ in 0..9 {
        publisher.publish_chunk(1000).expect("within the budget");
    }
    let held: Vec<_> = std::iter::from_fn(|| subscriber.receive(&publisher)).collect();
    assert_eq!(probe.look().unwrap().held, 9, "more than one block notes");
    drop(subscriber);
    assert_eq!(probe.look(), None, "it has ended, whatever it still holds");
    drop(held);
    assert!(look_at(&table).readers().is_empty());
    let other = subscribe(&publisher, &table, 2);
    assert_eq!(probe.look(), None, "another reader has its line now");
    drop(other);
}

#[test]
fn a_message_that_finds_no_room_counts_once_however_often_it_is_tried() {
    let mut publisher = Publisher::new(Geometry::new(2, 0, 48, true), 8192);
    let table = ReaderTable::create().expect("memory for a table");
    let mut subscriber = subscribe(&publisher, &table, 1);
    let observer = observe(&publisher);
    for _ in 0..2 {
        assert!(publisher.writer.has_room(1));
        publisher.publish_number();
    }
    for _ in 0..5 {
        assert!(!publisher.writer.has_room(1));
    }
    assert_eq!(observer.counters().full, 1);
    assert_eq!(subscriber.number(), Some(0));
    assert_eq!(subscriber.number(), Some(1));
    assert_eq!(subscriber.number(), None);
    assert!(publisher.writer.has_room(1));
    assert!(publisher.writer.expect_space().is_some());
    publisher.writer.stop_expecting_space();
    let held = publisher.publish_chunk(4096);
    held.expect("within the budget");
    let message = subscriber.receive(&publisher).expect("a message");
    for _ in 0..3 {
        assert!(publisher.allocate(8192).is_err(), "half of the budget is held");
    }
    let counters = observer.counters();
    assert_eq!((counters.full, counters.waits, counters.exhausted), (1, 1, 1));
    assert_eq!(counters.chunks_out, 1);
    assert!(counters.pool_bytes >= 4096);
    drop(message);
}

#[test]
fn clients_count_for_themselves_and_are_gone_when_dropped() {
    let table = ReaderTable::create().expect("memory for a table");
    let observer = look_at(&table);
    let mut one = ClientTally::new(&table, 1).expect("room");
    let mut other = ClientTally::new(&table, 2).expect("room");
    one.count(CallEvent::Made);
    one.count(CallEvent::Made);
    other.count(CallEvent::Cancelled);
    other.record_latency(1000, 16);
    let clients = observer.clients();
    assert_eq!(clients.iter().map(|client| client.client).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(clients[0].events(CallEvent::Made), 2);
    assert_eq!(clients[1].events(CallEvent::Made), 0);
    assert_eq!(clients[1].latencies.count(), 16);
    drop(one);
    assert_eq!(observer.clients().len(), 1);
    let again = ClientTally::new(&table, 3).expect("room");
    assert_eq!(observer.clients()[0].client, 3);
    assert_eq!(observer.clients()[0].events(CallEvent::Made), 0, "it starts from nothing");
    drop(again);
    let all: Vec<_> = (1..CLIENTS_MAX as u32).map(|client| ClientTally::new(&table, client)).collect();
    assert!(all.iter().all(Option::is_some) && ClientTally::new(&table, 1).is_none());
}

#[test]
fn the_version_of_the_library_shows() {
    let table = ReaderTable::create().expect("memory for a table");
    let [major, minor, patch] = look_at(&table).library_version();
    assert_eq!(format!("{major}.{minor}.{patch}"), env!("CARGO_PKG_VERSION"));
}

fn empty(bytes: usize) -> Result<NodeObserver, SegmentError> {
    let segment = Segment::create(SegmentKind::Readers, bytes, 0).expect("memory");
    NodeObserver::open(segment.descriptor().try_clone_to_owned().expect("a descriptor"))
}

#[test]
fn segments_without_counters_are_refused() {
    for bytes in [64, 4096, COUNTERS_OFFSET, COUNTERS_OFFSET + 64, READERS_BYTES - 64] {
        assert!(matches!(empty(bytes), Err(SegmentError::NotASegment)), "{bytes}");
    }
    let empty = empty(READERS_BYTES).expect("all that is needed is there");
    assert!(empty.readers().is_empty() && empty.clients().is_empty());
    // A ring is no reader segment.
    let writer = RingWriter::create(Geometry::new(4, 0, 48, false), 0).expect("memory for a ring");
    assert!(NodeObserver::open(writer.descriptor().try_clone_to_owned().expect("a descriptor")).is_err());
}
