//! Model of a reader that attaches while the writer publishes: from the position it is told, it loses nothing on a
//! reliable ring, neither a slot nor a chunk.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::pool::{Chunk, Pool};
use onecopy_memory::ring::{Geometry, RingReader, RingWriter};
use onecopy_memory::sync::Arc;

#[test]
fn slots_of_a_reliable_ring() {
    model::check(3, || {
        let mut writer = model::writer(1, true);
        let mut reader = RingReader::of(&writer, &ReaderTable::heap(1));
        let readers = Arc::clone(writer.readers());
        model::publish(&mut writer);
        let publishing = thread::spawn(move || {
            for _ in 0..3 {
                if writer.has_room(1) {
                    model::publish(&mut writer);
                }
            }
            writer.head()
        });
        let start = readers.attach(model::key(0), PeerReader::of(reader.state()));
        reader.start(start);
        let mut received = Vec::from_iter(model::receive(&mut reader));
        let head = publishing.join().expect("the writer ends");
        received.extend(std::iter::from_fn(|| model::receive(&mut reader)));
        assert_eq!(received, Vec::from_iter(start..head));
        assert_eq!(reader.lost(), 0);
    });
}

/// The reader is told to start inside a batch, whose only slot is a ring away from the writer's head.
#[test]
fn a_batch_of_a_reliable_ring() {
    model::check(3, || {
        let mut writer = RingWriter::heap(Geometry::new(8, 4, 16, true));
        assert_eq!(writer.geometry().batch_max(), 2);
        let mut reader = RingReader::of(&writer, &ReaderTable::heap(1));
        let readers = Arc::clone(writer.readers());
        for (offset, count) in [(64, 2), (128, 2), (192, 1)] {
            writer.publish_chunk(Chunk::model(offset), 0, 0, count);
        }
        let publishing = thread::spawn(move || {
            let mut pool = Pool::new(0);
            for (offset, count) in [(256, 2), (320, 1), (384, 1)] {
                if writer.has_room(count) {
                    writer.publish_chunk(Chunk::model(offset), 0, 0, count);
                }
            }
            writer.collect(&mut pool);
        });
        let start = readers.attach(model::key(0), PeerReader::of(reader.state()));
        assert!(start >= 1, "a history of 4 behind at least 5 messages");
        reader.start(start);
        publishing.join().expect("the writer ends");
        // Batches begin at 0, 2 and 5.
        let batches = [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8), (8, 9)];
        let (first, _) = batches.into_iter().find(|(_, end)| *end > start).expect("the head is 9 at most");
        assert_eq!((reader.cursor(), reader.lost()), (first, 0));
        if first < 5 {
            let (_hold, address) = reader.claim_next().expect("the chunk is still there");
            assert_eq!(address.offset, [64, 0, 128, 0, 192][first as usize]);
        }
    });
}

#[test]
fn chunks_of_a_reliable_ring() {
    model::check(3, || {
        let mut writer = model::writer(1, true);
        let mut reader = RingReader::of(&writer, &ReaderTable::heap(1));
        let readers = Arc::clone(writer.readers());
        writer.publish_chunk(Chunk::model(64), 0, 0, 1);
        let publishing = thread::spawn(move || {
            let mut pool = Pool::new(0);
            for offset in [128, 192] {
                if writer.has_room(1) {
                    writer.publish_chunk(Chunk::model(offset), 0, 0, 1);
                }
                writer.collect(&mut pool);
            }
            writer.head()
        });
        let start = readers.attach(model::key(0), PeerReader::of(reader.state()));
        reader.start(start);
        let head = publishing.join().expect("the writer ends");
        for position in start..head {
            assert_eq!(reader.cursor(), position);
            let (_hold, address) = reader.claim_next().expect("the chunk is still there");
            assert_eq!(address.offset, (position + 1) * 64);
        }
    });
}
