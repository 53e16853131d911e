//! Every byte that two processes agree on, in one file, with its size and place asserted at compile time.
//!
//! All words are atomics in native byte order: whoever maps such a structure may be reading what another process is
//! writing. Nothing here is trusted by a reader; geometry is read once, checked, and kept in private memory.
//!
//! ```text
//! any segment      0  SegmentHeader (one line)
//!
//! ring segment     0  SegmentHeader
//!                 64  RingHeader (seven lines: geometry, head, floor, wake)
//!                512  slots: capacity × slot_bytes
//!                  …  arena: the first chunks
//!
//! slot             0  sequence    position + 1, top bit set while it is being written
//!                  8  meta        length (32 bits) | count (16) | kind (16)
//!                 16  inline: payload bytes        chunk: segment, offset, length
//!
//! pool segment     0  SegmentHeader
//!                 64  chunks
//!
//! reader segment   0  SegmentHeader
//!                 64  Blocks (one line each): a reader's cursor, sleep ticket and held messages
//!             64 MiB  CountersHeader (one line)
//!            + 64     ReaderCounters (one line each), by block number
//!            128 MiB  ClientCounters (2,560 bytes each)
//!
//! region segment   0  SegmentHeader
//!                 64  RingHeader, of which a region uses the words for waking
//!                512  RegionHeader (eight lines: geometry, current, lock, watchers)
//!               1024  shared regions: SeatLines (one line each), by seat number
//!                  …  copies: small values in place, or a line each and the payloads behind
//!                  …  note, if there is one
//!
//! copy             0  sequence    version of the value, top bit set while it is being written
//!                  8  length
//!                 16  small: the value
//!
//! dataset segment  0  SegmentHeader
//!                 64  DatasetHeader (two lines)
//!                192  SectionEntries (one line each)
//!                  …  texts: names of sections and of their types, the path of the file
//!                  …  content, from a multiple of 4096 on; none where a file is the content
//! ```
//!
//! A dataset is sealed against all writing before anybody else sees it, so its words are plain numbers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::sync::{AtomicU32, AtomicU64, Futex};

/// `"onecopy\0"` as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"onecopy\0");
/// Version of everything in this file; two processes talk only if they agree on it.
pub const FORMAT_VERSION: u64 = 1;
/// Size of a cache line on the machines we run on.
pub const LINE_BYTES: usize = 64;

/// Start of every segment. Written before the segment is shared, never afterwards.
///
/// ```
/// use onecopy_memory::layout::{FORMAT_VERSION, HEADER_BYTES, MAGIC, SegmentKind};
/// use std::{fs::File, os::unix::fs::FileExt};
///
/// let segment = onecopy_memory::segment::Segment::create(SegmentKind::Pool, 8192, 0)?;
/// let file = File::from(segment.descriptor().try_clone_to_owned()?);
/// let mut words = [[0; 8]; HEADER_BYTES / 8];
/// file.read_exact_at(words.as_flattened_mut(), 0)?;
/// let [magic, version, _kind, total_bytes, ..] = words.map(u64::from_ne_bytes);
/// assert_eq!((magic, version, total_bytes), (MAGIC, FORMAT_VERSION, 8192));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`FORMAT_VERSION`].
    pub format_version: AtomicU64,
    /// A [`SegmentKind`] as a number.
    pub kind: AtomicU64,
    /// Size of the whole segment.
    pub total_bytes: AtomicU64,
    /// Hash of the description of the payload type; 0 where there is none.
    pub layout_hash: AtomicU64,
    /// Keeps the header one line long.
    pub reserved: [AtomicU64; 3],
}

/// What a segment holds.
///
/// See [`View`](crate::segment::View) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum SegmentKind {
    /// A publisher's slots.
    Ring = 1,
    /// A publisher's chunks.
    Pool = 2,
    /// A node's reader state.
    Readers = 3,
    /// The copies of one value.
    Region = 4,
    /// Bytes that never change, and what they are.
    Dataset = 5,
}

/// Bytes of a [`SegmentHeader`]; what a segment holds begins here.
pub const HEADER_BYTES: usize = 64;

