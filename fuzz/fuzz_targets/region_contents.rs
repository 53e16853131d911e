//! A region whose words somebody scribbles over: a reader of one with a single writer, and the participants of a
//! shared one while they use it. Each must get an answer before its deadline, never panic, and never read outside the
//! memory that was offered.

#![no_main]
#![forbid(unsafe_code)]

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::layout::{
    COPIES, COPY_BITS, FORMAT_VERSION, MAGIC, REGION_HEADER_OFFSET, SEAT_LINES, SEATS_OFFSET, SegmentKind,
    WRITING,
};
use onecopy_memory::region::{RegionGeometry, RegionReader, Seat, SharedRegion};
use onecopy_memory::segment::View;
use rustix::fs::{MemfdFlags, SealFlags};

const SMALL_BYTES: u64 = 64;
const LARGE_BYTES: u64 = 256;
const SEATS_BYTES: usize = SEAT_LINES * 64;

static TABLE: LazyLock<Arc<ReaderTable>> =
    LazyLock::new(|| ReaderTable::create().expect("memory for a table"));

fuzz_target!(|input: &[u8]| {
    let [shape, edits @ ..] = input else { return };
    let capacity_bytes = if shape & 1 == 0 { SMALL_BYTES } else { LARGE_BYTES };
    if shape & 2 == 0 {
        read_scribbled(capacity_bytes, edits);
    } else {
        share_scribbled(capacity_bytes, edits);
    }
});

/// Header, first seats, first copies: the words that matter, by a small number.
fn place(number: u8, copies: usize) -> usize {
    let word = usize::from(number & 0x3f);
    match number >> 6 {
        0 => REGION_HEADER_OFFSET + word * 8,
        1 => SEATS_OFFSET + word * 8,
        _ => copies + (usize::from(number) - 128) * 8,
    }
}

/// Numbers as they stand in a region: small ones, marked ones, huge ones, versions with copies, seats.
fn value(form: u8, low: u8) -> u64 {
    let number = u64::from(low);
    match form & 7 {
        0 | 1 => number,
        2 => number | WRITING,
        3 => WRITING.wrapping_sub(number),
        4 => u64::MAX - number,
        5 => number << COPY_BITS | number % COPIES as u64,
        6 => number << 10 | 1 | number << 32,
        _ => number << 24 | number,
    }
}

fn read_scribbled(capacity_bytes: u64, edits: &[u8]) {
    // As in the crate's layout: small values stand behind their two words, larger ones behind all copies' lines.
    let bytes = match capacity_bytes {
        SMALL_BYTES => SEATS_OFFSET + COPIES * 128,
        _ => SEATS_OFFSET + COPIES * 64 + COPIES * LARGE_BYTES as usize,
    };
    let mut words = vec![0; bytes / 8];
    words[..4].copy_from_slice(&[MAGIC, FORMAT_VERSION, SegmentKind::Region as u64, bytes as u64]);
    words[REGION_HEADER_OFFSET / 8 + 16] = 1 << COPY_BITS;
    words[SEATS_OFFSET / 8] = 1;
    for [number, form, low] in edits.as_chunks::<3>().0 {
        if let Some(word) = words.get_mut(place(*number, SEATS_OFFSET) / 8) {
            *word = value(*form, *low);
        }
    }
    words[REGION_HEADER_OFFSET / 8..][..4].copy_from_slice(&[capacity_bytes, 8, 0, 0]);

    let view = View::open(sealed(&words), SegmentKind::Region).expect("the header is whole");
    let reader = RegionReader::open(&view, &TABLE, Box::new(())).expect("the geometry is possible");
    let mut bytes = [0; 300];
    if let Ok(value) = reader.read(&mut bytes) {
        assert!(value.version > 0 && value.length as u64 <= capacity_bytes);
    }
    if reader.get::<[u64; 4]>().is_some() {
        assert!(capacity_bytes >= 32);
    }
    if let Ok(held) = reader.hold() {
        assert!(held.bytes().len() as u64 <= capacity_bytes);
        std::hint::black_box(held.bytes().iter().map(|byte| u64::from(*byte)).sum::<u64>());
    }
}

fn sealed(words: &[u64]) -> OwnedFd {
    let contents: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let descriptor = rustix::fs::memfd_create("fuzz", flags).expect("memory for a memfd");
    let written = rustix::io::write(&descriptor, &contents).expect("room for the contents");
    assert_eq!(written, contents.len());
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&descriptor, seals).expect("sealing was allowed");
    descriptor
}

fn share_scribbled(capacity_bytes: u64, edits: &[u8]) {
    let seat = |line| Seat::new(line, 0).expect("a line that exists");
    let geometry = RegionGeometry::new(capacity_bytes as usize, 8).expect("possible sizes");
    let first = SharedRegion::create_with_note(geometry, 0, (1, b"value"), seat(1), b"a note");
    let first = first.expect("memory for a region");
    let memory = first.descriptor().try_clone_to_owned().expect("a descriptor");
    let second = SharedRegion::open(memory, seat(2)).expect("an honest region");
    let mut held = Vec::new();
    for [number, form, low] in edits.as_chunks::<3>().0 {
        let place = place(*number, SEATS_OFFSET + SEATS_BYTES) as u64;
        let word = value(*form, *low).to_ne_bytes();
        rustix::io::pwrite(first.descriptor().as_fd(), &word, place).expect("inside the segment");
        let mut bytes = [0; 300];
        // Past already: whoever would have to wait gives up at once.
        let deadline = Some(Instant::now());
        match form >> 3 & 7 {
            0 => {
                if let Ok(value) = second.read(&mut bytes) {
                    assert!(value.version > 0 && value.length as u64 <= capacity_bytes);
                }
            }
            1 => held.extend(second.hold()),
            2 => drop(held.pop()),
            3 => drop(first.write(&word, deadline)),
            4 => drop(first.compare_and_set(first.version(), &word, deadline)),
            5 => second.seat_gone(seat(u32::from(low & 3).max(1))),
            6 => drop((second.seated(), second.prepare_sleep(), second.note())),
            _ => {
                if let Ok(mut guard) = second.lock(deadline) {
                    if let Ok(draft) = guard.draft() {
                        draft.fill(1);
                    }
                    let _ = guard.commit(usize::from(*low));
                }
            }
        }
    }
    assert!(held.iter().all(|held| held.bytes().len() as u64 <= capacity_bytes));
}
