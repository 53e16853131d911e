//! An index as it is shared: laid out so that a name is found, with all that is known of it, by two looks at
//! memory. The public format needs two for every doubling of its size: it is made for files.
//!
//! *Entries*, one for each name, in the order of the names:
//!
//! ```text
//! 0   bytes of the name, up to 254
//! 1   number of alignments, if less than 255; else 255
//! 2   the name
//!     number of alignments   8 bytes, if it is not above
//!     virtual offsets        8 bytes for each alignment, in the order of the file
//! ```
//!
//! *Buckets*, of a cache line each, behind a header as long:
//!
//! ```text
//! 0   magic              "1cnames\2"
//! 8   seed               of the hash
//! 16  buckets            how many
//! 24  bytes of entries
//! 32  zeros
//! 64  the buckets, each of them with seven slots, filled from the first:
//!       0   16 bits of the hash of each slot's name; 0 is a free slot
//!       14  reach        how many buckets behind this one a name may lie that belongs here
//!       16  where each slot's entry begins, 6 bytes
//!       58  zeros
//! ```
//!
//! A name lies in the bucket that its hash names, or, if that was full, in the next one with room. Everything is
//! little-endian.

mod writing;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::error::IndexFault;

pub use writing::{LookupSize, LookupWriter};

const MAGIC: u64 = u64::from_le_bytes(*b"1cnames\x02");
const HEADER_BYTES: usize = 64;
const BUCKET_BYTES: usize = 64;
const SLOTS: usize = 7;
/// Where a bucket's reach stands.
const REACH_AT: usize = 14;
/// Where the offsets of entries stand, and the bytes of each.
const OFFSETS_AT: usize = 16;
const OFFSET_BYTES: usize = 6;
/// With an even hash, no run of full buckets comes near this; one that does means another seed.
const REACH_MAX: u16 = 64;
/// Bytes of an entry before the name.
const ENTRY_HEAD_BYTES: usize = 2;
/// In place of a number of alignments: it stands behind the name.
const MANY: u8 = u8::MAX;
/// Names that are looked for together: while memory answers for one, it is asked for the others.
const TOGETHER: usize = 16;
/// The lowest bit of each slot's part of the hash, and the highest.
const LOWEST_BITS: u128 = 0x0001_0001_0001_0001_0001_0001_0001;
const HIGHEST_BITS: u128 = LOWEST_BITS << 15;

/// Finds names, wherever the bytes are.
///
/// ```
/// use onecopy_genome::{Lookup, LookupSize, LookupWriter};
///
/// let reads: [(&[u8], &[u64]); 2] = [(b"r1", &[65_536, 99 << 16]), (b"r2", &[66_000])];
/// let mut size = LookupSize::default();
/// for (name, alignments) in reads {
///     size.add(name, alignments.len());
/// }
/// let (mut entries, mut buckets) = (vec![0; size.entries_bytes()], vec![0; size.buckets_bytes()]);
/// let mut writer = LookupWriter::new(&mut entries);
/// for (name, alignments) in reads {
///     writer.push(name, alignments)?;
/// }
/// writer.finish(&mut buckets)?;
///
/// let lookup = Lookup::new(&entries, &buckets)?;
/// assert_eq!(lookup.find(b"r1")?.iter().collect::<Vec<_>>(), [65_536, 99 << 16]);
/// assert!(lookup.find(b"r3")?.is_empty());
/// # Ok::<(), onecopy_genome::IndexFault>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    entries: &'a [u8],
    buckets: &'a [u8],
    seed: u64,
    count: u64,
}

/// The virtual offsets of a name's alignments, in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alignments<'a>(&'a [[u8; 8]]);

impl<'a> Lookup<'a> {
    /// Checks that both parts are whole and belong together. The cost does not depend on the size.
    ///
    /// # Errors
    ///
    /// If not.
    pub fn new(entries: &'a [u8], buckets: &'a [u8]) -> Result<Self, IndexFault> {
        let (header, buckets) = buckets
            .split_at_checked(HEADER_BYTES)
            .ok_or(IndexFault::Table("it is shorter than its header"))?;
        if word(header, 0) != MAGIC {
            return Err(IndexFault::Table("it does not begin as such a table does"));
        }
        let (seed, count) = (word(header, 8), word(header, 16));
        if word(header, 24) != entries.len() as u64 {
            return Err(IndexFault::Table("it was made for other names"));
        }
        if count == 0 || count.checked_mul(BUCKET_BYTES as u64) != Some(buckets.len() as u64) {
            return Err(IndexFault::Table("its header does not fit its size"));
        }
        Ok(Self { entries, buckets, seed, count })
    }