/// Fields of a ring that its writer owns and all readers look at, apart by how often they change.
///
/// ```
/// use onecopy_memory::layout::{KIND_INLINE, Meta, RING_HEADER_OFFSET, RingHeader, SLOT_HEADER_WORDS, SLOTS_OFFSET};
/// use onecopy_memory::ring::{Geometry, RingWriter};
/// use std::{fs::File, mem::offset_of, os::unix::fs::FileExt};
///
/// let mut writer = RingWriter::create(Geometry::new(16, 0, 48, false), 0)?;
/// let file = File::from(writer.descriptor().try_clone_to_owned()?);
/// writer.publish_inline(&[], b"hello");
/// let mut head = [0; 8];
/// file.read_exact_at(&mut head, (RING_HEADER_OFFSET + offset_of!(RingHeader, head)) as u64)?;
/// let mut slot = [[0; 8]; SLOT_HEADER_WORDS];
/// file.read_exact_at(slot.as_flattened_mut(), SLOTS_OFFSET as u64)?;
/// let [head, sequence, word] = [head, slot[0], slot[1]].map(u64::from_ne_bytes);
/// assert_eq!((head, sequence), (1, 1));
/// let meta = Meta::unpack(word);
/// assert_eq!((meta, meta.pack()), (Meta { length: 5, count: 1, kind: KIND_INLINE }, word));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[repr(C)]
pub struct RingHeader {
    /// Number of slots, a power of two. Fixed.
    pub capacity: AtomicU64,
    /// Size of a slot, a multiple of a line. Fixed.
    pub slot_bytes: AtomicU64,
    /// How many messages back a late joiner may start. Fixed.
    pub history: AtomicU64,
    /// [`FLAG_RELIABLE`], [`FLAG_ASYMMETRIC`]. Fixed.
    pub flags: AtomicU64,
    /// For how many nanoseconds one reader may keep a reliable writer from going on; 0: for ever. Fixed.
    pub evict_after_ns: AtomicU64,
    pub(crate) reserved_geometry: [AtomicU64; 3],

    /// Position that the next message will get. Stored at every publish; on a pair of lines of its own, since the
    /// hardware fetches lines in pairs and no polling reader should feel the store.
    pub head: AtomicU64,
    /// Payload bytes published so far.
    pub published_bytes: AtomicU64,
    pub(crate) reserved_head: [AtomicU64; 14],

    /// Chunk messages at positions below this are gone. Changes once per reclaimed batch.
    pub floor: AtomicU64,
    /// Ticket of a writer that sleeps until readers make space; 0 while none does.
    pub space_wanted: AtomicU64,
    pub(crate) reserved_floor: [AtomicU64; 6],

    /// Sleeping readers wait on this; bumped only if somebody sleeps.
    pub wake: Futex,
    pub(crate) reserved_wake: [AtomicU32; 15],

    /// Messages that found the ring full at first. From here on, what observers alone look at: a line that no reader
    /// fetches may be written in a spin.
    pub full: AtomicU64,
    /// Messages that found no memory at first.
    pub exhausted: AtomicU64,
    /// How often the writer slept until readers made space.
    pub waits: AtomicU64,
    /// Most bytes of the pool.
    pub budget_bytes: AtomicU64,
    /// Bytes of the pool's segments, of which only what messages touched is real.
    pub pool_bytes: AtomicU64,
    /// Chunks that readers had not given back when the writer looked last.
    pub chunks_out: AtomicU64,
    /// Readers that a reliable writer went on without.
    pub evictions: AtomicU64,
    /// Position + 1 of the last message that found no room or no memory: the head's, while the writer can't go on.
    pub blocked_at: AtomicU64,
}

/// Where a ring's header starts in its segment.
pub const RING_HEADER_OFFSET: usize = HEADER_BYTES;
/// Where a ring's slots start in its segment.
pub const SLOTS_OFFSET: usize = 512;
/// The publisher waits for slow readers instead of overwriting.
pub const FLAG_RELIABLE: u64 = 1;
/// The writer issues `membarrier`, so readers may use compiler fences ([`crate::sync::Barrier::Asymmetric`]).
pub const FLAG_ASYMMETRIC: u64 = 2;

