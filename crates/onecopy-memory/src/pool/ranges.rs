//! Free ranges of the pool's segments: best fit, merged with their neighbours as they come back.

use std::collections::{BTreeMap, BTreeSet};

use super::ChunkAddress;

/// Free ranges, by address for merging and by size for finding.
#[derive(Debug, Default)]
pub(super) struct FreeRanges {
    by_address: BTreeMap<ChunkAddress, usize>,
    by_size: BTreeSet<(usize, ChunkAddress)>,
}

impl FreeRanges {
    /// The first `length` bytes of the smallest range that has as many.
    pub(super) fn take(&mut self, length: usize) -> Option<ChunkAddress> {
        let lowest = ChunkAddress { segment: 0, offset: 0 };
        let &(size, address) = self.by_size.range((length, lowest)..).next()?;
        self.remove(address, size);
        if size > length {
            let rest = ChunkAddress { offset: address.offset + length as u64, ..address };
            self.insert(rest, size - length);
        }
        Some(address)
    }

    /// Adds a range; one that touches a free range of its segment merges with it.
    pub(super) fn put(&mut self, mut address: ChunkAddress, mut length: usize) {
        let touches = |(before, size): (&ChunkAddress, &usize)| {
            let adjacent =
                before.segment == address.segment && before.offset + *size as u64 == address.offset;
            adjacent.then_some((*before, *size))
        };
        if let Some((before, size)) = self.by_address.range(..address).next_back().and_then(touches) {
            self.remove(before, size);
            address = before;
            length += size;
        }
        let after = ChunkAddress { offset: address.offset + length as u64, ..address };
        if let Some(&size) = self.by_address.get(&after) {
            self.remove(after, size);
            length += size;
        }
        self.insert(address, length);
    }

    /// Whether there is exactly this range.
    pub(super) fn contains(&self, address: ChunkAddress, length: usize) -> bool {
        self.by_address.get(&address) == Some(&length)
    }

    fn insert(&mut self, address: ChunkAddress, length: usize) {
        let overlapped = self.by_address.insert(address, length);
        debug_assert_eq!(overlapped, None, "a range is free once");
        self.by_size.insert((length, address));
    }

    /// Takes out a range that is there.
    pub(super) fn remove(&mut self, address: ChunkAddress, length: usize) {
        self.by_address.remove(&address);
        self.by_size.remove(&(length, address));
    }

    #[cfg(all(test, not(loom)))]
    pub(super) fn ranges(&self) -> Vec<(ChunkAddress, usize)> {
        self.by_address.iter().map(|(address, length)| (*address, *length)).collect()
    }
}
