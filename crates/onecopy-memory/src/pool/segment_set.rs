//! Some of a pool's segments. There are at most 64, so a set of them is one word: it goes into a packet, and
//! into a line of a broker's books.

use crate::layout::SEGMENTS_MAX;

const _: () = assert!(SEGMENTS_MAX == u64::BITS, "every segment of a pool has a bit");

/// Some of a pool's segments, by their indices.
///
/// ```
/// use onecopy_memory::{layout::SEGMENTS_MAX, pool::SegmentSet};
///
/// // A subscriber has three segments of a publisher, which has replaced two of them and has a further one.
/// let mut had = SegmentSet::from_iter([0, 1, 2]);
/// let replaced = SegmentSet::from_iter([1, 2]);
/// had = had.without(replaced);
/// had.insert(3);
/// // Of no pool, whoever says so.
/// had.insert(SEGMENTS_MAX);
/// assert!(had.contains(0) && !had.contains(2));
/// assert!(replaced.is_subset(SegmentSet::from_iter(0..3)) && !replaced.is_subset(had));
/// assert_eq!(had.without(had), SegmentSet::EMPTY);
/// // A packet has it as a number.
/// assert_eq!(had.bits(), 0b1001);
/// assert_eq!(SegmentSet::from_bits(0b1001), had);
/// ```
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentSet(u64);

impl SegmentSet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// The segments whose bits are set.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as a number: bit 0 stands for the segment with index 0.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether it has that segment; never one with an index that no pool has.
    pub const fn contains(self, index: u32) -> bool {
        self.0 & bit(index) != 0
    }

    /// Whether all its segments are in `other`.
    pub const fn is_subset(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Adds a segment. An index that no pool has adds nothing.
    pub const fn insert(&mut self, index: u32) {
        self.0 |= bit(index);
    }
}

impl FromIterator<u32> for SegmentSet {
    fn from_iter<I: IntoIterator<Item = u32>>(indices: I) -> Self {
        let mut set = Self::EMPTY;
        indices.into_iter().for_each(|index| set.insert(index));
        set
    }
}

/// Indices come from other processes too, so they may be any.
const fn bit(index: u32) -> u64 {
    match 1_u64.checked_shl(index) {
        Some(bit) => bit,
        None => 0,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_index_that_no_pool_has_is_in_no_set() {
        let mut all = SegmentSet::from_bits(u64::MAX);
        for index in [SEGMENTS_MAX, 127, 128, u32::MAX] {
            assert!(!all.contains(index), "{index}");
            all.insert(index);
            assert_eq!(SegmentSet::from_iter([index]), SegmentSet::EMPTY, "{index}");
        }
        assert!((0..SEGMENTS_MAX).all(|index| all.contains(index)));
    }

    #[test]
    fn the_last_segment_is_as_good_as_any() {
        let last = SegmentSet::from_iter([SEGMENTS_MAX - 1]);
        assert!(last.contains(SEGMENTS_MAX - 1) && !last.contains(0));
        assert!(last.is_subset(SegmentSet::from_bits(u64::MAX)));
        assert!(!last.is_subset(SegmentSet::from_iter([0])));
        assert_eq!(last.without(last), SegmentSet::EMPTY);
        assert_eq!(SegmentSet::from_iter([0, SEGMENTS_MAX - 1]).without(last).bits(), 1);
    }
}