/// Words of a slot before its payload.
pub const SLOT_HEADER_WORDS: usize = 2;
/// Set in a slot's sequence while its writer fills it.
pub const WRITING: u64 = 1 << 63;
/// Smallest slot: one line.
pub const SLOT_BYTES_MIN: usize = LINE_BYTES;
/// Largest slot: beyond it, holding a chunk costs less than copying the payload in and out.
pub const SLOT_BYTES_MAX: usize = 4 * LINE_BYTES;
/// Largest payload that travels inside a slot.
pub const INLINE_BYTES_MAX: usize = SLOT_BYTES_MAX - SLOT_HEADER_WORDS * 8;
/// Most messages that one slot can announce (a batch).
pub const BATCH_MESSAGES_MAX: u64 = 256;
/// Most slots a ring may have: 2²⁰ slots of 256 bytes are 256 MiB of address space.
pub const CAPACITY_MAX: u64 = 1 << 20;

/// Second word of a slot, unpacked.
///
/// See [`RingHeader`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Payload bytes, if inline.
    pub length: u32,
    /// How many messages the slot announces: positions advance by this.
    pub count: u16,
    /// [`KIND_INLINE`] or [`KIND_CHUNK`].
    pub kind: u16,
}

/// The payload follows in the slot.
pub const KIND_INLINE: u16 = 1;
/// The slot names a chunk: segment index, offset, length.
pub const KIND_CHUNK: u16 = 2;

impl Meta {
    /// As it stands in the slot.
    #[inline]
    pub fn pack(self) -> u64 {
        u64::from(self.length) | u64::from(self.count) << 32 | u64::from(self.kind) << 48
    }

    /// From the slot's word; any word unpacks, the reader checks the fields.
    #[inline]
    pub fn unpack(word: u64) -> Self {
        Self { length: word as u32, count: (word >> 32) as u16, kind: (word >> 48) as u16 }
    }
}

/// Most segments of one pool. Each doubles the pool or takes the last of its budget, so 64 are beyond any memory; a
/// reader needs the bound because it keeps a list by index.
pub const SEGMENTS_MAX: u32 = 64;

/// Held messages per [`Block`].
pub const HELD_PER_BLOCK: usize = 5;

/// One line of reader state, written by the reader's process, mapped read-only by the writer.
///
/// A reader has one block, and a chain of further ones if it holds many messages at once.
///
/// See [`RingReader`](crate::ring::RingReader), which has one, for an example.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Block {
    /// Position of the next message the reader will take. Never goes back.
    pub cursor: AtomicU64,
    /// Ticket of the current sleep; 0 while the reader is awake.
    pub sleeping: AtomicU32,
    /// Index of the next block of the chain plus 1, or 0.
    pub next: AtomicU32,
    /// A writer that waits for space sleeps on this.
    pub space: Futex,
    /// How often the reader went to sleep, modulo 2³¹.
    pub sleeps: AtomicU32,
    /// Position + 1 of each held message; 0 in a free entry.
    pub held: [AtomicU64; HELD_PER_BLOCK],
}

/// Where the counters start in a node's reader segment: the bound of readers and held messages of a node together (a
/// million lines).
pub const COUNTERS_OFFSET: usize = 64 << 20;
/// Blocks of a reader segment, and as many lines of counters.
pub const BLOCKS_MAX: usize = (COUNTERS_OFFSET - HEADER_BYTES) / LINE_BYTES;
/// Where the clients' counters start.
pub const CLIENTS_OFFSET: usize = 2 * COUNTERS_OFFSET;
/// Clients that are counted; further ones work uncounted.
pub const CLIENTS_MAX: usize = 4096;
/// Bytes of a node's reader segment. Sparse: only what is in use has memory behind it.
pub const READERS_BYTES: usize = CLIENTS_OFFSET + CLIENTS_MAX * CLIENT_BYTES;

/// What a node tells those who look at it from outside, in front of its counters. Written by that node alone.
///
/// See [`NodeObserver::library_version`](crate::counters::NodeObserver::library_version) for an example.
#[derive(Debug, Default)]
#[repr(C)]
pub struct CountersHeader {
    /// Version of the library that the node runs: major, minor and patch, 16 bits each.
    pub library_version: AtomicU64,
    /// Blocks that were ever in use.
    pub blocks_end: AtomicU64,
    /// Clients that were ever in use.
    pub clients_end: AtomicU64,
    pub(crate) reserved: [AtomicU64; 5],
}

