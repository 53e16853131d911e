//! A ring whose writer broke the protocol, and reader state whose reader did: a typed error or nothing at all, never a
//! panic, never a read outside the memory that was offered.

mod pair;

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use onecopy_memory::hold::{HoldError, PeerReader, ReaderTable};
use onecopy_memory::layout::{
    CAPACITY_MAX, FLAG_RELIABLE, FORMAT_VERSION, KIND_CHUNK, KIND_INLINE, MAGIC, Meta, RING_HEADER_OFFSET,
    SEGMENTS_MAX, SLOTS_OFFSET, SegmentKind, WRITING,
};
use onecopy_memory::ring::{Geometry, MessageParts, Observer, Received, RingFault, RingReader};
use onecopy_memory::segment::{Segment, SegmentError, View};
use pair::Publisher;
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

const HEAD: usize = (RING_HEADER_OFFSET + 64) / 8;
const FLOOR: usize = (RING_HEADER_OFFSET + 192) / 8;
const SPACE_WANTED: usize = FLOOR + 1;
const CAPACITY: u64 = 4;
const RING_BYTES: usize = SLOTS_OFFSET + CAPACITY as usize * 64;

/// A segment that passes every check of its header, whose owner writes what it likes.
struct Hostile {
    descriptor: OwnedFd,
    base: NonNull<AtomicU64>,
    words: usize,
}

impl Hostile {
    fn new(kind: SegmentKind, bytes: usize) -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let descriptor = rustix::fs::memfd_create("hostile", flags).expect("memory for a memfd");
        rustix::fs::ftruncate(&descriptor, bytes as u64).expect("room for the contents");
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a null hint lets the kernel choose an unused range; it stays mapped until the process ends.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, MapFlags::SHARED, descriptor.as_fd(), 0)
        };
        let base = NonNull::new(base.expect("address space")).expect("no mapping at 0").cast();
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&descriptor, seals).expect("sealing was allowed");
        let hostile = Self { descriptor, base, words: bytes / 8 };
        for (index, word) in [MAGIC, FORMAT_VERSION, kind as u64, bytes as u64].into_iter().enumerate() {
            hostile.set(index, word);
        }
        hostile
    }

    fn ring(geometry: [u64; 4], bytes: usize) -> Self {
        let ring = Self::new(SegmentKind::Ring, bytes);
        for (index, word) in geometry.into_iter().enumerate() {
            ring.set(RING_HEADER_OFFSET / 8 + index, word);
        }
        ring
    }

    fn honest_ring() -> Self {
        Self::ring([CAPACITY, 64, 0, 0], RING_BYTES)
    }

    fn set(&self, index: usize, word: u64) {
        assert!(index < self.words);
        // SAFETY: inside the mapping, which is never unmapped; accessed as atomics only.
        unsafe { self.base.add(index).as_ref() }.store(word, Ordering::Release);
    }

    /// Writes the first words of the slot of `position`.
    fn set_slot(&self, position: u64, words: &[u64]) {
        let slot = SLOTS_OFFSET / 8 + (position % CAPACITY) as usize * 8;
        for (index, word) in words.iter().enumerate() {
            self.set(slot + index, *word);
        }
    }

    fn descriptor(&self) -> OwnedFd {
        self.descriptor.try_clone().expect("a descriptor")
    }

    fn open(&self) -> RingReader {
        let view = View::open(self.descriptor(), SegmentKind::Ring).expect("the header is whole");
        let table = ReaderTable::create().expect("memory for a table");
        let mut reader = RingReader::open(&view, &table, Box::new(())).expect("the geometry is possible");
        reader.start(0);
        reader
    }
}

fn receive(reader: &mut RingReader) -> Result<Received, RingFault> {
    let mut payload = [0; 48];
    reader.receive(&mut MessageParts {
        header: &mut [],
        payload: &mut payload,
        exact: false,
        chunk: &mut None,
    })
}

