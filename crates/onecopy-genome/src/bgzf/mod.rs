//! The blocks of a BGZF file, on which BAM is built: each is a small gzip member that says how long it is and
//! holds at most 64 KiB. A *virtual offset* names a byte in it: the block's place in the file, and the byte
//! within the block.
//!
//! Headers are read with noodles; this module does what takes the time when all names are read or single reads are
//! fetched.

mod block;
mod parallel;

pub(crate) use block::{Block, BlockReader};
pub(crate) use parallel::{Batch, Order, in_order};

/// Bytes of a block at most, compressed or not.
pub(crate) const BLOCK_BYTES_MAX: usize = 64 << 10;

/// The empty block that ends a complete file.
pub(crate) const END_MARKER: [u8; 28] = [
    0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0, 0xff, 0x06, 0, 0x42, 0x43, 0x02, 0, 0x1b, 0, 0x03, 0, 0, 0, 0, 0,
    0, 0, 0, 0,
];

/// The place of a block as part of a virtual offset, which has 48 bits for it.
pub(crate) const fn virtual_offset(block: u64, within: u16) -> u64 {
    (block << 16) | within as u64
}
