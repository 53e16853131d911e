//! A table beside an index that finds a name with one look at the table, one at the records and one at the names,
//! where bisection needs two for every doubling of the size. It holds no names and no places, so it adds a sixth to an
//! index.
//!
//! ```text
//! 0   magic              "1cnames\1"
//! 8   seed               of the hash
//! 16  buckets            how many
//! 24  records            of the index it belongs to
//! 32  bytes of names     of that index
//! 40  reach              buckets that a name may lie behind its own
//! 48  zeros
//! 64  the buckets        one cache line each: eight words, filled from the first
//!       word: number of the name's first record + 1 (40 bits), and 24 bits of the hash above; 0 is free
//! ```
//!
//! A name lies in the bucket that its hash names, or, if that was full, in the next one with room.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bri::{BriView, Records};
use crate::error::IndexFault;

const MAGIC: u64 = u64::from_le_bytes(*b"1cnames\x01");
const HEADER_BYTES: usize = 64;
const BUCKET_BYTES: usize = 64;
const SLOTS: usize = BUCKET_BYTES / 8;
/// Names for each bucket: four in five places are taken, so hardly any name lies behind its own bucket.
const NAMES_PER_BUCKET: f64 = 6.4;
const RECORD_BITS: u32 = 40;
const RECORD_MASK: u64 = (1 << RECORD_BITS) - 1;
/// With an even hash, no run of full buckets comes near this; one that does means another seed.
const REACH_MAX: u64 = 64;
const SEEDS_MAX: u64 = 16;
/// Names that are looked for together: while memory answers for one, it is asked for the others.
const TOGETHER: usize = 16;

/// The table, wherever its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct LookupTable<'a> {
    buckets: &'a [u8],
    seed: u64,
    count: u64,
    reach: u64,
}

impl<'a> LookupTable<'a> {
    /// Checks that the table is whole and was made for an index of this size. The cost does not depend on the size.
    ///
    /// # Errors
    ///
    /// If it is damaged or belongs to another index.
    pub fn new(bytes: &'a [u8], index: &BriView<'_>) -> Result<Self, IndexFault> {
        let (header, buckets) =
            bytes.split_at_checked(HEADER_BYTES).ok_or(IndexFault::Table("it is shorter than its header"))?;
        let word = |index: usize| slot(header, index);
        if word(0) != MAGIC {
            return Err(IndexFault::Table("it does not begin as such a table does"));
        }
        let (seed, count, reach) = (word(1), word(2), word(5));
        if (word(3), word(4)) != (index.len(), index.names_bytes()) {
            return Err(IndexFault::Table("it was made for another index"));
        }
        if count == 0 || count.checked_mul(BUCKET_BYTES as u64) != Some(buckets.len() as u64) {
            return Err(IndexFault::Table("its header does not fit its size"));
        }
        if reach > REACH_MAX {
            return Err(IndexFault::Table("its names lie too far from their places"));
        }
        Ok(Self { buckets, seed, count, reach })
    }

    /// The records of a name; none if the name is unknown. `index` is the one the table was opened with.
    ///
    /// # Errors
    ///
    /// If the table or the index points behind its end.
    #[inline]
    pub fn find(&self, name: &[u8], index: &BriView<'_>) -> Result<Records, IndexFault> {
        self.find_hashed(name, xxh3_64_with_seed(name, self.seed), index)
    }

