//! What one node counts, in its own segment: the words, and which of its clients has which of them.

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

    #[inline]
    pub(super) fn client(&self, index: u32) -> &ClientCounters {
        &self.clients[index as usize]
    }

    /// Observers need not look beyond this.
    pub(crate) fn blocks_in_use(&self, end: u32) {
        self.header[0].blocks_end.store(u64::from(end), Ordering::Relaxed);
    }

    pub(super) fn take_client(&self) -> Option<u32> {
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

    pub(super) fn return_client(&self, index: u32) {
        self.clients[index as usize].client.store(0, Ordering::Relaxed);
        lock(&self.unused_clients).returned.push(index);
    }
}
