//! A dataset whose header, sections and names somebody chose: it is refused, or everything that it says of
//! itself holds, and all of it can be read.

#![no_main]
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;

use libfuzzer_sys::fuzz_target;
use onecopy_memory::dataset::SealedDataset;
use onecopy_memory::layout::{
    CONTENT_ALIGNMENT, DATASET_HEADER_OFFSET, FLAG_FILE, FORMAT_VERSION, MAGIC, SECTION_ENTRIES_OFFSET,
    SegmentKind,
};
use rustix::fs::{MemfdFlags, SealFlags};

const CONTENT_BYTES: usize = 512;
const TOTAL_BYTES: usize = CONTENT_ALIGNMENT + CONTENT_BYTES;
const SECTIONS: usize = 3;
/// Where names and paths lie.
const TEXTS_OFFSET: usize = SECTION_ENTRIES_OFFSET + SECTIONS * 64;

fuzz_target!(|input: &[u8]| {
    let [shape, edits @ ..] = input else { return };
    let mut bytes = sound(usize::from(shape & 3), shape & 4 != 0);
    for [place, form, low] in edits.as_chunks::<3>().0 {
        // Words of the two headers and the entries, or bytes of the texts.
        let place = usize::from(*place);
        match bytes.get_mut(DATASET_HEADER_OFFSET + place * 8..).and_then(|rest| rest.get_mut(..8)) {
            Some(word) if place < 40 => word.copy_from_slice(&value(*form, *low).to_ne_bytes()),
            _ => bytes[TEXTS_OFFSET + place] = *low,
        }
    }
    if let Ok(dataset) = SealedDataset::open(sealed(&bytes)) {
        look(&dataset);
    }
});

/// What an honest publisher would have made.
fn sound(sections: usize, is_file: bool) -> Vec<u8> {
    let mut bytes = vec![0; TOTAL_BYTES];
    let mut put = |offset: usize, words: &[u64]| {
        for (word, place) in words.iter().zip(bytes[offset..].as_chunks_mut::<8>().0) {
            *place = word.to_ne_bytes();
        }
    };
    put(0, &[MAGIC, FORMAT_VERSION, SegmentKind::Dataset as u64, TOTAL_BYTES as u64]);
    let (content, flags) = if is_file { (0, FLAG_FILE) } else { (CONTENT_ALIGNMENT as u64, 0) };
    put(DATASET_HEADER_OFFSET, &[content, CONTENT_BYTES as u64, flags, sections as u64]);
    put(DATASET_HEADER_OFFSET + 96, &[TEXTS_OFFSET as u64 + 64, 5]);
    for number in 0..SECTIONS {
        let text = (TEXTS_OFFSET + number * 8) as u64;
        let entry = [number as u64 * 128, 64, 8, 8, 7, text, 3 | 4 << 32];
        put(SECTION_ENTRIES_OFFSET + number * 64, &entry);
    }
    bytes[TEXTS_OFFSET..][..24].copy_from_slice(b"onetype twotype redtype ");
    bytes[TEXTS_OFFSET + 64..][..5].copy_from_slice(b"/file");
    bytes
}

/// Numbers as they stand there: small ones, those near the ends of things, huge ones.
fn value(form: u8, low: u8) -> u64 {
    let number = u64::from(low);
    match form & 7 {
        0 | 1 => number,
        2 => CONTENT_BYTES as u64 - number,
        3 => TOTAL_BYTES as u64 - number,
        4 => u64::MAX - number,
        5 => 1 << (number & 63),
        6 => number << 32 | number,
        _ => number * CONTENT_ALIGNMENT as u64,
    }
}

fn sealed(bytes: &[u8]) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = rustix::fs::memfd_create("fuzz", flags).expect("memory for a memfd");
    assert_eq!(rustix::io::write(&descriptor, bytes), Ok(bytes.len()));
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&descriptor, seals).expect("sealing was allowed");
    descriptor
}

fn look(dataset: &SealedDataset) {
    let catalog = dataset.catalog();
    let content = dataset.content();
    assert_eq!(content.is_none(), catalog.file.is_some());
    if let Some(content) = content {
        assert_eq!(content.len() as u64, catalog.content_bytes);
        std::hint::black_box(content.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    }
    if let Some(file) = &catalog.file {
        assert!(file.path.is_absolute() && file.identity.bytes == catalog.content_bytes);
    }
    let mut end = 0;
    for section in catalog.sections.as_slice() {
        assert!(section.offset >= end && section.end() <= catalog.content_bytes, "{section:?}");
        assert_eq!(section.len() * section.element_bytes, section.bytes);
        assert_eq!(catalog.sections.find(&section.name), Some(section));
        if let Some(content) = content {
            let start = content[section.offset as usize..section.end() as usize].as_ptr().addr();
            assert!(start.is_multiple_of(section.alignment_bytes as usize));
        }
        end = section.end();
    }
}
