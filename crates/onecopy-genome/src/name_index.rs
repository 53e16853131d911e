//! The reads of a BAM file by their names: an index, wherever it is, and the certainty that it is this BAM file's.

use std::path::{Path, PathBuf};

use crate::bri::{BriFile, BuildOptions, BuildReport};
use crate::error::{GenomeError, IndexFault};
use crate::lookup::Alignments;
use crate::shared::SharedIndex;
use crate::{files, owner};

/// Behind the name of the BAM file.
const ENDING: &str = ".bri";

/// An index of the reads of a BAM file, open. Clones are for other threads; they share what is large.
#[derive(Debug, Clone)]
pub struct NameIndex {
    store: Store,
    bam_bytes: u64,
}

#[derive(Debug, Clone)]
enum Store {
    File(BriFile),
    Shared(SharedIndex),
}

/// Where the index of a BAM file lies, unless told otherwise: beside it, with the ending `.bri`.
///
/// ```
/// # use std::path::Path;
/// let path = onecopy_genome::default_index_path(Path::new("reads.bam"));
/// assert_eq!(path, Path::new("reads.bam.bri"));
/// ```
pub fn default_index_path(bam: &Path) -> PathBuf {
    files::beside(bam, ENDING)
}

impl NameIndex {
    /// Opens the index of `bam` in the file `index`, and makes sure that it is of this BAM file: by the
    /// identity that was noted when it was made; if nothing was noted, because another program made it, by
    /// comparing alignments from all over the file with the names that the index has for them.
    ///
    /// # Errors
    ///
    /// If a file can't be read, the index is damaged, or it is of another BAM file.
    pub fn open_file(bam: &Path, index: &Path) -> Result<Self, GenomeError> {
        let file = owner::open_checked(bam, index)?;
        let bam_bytes = std::fs::metadata(bam).map_err(GenomeError::file("look at", bam))?.len();
        Ok(Self { store: Store::File(file), bam_bytes })
    }

    /// The index of a BAM file that somebody shares.
    pub fn of_shared(index: SharedIndex) -> Self {
        let bam_bytes = index.bam_bytes();
        Self { store: Store::Shared(index), bam_bytes }
    }

    /// Opens the index beside `bam`, or in the file `index` if given; makes one if there is none. The report tells of
    /// an index that was made.
    ///
    /// # Errors
    ///
    /// As for [`open_file`](Self::open_file) and [`BuildOptions::build`].
    pub fn open_or_build(
        bam: &Path,
        index: Option<&Path>,
        options: &BuildOptions,
        progress: impl FnMut(u64, u64),
    ) -> Result<(Self, Option<BuildReport>), GenomeError> {
        let path = index.map_or_else(|| default_index_path(bam), Path::to_owned);
        if path.exists() {
            return Ok((Self::open_file(bam, &path)?, None));
        }
        let report = options.build(bam, &path, progress)?;
        Ok((Self::open_file(bam, &path)?, Some(report)))
    }

    /// Its file or its dataset.
    pub fn origin(&self) -> String {
        match &self.store {
            Store::File(file) => file.path().display().to_string(),
            Store::Shared(shared) => format!("in dataset {:?}", shared.name()),
        }
    }

    /// The virtual offsets of the alignments of a name, in the order of the file, appended to `alignments`: none if the
    /// name is unknown.
    ///
    /// # Errors
    ///
    /// If the index turns out to be damaged, or to have changed.
    pub fn find(&mut self, name: &[u8], alignments: &mut Vec<u64>) -> Result<(), GenomeError> {
        let known = alignments.len();
        match &mut self.store {
            Store::File(file) => file.find(name, alignments)?,
            Store::Shared(shared) => {
                let lookup = shared.lookup()?;
                let found = lookup.find(name).map_err(|fault| shared.damaged(fault))?;
                alignments.extend(found.iter());
            }
        }
        self.check(&alignments[known..])
    }

    /// Whether the BAM file has such places.
    fn check(&self, alignments: &[u64]) -> Result<(), GenomeError> {
        match alignments.iter().map(|alignment| alignment >> 16).find(|&offset| offset >= self.bam_bytes) {
            None => Ok(()),
            Some(offset) => {
                let fault = IndexFault::AlignmentOffset { offset, file_bytes: self.bam_bytes };
                Err(GenomeError::Index { origin: self.origin(), fault })
            }
        }
    }

    /// The same for many names. Calls `found` with the number of each name, from 0, and its alignments; `alignments` is
    /// memory to work in.
    pub(crate) fn find_all<'n>(
        &mut self,
        names: impl Iterator<Item = &'n [u8]>,
        alignments: &mut Vec<u64>,
        mut found: impl FnMut(usize, &[u64]),
    ) -> Result<(), GenomeError> {
        if let Store::Shared(shared) = &self.store {
            let lookup = shared.lookup()?;
            let (mut number, mut outcome) = (0, Ok(()));
            let found = |known: Alignments<'_>| {
                alignments.clear();
                alignments.extend(known.iter());
                if outcome.is_ok() {
                    outcome = self.check(alignments);
                    found(number, alignments);
                }
                number += 1;
            };
            lookup.find_all(names, found).map_err(|fault| shared.damaged(fault))?;
            return outcome;
        }
        for (number, name) in names.enumerate() {
            alignments.clear();
            self.find(name, alignments)?;
            found(number, alignments);
        }
        Ok(())
    }

    /// The error that says that the alignment of a name has another name.
    pub(crate) fn of_another(&self, bam: &Path, name: &[u8]) -> GenomeError {
        owner::of_another(&self.origin(), bam, name)
    }
}
