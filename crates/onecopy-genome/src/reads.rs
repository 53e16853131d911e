//! Reads by name: the index and the BAM file together.

use std::path::Path;

use noodles_bam::RecordRef;

use crate::bam::AlignmentReader;
use crate::error::GenomeError;
use crate::name_index::NameIndex;

/// Finds reads of a BAM file by name. One for each thread.
pub struct Reads {
    index: NameIndex,
    alignments: AlignmentReader,
    found: Vec<u64>,
}

impl Reads {
    /// Opens the BAM file that `index` is of.
    ///
    /// # Errors
    ///
    /// If it can't be opened.
    pub fn open(bam: &Path, index: NameIndex) -> Result<Self, GenomeError> {
        Ok(Self { index, alignments: AlignmentReader::open(bam)?, found: Vec::new() })
    }

    /// Calls `consume` with all alignments of a name, in the order of the file. Gives how many there are.
    ///
    /// # Errors
    ///
    /// If the BAM file or the index is damaged, or they don't belong together; or the error of `consume`.
    pub fn get<Failure: From<GenomeError>>(
        &mut self,
        name: &[u8],
        mut consume: impl FnMut(&RecordRef<'_>) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        self.found.clear();
        self.index.find(name, &mut self.found)?;
        for &alignment in &self.found {
            let record = self.alignments.read(alignment)?;
            if !is_named(&record, name) {
                return Err(self.index.of_another(self.alignments.path(), name).into());
            }
            consume(&record)?;
        }
        Ok(self.found.len())
    }
}

/// Whether a record has this name. A name that is missing is written as an asterisk.
pub(crate) fn is_named(record: &RecordRef<'_>, name: &[u8]) -> bool {
    record.name().map_or(&b"*"[..], |found| found.as_ref()) == name
}
