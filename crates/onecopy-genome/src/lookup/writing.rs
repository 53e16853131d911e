//! How what finds names is written: first it is counted how much there will be, then entries are written into
//! memory of that size, then the buckets are filled.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{
    BUCKET_BYTES, ENTRY_HEAD_BYTES, HEADER_BYTES, MAGIC, MANY, OFFSET_BYTES, OFFSETS_AT, REACH_AT, REACH_MAX,
    SLOTS, after, bucket_of, entries, fingerprint,
};
use crate::error::IndexFault;

/// Slots for names, of which four in five are taken: then one name in sixteen lies behind its own bucket.
const SLOTS_FOR_NAMES: (u64, u64) = (5, 4);
const SEEDS_MAX: u64 = 16;
/// What can be said in six bytes.
const ENTRIES_BYTES_MAX: usize = (1 << (8 * OFFSET_BYTES)) - 1;

/// How much memory a lookup takes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct LookupSize {
    names: u64,
    entries_bytes: u64,
}

impl LookupSize {
    /// A name more, with so many alignments.
    pub fn add(&mut self, name: &[u8], alignments: usize) {
        self.add_many(1, name.len() as u64, alignments as u64, u64::from(alignments >= usize::from(MANY)));
    }

    /// Some names more: the bytes of all without their ends, their alignments, and how many names have 255
    /// alignments or more.
    pub(crate) fn add_many(&mut self, names: u64, bytes: u64, alignments: u64, crowded: u64) {
        self.names += names;
        self.entries_bytes += names * ENTRY_HEAD_BYTES as u64 + bytes + 8 * (alignments + crowded);
    }

    /// Bytes of all entries.
    pub fn entries_bytes(&self) -> usize {
        self.entries_bytes as usize
    }

    /// Bytes of the buckets and what stands before them.
    pub fn buckets_bytes(&self) -> usize {
        let (numerator, denominator) = SLOTS_FOR_NAMES;
        let slots = u128::from(self.names) * u128::from(numerator) / u128::from(denominator);
        HEADER_BYTES + (slots as usize / SLOTS + 1) * BUCKET_BYTES
    }
}

/// Writes what a [`Lookup`](super::Lookup) reads.
#[derive(Debug)]
pub struct LookupWriter<'a> {
    entries: &'a mut [u8],
    end: usize,
}

impl<'a> LookupWriter<'a> {
    /// Entries go to these bytes, as many as [`LookupSize`] says.
    pub fn new(entries: &'a mut [u8]) -> Self {
        Self { entries, end: 0 }
    }

    /// Adds a name, which was not added before, and the virtual offsets of its alignments.
    ///
    /// # Errors
    ///
    /// If the name is longer than the format allows, or there is no room.
    pub fn push(&mut self, name: &[u8], alignments: &[u64]) -> Result<(), IndexFault> {
        let name_bytes = u8::try_from(name.len()).map_err(|_| IndexFault::Unterminated)?;
        let few = u8::try_from(alignments.len()).ok().filter(|&count| count != MANY);
        self.put(&[name_bytes, few.unwrap_or(MANY)])?;
        self.put(name)?;
        if few.is_none() {
            self.put(&(alignments.len() as u64).to_le_bytes())?;
        }
        alignments.iter().try_for_each(|alignment| self.put(&alignment.to_le_bytes()))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), IndexFault> {
        let end = self.end + bytes.len();
        let place = self.entries.get_mut(self.end..end).ok_or(NO_ROOM)?;
        place.copy_from_slice(bytes);
        self.end = end;
        Ok(())
    }

    /// Fills the buckets, of the size that [`LookupSize`] says.
    ///
    /// # Errors
    ///
    /// If entries were announced that were not added, if there are more names than there is room for, or more
    /// than 256 TiB of them.
    pub fn finish(self, buckets: &mut [u8]) -> Result<(), IndexFault> {
        if self.end != self.entries.len() {
            return Err(IndexFault::Table("it has fewer names than were announced"));
        }
        let count = (buckets.len().saturating_sub(HEADER_BYTES) / BUCKET_BYTES) as u64;
        if count == 0 || self.end > ENTRIES_BYTES_MAX {
            return Err(NO_ROOM);
        }
        let (header, buckets) = buckets.split_at_mut(HEADER_BYTES);
        for seed in 0..SEEDS_MAX {
            buckets.fill(0);
            if fill(self.entries, seed, count, buckets)? {
                header.fill(0);
                let words = [MAGIC, seed, count, self.entries.len() as u64];
                for (place, word) in header.chunks_exact_mut(8).zip(words) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                return Ok(());
            }
        }
        Err(IndexFault::Table("the names can't be spread over it"))
    }
}

const NO_ROOM: IndexFault = IndexFault::Table("there is no room for all names");

/// Puts all names into free slots. False if one would lie too far from its bucket.
fn fill(bytes: &[u8], seed: u64, count: u64, buckets: &mut [u8]) -> Result<bool, IndexFault> {
    let at = |number: u64| number as usize * BUCKET_BYTES..(number as usize + 1) * BUCKET_BYTES;
    for entry in entries(bytes) {
        let (start, name, _) = entry?;
        let hash = xxh3_64_with_seed(name, seed);
        let home = bucket_of(hash, count);
        let (mut number, mut distance) = (home, 0_u16);
        loop {
            let bucket = &mut buckets[at(number)];
            if let Some(free) = (0..SLOTS).find(|slot| bucket[slot * 2..][..2] == [0; 2]) {
                bucket[free * 2..][..2].copy_from_slice(&fingerprint(hash).to_le_bytes());
                let place = &mut bucket[OFFSETS_AT + free * OFFSET_BYTES..][..OFFSET_BYTES];
                place.copy_from_slice(&(start as u64).to_le_bytes()[..OFFSET_BYTES]);
                break;
            }
            number = after(number, count);
            distance += 1;
            if distance > REACH_MAX {
                return Ok(false);
            }
        }
        let reach = &mut buckets[at(home)][REACH_AT..REACH_AT + 2];
        let known = u16::from_le_bytes([reach[0], reach[1]]);
        reach.copy_from_slice(&known.max(distance).to_le_bytes());
    }
    Ok(true)
}
