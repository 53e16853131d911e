//! An index as it lies in memory: checked as a whole in constant time when opened, and wherever it is read
//! from then on.

use std::cmp::Ordering;
use std::ops::Range;

use super::{HEADER_BYTES, NAME_BYTES_MAX, RECORD_BYTES, VERSION};
use crate::error::IndexFault;

/// An index of read names in the format "bri", wherever its bytes are.
///
/// ```
/// use onecopy_genome::bri::BriView;
///
/// // One name, "r1", with one alignment, at virtual offset 99.
/// let words: [u64; 3] = [1, 3, 1];
/// let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
/// bytes.extend(b"r1\0");
/// bytes.extend([0_u64, 99].iter().flat_map(|word| word.to_le_bytes()));
///
/// let index = BriView::new(&bytes)?;
/// let records = index.find(b"r1")?;
/// assert_eq!(index.alignments(records).collect::<Vec<_>>(), [99]);
/// assert!(index.find(b"r2")?.is_empty());
/// # Ok::<(), onecopy_genome::IndexFault>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BriView<'a> {
    names: &'a [u8],
    records: &'a [u8],
}

/// Consecutive records of an index: those of one name.
pub type Records = Range<u64>;

impl<'a> BriView<'a> {
    /// Checks that the parts add up to the whole. The cost does not depend on the size.
    ///
    /// # Errors
    ///
    /// If `bytes` are no index of version 1, or part of one.
    pub fn new(bytes: &'a [u8]) -> Result<Self, IndexFault> {
        let size = bytes.len() as u64;
        let (header, rest) =
            bytes.split_at_checked(HEADER_BYTES).ok_or(IndexFault::NoHeader { bytes: size })?;
        let (version, names_bytes, records) = (word(header, 0), word(header, 8), word(header, 16));
        if version != VERSION {
            return Err(IndexFault::Version { found: version });
        }
        let is_whole = records
            .checked_mul(RECORD_BYTES as u64)
            .and_then(|bytes| bytes.checked_add(names_bytes))
            .is_some_and(|bytes| bytes == rest.len() as u64);
        if !is_whole || (records == 0) != (names_bytes == 0) {
            return Err(IndexFault::Size { names_bytes, records, bytes: size });
        }
        let (names, records) = rest.split_at(names_bytes as usize);
        if names.last().is_some_and(|&last| last != 0) {
            return Err(IndexFault::Unterminated);
        }
        Ok(Self { names, records })
    }

    /// How many alignments are indexed.
    pub fn len(&self) -> u64 {
        (self.records.len() / RECORD_BYTES) as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes of all names with their ends.
    pub fn names_bytes(&self) -> u64 {
        self.names.len() as u64
    }

    /// Where the name of a record begins within the names.
    ///
    /// # Errors
    ///
    /// If that is not within the names.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    #[inline]
    pub fn name_offset(&self, record: u64) -> Result<u64, IndexFault> {
        let offset = word(self.records, record as usize * RECORD_BYTES);
        if offset < self.names_bytes() {
            Ok(offset)
        } else {
            Err(IndexFault::NameOffset { record, offset, names_bytes: self.names_bytes() })
        }
    }

    /// The virtual offset of a record's alignment.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    #[inline]
    pub fn alignment(&self, record: u64) -> u64 {
        word(self.records, record as usize * RECORD_BYTES + 8)
    }

    /// The virtual offsets of some records' alignments.
    ///
    /// # Panics
    ///
    /// The iterator, if there are no such records.
    pub fn alignments(&self, records: Records) -> impl Iterator<Item = u64> {
        records.map(|record| self.alignment(record))
    }

    /// The name of a record.
    ///
    /// # Errors
    ///
    /// If the record points behind the names, or to something longer than a name can be.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn name(&self, record: u64) -> Result<&'a [u8], IndexFault> {
        let offset = self.name_offset(record)? as usize;
        let rest = &self.names[offset..];
        let rest = &rest[..rest.len().min(NAME_BYTES_MAX + 1)];
        let end = rest.iter().position(|&byte| byte == 0).ok_or(IndexFault::Unterminated)?;
        Ok(&rest[..end])
    }

    /// Whether a record has this name. One comparison; the name's length need not be known.
    ///
    /// # Errors
    ///
    /// If the record points behind the names.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    #[inline]
    pub fn is_named(&self, record: u64, name: &[u8]) -> Result<bool, IndexFault> {
        let rest = &self.names[self.name_offset(record)? as usize..];
        let is_equal = rest.len() > name.len() && rest[name.len()] == 0 && rest[..name.len()] == *name;
        // "a\0b" is not a name, though it may look like two.
        Ok(is_equal && !name.contains(&0))
    }

    /// The records from `first` on that have the same name as it.
    ///
    /// # Errors
    ///
    /// If the record points behind the names.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    #[inline]
    pub fn same_name(&self, first: u64) -> Result<Records, IndexFault> {
        let offset = self.name_offset(first)?;
        let mut end = first + 1;
        while end < self.len() && self.name_offset(end)? == offset {
            end += 1;
        }
        Ok(first..end)
    }

    /// The records of a name, by bisection; none if the name is unknown.
    ///
    /// # Errors
    ///
    /// If the way there leads over a record that points behind the names.
    pub fn find(&self, name: &[u8]) -> Result<Records, IndexFault> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle)?.cmp(name) {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
        }
        if low == self.len() || self.name(low)? != name {
            return Ok(low..low);
        }
        self.same_name(low)
    }

    /// How many different names there are. Looks at every record.
    ///
    /// # Errors
    ///
    /// If a record points behind the names.
    pub fn count_names(&self) -> Result<u64, IndexFault> {
        let (mut names, mut record) = (0, 0);
        while record < self.len() {
            record = self.same_name(record)?.end;
            names += 1;
        }
        Ok(names)
    }

    /// Looks at every record: names in order and within bounds, alignments within a BAM file of `file_bytes`.
    ///
    /// # Errors
    ///
    /// The first record that breaks a rule.
    pub fn verify(&self, file_bytes: u64) -> Result<(), IndexFault> {
        let mut previous: Option<(u64, &[u8], u64)> = None;
        for record in 0..self.len() {
            let (offset, alignment) = (self.name_offset(record)?, self.alignment(record));
            self.check_alignment(record, file_bytes)?;
            if let Some((before, _, alignment_before)) = previous
                && before == offset
            {
                if alignment_before >= alignment {
                    return Err(IndexFault::Order { record });
                }
                previous = previous.map(|(before, name, _)| (before, name, alignment));
                continue;
            }
            let name = self.name(record)?;
            let expected = previous.map_or(0, |(before, name, _)| before + name.len() as u64 + 1);
            if offset != expected || previous.is_some_and(|(_, before, _)| before >= name) {
                return Err(IndexFault::Order { record });
            }
            previous = Some((offset, name, alignment));
        }
        Ok(())
    }

    /// Whether a record's alignment can be in a BAM file of `file_bytes`.
    ///
    /// # Errors
    ///
    /// If it can't.
    ///
    /// # Panics
    ///
    /// If there is no such record.
    pub fn check_alignment(&self, record: u64, file_bytes: u64) -> Result<u64, IndexFault> {
        let alignment = self.alignment(record);
        match alignment >> 16 {
            offset if offset < file_bytes => Ok(alignment),
            offset => Err(IndexFault::AlignmentOffset { offset, file_bytes }),
        }
    }
}

#[inline]
fn word(bytes: &[u8], start: usize) -> u64 {
    u64::from_le_bytes(*bytes[start..].first_chunk().expect("eight bytes of a checked index"))
}
