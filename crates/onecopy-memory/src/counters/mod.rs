//! What a node counts of its readers and clients, in its own reader segment, and how others look at it there. The process
//! observed is never asked, and pays for a count only where something rare happens: what can be derived from
//! positions is derived by whoever looks.
//!
//! What writers count lies in their rings ([`crate::ring::Observer`]).

mod client;
mod latency;
mod observer;

pub use client::{CallEvent, ClientTally};
pub use latency::{LATENCY_MAX_NS, Latencies, bucket_bounds_ns};
pub use observer::{ClientReport, NodeObserver, ReaderProbe, ReaderReport};

use crate::hold::ReaderState;
use crate::layout::{
    BLOCKS_MAX, CLIENTS_MAX, CLIENTS_OFFSET, COUNTERS_OFFSET, ClientCounters, CountersHeader, LINE_BYTES,
    ReaderCounters,
};
use crate::mapping::Mapping;
use crate::sync::{Arc, Mutex, Ordering, lock};
use crate::window::Window;

/// The version of this library, as [`CountersHeader::library_version`] has it.
const LIBRARY_VERSION: u64 = packed_version(
    env!("CARGO_PKG_VERSION_MAJOR"),
    env!("CARGO_PKG_VERSION_MINOR"),
    env!("CARGO_PKG_VERSION_PATCH"),
);

const fn packed_version(major: &str, minor: &str, patch: &str) -> u64 {
    number(major) << 32 | number(minor) << 16 | number(patch)
}

const fn number(digits: &str) -> u64 {
    match u16::from_str_radix(digits, 10) {
        Ok(number) => number as u64,
        Err(_) => panic!("a version is made of small numbers"),
    }
}

/// The counters of one node, as that node writes them.
#[derive(Debug)]
pub(crate) struct NodeCounters {
    header: Window<CountersHeader>,
    readers: Window<ReaderCounters>,
    clients: Window<ClientCounters>,
    unused_clients: Mutex<UnusedClients>,
}

#[derive(Debug, Default)]
struct UnusedClients {
    returned: Vec<u32>,
    never_used: u32,
}

impl NodeCounters {
    /// Over the node's own segment, which nobody else knows yet.
    pub(crate) fn over(mapping: &Arc<Mapping>) -> Option<Self> {
        let header = Window::<CountersHeader>::new(mapping, COUNTERS_OFFSET, 1)?;
        header[0].library_version.store(LIBRARY_VERSION, Ordering::Relaxed);
        Some(Self {
            header,
            readers: Window::new(mapping, COUNTERS_OFFSET + LINE_BYTES, BLOCKS_MAX)?,
            clients: Window::new(mapping, CLIENTS_OFFSET, CLIENTS_MAX)?,
            unused_clients: Mutex::default(),
        })
    }

    /// The same on the heap, for models, which have no clients.
    #[cfg(loom)]
    pub(crate) fn heap(blocks: usize) -> Self {
        Self {
            header: Window::heap(vec![CountersHeader::default()]),
            readers: Window::heap((0..blocks).map(|_| ReaderCounters::default()).collect()),
            clients: Window::heap(Vec::new()),
            unused_clients: Mutex::default(),
        }
    }

    pub(crate) fn reader(&self, block: u32) -> &ReaderCounters {
        &self.readers[block as usize]
    }

    /// Observers need not look beyond this.
    pub(crate) fn blocks_in_use(&self, end: u32) {
        self.header[0].blocks_end.store(u64::from(end), Ordering::Relaxed);
    }

    fn take_client(&self) -> Option<u32> {
        let mut unused = lock(&self.unused_clients);
        if let Some(index) = unused.returned.pop() {
            return Some(index);
        }
        if unused.never_used as usize >= self.clients.len() {
            return None;
        }
        unused.never_used += 1;
        self.header[0].clients_end.store(u64::from(unused.never_used), Ordering::Relaxed);
        Some(unused.never_used - 1)
    }

    fn return_client(&self, index: u32) {
        self.clients[index as usize].client.store(0, Ordering::Relaxed);
        lock(&self.unused_clients).returned.push(index);
    }
}

impl ReaderState {
    /// Says whose reader this is: the number of its subscriber within the node (not 0), and its writer's node and number.
    /// From then on observers see it.
    pub fn identify(&self, reader: u32, (writer_node, writer): (u64, u32)) {
        let counters = self.counters();
        counters.writer_node.store(writer_node, Ordering::Relaxed);
        counters.writer.store(u64::from(writer), Ordering::Relaxed);
        counters.lost.store(0, Ordering::Relaxed);
        // Until it is told where to start it has nothing to read, and so has received nothing.
        counters.start.store(u64::MAX, Ordering::Relaxed);
        // Release: who sees the number sees what belongs to it.
        counters.reader.store(u64::from(reader), Ordering::Release);
    }

    /// The first message that is for this reader.
    pub(crate) fn count_from(&self, position: u64) {
        self.counters().start.store(position, Ordering::Relaxed);
    }

    /// How many messages were lost by now.
    pub(crate) fn count_lost(&self, lost: u64) {
        self.counters().lost.store(lost, Ordering::Relaxed);
    }
}