fn fault(ring: &Hostile, slot: &[u64]) -> RingFault {
    let mut reader = ring.open();
    let segment = Segment::create(SegmentKind::Pool, 4096, 0).expect("memory for a segment");
    let segment = segment.descriptor().try_clone_to_owned().expect("a descriptor");
    reader.add_segment(0, segment).expect("an honest segment");
    ring.set(HEAD, 1);
    ring.set_slot(0, slot);
    receive(&mut reader).expect_err("the slot makes no sense")
}

fn chunk(count: u16) -> u64 {
    Meta { length: 0, count, kind: KIND_CHUNK }.pack()
}

#[test]
fn a_slot_that_makes_no_sense_is_a_fault_that_says_what() {
    let inline = |length, count| Meta { length, count, kind: KIND_INLINE }.pack();
    let cases: &[(&[u64], &str)] = &[
        (&[1, inline(49, 1)], "length or count"),
        (&[1, inline(u32::MAX, 1)], "length or count"),
        (&[1, inline(8, 0)], "length or count"),
        (&[1, inline(8, 2)], "length or count"),
        (&[1, 0], "kind"),
        (&[1, u64::MAX], "kind"),
        (&[1, chunk(0), 0, 64, 8], "count"),
        (&[1, chunk(2), 0, 64, 8], "count"),
        (&[1, chunk(u16::MAX), 0, 64, 8], "count"),
        (&[1, chunk(1), u64::MAX, 64, 8], "segment"),
        (&[1, chunk(1), u64::from(SEGMENTS_MAX), 64, 8], "segment"),
        (&[1, chunk(1), 0, 0, 8], "offset or length"),
        (&[1, chunk(1), 0, 65, 8], "offset or length"),
        (&[1, chunk(1), 0, 4096, 8], "offset or length"),
        (&[1, chunk(1), 0, 64, 4096], "offset or length"),
        (&[1, chunk(1), 0, u64::MAX, u64::MAX], "offset or length"),
        (&[1, chunk(1), 0, 64, u64::MAX - 63], "offset or length"),
        (&[1, chunk(1), 0, u64::MAX - 63, 64], "offset or length"),
    ];
    for (slot, expected) in cases {
        match fault(&Hostile::honest_ring(), slot) {
            RingFault::CorruptSlot { position: 0, what } => assert_eq!(what, *expected, "{slot:x?}"),
            other => panic!("{slot:x?}: {other}"),
        }
    }
}

#[test]
fn a_segment_that_was_never_sent_is_asked_for() {
    let ring = Hostile::honest_ring();
    let mut reader = ring.open();
    ring.set_slot(0, &[1, chunk(1), 63, 64, 8]);
    for _ in 0..100 {
        let received = receive(&mut reader).expect("not there yet");
        assert!(matches!(received, Received::SegmentMissing { index: 63 }));
    }
    let error = reader.add_segment(SEGMENTS_MAX, ring.descriptor()).expect_err("no pool has so many");
    assert!(matches!(error, SegmentError::Index { index: SEGMENTS_MAX }));
    let error = reader.add_segment(0, ring.descriptor()).expect_err("a ring is no pool");
    assert!(matches!(error, SegmentError::Kind { .. }));
}

#[test]
fn a_sequence_ahead_of_the_head_is_a_fault() {
    for head in [0, WRITING, u64::MAX] {
        for sequence in [2, 5, WRITING - 1, u64::MAX] {
            let ring = Hostile::honest_ring();
            let mut reader = ring.open();
            ring.set(HEAD, head);
            ring.set_slot(0, &[sequence]);
            let fault = receive(&mut reader).expect_err("the head says otherwise");
            assert_eq!(fault, RingFault::CorruptHead { head });
        }
    }
}

#[test]
fn a_head_that_runs_wild_ends_in_nothing_or_a_fault() {
    for head in [1, 4, 5, 1000, WRITING - 1] {
        for floor in [0, 1, head, u64::MAX] {
            for kind in [KIND_INLINE, KIND_CHUNK, 9] {
                let ring = Hostile::honest_ring();
                let mut reader = ring.open();
                ring.set(HEAD, head);
                ring.set(FLOOR, floor);
                let meta = Meta { length: 8, count: 1, kind }.pack();
                for position in head.saturating_sub(CAPACITY)..head {
                    ring.set_slot(position, &[position + 1, meta, 0, 64, 8]);
                }
                // Whatever it makes of them, it comes to an end.
                let ended = (0..100).any(|_| !matches!(receive(&mut reader), Ok(Received::Inline { .. })));
                assert!(ended, "head {head}, floor {floor}, kind {kind}");
                assert!(reader.cursor() <= head && reader.lost() <= head);
            }
        }
    }
}