/// What is known of one reader beside its block, written by its process. What can be derived is not counted: it has
/// received what lies between its start and its cursor, but for what it lost.
///
/// See [`ReaderProbe`](crate::counters::ReaderProbe), which looks at them, for an example.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ReaderCounters {
    /// Number of the subscriber within its node; 0 while the line is nobody's. The others count only while it
    /// is the same before and after.
    pub reader: AtomicU64,
    /// Node of the writer.
    pub writer_node: AtomicU64,
    /// Number of the writer within that node.
    pub writer: AtomicU64,
    /// Position of the first message that was for this reader.
    pub start: AtomicU64,
    /// Messages that were overwritten before the reader got to them.
    pub lost: AtomicU64,
    pub(crate) reserved: [AtomicU64; 3],
}

/// Kinds of [`ClientCounters::events`].
pub const CLIENT_EVENTS: usize = 7;
/// Buckets of a histogram of latencies (see `counters::latency`).
pub const LATENCY_BUCKETS: usize = 304;
/// Bytes of a client's counters: forty lines.
pub const CLIENT_BYTES: usize = 40 * LINE_BYTES;

/// What one client of a service counts, written by its process.
///
/// See [`ClientTally`](crate::counters::ClientTally), which writes them, for an example.
#[derive(Debug)]
#[repr(C)]
pub struct ClientCounters {
    /// Number of the client within its node; 0 while this is nobody's.
    pub client: AtomicU64,
    /// By `counters::CallEvent`.
    pub events: [AtomicU64; CLIENT_EVENTS],
    /// Calls by the time until their first answer.
    pub latencies: [AtomicU64; LATENCY_BUCKETS],
    pub(crate) reserved: [AtomicU64; 8],
}

/// Copies of a region's value: the current one, and room for as many readers' held ones.
pub const COPIES: usize = 16;
/// Bits of [`RegionHeader::current`] that name the copy.
pub const COPY_BITS: u32 = COPIES.trailing_zeros();
/// Highest version of a value; 0 is none.
pub const VERSION_MAX: u64 = u64::MAX >> COPY_BITS;
/// Words of a copy before a small value.
pub const COPY_HEADER_WORDS: usize = 2;
/// Largest value that is copied in and out; beyond it, holding costs less.
pub const SMALL_BYTES_MAX: usize = INLINE_BYTES_MAX;
/// Strictest alignment of a small value, which is moved in words.
pub const SMALL_ALIGNMENT_MAX: usize = 8;
/// Strictest alignment of any value: a page.
pub const ALIGNMENT_MAX: usize = 4096;
/// Largest value: sixteen of them still fit the address space of every machine we run on.
pub const REGION_BYTES_MAX: usize = 1 << 40;
/// Longest note of a region: a path, and what it is a path for.
pub const NOTE_BYTES_MAX: usize = 4608;
/// Seats of a shared region; number 0 is nobody's, which makes 0 the free lock.
pub const SEAT_LINES: usize = 1024;
/// Values that one seat can hold at once.
pub const HELD_PER_SEAT: usize = 7;

/// What everyone who uses a region looks at, apart by how often it changes.
///
/// ```
/// use onecopy_memory::layout::{COPY_BITS, REGION_HEADER_OFFSET, RegionHeader};
/// use onecopy_memory::region::{RegionGeometry, RegionWriter};
/// use std::{fs::File, mem::offset_of, os::unix::fs::FileExt};
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
/// let file = File::from(writer.descriptor().try_clone_to_owned()?);
/// writer.write(b"second")?;
/// let mut current = [0; 8];
/// file.read_exact_at(&mut current, (REGION_HEADER_OFFSET + offset_of!(RegionHeader, current)) as u64)?;
/// assert_eq!(u64::from_ne_bytes(current) >> COPY_BITS, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[repr(C)]
pub struct RegionHeader {
    /// Largest value in bytes. Fixed.
    pub capacity_bytes: AtomicU64,
    /// Alignment of the value in bytes, a power of two. Fixed.
    pub alignment_bytes: AtomicU64,
    /// [`FLAG_SHARED`]. Fixed.
    pub flags: AtomicU64,
    /// Length of the note behind the copies. Fixed.
    pub note_bytes: AtomicU64,
    pub(crate) reserved_geometry: [AtomicU64; 12],

    /// Version of the value and number of its copy (the lowest [`COPY_BITS`]). One store of this word is what commits a
    /// write. On a pair of lines of its own, as a ring's head is.
    pub current: AtomicU64,
    pub(crate) reserved_current: [AtomicU64; 15],

