//! The counters of a node that somebody scribbled over, as observers look at them: they may show any numbers,
//! but looking must end, and never panic.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use onecopy_memory::counters::NodeObserver;
use onecopy_memory::layout::{
    CLIENT_BYTES, CLIENTS_OFFSET, COUNTERS_OFFSET, FORMAT_VERSION, HEADER_BYTES, LINE_BYTES, MAGIC,
    READERS_BYTES, SegmentKind,
};
use rustix::fs::{MemfdFlags, SealFlags};

fuzz_target!(|edits: &[u8]| {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("fuzz", flags).expect("memory for a memfd");
    rustix::fs::ftruncate(&memory, READERS_BYTES as u64).expect("a sparse file of any size");
    let write = |place: usize, word: u64| {
        rustix::io::pwrite(&memory, &word.to_ne_bytes(), place as u64).expect("inside the segment");
    };
    let header = [MAGIC, FORMAT_VERSION, SegmentKind::Readers as u64, READERS_BYTES as u64];
    for (index, word) in header.into_iter().enumerate() {
        write(index * 8, word);
    }
    for [number, form, low] in edits.as_chunks::<3>().0 {
        write(place(*number), value(*form, *low));
    }
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).expect("sealing was allowed");

    let observer = NodeObserver::open(memory).expect("the header is whole");
    let _ = observer.library_version();
    for (_, _, probe) in observer.readers() {
        let _ = probe.look();
    }
    for client in observer.clients() {
        let quantiles = [0.0, 0.5, 0.99, 1.0].map(|quantile| client.latencies.quantile_ns(quantile));
        assert!(quantiles.is_sorted());
    }
});

/// The first blocks, the header of the counters, the first readers and clients.
fn place(number: u8) -> usize {
    let word = usize::from(number & 0x3f) * 8;
    match number >> 6 {
        0 => HEADER_BYTES + word,
        1 => COUNTERS_OFFSET + (word & 0x1f),
        2 => COUNTERS_OFFSET + LINE_BYTES + word,
        _ => CLIENTS_OFFSET + (word % 16) + (word / 256) * CLIENT_BYTES,
    }
}

/// Small numbers, huge ones, and what comes near the bounds.
fn value(form: u8, low: u8) -> u64 {
    let number = u64::from(low);
    match form & 7 {
        0..=2 => number,
        3 => u64::MAX - number,
        4 => number << 56 | number,
        5 => (1 << 63) - number,
        6 => 4000 + number,
        _ => number << 32 | number,
    }
}
