//! Reader state: the blocks of a process's readers, and what readers and clients count.

use super::segment::{HEADER_BYTES, LINE_BYTES};
use crate::sync::{AtomicU32, AtomicU64, Futex};

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

// loom's atomics are bookkeeping structures; the layout is that of the real ones.
#[cfg(not(loom))]
const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<Block>() == LINE_BYTES);
    assert!(offset_of!(Block, held) == 24);
    assert!(size_of::<CountersHeader>() == LINE_BYTES && size_of::<ReaderCounters>() == LINE_BYTES);
    assert!(size_of::<ClientCounters>() == CLIENT_BYTES && align_of::<ClientCounters>() == 8);
    assert!(COUNTERS_OFFSET + LINE_BYTES * (1 + BLOCKS_MAX) == CLIENTS_OFFSET);
    assert!(align_of::<Block>() == 8);
};
