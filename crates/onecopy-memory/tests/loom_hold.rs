//! Models of holding a chunk against its reclamation. loom's cells stand for the chunks' bytes: it fails the model
//! when the writer reuses a chunk that a reader may still be reading.
#![cfg(loom)]

mod model;

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::pool::{Chunk, ChunkAddress, Pool};
use onecopy_memory::ring::{RingReader, RingWriter};

/// The bytes of two chunks, each a position.
struct Contents([UnsafeCell<u64>; 2]);

// SAFETY: what a model is to find out; loom's cells report every unordered access.
unsafe impl Sync for Contents {}
// SAFETY: as above.
unsafe impl Send for Contents {}

impl Contents {
    fn new() -> Arc<Self> {
        Arc::new(Self([UnsafeCell::new(u64::MAX), UnsafeCell::new(u64::MAX)]))
    }

    fn cell(&self, address: ChunkAddress) -> &UnsafeCell<u64> {
        &self.0[(address.offset / 64) as usize - 1]
    }

    fn write(&self, chunk: &Chunk, position: u64) {
        self.cell(chunk.address()).with_mut(|cell| {
            // SAFETY: loom reports an access at the same time.
            unsafe { *cell = position }
        });
    }

    fn expect(&self, address: ChunkAddress, position: u64) {
        self.cell(address).with(|cell| {
            // SAFETY: loom reports an access at the same time.
            assert_eq!(unsafe { *cell }, position, "the chunk was reused while held");
        });
    }
}

fn publish(writer: &mut RingWriter, chunk: Chunk, contents: &Contents) {
    contents.write(&chunk, writer.head());
    writer.publish_chunk(chunk, 0, 0, 1);
}

/// Claims the next chunk, looks into it, lets go.
fn claim(reader: &mut RingReader, contents: &Contents) {
    let position = reader.cursor();
    if let Some((hold, address)) = reader.claim_next() {
        contents.expect(address, position);
        drop(hold);
    }
}

fn overwriting() -> RingWriter {
    model::writer(0, false)
}

/// A chunk that is out; its writer takes it back by `reclaim` and writes the next message into it, while the reader
/// takes hold.
fn reuse(
    check: impl FnOnce(usize, Box<dyn Fn() + Send + Sync>),
    writer: impl Fn() -> RingWriter + Send + Sync + 'static,
    reclaim: impl Fn(&mut RingWriter, &mut Pool) + Copy + Send + Sync + 'static,
) {
    let model = move || {
        let contents = Contents::new();
        let mut writer = writer();
        let mut pool = Pool::new(0);
        let mut reader = model::attached(&mut writer, 0);
        publish(&mut writer, Chunk::model(64), &contents);
        let reading = {
            let contents = Arc::clone(&contents);
            thread::spawn(move || {
                claim(&mut reader, &contents);
                claim(&mut reader, &contents);
            })
        };
        for _ in 0..2 {
            reclaim(&mut writer, &mut pool);
            if let Some(chunk) = pool.allocate_recent(1) {
                publish(&mut writer, chunk, &contents);
            }
        }
        reading.join().expect("the reader ends");
    };
    check(3, Box::new(model));
}

#[test]
fn a_chunk_that_the_cursor_passed() {
    reuse(model::check_without_barriers, overwriting, |writer, pool| writer.collect(pool));
}

#[test]
fn a_chunk_that_is_revoked() {
    reuse(model::check, overwriting, |writer, pool| {
        writer.revoke_for_model(pool);
    });
}

/// The reader may move on at any moment, and then is waited for again.
#[test]
fn a_chunk_of_an_evicted_reader() {
    reuse(
        |_, model| model::check(2, model),
        model::impatient_writer,
        |writer, pool| {
            writer.outwait_for_model(pool);
            writer.collect(pool);
        },
    );
}

#[test]
fn a_chunk_that_is_lapped() {
    model::check(2, || {
        let contents = Contents::new();
        let mut writer = model::writer(0, false);
        let mut pool = Pool::new(0);
        let mut reader = model::attached(&mut writer, 0);
        publish(&mut writer, Chunk::model(64), &contents);
        let reading = {
            let contents = Arc::clone(&contents);
            thread::spawn(move || claim(&mut reader, &contents))
        };
        model::publish(&mut writer);
        model::publish(&mut writer);
        writer.collect(&mut pool);
        if let Some(chunk) = pool.allocate_recent(1) {
            publish(&mut writer, chunk, &contents);
        }
        reading.join().expect("the reader ends");
    });
}