    /// Shared regions: who may write (see `region::lock`).
    pub lock: Futex,
    /// Shared regions: the only one who may take the lock, because it lost too often; 0 in general.
    pub starving: AtomicU32,
    pub(crate) reserved_lock: [AtomicU64; 15],

    /// Shared regions: 1 if somebody may be asleep until the value changes.
    pub sleepers: AtomicU32,
    /// Shared regions: highest seat number that was ever taken, plus 1.
    pub seats_end: AtomicU32,
    pub(crate) reserved_sleepers: [AtomicU64; 15],
}

/// Where a region's header starts in its segment: behind the words that it has in common with a ring.
pub const REGION_HEADER_OFFSET: usize = SLOTS_OFFSET;
/// Where the seats of a shared region start, and the copies of one that has a single writer.
pub const SEATS_OFFSET: usize = 1024;
/// The region has several writers, with seats.
pub const FLAG_SHARED: u64 = 1;

/// One participant of a shared region: the values that it holds. Written by that participant, but for the first word.
///
/// See [`SharedRegion::seated`](crate::region::SharedRegion::seated), which looks at all of them, for an example.
#[derive(Debug, Default)]
#[repr(C)]
pub struct SeatLine {
    /// Who sits here (a `region::Seat` as a number), or 0. What stands below counts only while somebody does.
    pub occupant: AtomicU32,
    /// How often those who sat here slept until the lock was free. Goes on from one occupant to the next.
    pub lock_waits: AtomicU32,
    /// [`RegionHeader::current`] + 1 of each held value, as it was then; 0 in a free entry.
    pub held: [AtomicU64; HELD_PER_SEAT],
}

/// What a dataset is.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, Sections};
/// use onecopy_memory::layout::{DATASET_HEADER_OFFSET, DatasetHeader, FLAG_HASHED};
/// use std::{fs::File, os::unix::fs::FileExt};
/// use zerocopy::IntoBytes;
///
/// let sealed = DatasetDraft::create(5, Sections::default())?.seal(Some([7; 32]))?;
/// let file = File::from(sealed.descriptor().try_clone_to_owned()?);
/// let mut header = DatasetHeader::default();
/// file.read_exact_at(header.as_mut_bytes(), DATASET_HEADER_OFFSET as u64)?;
/// assert_eq!((header.content_bytes, header.flags, header.hash), (5, FLAG_HASHED, [7; 32]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatasetHeader {
    /// Where the content starts in the segment, a multiple of [`CONTENT_ALIGNMENT`]; 0 where a file is the content.
    pub content_offset: u64,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// [`FLAG_HASHED`], [`FLAG_FILE`].
    pub flags: u64,
    /// How many [`SectionEntry`]s follow.
    pub section_count: u64,
    /// BLAKE3 of the content, with [`FLAG_HASHED`].
    pub hash: [u8; 32],
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// When the file was last modified: whole seconds since 1970.
    pub modified_s: i64,
    /// The rest of that in nanoseconds.
    pub modified_ns: u64,
    /// Where the file's path lies in the segment.
    pub path_offset: u64,
    /// Bytes of the file's path.
    pub path_bytes: u64,
    /// Keeps the header two lines long.
    pub reserved: [u64; 2],
}

/// The content's BLAKE3 is known.
pub const FLAG_HASHED: u64 = 1;
/// The content is a file.
pub const FLAG_FILE: u64 = 2;
/// Where a dataset's header starts in its segment.
pub const DATASET_HEADER_OFFSET: usize = HEADER_BYTES;
/// Where the entries of a dataset's sections start in its segment.
pub const SECTION_ENTRIES_OFFSET: usize = DATASET_HEADER_OFFSET + 2 * LINE_BYTES;
/// What a dataset's content is aligned to, and so the strictest alignment of a section: a page.
pub const CONTENT_ALIGNMENT: usize = ALIGNMENT_MAX;
/// Most sections of a dataset: opening looks at each of them, and is to take less than a millisecond.
pub const SECTIONS_MAX: usize = 1024;
/// Longest name of a section or of its type, in bytes.
pub const SECTION_TEXT_BYTES_MAX: usize = 255;
/// Longest path of a dataset's file, in bytes: what Linux takes in one call.
pub const PATH_BYTES_MAX: usize = 4096;
/// Largest content: like [`REGION_BYTES_MAX`], far from overflowing any sum.
pub const CONTENT_BYTES_MAX: u64 = 1 << 46;

