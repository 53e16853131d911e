//! What every segment begins with.

use crate::sync::AtomicU64;

/// `"onecopy\0"` as a little-endian number.
pub const MAGIC: u64 = u64::from_le_bytes(*b"onecopy\0");
/// Version of everything in `layout`; two processes talk only if they agree on it.
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

// loom's atomics are bookkeeping structures; the layout is that of the real ones.
#[cfg(not(loom))]
const _: () = {
    use std::mem::size_of;
    assert!(size_of::<SegmentHeader>() == HEADER_BYTES);
};
