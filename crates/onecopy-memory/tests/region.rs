//! A region with one writer, over real segments: what readers see, what they hold, and what it costs.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use onecopy_memory::hold::{PeerReader, ReaderTable};
use onecopy_memory::layout::{COPIES, NOTE_BYTES_MAX, SegmentKind, VERSION_MAX};
use onecopy_memory::region::{
    GeometryError, OpenError, ReadError, RegionGeometry, RegionReader, RegionWriter, WriteError,
};
use onecopy_memory::segment::View;
use onecopy_memory::sync::full_barrier;
use onecopy_memory::wait;
use rustix::mm::{MapFlags, ProtFlags};

const LARGE: usize = 1 << 20;

fn writer(capacity_bytes: usize, value: &[u8]) -> RegionWriter {
    let geometry = RegionGeometry::new(capacity_bytes, 8).expect("possible sizes");
    RegionWriter::create(geometry, 0, 1, value).expect("memory for a region")
}

fn open(writer: &RegionWriter, table: &Arc<ReaderTable>) -> RegionReader {
    let descriptor = writer.descriptor().try_clone_to_owned().expect("a descriptor");
    let view = View::open(descriptor, SegmentKind::Region).expect("an honest region");
    RegionReader::open(&view, table, Box::new(())).expect("room in the table")
}

fn attached(writer: &RegionWriter, table: &Arc<ReaderTable>, number: u32) -> RegionReader {
    let reader = open(writer, table);
    let descriptor = table.descriptor().try_clone_to_owned().expect("a descriptor");
    let view = View::open(descriptor, SegmentKind::Readers).expect("an honest table");
    let peer = PeerReader::open(&view, reader.state().block()).expect("a block inside the table");
    writer.readers().attach((1, number), peer);
    reader
}

fn table() -> Arc<ReaderTable> {
    ReaderTable::create().expect("memory for a table")
}

fn read(reader: &RegionReader) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; reader.geometry().capacity_bytes()];
    let value = reader.read(&mut bytes).expect("the writer is honest");
    bytes.truncate(value.length);
    (value.version, bytes)
}

#[test]
fn readers_find_what_the_maker_noted() {
    let table = table();
    for capacity_bytes in [0, 1, 240, 241, 4096, LARGE] {
        for note_bytes in [0, 1, 8, 4095, NOTE_BYTES_MAX] {
            let geometry = RegionGeometry::new(capacity_bytes, 1).expect("possible sizes");
            let note: Vec<u8> = (0..note_bytes).map(|index| index as u8).collect();
            let value = vec![7; capacity_bytes];
            let mut writer = RegionWriter::create_with_note(geometry, 0, 1, &value, &note).expect("memory");
            let reader = open(&writer, &table);
            for _ in 0..COPIES {
                writer.write(&value).expect("it fits");
            }
            assert!(reader.note() == note, "{capacity_bytes} with {note_bytes}");
            assert_eq!(read(&reader).1, value);
            assert_eq!(reader.owner_uid(), rustix::fs::fstat(writer.descriptor()).expect("a memfd").st_uid);
        }
    }
    let geometry = RegionGeometry::new(1, 1).expect("possible sizes");
    let long = vec![1; NOTE_BYTES_MAX + 1];
    let refused = RegionWriter::create_with_note(geometry, 0, 1, b"", &long);
    assert!(matches!(refused, Err(OpenError::Geometry(GeometryError::Note { .. }))));
}

#[test]
fn readers_see_the_latest_value() {
    for capacity_bytes in [0, 1, 48, 49, 240, 241, 4096, LARGE] {
        let mut writer = writer(capacity_bytes, &[]);
        let reader = attached(&writer, &table(), 0);
        assert_eq!(read(&reader), (1, vec![]));
        for version in 2..50 {
            let value = [version as u8].repeat(capacity_bytes * version / 50);
            assert_eq!(writer.write(&value), Ok(version as u64));
            assert_eq!(read(&reader), (version as u64, value.clone()));
            assert_eq!(writer.value(), value);
            assert_eq!((reader.version(), writer.version()), (version as u64, version as u64));
        }
    }
}