/// A named, typed part of a dataset's content. Entries are in the order of their offsets.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, SectionSpec, Sections};
/// use onecopy_memory::layout::{SECTION_ENTRIES_OFFSET, SectionEntry};
/// use std::{fs::File, os::unix::fs::FileExt};
/// use zerocopy::IntoBytes;
///
/// let (name, type_name) = ("keys".to_owned(), "u64".to_owned());
/// let spec = SectionSpec { name, type_name, element_bytes: 8, alignment_bytes: 8, layout_hash: 1, len: 3 };
/// let sealed = DatasetDraft::create(24, Sections::lay_out(&[spec])?)?.seal(None)?;
/// let file = File::from(sealed.descriptor().try_clone_to_owned()?);
/// let mut entry = SectionEntry::default();
/// file.read_exact_at(entry.as_mut_bytes(), SECTION_ENTRIES_OFFSET as u64)?;
/// assert_eq!((entry.offset, entry.bytes, entry.name_bytes), (0, 24, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionEntry {
    /// Where it starts within the content.
    pub offset: u64,
    /// Its size in bytes, a multiple of an element's.
    pub bytes: u64,
    /// Size of an element.
    pub element_bytes: u64,
    /// Alignment of an element.
    pub alignment_bytes: u64,
    /// Hash of the description of the element's type.
    pub layout_hash: u64,
    /// Where its name lies in the segment. The name of its type follows.
    pub text_offset: u64,
    /// Bytes of its name.
    pub name_bytes: u32,
    /// Bytes of the name of its type.
    pub type_bytes: u32,
    /// Keeps the entry one line long.
    pub reserved: u64,
}

// loom's atomics are bookkeeping structures; the layout is that of the real ones.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<SegmentHeader>() == HEADER_BYTES);
    assert!(offset_of!(RingHeader, head) == 64);
    assert!((RING_HEADER_OFFSET + offset_of!(RingHeader, head)).is_multiple_of(128));
    assert!(offset_of!(RingHeader, floor) == 192);
    assert!(offset_of!(RingHeader, wake) == 256);
    assert!(offset_of!(RingHeader, full) == 320);
    assert!(size_of::<RingHeader>() == 384);
    assert!(RING_HEADER_OFFSET + size_of::<RingHeader>() <= SLOTS_OFFSET);
    assert!(size_of::<Block>() == LINE_BYTES);
    assert!(offset_of!(Block, held) == 24);
    assert!(size_of::<CountersHeader>() == LINE_BYTES && size_of::<ReaderCounters>() == LINE_BYTES);
    assert!(size_of::<ClientCounters>() == CLIENT_BYTES && align_of::<ClientCounters>() == 8);
    assert!(COUNTERS_OFFSET + LINE_BYTES * (1 + BLOCKS_MAX) == CLIENTS_OFFSET);
    assert!(align_of::<Block>() == 8 && align_of::<RingHeader>() == 8);
    assert!(COPIES.is_power_of_two() && COPY_HEADER_WORDS * 8 + SMALL_BYTES_MAX == SLOT_BYTES_MAX);
    assert!(offset_of!(RegionHeader, current) == 128 && REGION_HEADER_OFFSET.is_multiple_of(128));
    assert!(offset_of!(RegionHeader, lock) == 256);
    assert!(offset_of!(RegionHeader, sleepers) == 384);
    assert!(REGION_HEADER_OFFSET + size_of::<RegionHeader>() == SEATS_OFFSET);
    assert!(size_of::<SeatLine>() == LINE_BYTES && offset_of!(SeatLine, held) == 8);
    assert!(align_of::<RegionHeader>() == 8 && align_of::<SeatLine>() == 8);
    assert!(size_of::<DatasetHeader>() == 2 * LINE_BYTES && align_of::<DatasetHeader>() == 8);
    assert!(offset_of!(DatasetHeader, hash) == 32 && offset_of!(DatasetHeader, device) == LINE_BYTES);
    assert!(size_of::<SectionEntry>() == LINE_BYTES && align_of::<SectionEntry>() == 8);
    assert!(SECTION_ENTRIES_OFFSET == 192 && CONTENT_ALIGNMENT.is_power_of_two());
    assert!(SLOTS_OFFSET.is_multiple_of(LINE_BYTES) && SLOT_BYTES_MAX.is_multiple_of(LINE_BYTES));
};
