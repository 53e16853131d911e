//! An index file read from its first name to its last, and every rule of the format looked at on the way.

use super::{BriFile, HEADER_BYTES, NAME_BYTES_MAX, RECORD_BYTES};
use crate::error::{GenomeError, IndexFault};
use crate::lookup::LookupSize;

/// What is read at a time.
const READ_BYTES: usize = 1 << 20;
/// Alignments of a name that are more than most have: they are counted apart.
const CROWD: u64 = u8::MAX as u64;

impl BriFile {
    /// How large a lookup of this index is. Reads all records.
    pub(crate) fn lookup_size(&self) -> Result<LookupSize, GenomeError> {
        let mut records = Part::records(self);
        let (mut names, mut crowded, mut run, mut previous) = (0, 0, 0, None);
        while let Some((offset, _)) = records.next_record()? {
            if previous != Some(offset) {
                names += 1;
                crowded += u64::from(run >= CROWD);
                (run, previous) = (0, Some(offset));
            }
            run += 1;
        }
        crowded += u64::from(run >= CROWD);
        let mut size = LookupSize::default();
        // A damaged index can have fewer bytes than names; that is found when it is read.
        size.add_many(names, self.names_bytes().saturating_sub(names), self.len(), crowded);
        Ok(size)
    }

    /// Calls `consume` with all names in their order, each with its alignments, and `progress` with the bytes
    /// of the index that are done.
    ///
    /// # Errors
    ///
    /// The first record that breaks a rule: names in order, end to end, nothing outside of the index or of a
    /// BAM file of `file_bytes`; or the error of `consume`.
    pub(crate) fn scan(
        &self,
        file_bytes: u64,
        mut consume: impl FnMut(&[u8], &[u64]) -> Result<(), IndexFault>,
        mut progress: impl FnMut(u64),
    ) -> Result<(), GenomeError> {
        let (mut names, mut records) = (Part::names(self), Part::records(self));
        let (mut name, mut last, mut alignments) = (Vec::new(), Vec::new(), Vec::new());
        let mut name_offset = 0;
        let mut number = 0;
        while let Some((offset, alignment)) = records.next_record()? {
            let order = || self.damaged(IndexFault::Order { record: number });
            if alignment >> 16 >= file_bytes {
                let offset = alignment >> 16;
                return Err(self.damaged(IndexFault::AlignmentOffset { offset, file_bytes }));
            }
            if number > 0 && offset == name_offset {
                if alignments.last().is_some_and(|&before| before >= alignment) {
                    return Err(order());
                }
            } else {
                if offset >= self.names_bytes() {
                    let names_bytes = self.names_bytes();
                    return Err(self.damaged(IndexFault::NameOffset { record: number, offset, names_bytes }));
                }
                if offset != names.taken() {
                    return Err(order());
                }
                if number > 0 {
                    consume(&name, &alignments).map_err(|fault| self.damaged(fault))?;
                    progress(records.taken() + names.taken());
                }
                alignments.clear();
                std::mem::swap(&mut name, &mut last);
                names.next_name(&mut name)?;
                if number > 0 && last >= name {
                    return Err(order());
                }
                name_offset = offset;
            }
            alignments.push(alignment);
            number += 1;
        }
        if number > 0 {
            consume(&name, &alignments).map_err(|fault| self.damaged(fault))?;
        }
        progress(self.bytes_of_file());
        Ok(())
    }
}

/// The names, or the records, read ahead.
struct Part<'a> {
    index: &'a BriFile,
    start: u64,
    end: u64,
    /// Where what is read next begins in the file.
    next: u64,
    buffer: Vec<u8>,
    /// What of the buffer has been taken.
    at: usize,
}

impl<'a> Part<'a> {
    fn names(index: &'a BriFile) -> Self {
        let start = HEADER_BYTES as u64;
        Self { index, start, end: start + index.names_bytes(), next: start, buffer: Vec::new(), at: 0 }
    }

    fn records(index: &'a BriFile) -> Self {
        let start = HEADER_BYTES as u64 + index.names_bytes();
        Self { index, start, end: index.bytes_of_file(), next: start, buffer: Vec::new(), at: 0 }
    }

    /// Bytes taken.
    fn taken(&self) -> u64 {
        self.next - (self.buffer.len() - self.at) as u64 - self.start
    }

    /// What comes next: so many bytes, or all that is left.
    fn ahead(&mut self, bytes: usize) -> Result<&[u8], GenomeError> {
        if self.buffer.len() - self.at < bytes && self.next < self.end {
            self.buffer.drain(..self.at);
            self.at = 0;
            let known = self.buffer.len();
            let more = (self.end - self.next).min(READ_BYTES as u64) as usize;
            self.buffer.resize(known + more, 0);
            self.index.read(&mut self.buffer[known..], self.next)?;
            self.next += more as u64;
        }
        let rest = &self.buffer[self.at..];
        Ok(&rest[..rest.len().min(bytes)])
    }

    /// The place of a name, and an alignment.
    fn next_record(&mut self) -> Result<Option<(u64, u64)>, GenomeError> {
        let Some(record) = self.ahead(RECORD_BYTES)?.first_chunk::<RECORD_BYTES>() else { return Ok(None) };
        let words = u128::from_le_bytes(*record);
        self.at += RECORD_BYTES;
        Ok(Some((words as u64, (words >> 64) as u64)))
    }

    fn next_name(&mut self, name: &mut Vec<u8>) -> Result<(), GenomeError> {
        let index = self.index;
        let ahead = self.ahead(NAME_BYTES_MAX + 1)?;
        let end = ahead.iter().position(|&byte| byte == 0);
        let end = end.ok_or_else(|| index.damaged(IndexFault::Unterminated))?;
        name.clear();
        name.extend_from_slice(&ahead[..end]);
        self.at += end + 1;
        Ok(())
    }
}