#[test]
fn a_value_larger_than_the_region_changes_nothing() {
    for capacity_bytes in [48, LARGE] {
        let mut writer = writer(capacity_bytes, b"first");
        let reader = attached(&writer, &table(), 0);
        let too_large = vec![0; capacity_bytes + 1];
        let refused = WriteError::TooLarge { length_bytes: capacity_bytes + 1, capacity_bytes };
        assert_eq!(writer.write(&too_large), Err(refused));
        assert_eq!(writer.draft().expect("room").commit(capacity_bytes + 1), Err(refused));
        assert_eq!(read(&reader), (1, b"first".to_vec()));
        assert_eq!(writer.value(), b"first");
    }
    let geometry = RegionGeometry::new(4, 1).expect("possible sizes");
    let refused = RegionWriter::create(geometry, 0, 1, b"first").expect_err("five bytes in four");
    assert!(matches!(refused, OpenError::Write(WriteError::TooLarge { .. })));
}

#[test]
fn impossible_sizes_are_refused() {
    RegionGeometry::new(usize::MAX, 1).expect_err("larger than any memory");
    RegionGeometry::new(1, 3).expect_err("no alignment");
    RegionGeometry::new(1, 8192).expect_err("beyond a page");
    let aligned = RegionGeometry::new(1, 4096).expect("a page");
    let mut writer = RegionWriter::create(aligned, 0, 1, b"x").expect("memory for a region");
    assert_eq!(writer.value().as_ptr().addr() % 4096, 0);
}

#[test]
fn a_draft_begins_as_the_value_and_is_dropped_unchanged() {
    for capacity_bytes in [48, LARGE] {
        let mut writer = writer(capacity_bytes, b"first");
        let reader = attached(&writer, &table(), 0);
        let mut draft = writer.draft().expect("room");
        assert_eq!(draft.bytes_mut().len(), capacity_bytes);
        assert_eq!(&draft.bytes_mut()[..5], b"first");
        draft.bytes_mut().fill(0xee);
        assert_eq!(read(&reader), (1, b"first".to_vec()));
        drop(draft);
        assert_eq!(writer.value(), b"first");
        let mut draft = writer.draft().expect("room");
        draft.bytes_mut()[..6].copy_from_slice(b"second");
        assert_eq!(draft.commit(6), Ok(2));
        assert_eq!(writer.value(), b"second");
        assert_eq!(read(&reader), (2, b"second".to_vec()));
    }
}

#[test]
fn versions_go_on_from_the_first() {
    let geometry = RegionGeometry::new(8, 8).expect("possible sizes");
    let mut writer = RegionWriter::create(geometry, 0, 42, &[]).expect("memory for a region");
    assert_eq!(writer.write(&[1]), Ok(43));
    for first in [0, VERSION_MAX + 1] {
        let refused = RegionWriter::create(geometry, 0, first, &[]).expect_err("no version");
        assert!(matches!(refused, OpenError::Write(WriteError::VersionsExhausted)));
    }
    let mut writer = RegionWriter::create(geometry, 0, VERSION_MAX, &[]).expect("memory for a region");
    assert_eq!(writer.write(&[1]), Err(WriteError::VersionsExhausted));
}

#[test]
fn a_held_value_stays_until_it_is_dropped() {
    let mut writer = writer(LARGE, b"first");
    let reader = attached(&writer, &table(), 0);
    let held = reader.hold().expect("the writer is honest");
    for version in 2..100 {
        writer.write(&[version as u8; 5]).expect("room for one more");
    }
    assert_eq!((held.version(), held.bytes()), (1, b"first".as_slice()));
    drop((reader, writer));
    let elsewhere = std::thread::spawn(move || held.bytes().to_vec());
    assert_eq!(elsewhere.join().expect("no panic"), b"first");
}

