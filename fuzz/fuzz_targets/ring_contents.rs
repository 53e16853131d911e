//! A ring whose slots, head and floor a hostile writer chose: a reader opens it and drains it. It must never panic,
//! never read outside the memory that was offered, and come to an end, since the memory does not change.

#![no_main]
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::layout::{
    FORMAT_VERSION, KIND_CHUNK, KIND_INLINE, MAGIC, Meta, RING_HEADER_OFFSET, SLOTS_OFFSET, SegmentKind,
    WRITING,
};
use onecopy_memory::ring::{MessageParts, Received, RingReader};
use onecopy_memory::segment::View;
use rustix::fs::{MemfdFlags, SealFlags};

const ARENA_BYTES: usize = 256;
const POOL_BYTES: usize = 4096;

static TABLE: LazyLock<Arc<ReaderTable>> =
    LazyLock::new(|| ReaderTable::create().expect("memory for a table"));

fuzz_target!(|input: &[u8]| {
    let [shape, start_low, start_high, input @ ..] = input else { return };
    let capacity = 2_u64 << (shape & 3);
    let slot_bytes = 64_u64 << (shape >> 2 & 1);
    let bytes = SLOTS_OFFSET + (capacity * slot_bytes) as usize + ARENA_BYTES * usize::from(shape >> 3 & 1);
    let mut words = vec![0; bytes / 8];
    words[..4].copy_from_slice(&[MAGIC, FORMAT_VERSION, SegmentKind::Ring as u64, bytes as u64]);
    for edit in input.as_chunks::<4>().0 {
        let index = RING_HEADER_OFFSET / 8 + usize::from(u16::from_le_bytes([edit[0], edit[1] & 0x1f]));
        if let Some(word) = words.get_mut(index) {
            *word = value(edit[1] >> 5, u16::from_le_bytes([edit[2], edit[3]]));
        }
    }
    let geometry = [capacity, slot_bytes, capacity / 2, u64::from(shape >> 4 & 3)];
    words[RING_HEADER_OFFSET / 8..][..4].copy_from_slice(&geometry);

    let view = View::open(sealed(&words), SegmentKind::Ring).expect("the header is whole");
    let mut reader = RingReader::open(&view, &TABLE, Box::new(())).expect("the geometry is possible");
    reader.start(value(start_high >> 5, u16::from_le_bytes([*start_low, start_high & 0x1f])));
    drain(&mut reader, capacity);
});

/// Numbers as they stand in a ring: small ones, marked ones, huge ones, and the second word of a slot.
fn value(form: u8, low: u16) -> u64 {
    let number = u64::from(low);
    let [length, count] = low.to_le_bytes();
    let meta = |kind| Meta { length: length.into(), count: count.into(), kind }.pack();
    match form {
        0 | 1 => number,
        2 => number | WRITING,
        3 => WRITING.wrapping_sub(number),
        4 => u64::MAX - number,
        5 => number << 48 | number,
        6 => meta(KIND_INLINE),
        _ => meta(KIND_CHUNK),
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

fn pool() -> OwnedFd {
    let mut words = [0; POOL_BYTES / 8];
    words[..4].copy_from_slice(&[MAGIC, FORMAT_VERSION, SegmentKind::Pool as u64, POOL_BYTES as u64]);
    sealed(&words)
}

fn drain(reader: &mut RingReader, capacity: u64) {
    let mut held = Vec::new();
    // Each slot has one sequence, so it gives one message at most; each segment is asked for once.
    for _ in 0..2 * capacity + 2 {
        let (mut header, mut payload, mut chunk) = ([0; 12], [0; 64], None);
        let mut parts =
            MessageParts { header: &mut header, payload: &mut payload, exact: false, chunk: &mut chunk };
        let cursor = reader.cursor();
        match reader.receive(&mut parts) {
            Err(_) => return,
            Ok(Received::Empty) if !reader.is_ready() => return,
            Ok(Received::Empty) => {}
            Ok(Received::Inline { .. }) => assert!(reader.cursor() > cursor),
            Ok(Received::Chunk { count, skip }) => {
                let chunk = chunk.expect("it was taken");
                assert!(reader.cursor() > cursor && skip < count);
                std::hint::black_box(chunk.bytes().iter().map(|byte| u64::from(*byte)).sum::<u64>());
                held.push(chunk);
            }
            Ok(Received::SegmentMissing { index }) => {
                reader.add_segment(index, pool()).expect("an honest segment");
            }
        }
    }
    panic!("still memory keeps its reader busy");
}
