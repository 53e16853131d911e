//! A region: its header, the copies of its value, and the seats of those who write a shared one.

use super::ring::{INLINE_BYTES_MAX, SLOTS_OFFSET};
use crate::sync::{AtomicU32, AtomicU64, Futex};

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

// loom's atomics are bookkeeping structures; the layout is that of the real ones.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};

    use super::ring::SLOT_BYTES_MAX;
    use super::segment::LINE_BYTES;
    assert!(COPIES.is_power_of_two() && COPY_HEADER_WORDS * 8 + SMALL_BYTES_MAX == SLOT_BYTES_MAX);
    assert!(offset_of!(RegionHeader, current) == 128 && REGION_HEADER_OFFSET.is_multiple_of(128));
    assert!(offset_of!(RegionHeader, lock) == 256);
    assert!(offset_of!(RegionHeader, sleepers) == 384);
    assert!(REGION_HEADER_OFFSET + size_of::<RegionHeader>() == SEATS_OFFSET);
    assert!(size_of::<SeatLine>() == LINE_BYTES && offset_of!(SeatLine, held) == 8);
    assert!(align_of::<RegionHeader>() == 8 && align_of::<SeatLine>() == 8);
};
