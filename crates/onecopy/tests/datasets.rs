//! Datasets between nodes: publishing, opening, sections, newer versions, files.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::time::Duration;

use common::{LONG, SHORT, directory, node_in, pattern};
use onecopy::Readiness;
use onecopy::dataset::{Backing, DatasetError};
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

#[derive(Debug, Clone, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    offset: u64,
    place: u64,
}

#[test]
fn bytes_are_published_and_seen_by_another_node() {
    let directory = directory();
    let (publishing, reading) = (node_in(directory.path()), node_in(directory.path()));
    let dataset = reading.dataset("index").unwrap();
    assert!(matches!(dataset.open(), Err(DatasetError::NotFound { dataset }) if dataset == "index"));
    let bytes: Vec<u8> = pattern(1, 100_000).collect();
    let published = publishing.dataset("index").unwrap().publish_bytes(&bytes).unwrap();
    let view = dataset.open().unwrap();
    assert_eq!((view.version(), view.backing()), (published.version(), Backing::Memory));
    assert_eq!(view.bytes().unwrap(), bytes);
    assert_eq!(view.content_bytes(), 100_000);
    assert_eq!(view.verify().unwrap(), published.hash().unwrap());
    assert_eq!(view.hash().unwrap().to_string(), blake3::hash(&bytes).to_hex().to_string());
    let mut some = [0; 10];
    view.read_at(99_990, &mut some).unwrap();
    assert_eq!(some, bytes[99_990..]);
    assert!(matches!(view.read_at(99_991, &mut some), Err(DatasetError::OutOfRange { .. })));
    assert!(matches!(publishing.dataset("/index"), Err(DatasetError::Name(_))));
}

#[test]
fn sections_are_written_in_place_and_read_by_name_and_type() {
    let directory = directory();
    let node = node_in(directory.path());
    let dataset = node.dataset("reads").unwrap();
    let builder = dataset.builder().section::<Record>("records", 1000).section::<u8>("names", 77);
    let mut draft = builder.section::<f64>("none", 0).allocate().unwrap();
    for (index, record) in draft.section_mut::<Record>("records").unwrap().iter_mut().enumerate() {
        *record = Record { offset: index as u64, place: 2 * index as u64 };
    }
    assert!(matches!(draft.section_mut::<u32>("records"), Err(DatasetError::SectionType { .. })));
    assert!(matches!(draft.section_mut::<u8>("name"), Err(DatasetError::NoSection { .. })));
    std::thread::scope(|scope| {
        for mut section in draft.sections_mut().unwrap() {
            scope.spawn(move || match section.name() {
                "names" => section.bytes_mut().fill(b'n'),
                "records" => section.into_slice::<Record>().unwrap()[999].place = 7,
                _ => assert!(section.into_slice::<f64>().unwrap().is_empty()),
            });
        }
    });
    assert!(dataset.open().is_err(), "nobody sees a draft");
    let _published = draft.publish().unwrap();

    let view = dataset.open().unwrap();
    let records = view.section::<Record>("records").unwrap();
    assert_eq!((records.len(), &records[4]), (1000, &Record { offset: 4, place: 8 }));
    assert_eq!(records[999].place, 7);
    assert_eq!(view.section::<u8>("names").unwrap(), [b'n'; 77]);
    assert_eq!(view.section::<f64>("none").unwrap().len(), 0);
    assert_eq!(view.section_bytes("records").unwrap().len(), 16_000);
    let mut two = [const { Record { offset: 0, place: 0 } }; 2];
    view.read_section("records", 998, &mut two).unwrap();
    assert_eq!((two[0].offset, two[1].place), (998, 7));
    assert!(view.read_section("records", 999, &mut two).is_err());
    assert!(view.read_section("records", usize::MAX, &mut two).is_err());
    let error = view.section::<[u64; 2]>("records").unwrap_err();
    assert!(error.to_string().contains("Record (16 bytes, aligned to 8)"), "{error}");
    let error = view.section::<u8>("recrods").unwrap_err();
    assert!(error.to_string().contains("\"records\", \"names\""), "{error}");
    view.verify().unwrap();
}