/// A hostile writer cannot keep a reader busy with memory that does not change.
#[test]
fn every_arrangement_of_a_still_ring_is_drained() {
    let words = [0, 1, 2, 3, 4, 5, 9, WRITING, WRITING | 1, WRITING | 5, WRITING - 1, u64::MAX];
    let metas = [0, chunk(1), Meta { length: 8, count: 1, kind: KIND_INLINE }.pack(), u64::MAX];
    for (number, sequence) in words.iter().enumerate() {
        for head in words {
            for meta in metas {
                let ring = Hostile::honest_ring();
                ring.set(HEAD, head);
                for position in 0..CAPACITY {
                    let other = words[(number + position as usize) % words.len()];
                    ring.set_slot(position, &[if position == 0 { *sequence } else { other }, meta, 0, 64, 8]);
                }
                for start in [0, 1, 3, WRITING - 1, WRITING, u64::MAX] {
                    let mut reader = ring.open();
                    reader.start(start);
                    let ended = (0..20).any(|_| match receive(&mut reader) {
                        Err(_) | Ok(Received::SegmentMissing { .. }) => true,
                        Ok(Received::Empty) => !reader.is_ready(),
                        Ok(Received::Inline { .. } | Received::Chunk { .. }) => false,
                    });
                    assert!(ended, "sequence {sequence:x}, head {head:x}, meta {meta:x}, start {start:x}");
                }
            }
        }
    }
}

#[test]
fn a_geometry_that_contradicts_itself_is_refused() {
    let impossible = [
        [0, 64, 0, 0],
        [1, 64, 0, 0],
        [3, 64, 0, 0],
        [CAPACITY_MAX * 2, 64, 0, 0],
        [u64::MAX, u64::MAX, 0, 0],
        [1 << 63, 64, 0, 0],
        [CAPACITY, 0, 0, 0],
        [CAPACITY, 8, 0, 0],
        [CAPACITY, 65, 0, 0],
        [CAPACITY, 1 << 32, 0, 0],
        [CAPACITY, 64, 3, 0],
        [CAPACITY, 64, u64::MAX, 0],
        // More slots than there is memory.
        [CAPACITY * 2, 64, 0, 0],
        [CAPACITY, 128, 0, 0],
    ];
    for geometry in impossible {
        let ring = Hostile::ring(geometry, RING_BYTES);
        let error = Observer::open(ring.descriptor()).expect_err("an impossible geometry");
        assert!(matches!(error, SegmentError::Geometry { .. }), "{geometry:?}: {error}");
    }
    let short = Hostile::new(SegmentKind::Ring, 128);
    let error = Observer::open(short.descriptor()).expect_err("no room for a ring's header");
    assert!(matches!(error, SegmentError::NotASegment));
}

/// A writer that always claims to wait for space costs its readers system calls, nothing else.
#[test]
fn a_ticket_for_space_that_never_goes_away() {
    let ring = Hostile::ring([CAPACITY, 64, 0, FLAG_RELIABLE], RING_BYTES);
    let mut reader = ring.open();
    for position in 0..10 {
        ring.set(SPACE_WANTED, u64::MAX - position);
        let meta = Meta { length: 8, count: 1, kind: KIND_INLINE }.pack();
        ring.set_slot(position, &[position + 1, meta]);
        assert!(matches!(receive(&mut reader), Ok(Received::Inline { length: 8 })));
    }
}

