//! Model of publishing, reading and lapping: no torn message, and every message is either received or counted lost.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::pool::{Chunk, Pool};
use onecopy_memory::ring::RingReader;

/// The writer publishes `messages` while the reader tries `attempts` times, and then drains the ring.
fn received_or_lost(messages: u64, attempts: usize, preemptions: usize) {
    model::check_without_barriers(preemptions, move || {
        let mut writer = model::writer(0, false);
        let mut reader = RingReader::of(&writer, &ReaderTable::heap(1));
        reader.start(0);
        let publishing = thread::spawn(move || {
            for _ in 0..messages {
                model::publish(&mut writer);
            }
        });
        let mut received = Vec::new();
        for _ in 0..attempts {
            received.extend(model::receive(&mut reader));
        }
        publishing.join().expect("the writer ends");
        while let Some(position) = model::receive(&mut reader) {
            received.push(position);
        }
        assert!(received.is_sorted_by(|before, after| before < after));
        assert_eq!(received.len() as u64 + reader.lost(), messages);
        assert_eq!(reader.cursor(), messages);
        assert!(!reader.is_ready());
    });
}

#[test]
fn a_reader_that_is_lapped_once() {
    received_or_lost(3, 2, 3);
}

#[test]
fn a_reader_that_is_lapped_twice() {
    received_or_lost(5, 1, 2);
}

#[test]
fn a_slot_whose_line_is_taken_back_keeps_its_message() {
    model::check_without_barriers(3, || {
        let mut writer = model::writer(0, false);
        let mut reader = RingReader::of(&writer, &ReaderTable::heap(1));
        reader.start(0);
        let publishing = thread::spawn(move || {
            model::publish(&mut writer);
            model::publish(&mut writer);
            // The slot of the first message.
            writer.take_back_for_model();
            model::publish(&mut writer);
        });
        let received = model::receive(&mut reader).into_iter().count() as u64;
        publishing.join().expect("the writer ends");
        let rest = std::iter::from_fn(|| model::receive(&mut reader)).count() as u64;
        assert_eq!((reader.cursor(), received + rest + reader.lost()), (3, 3));
    });
}

#[test]
fn a_chunk_that_is_taken_back_is_lost_without_a_fault() {
    model::check_without_barriers(3, || {
        let mut writer = model::writer(0, false);
        let mut pool = Pool::new(0);
        let mut reader = model::attached(&mut writer, 0);
        let publishing = thread::spawn(move || {
            writer.publish_chunk(Chunk::model(64), 0, 0, 1);
            writer.revoke_for_model(&mut pool);
        });
        let claimed = reader.claim_next();
        // A fault would be a panic in here: the reader must see the message counted once it sees it gone.
        assert_eq!(model::receive(&mut reader), None);
        publishing.join().expect("the writer ends");
        let received = u64::from(claimed.is_some());
        assert_eq!(model::receive(&mut reader), None);
        assert_eq!((reader.cursor(), reader.lost() + received), (1, 1));
        assert!(!reader.is_ready());
    });
}