#[test]
fn a_newer_version_takes_the_place_of_the_older_which_stays_with_those_who_have_it() {
    let directory = directory();
    let (publishing, reading) = (node_in(directory.path()), node_in(directory.path()));
    let (dataset, seen) = (publishing.dataset("index").unwrap(), reading.dataset("index").unwrap());
    let first = dataset.publish_bytes(b"one").unwrap();
    let old = seen.open().unwrap();
    assert!(old.is_current() && first.is_current());
    assert!(matches!(old.wait_for_newer(SHORT), Err(DatasetError::Timeout { .. })));
    let waiting = std::thread::spawn(move || (old.wait_for_newer(LONG).unwrap(), old));
    let second = dataset.publish_bytes(b"two").unwrap();
    let (new, old) = waiting.join().unwrap();
    assert_eq!((old.bytes().unwrap(), new.bytes().unwrap()), (&b"one"[..], &b"two"[..]));
    assert_eq!((old.version(), new.version(), second.version()), (1, 2, 2));
    assert_eq!(old.newest_version(), 2);
    assert!(!old.is_current() && new.is_current() && !first.is_current() && second.is_current());
    // The publisher of an older version, and those who look at one, have the dataset open as well.
    drop((second, new));
    assert_eq!(seen.open().unwrap().version(), 2);
    drop((old, first));
    // The broker has done what came before the answer.
    publishing.inventory().unwrap();
    assert!(matches!(seen.open(), Err(DatasetError::NotFound { .. })));
    assert_eq!(dataset.publish_bytes(b"three").unwrap().version(), 1, "it is another dataset");
}