#[test]
fn a_batch_that_shrinks_after_its_reader_started_inside() {
    let ring = Hostile::ring([16, 64, 0, 0], SLOTS_OFFSET + 16 * 64);
    ring.set(HEAD, 4);
    ring.set_slot(0, &[1, chunk(4), 0, 64, 8]);
    let mut reader = ring.open();
    let pool = Segment::create(SegmentKind::Pool, 4096, 0).expect("memory for a segment");
    reader.add_segment(0, pool.descriptor().try_clone_to_owned().expect("a descriptor")).expect("a pool");
    reader.start(3);
    ring.set_slot(0, &[1, chunk(2)]);
    let fault = receive(&mut reader).expect_err("less than was promised");
    assert_eq!(fault, RingFault::CorruptSlot { position: 0, what: "count" });
}

#[test]
fn a_batch_that_turns_into_a_slot_after_its_reader_started_inside() {
    let ring = Hostile::ring([16, 64, 0, 0], SLOTS_OFFSET + 16 * 64);
    ring.set(HEAD, 4);
    ring.set_slot(0, &[1, chunk(4), 0, 64, 8]);
    let mut reader = ring.open();
    reader.start(3);
    ring.set_slot(0, &[1, Meta { length: 8, count: 1, kind: KIND_INLINE }.pack()]);
    assert!(matches!(receive(&mut reader), Ok(Received::Inline { length: 8 })));
    assert_eq!(reader.cursor(), 1);
}

/// What a reader may write into its own lines.
fn hostile_reader() -> (Publisher, Hostile) {
    let mut publisher = Publisher::new(Geometry::new(4, 0, 48, true), 1 << 20);
    let table = Hostile::new(SegmentKind::Readers, 64 + 3 * 64);
    let view = View::open(table.descriptor(), SegmentKind::Readers).expect("the header is whole");
    let peer = PeerReader::open(&view, 0).expect("there is a first block");
    assert!(PeerReader::open(&view, 3).is_none() && PeerReader::open(&view, u32::MAX).is_none());
    publisher.publish_number();
    assert_eq!(publisher.writer.readers().attach((1, 0), peer), 1);
    (publisher, table)
}

#[test]
fn a_cursor_that_runs_backwards_or_wild_gains_nothing() {
    let (mut publisher, table) = hostile_reader();
    assert!(publisher.writer.has_room(4) && !publisher.writer.has_room(5));
    for _ in 0..4 {
        publisher.publish_number();
    }
    assert!(!publisher.writer.has_room(1), "its cursor means nothing below its start");
    table.set(8, u64::MAX);
    assert!(
        publisher.writer.has_room(4) && !publisher.writer.has_room(5),
        "it has read what there is, not more"
    );
    table.set(8, 0);
    for _ in 0..4 {
        publisher.publish_number();
    }
    assert!(!publisher.writer.has_room(1));
    table.set(8, 6);
    assert!(publisher.writer.has_room(1) && !publisher.writer.has_room(2));
    table.set(8, 0);
    assert!(publisher.writer.has_room(1), "what was seen counts");
}

/// A chain of held messages that leads nowhere, or in a circle: the writer gets its other memory back.
#[test]
fn a_chain_that_no_honest_reader_makes() {
    // `sleeping` is the lower half of the second word, `next` the upper.
    for next in [1_u64, 2, 3, 4, u64::from(u32::MAX)] {
        let (mut publisher, table) = hostile_reader();
        table.set(8, u64::MAX);
        table.set(8 + 1, next << 32);
        table.set(16 + 1, 1 << 32);
        for (entry, held) in [(11, u64::MAX), (12, 2), (19, 3)] {
            table.set(entry, held);
        }
        for _ in 0..20 {
            publisher.publish_chunk(1 << 18).expect("at most two messages are held");
            publisher.writer.collect(&mut publisher.pool);
        }
    }
}

#[test]
fn a_table_has_an_end() {
    let ring = Hostile::honest_ring();
    let view = View::open(ring.descriptor(), SegmentKind::Ring).expect("the header is whole");
    let table = ReaderTable::create().expect("memory for a table");
    let mut readers = Vec::new();
    let error = loop {
        match RingReader::open(&view, &table, Box::new(())) {
            Ok(reader) => readers.push(reader),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, onecopy_memory::ring::OpenError::Hold(HoldError::TableFull)));
    assert_eq!(readers.len(), (64 << 20) / 64 - 1);
}
