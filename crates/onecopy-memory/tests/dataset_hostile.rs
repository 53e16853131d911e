//! Datasets from somebody broken or hostile: each must be refused, with an error that says why.

use std::os::fd::OwnedFd;

use onecopy_memory::dataset::{DatasetDraft, DatasetError, SealedDataset, SectionSpec, Sections};
use onecopy_memory::layout::{FLAG_FILE, SegmentKind};
use onecopy_memory::segment::{Segment, SegmentError};
use rustix::fs::{MemfdFlags, SealFlags};

const HEADER: usize = 64;
const ENTRIES: usize = 192;

/// Seals that an honest dataset has.
fn all() -> SealFlags {
    SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL
}

/// The bytes of an honest dataset with two sections: five bytes, and three words.
fn honest() -> Vec<u8> {
    let spec = |name: &str, element_bytes, len| SectionSpec {
        name: name.to_owned(),
        type_name: "type".to_owned(),
        element_bytes,
        alignment_bytes: element_bytes,
        layout_hash: 7,
        len,
    };
    let sections = Sections::lay_out(&[spec("bytes", 1, 5), spec("words", 8, 3)]).expect("possible sections");
    let bytes = usize::try_from(sections.content_bytes()).expect("a small number");
    let sealed = DatasetDraft::create(bytes, sections).and_then(|draft| draft.seal(None)).expect("memory");
    let mut segment = vec![0; 1 << 16];
    let read = rustix::io::pread(sealed.descriptor(), segment.as_mut_slice(), 0).expect("it can be read");
    segment.truncate(read);
    segment
}

fn memory(bytes: &[u8], seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("hostile", flags).expect("memory");
    assert_eq!(rustix::io::write(&memory, bytes), Ok(bytes.len()));
    rustix::fs::fcntl_add_seals(&memory, seals).expect("nobody else has it");
    memory
}

/// The honest one with one word changed.
fn with(place: usize, word: u64) -> Result<SealedDataset, DatasetError> {
    let mut bytes = honest();
    bytes[place..place + 8].copy_from_slice(&word.to_ne_bytes());
    SealedDataset::open(memory(&bytes, all()))
}

#[test]
fn the_honest_one_is_taken() {
    let dataset = SealedDataset::open(memory(&honest(), all())).expect("nothing is wrong with it");
    assert_eq!(dataset.catalog().sections.as_slice().len(), 2);
    assert!(dataset.content().is_some_and(|content| content.iter().all(|byte| *byte == 0)));
}

#[test]
fn memory_that_somebody_could_write_is_refused() {
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::WRITE, SealFlags::SEAL] {
        // Without WRITE, FUTURE_WRITE is not enough: whoever has it mapped could still write.
        let seals = all().difference(missing) | SealFlags::FUTURE_WRITE;
        let opened = SealedDataset::open(memory(&honest(), seals));
        assert!(matches!(opened, Err(DatasetError::Segment(SegmentError::NotSealed))), "without {missing:?}");
    }
    let file = tempfile::tempfile().expect("a file");
    let opened = SealedDataset::open(file.into());
    assert!(matches!(opened, Err(DatasetError::Segment(SegmentError::NotSealed))));
    let ring = Segment::create(SegmentKind::Ring, 8192, 0).expect("memory");
    let opened = SealedDataset::open(ring.descriptor().try_clone_to_owned().expect("a descriptor"));
    assert!(matches!(opened, Err(DatasetError::Segment(SegmentError::NotSealed))));
}

#[test]
fn memory_with_holes_is_refused() {
    let mut bytes = honest();
    let total = 1_u64 << 30;
    bytes[24..32].copy_from_slice(&total.to_ne_bytes());
    let memory = memory(&bytes, SealFlags::empty());
    rustix::fs::ftruncate(&memory, total).expect("it is not sealed yet");
    rustix::fs::fcntl_add_seals(&memory, all()).expect("nobody else has it");
    let opened = SealedDataset::open(memory);
    assert!(matches!(opened, Err(DatasetError::Impossible { reason }) if reason.contains("holes")));
}

