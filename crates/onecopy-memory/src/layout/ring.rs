//! A publisher's ring: its header, its slots, and the numbers that bound both.

use super::segment::{HEADER_BYTES, LINE_BYTES};
use crate::sync::{AtomicU32, AtomicU64, Futex};

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

// loom's atomics are bookkeeping structures; the layout is that of the real ones.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(offset_of!(RingHeader, head) == 64);
    assert!((RING_HEADER_OFFSET + offset_of!(RingHeader, head)).is_multiple_of(128));
    assert!(offset_of!(RingHeader, floor) == 192);
    assert!(offset_of!(RingHeader, wake) == 256);
    assert!(offset_of!(RingHeader, full) == 320);
    assert!(size_of::<RingHeader>() == 384);
    assert!(RING_HEADER_OFFSET + size_of::<RingHeader>() <= SLOTS_OFFSET);
    assert!(align_of::<RingHeader>() == 8);
    assert!(SLOTS_OFFSET.is_multiple_of(LINE_BYTES) && SLOT_BYTES_MAX.is_multiple_of(LINE_BYTES));
};
