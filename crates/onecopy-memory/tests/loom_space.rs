//! Models of a reliable writer that sleeps until readers make space: if a wake-up were lost, loom would find the
//! deadlock.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::board::Board;
use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::pool::{Chunk, Pool};
use onecopy_memory::ring::{RingReader, RingWriter};
use onecopy_memory::sync::Arc;

/// A full ring, of which its readers have read nothing.
fn full<const READERS: usize>(history: u64) -> (RingWriter, [RingReader; READERS]) {
    let mut writer = model::writer(history, true);
    let readers = std::array::from_fn(|number| model::attached(&mut writer, number as u32));
    model::publish(&mut writer);
    model::publish(&mut writer);
    (writer, readers)
}

fn wait_for_room(writer: &mut RingWriter, messages: u64) {
    for _ in 0..messages {
        writer.wait_for_readers(None, |writer| writer.has_room(1));
        model::publish(writer);
    }
}

#[test]
fn a_full_ring() {
    model::check(3, || {
        let (mut writer, [mut reader]) = full(0);
        let reading = thread::spawn(move || {
            assert_eq!(model::receive(&mut reader), Some(0));
            assert_eq!(model::receive(&mut reader), Some(1));
            reader
        });
        wait_for_room(&mut writer, 2);
        let reader = reading.join().expect("the reader ends");
        assert_eq!(reader.lost(), 0);
    });
}

#[test]
fn a_full_ring_with_two_readers() {
    model::check(2, || {
        let (mut writer, readers) = full::<2>(0);
        let reading = readers.map(|mut reader| {
            thread::spawn(move || {
                assert_eq!(model::receive(&mut reader), Some(0));
                reader
            })
        });
        wait_for_room(&mut writer, 1);
        for reading in reading {
            reading.join().expect("the reader ends");
        }
    });
}

/// The memory is held by a reader that is not the slowest: both have read everything.
#[test]
fn memory_that_the_quicker_reader_holds() {
    model::check(2, || {
        let mut writer = model::writer(0, true);
        let mut pool = Pool::new(0);
        let mut idle = model::attached(&mut writer, 0);
        let mut holder = model::attached(&mut writer, 1);
        writer.publish_chunk(Chunk::model(64), 0, 0, 1);
        drop(idle.claim_next());
        let (hold, _) = holder.claim_next().expect("nobody takes it back");
        let dropping = thread::spawn(move || drop(hold));
        let mut chunk = None;
        writer.wait_for_readers(None, |writer| {
            writer.collect(&mut pool);
            chunk = pool.allocate_recent(1);
            chunk.is_some()
        });
        assert!(chunk.is_some());
        dropping.join().expect("the hold is dropped");
    });
}

#[test]
fn a_reader_that_is_detached() {
    model::check(3, || {
        let (mut writer, [_reader]) = full(0);
        let readers = Arc::clone(writer.readers());
        let detaching = thread::spawn(move || readers.detach(model::key(0)));
        wait_for_room(&mut writer, 1);
        detaching.join().expect("the reader is forgotten");
    });
}

/// A reader attaches just when the writer looks, and is the one that is waited for.
#[test]
fn a_reader_that_is_attached() {
    model::check(2, || {
        let (mut writer, [mut first]) = full(1);
        let readers = Arc::clone(writer.readers());
        let mut second = RingReader::of(&writer, &ReaderTable::heap(1));
        let joining = thread::spawn(move || {
            let peer = PeerReader::of(second.state());
            second.start(readers.attach(model::key(1), peer));
            while model::receive(&mut second).is_some() {}
            second
        });
        let reading = thread::spawn(move || {
            while model::receive(&mut first).is_some() {}
            first
        });
        wait_for_room(&mut writer, 2);
        joining.join().expect("the second reader ends");
        reading.join().expect("the first reader ends");
    });
}

/// Two threads that share a writer wait for one message each, and either may be the first to find room.
#[test]
fn two_waits_for_one_ring() {
    model::check(2, || {
        let (mut writer, [mut reader]) = full(0);
        let reading = thread::spawn(move || {
            assert_eq!(model::receive(&mut reader), Some(0));
            reader
        });
        let waits = [(); 2].map(|()| writer.expect_space().expect("a reader to wait for"));
        let mut has_room = writer.has_room(1);
        if !has_room {
            // The first one's ticket was replaced by the other's: either sleep must end.
            waits[0].sleep(None);
            assert!(waits[0].is_over());
            has_room = writer.has_room(1);
        }
        writer.stop_expecting_space();
        if !has_room {
            waits[1].sleep(None);
            assert!(writer.has_room(1));
        }
        writer.stop_expecting_space();
        reading.join().expect("the reader ends");
    });
}

/// A server waits for its client to have taken enough of a stream: a word says so, and the ring has room all the while.
#[test]
fn a_word_that_the_writer_waits_for() {
    model::check(3, || {
        let mut writer = model::writer(0, true);
        let reader = model::attached(&mut writer, 0);
        let (board, word) = Board::heap();
        let telling = thread::spawn(move || {
            board.set(0, 1);
            reader.made_space();
            board.set(0, 2);
            reader.made_space();
            (board, reader)
        });
        for taken in 1..=2 {
            writer.wait_for_readers(None, |_| word.load(0) >= taken);
        }
        let _kept = telling.join().expect("the client ends");
    });
}

/// One of the threads that share a writer gives a chunk back, and no reader knows.
#[test]
fn memory_given_back_at_this_end() {
    model::check(2, || {
        let (mut writer, [_reader]) = full(0);
        let wait = writer.expect_space().expect("a reader to wait for");
        let sleeping = thread::spawn(move || {
            wait.sleep(None);
            assert!(wait.is_over());
        });
        writer.have_waits_look_again();
        sleeping.join().expect("it is woken");
        writer.stop_expecting_space();
    });
}
