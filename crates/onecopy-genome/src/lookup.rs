//! A table beside an index that finds a name with two looks at memory, one after the other: at the table, and then at the
//! name and its records together. Bisection needs two for every doubling of the size. It holds no names, so it adds a
//! fifth to an index.
//!
//! ```text
//! 0   magic              "1cnames\2"
//! 8   seed               of the hash
//! 16  buckets            how many
//! 24  records            of the index it belongs to
//! 32  bytes of names     of that index
//! 40  zeros
//! 64  the buckets        one cache line each, with five slots, filled from the first:
//!       0   16 bits of the hash of each slot's name; 0 is a free slot
//!       10  reach        how many buckets behind this one a name may lie that belongs here
//!       12  zeros
//!       14  for each slot: where its name begins within the names (5 bytes), its first record (5 bytes)
//! ```
//!
//! A name lies in the bucket that its hash names, or, if that was full, in the next one with room.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bri::{BriView, Records};
use crate::error::IndexFault;

const MAGIC: u64 = u64::from_le_bytes(*b"1cnames\x02");
const HEADER_BYTES: usize = 64;
const BUCKET_BYTES: usize = 64;
const SLOTS: usize = 5;
/// Names for each bucket: four in five places are taken, so one name in ten lies behind its own bucket.
const NAMES_PER_BUCKET: u64 = 4;
/// Where a bucket's reach stands.
const REACH_AT: usize = 10;
/// Where a bucket's places stand, and the bytes of each.
const PLACES_AT: usize = 14;
const PLACE_BYTES: usize = 10;
/// Of each of the two numbers of a place.
const NUMBER_BITS: u32 = 40;
const NUMBER_MASK: u64 = (1 << NUMBER_BITS) - 1;
/// With an even hash, no run of full buckets comes near this; one that does means another seed.
const REACH_MAX: u16 = 64;
const SEEDS_MAX: u64 = 16;
/// Names that are looked for together: while memory answers for one, it is asked for the others.
const TOGETHER: usize = 16;
/// The lowest bit of each slot's part of the hash, and the highest.
const LOWEST_BITS: u128 = 0x0001_0001_0001_0001_0001;
const HIGHEST_BITS: u128 = LOWEST_BITS << 15;

/// The table, wherever its bytes are.
#[derive(Debug, Clone, Copy)]
pub struct LookupTable<'a> {
    buckets: &'a [u8],
    seed: u64,
    count: u64,
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
        let word = |index: usize| word(header, index * 8);
        if word(0) != MAGIC {
            return Err(IndexFault::Table("it does not begin as such a table does"));
        }
        let (seed, count) = (word(1), word(2));
        if (word(3), word(4)) != (index.len(), index.names_bytes()) {
            return Err(IndexFault::Table("it was made for another index"));
        }
        if count == 0 || count.checked_mul(BUCKET_BYTES as u64) != Some(buckets.len() as u64) {
            return Err(IndexFault::Table("its header does not fit its size"));
        }
        Ok(Self { buckets, seed, count })
    }

    /// The records of a name; none if the name is unknown. `index` is the one the table was opened with.
    ///
    /// # Errors
    ///
    /// If the table or the index points behind its end.
    #[inline]
    pub fn find(&self, name: &[u8], index: &BriView<'_>) -> Result<Records, IndexFault> {
        self.find_hashed(name, self.hash(name), index)
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
            let mut batch: [(&[u8], u64); TOGETHER] = [(&[], 0); TOGETHER];
            let mut len = 0;
            for (place, name) in batch.iter_mut().zip(names.by_ref()) {
                *place = (name, self.hash(name));
                len += 1;
            }
            // Three rounds; in each, no look depends on another, so the processor has them all under way at once.
            for &(_, hash) in &batch[..len] {
                std::hint::black_box(self.bucket(bucket_of(hash, self.count))[0]);
            }
            for &(name, hash) in &batch[..len] {
                let bucket = self.bucket(bucket_of(hash, self.count));
                let alike = alike(bucket, hash);
                if alike != 0 {
                    let (offset, record) = place(bucket, slot_of(alike));
                    index.touch(offset, name.len(), record);
                }
            }
            for &(name, hash) in &batch[..len] {
                found(self.find_hashed(name, hash, index)?);
            }
            if len < TOGETHER {
                return Ok(());
            }
        }
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.seed)
    }

    #[inline]
    fn find_hashed(&self, name: &[u8], hash: u64, index: &BriView<'_>) -> Result<Records, IndexFault> {
        let mut number = bucket_of(hash, self.count);
        let mut reach = reach(self.bucket(number)).min(REACH_MAX);
        loop {
            let bucket = self.bucket(number);
            // No branch depends on which slot it is: the processor would guess wrong, and begin the looks that follow late.
            let mut alike = alike(bucket, hash);
            while alike != 0 {
                let (offset, record) = place(bucket, slot_of(alike));
                if record >= index.len() {
                    return Err(IndexFault::Table("it points behind the records"));
                }
                if index.is_name_at(offset, name) {
                    let (records, name_offset) = index.records_from(record)?;
                    if name_offset != offset {
                        return Err(IndexFault::Table("it points to the records of another name"));
                    }
                    return Ok(records);
                }
                alike &= alike - 1;
            }
            if reach == 0 {
                return Ok(0..0);
            }
            reach -= 1;
            number = after(number, self.count);
        }
    }

    #[inline]
    fn bucket(&self, index: u64) -> &'a [u8; BUCKET_BYTES] {
        let start = index as usize * BUCKET_BYTES;
        self.buckets[start..].first_chunk().expect("the table's size was checked")
    }

    /// Bytes of the table for so many names.
    pub fn bytes_for(names: u64) -> u64 {
        HEADER_BYTES as u64 + (names / NAMES_PER_BUCKET + 1) * BUCKET_BYTES as u64
    }

    /// Writes the table for `index` into `bytes`, of the size that [`bytes_for`](Self::bytes_for) gives for the names it has.
    ///
    /// # Errors
    ///
    /// If the index breaks its format's rules, has a trillion records or bytes of names, or has more names than there is room for.
    pub fn write(index: &BriView<'_>, bytes: &mut [u8]) -> Result<(), IndexFault> {
        let count = (bytes.len().saturating_sub(HEADER_BYTES) / BUCKET_BYTES) as u64;
        if count == 0 {
            return Err(IndexFault::Table("there is no room for it"));
        }
        if index.len() > NUMBER_MASK || index.names_bytes() > NUMBER_MASK {
            return Err(IndexFault::Table("it can't hold a trillion records, or bytes of names"));
        }
        for seed in 0..SEEDS_MAX {
            let (header, buckets) = bytes.split_at_mut(HEADER_BYTES);
            buckets.fill(0);
            if fill(index, seed, count, buckets)? {
                header.fill(0);
                let words = [MAGIC, seed, count, index.len(), index.names_bytes()];
                for (place, word) in header.chunks_exact_mut(8).zip(words) {
                    place.copy_from_slice(&word.to_le_bytes());
                }
                return Ok(());
            }
        }
        Err(IndexFault::Table("the names can't be spread over it"))
    }
}