    /// The same for many names, which takes less time for each. Calls `found` for each name in turn.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); names before the one that failed were found.
    pub fn find_all<'n>(
        &self,
        names: impl IntoIterator<Item = &'n [u8]>,
        index: &BriView<'_>,
        mut found: impl FnMut(Records),
    ) -> Result<(), IndexFault> {
        let mut names = names.into_iter();
        loop {
            let mut batch: [(&[u8], u64, u64); TOGETHER] = [(&[], 0, 0); TOGETHER];
            let mut len = 0;
            for (place, name) in batch.iter_mut().zip(names.by_ref()) {
                *place = (name, xxh3_64_with_seed(name, self.seed), 0);
                len += 1;
            }
            // Three rounds; in each, no look depends on another, so the processor has them all under way at once.
            for (_, hash, record) in &mut batch[..len] {
                *record = self.candidate(*hash);
            }
            for &(_, _, record) in &batch[..len] {
                if record < index.len() {
                    std::hint::black_box(index.first_byte(record)?);
                }
            }
            for &(name, hash, _) in &batch[..len] {
                found(self.find_hashed(name, hash, index)?);
            }
            if len < TOGETHER {
                return Ok(());
            }
        }
    }

    #[inline]
    fn find_hashed(&self, name: &[u8], hash: u64, index: &BriView<'_>) -> Result<Records, IndexFault> {
        let mut number = bucket_of(hash, self.count);
        for _ in 0..=self.reach {
            let bucket = self.bucket(number);
            for place in 0..SLOTS {
                let word = slot(bucket, place);
                if word == 0 {
                    return Ok(0..0);
                }
                if word >> RECORD_BITS == fingerprint(hash) {
                    let record = (word & RECORD_MASK).wrapping_sub(1);
                    if record >= index.len() {
                        return Err(IndexFault::Table("it points behind the records"));
                    }
                    if index.is_named(record, name)? {
                        return index.same_name(record);
                    }
                }
            }
            number = after(number, self.count);
        }
        Ok(0..0)
    }

    /// The record in the name's own bucket that may be the name's, or a number behind all records.
    #[inline]
    fn candidate(&self, hash: u64) -> u64 {
        let bucket = self.bucket(bucket_of(hash, self.count));
        (0..SLOTS)
            .map(|place| slot(bucket, place))
            .find(|word| word >> RECORD_BITS == fingerprint(hash))
            .map_or(u64::MAX, |word| (word & RECORD_MASK).wrapping_sub(1))
    }

    #[inline]
    fn bucket(&self, index: u64) -> &'a [u8; BUCKET_BYTES] {
        let start = index as usize * BUCKET_BYTES;
        self.buckets[start..].first_chunk().expect("the table's size was checked")
    }

    /// Bytes of the table for so many names.
    pub fn bytes_for(names: u64) -> u64 {
        HEADER_BYTES as u64 + ((names as f64 / NAMES_PER_BUCKET) as u64 + 1) * BUCKET_BYTES as u64
    }

    /// Writes the table for `index` into `bytes`, of the size that [`bytes_for`](Self::bytes_for) gives for the names it has.
    ///
    /// # Errors
    ///
    /// If the index breaks its format's rules, has a trillion records, or has more names than there is room for.
    pub fn write(index: &BriView<'_>, bytes: &mut [u8]) -> Result<(), IndexFault> {
        let count = (bytes.len().saturating_sub(HEADER_BYTES) / BUCKET_BYTES) as u64;
        if count == 0 {
            return Err(IndexFault::Table("there is no room for it"));
        }
        if index.len() >= RECORD_MASK {
            return Err(IndexFault::Table("it can't hold a trillion records"));
        }
        for seed in 0..SEEDS_MAX {
            let (header, buckets) = bytes.split_at_mut(HEADER_BYTES);
            buckets.fill(0);
            if let Some(reach) = fill(index, seed, count, buckets)? {
                header.fill(0);
                let words = [MAGIC, seed, count, index.len(), index.names_bytes(), reach];
                for (place, word) in header.chunks_exact_mut(8).zip(words) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                return Ok(());
            }
        }
        Err(IndexFault::Table("the names can't be spread over it"))
    }
}

/// Puts all names into free buckets. Gives the reach, or `None` if that would be too far.
fn fill(index: &BriView<'_>, seed: u64, count: u64, buckets: &mut [u8]) -> Result<Option<u64>, IndexFault> {
    let mut reach = 0;
    let mut record = 0;
    while record < index.len() {
        let hash = xxh3_64_with_seed(index.name(record)?, seed);
        let word = (record + 1) | fingerprint(hash) << RECORD_BITS;
        let (mut number, mut distance) = (bucket_of(hash, count), 0);
        loop {
            let bucket = &mut buckets[number as usize * BUCKET_BYTES..][..BUCKET_BYTES];
            if let Some(free) = (0..SLOTS).find(|&place| slot(bucket, place) == 0) {
                bucket[free * 8..free * 8 + 8].copy_from_slice(&word.to_le_bytes());
                break;
            }
            number = after(number, count);
            distance += 1;
            if distance > REACH_MAX {
                return Ok(None);
            }
        }
        reach = reach.max(distance);
        record = index.same_name(record)?.end;
    }
    Ok(Some(reach))
}

/// The bucket behind this one; the first is behind the last.
#[inline]
fn after(number: u64, count: u64) -> u64 {
    if number + 1 == count { 0 } else { number + 1 }
}

/// Spreads hashes evenly over `count` buckets by their upper bits.
#[inline]
fn bucket_of(hash: u64, count: u64) -> u64 {
    ((u128::from(hash) * u128::from(count)) >> 64) as u64
}

/// The lower bits of a hash, which don't choose the bucket.
#[inline]
fn fingerprint(hash: u64) -> u64 {
    hash & ((1 << (u64::BITS - RECORD_BITS)) - 1)
}

#[inline]
fn slot(bytes: &[u8], index: usize) -> u64 {
    u64::from_le_bytes(*bytes[index * 8..].first_chunk().expect("a word within a checked part"))
}