#[test]
fn a_writer_whose_copies_are_all_held_is_told_who_holds_them() {
    let mut writer = writer(LARGE, b"first");
    let table = table();
    let (reader, _other) = (attached(&writer, &table, 7), attached(&writer, &table, 8));
    let mut held = vec![reader.hold().expect("room")];
    for version in 2..=COPIES as u64 {
        assert_eq!(writer.write(&version.to_ne_bytes()), Ok(version));
        held.push(reader.hold().expect("room"));
    }
    assert_eq!(writer.write(b"one too many"), Err(WriteError::AllHeld));
    assert!(matches!(writer.draft(), Err(WriteError::AllHeld)));
    assert_eq!(writer.holders(), [((1, 7), COPIES as u32)]);
    assert_eq!(writer.value(), (COPIES as u64).to_ne_bytes());
    drop(held.remove(3));
    writer.write(b"room again").expect("a copy was let go");
    assert_eq!(held[0].bytes(), b"first");
    let versions: HashSet<u64> = held.iter().map(|held| held.version()).collect();
    assert_eq!(versions.len(), COPIES - 1);
    writer.readers().detach((1, 7));
    writer.write(b"its reader is gone").expect("nobody holds anything");
    assert_eq!(writer.holders(), []);
}

#[test]
fn small_values_are_not_held() {
    let writer = writer(48, b"first");
    assert!(matches!(open(&writer, &table()).hold(), Err(ReadError::Small)));
}

#[test]
fn memory_behind_a_region_is_that_of_few_values() {
    let mut writer = writer(LARGE, &[1; LARGE]);
    let reader = attached(&writer, &table(), 0);
    for round in 0..100 {
        writer.write(&[round; LARGE]).expect("room");
        assert_eq!(read(&reader).1[LARGE - 1], round);
    }
    let stat = rustix::fs::fstat(writer.descriptor()).expect("a descriptor");
    let resident_bytes = stat.st_blocks as usize * 512;
    assert!(resident_bytes <= 3 * LARGE + 3 * 4096, "{resident_bytes} bytes");
}

#[test]
fn nobody_else_can_map_it_writable() {
    let writer = writer(48, b"first");
    // SAFETY: a null hint lets the kernel choose an unused range; the call is to fail.
    let mapped = unsafe {
        rustix::mm::mmap(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            writer.descriptor(),
            0,
        )
    };
    assert_eq!(mapped.expect_err("it is sealed"), rustix::io::Errno::PERM);
    assert!(rustix::io::write(writer.descriptor().as_fd(), &[0]).is_err());
}

#[test]
fn values_stay_whole_under_a_fast_writer() {
    for capacity_bytes in [64, 4096] {
        let mut writer = writer(capacity_bytes, &vec![0; capacity_bytes]);
        let table = table();
        let readers: Vec<RegionReader> = (0..3).map(|number| attached(&writer, &table, number)).collect();
        std::thread::scope(|scope| {
            for reader in readers {
                scope.spawn(move || {
                    let mut last = 0;
                    while last < 20_000 {
                        let (version, bytes) = read(&reader);
                        assert!(version >= last);
                        assert_eq!(bytes, [(version - 1) as u8].repeat(capacity_bytes));
                        last = version;
                    }
                });
            }
            for round in 1..20_000_u64 {
                writer.write(&[round as u8].repeat(capacity_bytes)).expect("three readers hold three copies");
            }
        });
    }
}

#[test]
fn a_watcher_wakes_when_the_version_moves() {
    for on_doorbell in [false, true] {
        let mut writer = writer(8, &[]);
        let reader = attached(&writer, &table(), 0);
        let (doorbell, ringer) = wait::Doorbell::pair().expect("descriptors");
        writer.readers().may_sleep((1, 0), Some(ringer));
        let watching = std::thread::spawn(move || {
            while reader.version() < 2 {
                let value = reader.prepare_sleep(on_doorbell);
                full_barrier();
                if reader.version() < 2 && on_doorbell {
                    wait::poll_readable(&[doorbell.as_fd()], None).expect("a socket");
                    doorbell.was_rung();
                } else if reader.version() < 2 {
                    wait::wait(reader.wake_word(), value, None);
                }
                reader.cancel_sleep();
            }
            reader.version()
        });
        writer.write(&[1]).expect("it fits");
        assert_eq!(watching.join().expect("it wakes"), 2);
    }
}