/// Puts all names into free slots. False if one would lie too far from its bucket.
fn fill(index: &BriView<'_>, seed: u64, count: u64, buckets: &mut [u8]) -> Result<bool, IndexFault> {
    let bucket_at = |number: u64| number as usize * BUCKET_BYTES..(number as usize + 1) * BUCKET_BYTES;
    let mut record = 0;
    while record < index.len() {
        let (records, offset) = index.records_from(record)?;
        let hash = xxh3_64_with_seed(index.name(record)?, seed);
        let home = bucket_of(hash, count);
        let (mut number, mut distance) = (home, 0);
        loop {
            let bucket = &mut buckets[bucket_at(number)];
            if let Some(free) = (0..SLOTS).find(|slot| bucket[slot * 2..][..2] == [0; 2]) {
                bucket[free * 2..][..2].copy_from_slice(&fingerprint(hash).to_le_bytes());
                let place = u128::from(record) << NUMBER_BITS | u128::from(offset);
                let bytes = &place.to_le_bytes()[..PLACE_BYTES];
                bucket[PLACES_AT + free * PLACE_BYTES..][..PLACE_BYTES].copy_from_slice(bytes);
                break;
            }
            number = after(number, count);
            distance += 1;
            if distance > REACH_MAX {
                return Ok(false);
            }
        }
        let reach = &mut buckets[bucket_at(home)][REACH_AT..REACH_AT + 2];
        let known = u16::from_le_bytes([reach[0], reach[1]]);
        reach.copy_from_slice(&known.max(distance).to_le_bytes());
        record = records.end;
    }
    Ok(true)
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

/// The lower bits of a hash, which don't choose the bucket. Never 0.
#[inline]
fn fingerprint(hash: u64) -> u16 {
    (hash as u16).max(1)
}

/// The slots of a bucket that hold this part of the hash, each as the highest bit of its part of the first bytes. The lowest
/// that is set is right; a higher one can be wrong, and is found out when its name is compared.
#[inline]
fn alike(bucket: &[u8; BUCKET_BYTES], hash: u64) -> u128 {
    let parts = u128::from_le_bytes(*bucket.first_chunk().expect("a bucket has 64 bytes"));
    let differences = parts ^ (LOWEST_BITS * u128::from(fingerprint(hash)));
    differences.wrapping_sub(LOWEST_BITS) & !differences & HIGHEST_BITS
}

/// The first of the slots that [`alike`] gave.
#[inline]
fn slot_of(alike: u128) -> usize {
    alike.trailing_zeros() as usize / 16
}

/// Where a slot's name begins, and its first record.
#[inline]
fn place(bucket: &[u8; BUCKET_BYTES], slot: usize) -> (u64, u64) {
    let at = PLACES_AT + slot * PLACE_BYTES;
    // The second word begins two bytes later: there are eight bytes for each within the bucket.
    (word(bucket, at) & NUMBER_MASK, word(bucket, at + 2) >> (u64::BITS - NUMBER_BITS))
}

#[inline]
fn reach(bucket: &[u8; BUCKET_BYTES]) -> u16 {
    u16::from_le_bytes([bucket[REACH_AT], bucket[REACH_AT + 1]])
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a word within a checked part"))
}
