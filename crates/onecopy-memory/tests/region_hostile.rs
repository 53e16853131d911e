//! A region whose one writer broke the protocol: its readers get a typed error or some bytes, never a panic, never a
//! read outside the memory that was offered, and always an answer.

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};

use onecopy_memory::hold::ReaderTable;
use onecopy_memory::layout::{
    COPY_BITS, FLAG_SHARED, NOTE_BYTES_MAX, REGION_HEADER_OFFSET, SEATS_OFFSET, SegmentKind, WRITING,
};
use onecopy_memory::region::{
    OpenError, ReadError, RegionFault, RegionGeometry, RegionReader, RegionWriter, Seat, SharedRegion,
};
use onecopy_memory::segment::{SegmentError, View};
use proptest::prelude::*;
use rustix::fs::{MemfdFlags, SealFlags};

const GEOMETRY: usize = REGION_HEADER_OFFSET / 8;
const CURRENT: usize = (REGION_HEADER_OFFSET + 128) / 8;
const COPIES: usize = SEATS_OFFSET / 8;

static TABLE: LazyLock<Arc<ReaderTable>> =
    LazyLock::new(|| ReaderTable::create().expect("memory for a table"));

/// The words of an honest region that was written once.
fn honest(capacity_bytes: usize) -> Vec<u64> {
    let geometry = RegionGeometry::new(capacity_bytes, 8).expect("possible sizes");
    let mut writer = RegionWriter::create(geometry, 0, 1, b"first").expect("memory for a region");
    writer.write(b"second").expect("it fits");
    let size = rustix::fs::fstat(writer.descriptor()).expect("a descriptor").st_size;
    let mut bytes = vec![0; size as usize];
    let length = rustix::io::pread(writer.descriptor(), &mut bytes, 0).expect("a memfd");
    assert_eq!(length, bytes.len());
    bytes.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

fn sealed(words: &[u64]) -> OwnedFd {
    let contents: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = rustix::fs::memfd_create("hostile", flags).expect("memory for a memfd");
    let written = rustix::io::write(&descriptor, &contents).expect("room for the contents");
    assert_eq!(written, contents.len());
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&descriptor, seals).expect("sealing was allowed");
    descriptor
}

fn open(words: &[u64]) -> Result<RegionReader, OpenError> {
    let view = View::open(sealed(words), SegmentKind::Region)?;
    RegionReader::open(&view, &TABLE, Box::new(()))
}

/// What a reader says when the words at these places are others.
fn fault(capacity_bytes: usize, scribbles: &[(usize, u64)]) -> ReadError {
    let mut words = honest(capacity_bytes);
    for (index, word) in scribbles {
        words[*index] = *word;
    }
    let reader = open(&words).expect("the geometry is possible");
    let read = reader.read(&mut [0; 64]).expect_err("the words make no sense");
    if capacity_bytes > 240 {
        assert_eq!(reader.hold().expect_err("neither in place"), read);
    }
    read
}

#[test]
fn the_image_is_that_of_an_honest_region() {
    for capacity_bytes in [64, 4096] {
        let reader = open(&honest(capacity_bytes)).expect("an honest region");
        let mut bytes = [0; 6];
        let value = reader.read(&mut bytes).expect("an honest region");
        assert_eq!((value.version, value.length, &bytes), (2, 6, b"second"));
    }
}

#[test]
fn words_that_make_no_sense_are_faults_that_say_what() {
    for (capacity_bytes, copy_words) in [(64, 16), (4096, 8)] {
        let second = COPIES + copy_words;
        let sequence = RegionFault::CorruptSequence { version: 2 };
        assert_eq!(fault(capacity_bytes, &[(CURRENT, 0), (COPIES, 0)]), RegionFault::NoValue.into());
        assert_eq!(fault(capacity_bytes, &[(second, 2 | WRITING)]), sequence.into());
        assert_eq!(fault(capacity_bytes, &[(second, 3)]), sequence.into());
        assert_eq!(fault(capacity_bytes, &[(CURRENT, 2 << COPY_BITS | 9)]), sequence.into());
        for length in [capacity_bytes as u64 + 1, u64::MAX, 1 << 32] {
            let length_fault = RegionFault::CorruptLength { version: 2, length };
            assert_eq!(fault(capacity_bytes, &[(second + 1, length)]), length_fault.into());
        }
        fault(capacity_bytes, &[(CURRENT, u64::MAX)]);
    }
}

#[test]
fn impossible_geometry_is_refused() {
    let others = [
        (GEOMETRY, u64::MAX),
        (GEOMETRY, 0),
        (GEOMETRY, 1 << 40),
        (GEOMETRY + 1, 0),
        (GEOMETRY + 1, 3),
        (GEOMETRY + 1, 1 << 63),
        (GEOMETRY + 2, FLAG_SHARED),
        (GEOMETRY + 2, u64::MAX),
        (GEOMETRY + 3, 1),
        (GEOMETRY + 3, NOTE_BYTES_MAX as u64 + 1),
        (GEOMETRY + 3, 1 << 16),
        (GEOMETRY + 3, u64::MAX),
    ];
    for (index, word) in others {
        let mut words = honest(4096);
        words[index] = word;
        let error = open(&words).expect_err("it makes no sense");
        assert!(
            matches!(error, OpenError::Segment(SegmentError::RegionGeometry { .. })),
            "{index}: {word:#x}"
        );
    }
    let mut short = honest(64);
    short.truncate(CURRENT);
    short[3] = CURRENT as u64 * 8;
    open(&short).expect_err("no room for the header");
}

#[test]
fn a_region_with_one_writer_is_no_shared_one() {
    let seat = Seat::new(1, 0).expect("a line that exists");
    SharedRegion::open(sealed(&honest(64)), seat).expect_err("it can't be mapped writable");
}

fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..64_u64,
        any::<u64>(),
        (0..64_u64).prop_map(|n| u64::MAX - n),
        (0..64_u64).prop_map(|n| n | WRITING)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_words_get_an_answer(
        small in any::<bool>(),
        scribbles in prop::collection::vec((8_usize..256, word()), 1..20),
        room in 0_usize..128,
    ) {
        let capacity_bytes = if small { 64 } else { 4096 };
        let mut words = honest(capacity_bytes);
        for (index, word) in scribbles {
            words[index] = word;
        }
        if let Ok(reader) = open(&words) {
            let mut bytes = vec![0; room];
            if let Ok(value) = reader.read(&mut bytes) {
                prop_assert!(value.version > 0 && value.length <= capacity_bytes);
            }
            prop_assert!(reader.get::<[u64; 8]>().is_none() || small);
            prop_assert!(reader.get::<[u64; 9]>().is_none(), "more than there is room for");
            if let Ok(held) = reader.hold() {
                prop_assert!(held.bytes().len() <= capacity_bytes);
                std::hint::black_box(held.bytes().iter().map(|byte| u64::from(*byte)).sum::<u64>());
            }
            let _ = (reader.version(), reader.prepare_sleep(false));
        }
    }
}