    /// The alignments of a name; none if the name is unknown.
    ///
    /// # Errors
    ///
    /// If the way there leads outside of what there is.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Result<Alignments<'a>, IndexFault> {
        self.find_hashed(name, self.hash(name))
    }

    /// The same for many names, which takes less time for each. Calls `found` for each name in turn.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); names before the one that failed were found.
    pub fn find_all<'n>(
        &self,
        names: impl IntoIterator<Item = &'n [u8]>,
        mut found: impl FnMut(Alignments<'a>),
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
                    let entry = offset(bucket, slot_of(alike));
                    // An entry lies across two lines more often than not.
                    let end = entry + ENTRY_HEAD_BYTES + name.len() + size_of::<u64>();
                    std::hint::black_box((self.entries.get(entry).copied(), self.entries.get(end).copied()));
                }
            }
            for &(name, hash) in &batch[..len] {
                found(self.find_hashed(name, hash)?);
            }
            if len < TOGETHER {
                return Ok(());
            }
        }
    }

    /// All names with their alignments, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'a [u8], Alignments<'a>), IndexFault>> {
        entries(self.entries).map(|entry| entry.map(|(_, name, alignments)| (name, alignments)))
    }

    #[inline]
    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.seed)
    }

    #[inline]
    fn find_hashed(&self, name: &[u8], hash: u64) -> Result<Alignments<'a>, IndexFault> {
        let mut number = bucket_of(hash, self.count);
        let mut reach = reach(self.bucket(number)).min(REACH_MAX);
        loop {
            let bucket = self.bucket(number);
            // No branch depends on which slot it is: the processor would guess wrong, and begin the look that
            // follows late.
            let mut alike = alike(bucket, hash);
            while alike != 0 {
                let entry = self.entries.get(offset(bucket, slot_of(alike))..).unwrap_or_default();
                let end = ENTRY_HEAD_BYTES + name.len();
                if entry.len() >= end
                    && usize::from(entry[0]) == name.len()
                    && entry[ENTRY_HEAD_BYTES..end] == *name
                {
                    return Ok(alignments(entry, end)?.0);
                }
                alike &= alike - 1;
            }
            if reach == 0 {
                return Ok(Alignments(&[]));
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
}

impl Alignments<'_> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one.
    #[inline]
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|alignment| u64::from_le_bytes(*alignment))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|alignment| u64::from_le_bytes(*alignment))
    }
}

/// What is wrong with an entry that is longer than what is left.
const CUT_OFF: IndexFault = IndexFault::Table("one of its names is cut off");

/// The alignments of an entry whose name ends at `name_end`, and where they end.
#[inline]
fn alignments(entry: &[u8], name_end: usize) -> Result<(Alignments<'_>, usize), IndexFault> {
    let mut start = name_end;
    let count = match entry[1] {
        MANY => {
            let count = entry.get(start..).and_then(|rest| rest.first_chunk()).ok_or(CUT_OFF)?;
            start += size_of::<u64>();
            u64::from_le_bytes(*count) as usize
        }
        few => usize::from(few),
    };
    let (alignments, _) = entry.get(start..).ok_or(CUT_OFF)?.as_chunks();
    Ok((Alignments(alignments.get(..count).ok_or(CUT_OFF)?), start + count * size_of::<u64>()))
}

/// Each entry: where it begins, its name, its alignments.
fn entries(bytes: &[u8]) -> impl Iterator<Item = Result<(usize, &[u8], Alignments<'_>), IndexFault>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let entry = bytes.get(at..).filter(|entry| !entry.is_empty())?;
        let parse = || {
            let name_end = ENTRY_HEAD_BYTES + usize::from(entry[0]);
            let name = entry.get(ENTRY_HEAD_BYTES..name_end).ok_or(CUT_OFF)?;
            let (alignments, end) = alignments(entry, name_end)?;
            Ok((name, alignments, end))
        };
        let start = at;
        match parse() {
            Ok((name, alignments, end)) => {
                at += end;
                Some(Ok((start, name, alignments)))
            }
            Err(fault) => {
                at = bytes.len();
                Some(Err(fault))
            }
        }
    })
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

/// The slots of a bucket that hold this part of the hash, each as the highest bit of its part of the first
/// bytes. The lowest that is set is right; a higher one can be wrong, and is found out when its name is
/// compared.
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

/// Where a slot's entry begins.
#[inline]
fn offset(bucket: &[u8; BUCKET_BYTES], slot: usize) -> usize {
    // The word that ends with it: it lies within the bucket for the first slot as for the last.
    (word(bucket, OFFSETS_AT + slot * OFFSET_BYTES - 2) >> 16) as usize
}

#[inline]
fn reach(bucket: &[u8; BUCKET_BYTES]) -> u16 {
    u16::from_le_bytes([bucket[REACH_AT], bucket[REACH_AT + 1]])
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("a word within a checked part"))
}
