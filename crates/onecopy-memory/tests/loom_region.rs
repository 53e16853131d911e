//! Models of a region with one writer: no torn value, no copy overwritten while it is held, no change slept through.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
use onecopy_memory::sync::full_barrier;

fn small() -> RegionGeometry {
    RegionGeometry::new(16, 8).expect("possible sizes")
}

fn large() -> RegionGeometry {
    RegionGeometry::new(4096, 8).expect("possible sizes")
}

fn attached(writer: &RegionWriter, number: u32) -> RegionReader {
    let reader = RegionReader::of(writer, &ReaderTable::heap(1));
    writer.readers().attach(model::key(number), PeerReader::of(reader.state()));
    reader
}

/// Reads a value by straight code: `None` if that was overtaken.
fn get(reader: &RegionReader) -> Option<u64> {
    let [version, inverse] = reader.get::<[u64; 2]>()?;
    assert_eq!(version, !inverse, "torn");
    Some(version)
}

/// Reads a value, checks that it is whole and that its bytes are of its version.
fn read(reader: &RegionReader) -> u64 {
    let mut bytes = [0; 16];
    let value = reader.read(&mut bytes).expect("the writer is honest");
    assert_eq!(value.length, 16);
    assert_eq!(bytes, model::value(value.version), "torn, or of another version");
    value.version
}

#[test]
fn a_reader_that_is_lapped() {
    // Two copies in a model: the second write comes round.
    model::check_without_barriers(3, || {
        let mut writer = RegionWriter::heap(small(), &model::value(1));
        let reader = RegionReader::of(&writer, &ReaderTable::heap(1));
        let writing = thread::spawn(move || {
            for version in 2..=3 {
                assert_eq!(writer.write(&model::value(version)), Ok(version));
            }
        });
        let first = get(&reader).unwrap_or(0);
        let second = read(&reader);
        assert!(first <= second);
        writing.join().expect("the writer ends");
        assert_eq!(get(&reader), Some(3), "nobody overtakes any more");
    });
}

#[test]
fn two_readers_of_one_writer() {
    model::check_without_barriers(2, || {
        let mut writer = RegionWriter::heap(small(), &model::value(1));
        let reading = [0, 1].map(|_| {
            let reader = RegionReader::of(&writer, &ReaderTable::heap(1));
            thread::spawn(move || read(&reader))
        });
        assert_eq!(writer.write(&model::value(2)), Ok(2));
        assert_eq!(writer.write(&model::value(3)), Ok(3));
        for reading in reading {
            assert!((1..=3).contains(&reading.join().expect("the reader ends")));
        }
    });
}

#[test]
fn a_copy_that_is_held_while_the_writer_looks_for_one() {
    model::check(3, || {
        let contents = model::Contents::new(1);
        let mut writer = RegionWriter::heap(large(), &[]);
        let reader = attached(&writer, 0);
        let reading = {
            let contents = contents.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    let (hold, version, copy) = reader.hold_for_model();
                    contents.expect(copy, version);
                    drop(hold);
                }
            })
        };
        for version in 2..=3 {
            let copy = writer.choose_for_model();
            contents.write(copy, version);
            writer.commit_for_model(copy);
        }
        reading.join().expect("the reader ends");
    });
}

/// Without the fences, a model must find the copy overwritten: this shows that the one above can fail.
#[test]
#[should_panic]
fn a_hold_without_fence_protects_nothing() {
    model::check_without_barriers(3, || {
        let contents = model::Contents::new(1);
        let mut writer = RegionWriter::heap(large(), &[]);
        let reader = attached(&writer, 0);
        let reading = {
            let contents = contents.clone();
            thread::spawn(move || {
                let (hold, version, copy) = reader.hold_for_model();
                contents.expect(copy, version);
                drop(hold);
            })
        };
        for version in 2..=3 {
            let copy = writer.choose_for_model();
            contents.write(copy, version);
            writer.commit_for_model(copy);
        }
        reading.join().expect("the reader ends");
    });
}

fn sleep_until(reader: &RegionReader, version: u64) {
    while reader.version() < version {
        let value = reader.prepare_sleep(false);
        full_barrier();
        if reader.version() < version {
            reader.wake_word().wait(value);
        }
        reader.cancel_sleep();
    }
}

#[test]
fn a_change_that_comes_while_its_reader_falls_asleep() {
    model::check(3, || {
        let mut writer = RegionWriter::heap(small(), &model::value(1));
        let reader = attached(&writer, 0);
        writer.readers().may_sleep(model::key(0), None);
        let writing = thread::spawn(move || {
            writer.write(&model::value(2)).expect("it fits");
            writer.write(&model::value(3)).expect("it fits");
            writer
        });
        sleep_until(&reader, 3);
        assert_eq!(read(&reader), 3);
        writing.join().expect("the writer ends");
    });
}

#[test]
fn a_change_that_comes_while_its_reader_announces_that_it_may_sleep() {
    model::check(2, || {
        let mut writer = RegionWriter::heap(small(), &model::value(1));
        let reader = attached(&writer, 0);
        let readers = writer.readers().clone();
        let writing = thread::spawn(move || {
            writer.write(&model::value(2)).expect("it fits");
            writer
        });
        let announcing = thread::spawn(move || readers.may_sleep(model::key(0), None));
        sleep_until(&reader, 2);
        announcing.join().expect("the announcement ends");
        writing.join().expect("the writer ends");
    });
}