#[test]
fn a_descriptor_tells_event_loops_of_a_newer_version() {
    let directory = directory();
    let (publishing, reading) = (node_in(directory.path()), node_in(directory.path()));
    let is_readable = |readiness: &Readiness, timeout: Duration| {
        let timeout = Timespec::try_from(timeout).unwrap();
        poll(&mut [PollFd::new(readiness, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    let dataset = publishing.dataset("index").unwrap();
    let first = dataset.publish_bytes(b"one").unwrap();
    let view = reading.dataset("index").unwrap().open().unwrap();
    let readiness = view.readiness().unwrap();
    assert!(!is_readable(&readiness, Duration::ZERO));
    let second = dataset.publish_bytes(b"two").unwrap();
    assert!(is_readable(&readiness, LONG));
    // Whoever asks late is told as well, and a second time.
    assert!(is_readable(&view.readiness().unwrap(), Duration::ZERO));
    assert!(is_readable(&readiness, Duration::ZERO));
    let newer = view.wait_for_newer(Duration::ZERO).unwrap();
    assert_eq!(newer.bytes().unwrap(), b"two");
    assert!(!is_readable(&newer.readiness().unwrap(), Duration::ZERO));
    drop((first, second));
}

#[test]
fn a_section_is_of_one_type_however_often_one_asks() {
    let directory = directory();
    let node = node_in(directory.path());
    let dataset = node.dataset("numbers").unwrap();
    let mut draft =
        dataset.builder().section::<u32>("small", 4).section::<u64>("large", 4).allocate().unwrap();
    draft.section_mut::<u32>("small").unwrap().copy_from_slice(&[1, 2, 3, 4]);
    let published = draft.publish().unwrap();
    let view = dataset.open().unwrap();
    for _ in 0..3 {
        assert_eq!(view.section::<u32>("small").unwrap(), [1, 2, 3, 4]);
        assert_eq!(view.section::<u64>("large").unwrap().len(), 4);
        // The same size, and another type.
        assert!(matches!(view.section::<f32>("small"), Err(DatasetError::SectionType { .. })));
        assert!(matches!(view.section::<u32>("large"), Err(DatasetError::SectionType { .. })));
        assert!(matches!(view.section::<u32>("none"), Err(DatasetError::NoSection { .. })));
    }
    drop(published);
}

#[test]
fn a_dataset_can_be_waited_for() {
    let directory = directory();
    let (publishing, reading) = (node_in(directory.path()), node_in(directory.path()));
    let dataset = reading.dataset("index").unwrap();
    assert!(matches!(dataset.open_within(SHORT), Err(DatasetError::Timeout { .. })));
    let waiting = std::thread::spawn(move || dataset.open_within(LONG).unwrap());
    while publishing.dataset_entry("index").unwrap().is_none() {
        std::thread::yield_now();
    }
    let entry = publishing.dataset_entry("index").unwrap().unwrap();
    assert_eq!((entry.version, entry.viewers, entry.publisher_pid), (None, 1, None));
    // Gone at once, and still seen by those who waited.
    drop(publishing.dataset("index").unwrap().publish_bytes(b"late").unwrap());
    let view = waiting.join().unwrap();
    assert_eq!(view.bytes().unwrap(), b"late");
    assert_eq!(reading.dataset("index").unwrap().open_within(LONG).unwrap().version(), 1);
}

#[test]
fn a_file_is_loaded_or_read_where_it_is() {
    let directory = directory();
    let (publishing, reading) = (node_in(directory.path()), node_in(directory.path()));
    let bytes: Vec<u8> = pattern(2, 3_000_000).collect();
    let path = directory.path().join("data");
    std::fs::write(&path, &bytes).unwrap();
    for backing in [Backing::Memory, Backing::File] {
        let dataset = publishing.dataset("data").unwrap().backing(backing);
        let dataset = dataset.section_at::<u64>("words", 16, 1000).unwrap();
        let mut told = Vec::new();
        let published = dataset.publish_file_with(&path, |progress| told.push(progress)).unwrap();
        assert_eq!(told.len(), 3);
        assert_eq!(told[2].done_bytes, 3_000_000);
        assert_eq!(published.hash().unwrap().to_string(), blake3::hash(&bytes).to_hex().to_string());
        let view = reading.dataset("data").unwrap().open().unwrap();
        assert_eq!(view.backing(), backing);
        let mut some = vec![0; 1_000_000];
        view.read_at(1_234_567, &mut some).unwrap();
        assert_eq!(some, bytes[1_234_567..2_234_567]);
        let mut word = [0_u64];
        view.read_section("words", 999, &mut word).unwrap();
        assert_eq!(word[0].to_ne_bytes(), bytes[16 + 999 * 8..][..8]);
        match backing {
            Backing::Memory => assert_eq!(view.section::<u64>("words").unwrap()[999], word[0]),
            Backing::File => {
                let error = view.bytes().unwrap_err();
                assert!(matches!(error, DatasetError::NotMapped { .. }), "{error}");
                assert!(matches!(view.section::<u64>("words"), Err(DatasetError::NotMapped { .. })));
            }
        }
        view.check().unwrap();
        view.verify().unwrap();
    }
    let wrong = publishing.dataset("data").unwrap().section_at::<u64>("words", 4, 1);
    assert!(matches!(wrong, Err(DatasetError::Memory(_))));
    let beyond = publishing.dataset("data").unwrap().section_at::<u64>("words", 0, 1_000_000).unwrap();
    assert!(beyond.publish_file(&path).is_err());
    assert!(matches!(
        publishing.dataset("data").unwrap().publish_file("/absent"),
        Err(DatasetError::File(_))
    ));
}

#[test]
fn a_file_that_changes_is_stale_to_its_readers_and_memory_is_not() {
    let directory = directory();
    let node = node_in(directory.path());
    let path = directory.path().join("data");
    std::fs::write(&path, vec![1; 100_000]).unwrap();
    let in_memory = node.dataset("memory").unwrap().publish_file(&path).unwrap();
    let in_file = node.dataset("file").unwrap().backing(Backing::File).publish_file(&path).unwrap();
    let loaded = node.dataset("memory").unwrap().open().unwrap();
    let read = node.dataset("file").unwrap().open().unwrap();
    let mut buffer = vec![0; 100_000];
    read.read_at(0, &mut buffer).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    for result in [read.read_at(0, &mut buffer), read.read_at(0, &mut buffer[..5]), read.check()] {
        assert!(matches!(result, Err(DatasetError::Stale { change: "was cut short", .. })), "{result:?}");
    }
    assert!(matches!(read.verify(), Err(DatasetError::Stale { .. })));
    assert!(matches!(node.dataset("file").unwrap().open(), Err(DatasetError::Stale { .. })));
    assert_eq!(loaded.bytes().unwrap(), vec![1; 100_000]);
    loaded.verify().unwrap();
    // Published again, it is a dataset again.
    let again = node.dataset("file").unwrap().backing(Backing::File).publish_file(&path).unwrap();
    assert_eq!((again.version(), node.dataset("file").unwrap().open().unwrap().content_bytes()), (2, 10));
    drop((in_memory, in_file));
}

#[test]
fn options_change_neither_bytes_nor_names() {
    let directory = directory();
    let node = node_in(directory.path());
    let bytes = vec![9; 3 << 20];
    let dataset = node.dataset("large").unwrap().huge_pages().without_hash();
    let published = dataset.publish_bytes(&bytes).unwrap();
    let view = dataset.open().unwrap();
    assert_eq!(view.bytes().unwrap(), bytes);
    assert_eq!((published.hash(), view.hash()), (None, None));
    assert!(matches!(view.verify(), Err(DatasetError::NoHash { .. })));
    // Some pages may be locked by anybody.
    let locked = node.dataset("small").unwrap().lock_memory().publish_bytes(b"locked").unwrap();
    let seen = node.dataset("small").unwrap().open().unwrap();
    seen.lock_memory().unwrap();
    assert_eq!(seen.bytes().unwrap(), b"locked");
    drop(locked);
}

#[test]
fn only_a_broker_of_its_own_keeps_datasets() {
    let directory = directory();
    let node = node_in(directory.path());
    let published = node.dataset("index").unwrap().publish_bytes(b"kept?").unwrap();
    assert!(matches!(node.keep_dataset("index", true), Err(DatasetError::Keep { .. })));
    drop(published);
    assert!(node.inventory().unwrap().datasets.is_empty());
}