#[test]
fn another_header_is_refused() {
    assert!(matches!(with(0, 1), Err(DatasetError::Segment(SegmentError::NotASegment))));
    let version = with(8, 99);
    assert!(
        matches!(version, Err(DatasetError::Segment(SegmentError::Version { theirs: 99, .. }))),
        "{version:?}"
    );
    let kind = with(16, SegmentKind::Region as u64);
    assert!(matches!(kind, Err(DatasetError::Segment(SegmentError::Kind { theirs: 4, .. }))), "{kind:?}");
    assert!(matches!(with(24, 1 << 40), Err(DatasetError::Segment(SegmentError::Size { .. }))));
    for bytes in [&[][..], &honest()[..63]] {
        let opened = SealedDataset::open(memory(bytes, all()));
        assert!(matches!(opened, Err(DatasetError::Segment(SegmentError::NotASegment))));
    }
}

#[test]
fn a_header_that_is_cut_off_is_refused() {
    for bytes in [64, 100, 191, 192, 193, 200, 255, 256, 320] {
        let mut cut = honest();
        cut.truncate(bytes);
        cut[24..32].copy_from_slice(&(bytes as u64).to_ne_bytes());
        let opened = SealedDataset::open(memory(&cut, all()));
        assert!(matches!(opened, Err(DatasetError::Impossible { .. })), "{bytes}: {opened:?}");
    }
}

#[test]
fn content_that_is_elsewhere_is_refused() {
    for offset in [0, 64, 128, 4095, 4097, 8192, 1 << 40, u64::MAX - 4095, u64::MAX] {
        let opened = with(HEADER, offset);
        assert!(matches!(opened, Err(DatasetError::Impossible { .. })), "{offset}: {opened:?}");
    }
    for bytes in [0, 87, 89, 5000, 1 << 46, u64::MAX - 4096, u64::MAX] {
        // Sections beyond the content, or content beyond the memory.
        let opened = with(HEADER + 8, bytes);
        assert!(opened.is_err(), "{bytes}: {opened:?}");
    }
    for count in [1025, u64::MAX] {
        assert!(matches!(with(HEADER + 24, count), Err(DatasetError::Impossible { .. })));
    }
}

#[test]
fn sections_that_cannot_be_are_refused() {
    let second = ENTRIES + 64;
    for (what, place, word) in [
        ("beyond the content", second, 4096),
        ("far beyond", second, u64::MAX - 7),
        ("unaligned", second, 60),
        ("on the other", second, 0),
        ("too long", second + 8, 32),
        ("longer than memory", second + 8, u64::MAX - 7),
        ("half an element", second + 8, 20),
        ("elements of nothing", second + 16, 0),
        ("elements that fit no alignment", second + 16, 12),
        ("aligned to nothing", second + 24, 0),
        ("aligned to three", second + 24, 3),
        ("aligned to more than a page", second + 24, 8192),
        ("named beyond the memory", second + 40, 1 << 20),
        ("named at the end of the addresses", second + 40, u64::MAX),
        ("named by nothing", second + 48, 0),
        ("named at length", second + 48, u64::from(u32::MAX)),
        ("of a type without end", second + 48, u64::from(u32::MAX) << 32 | 5),
        ("like the other", second + 40, 320),
    ] {
        assert!(with(place, word).is_err(), "a section {what} was taken");
    }
    let mut bytes = honest();
    bytes[320] = 0xff;
    assert!(SealedDataset::open(memory(&bytes, all())).is_err(), "a name that is no text was taken");
}

#[test]
fn a_file_without_a_path_is_refused() {
    let mut bytes = honest();
    bytes[HEADER..HEADER + 8].fill(0);
    bytes[HEADER + 16..HEADER + 24].copy_from_slice(&FLAG_FILE.to_ne_bytes());
    let path = HEADER + 96;
    for (offset, length) in [(0, 0), (320, 5), (1 << 40, 5), (320, 5000), (u64::MAX, 2), (2, u64::MAX)] {
        bytes[path..path + 8].copy_from_slice(&u64::to_ne_bytes(offset));
        bytes[path + 8..path + 16].copy_from_slice(&u64::to_ne_bytes(length));
        let opened = SealedDataset::open(memory(&bytes, all()));
        assert!(matches!(opened, Err(DatasetError::Impossible { .. })), "{offset} {length}: {opened:?}");
    }
    let both = with(HEADER + 16, FLAG_FILE);
    assert!(matches!(both, Err(DatasetError::Impossible { .. })), "a file and in memory: {both:?}");
}
