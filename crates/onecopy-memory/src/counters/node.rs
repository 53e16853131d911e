//! What one node counts, in its own segment: the words, and which of its clients has which of them.

use crate::free_list::FreeList;
use crate::layout::{
    BLOCKS_MAX, CLIENTS_MAX, CLIENTS_OFFSET, COUNTERS_OFFSET, ClientCounters, CountersHeader, LINE_BYTES,
    ReaderCounters,
};
use crate::mapping::Mapping;
use crate::sync::{Arc, Ordering};
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
    free_clients: FreeList,
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
            free_clients: FreeList::of(CLIENTS_MAX),
        })
    }

    /// The same on the heap, for models, which have no clients.
    #[cfg(loom)]
    pub(crate) fn heap(blocks: usize) -> Self {
        Self {
            header: Window::heap(vec![CountersHeader::default()]),
            readers: Window::heap((0..blocks).map(|_| ReaderCounters::default()).collect()),
            clients: Window::heap(Vec::new()),
            free_clients: FreeList::of(0),
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
        self.free_clients.take(|end| self.header[0].clients_end.store(u64::from(end), Ordering::Relaxed))
    }

    pub(super) fn return_client(&self, index: u32) {
        self.clients[index as usize].client.store(0, Ordering::Relaxed);
        self.free_clients.give_back(index);
    }
}