/// The entry that another thread cleared is used again before the writer looks: it must still see that thread's
/// reads as done.
#[test]
fn a_hold_that_another_thread_drops() {
    model::check_without_barriers(3, || {
        let contents = Contents::new();
        let start = Arc::new(model::Start::default());
        let mut writer = model::writer(0, false);
        let mut pool = Pool::new(0);
        let mut reader = model::attached(&mut writer, 0);
        publish(&mut writer, Chunk::model(64), &contents);
        publish(&mut writer, Chunk::model(128), &contents);
        let (first, address) = reader.claim_next().expect("nobody takes it back yet");
        let dropping = {
            let (contents, start) = (Arc::clone(&contents), Arc::clone(&start));
            thread::spawn(move || {
                start.race();
                contents.expect(address, 0);
                drop(first);
            })
        };
        let reading = {
            let (contents, start) = (Arc::clone(&contents), Arc::clone(&start));
            thread::spawn(move || {
                start.race();
                claim(&mut reader, &contents);
            })
        };
        start.race();
        writer.collect(&mut pool);
        while let Some(chunk) = pool.allocate_recent(1) {
            contents.write(&chunk, 9);
        }
        dropping.join().expect("the first hold is dropped");
        reading.join().expect("the reader ends");
    });
}

/// A second hold replaces the first while the writer looks from one entry to the next.
#[test]
fn a_hold_that_is_passed_on() {
    model::check_without_barriers(3, || {
        let contents = Contents::new();
        let start = Arc::new(model::Start::default());
        let mut writer = model::writer(0, false);
        let mut pool = Pool::new(0);
        let table = ReaderTable::heap(2);
        let mut reader = RingReader::of(&writer, &table);
        let peer = onecopy_memory::hold::PeerReader::of(reader.state());
        reader.start(writer.readers().attach(model::key(0), peer));
        publish(&mut writer, Chunk::model(64), &contents);
        publish(&mut writer, Chunk::model(128), &contents);
        let (earlier, _) = reader.claim_next().expect("nobody takes it back yet");
        let (hold, address) = reader.claim_next().expect("nobody takes it back yet");
        // Now there is a free entry in front of the hold.
        drop(earlier);
        let passing = {
            let (contents, start) = (Arc::clone(&contents), Arc::clone(&start));
            thread::spawn(move || {
                start.race();
                let again = hold.again_for_model();
                drop(hold);
                contents.expect(address, 1);
                drop(again);
            })
        };
        start.race();
        writer.collect(&mut pool);
        while let Some(chunk) = pool.allocate_recent(1) {
            contents.write(&chunk, 9);
        }
        passing.join().expect("the holds are dropped");
    });
}

/// The last hold goes on another thread, and with it the reader's whole state.
#[test]
fn a_reader_that_ends_before_its_hold() {
    model::check_without_barriers(3, || {
        let contents = Contents::new();
        let start = Arc::new(model::Start::default());
        let mut writer = model::writer(0, false);
        let mut pool = Pool::new(0);
        let table = ReaderTable::heap(1);
        let mut reader = RingReader::of(&writer, &table);
        let peer = onecopy_memory::hold::PeerReader::of(reader.state());
        reader.start(writer.readers().attach(model::key(0), peer));
        publish(&mut writer, Chunk::model(64), &contents);
        let (hold, address) = reader.claim_next().expect("nobody takes it back yet");
        let dropping = {
            let (contents, start) = (Arc::clone(&contents), Arc::clone(&start));
            thread::spawn(move || {
                start.race();
                contents.expect(address, 0);
                drop(hold);
            })
        };
        let ending = thread::spawn(move || drop(reader));
        start.race();
        writer.collect(&mut pool);
        if let Some(chunk) = pool.allocate_recent(1) {
            contents.write(&chunk, 9);
        }
        dropping.join().expect("the hold is dropped");
        ending.join().expect("the reader ends");
    });
}
