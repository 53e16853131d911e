//! A reference in a FASTA file: single bases, read where they lie.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use noodles_fasta::fai;
use noodles_sam::Header;
use onecopy::counted;

use crate::error::GenomeError;
use crate::files;

/// A FASTA file with its index.
#[derive(Debug)]
pub(super) struct Reference {
    file: File,
    path: PathBuf,
    index: fai::Index,
    /// Numbers in the index by name.
    numbers: HashMap<Vec<u8>, usize>,
}

impl Reference {
    /// Opens the file with the index beside it, or makes one. Tells whether it did.
    pub(super) fn open(path: &Path) -> Result<(Self, bool), GenomeError> {
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        let mut begin = [0; 2];
        if file.read_at(&mut begin, 0).map_err(GenomeError::file("read", path))? == 2 && begin == [0x1f, 0x8b]
        {
            let what =
                "bases are read where they lie, so it must not be compressed: `bgzip -d` decompresses it";
            return Err(GenomeError::Unsupported { path: path.to_owned(), what });
        }
        let index_path = files::beside(path, ".fai");
        let (index, is_new) = if index_path.exists() {
            (fai::fs::read(&index_path).map_err(GenomeError::side_index(&index_path))?, false)
        } else {
            let index = noodles_fasta::fs::index(path).map_err(GenomeError::unreadable("FASTA", path))?;
            keep(&index, &index_path)?;
            (index, true)
        };
        let numbers = index
            .as_ref()
            .iter()
            .enumerate()
            .map(|(number, record)| (record.name().to_vec(), number))
            .collect();
        let reference = Self { file, path: path.to_owned(), index, numbers };
        reference.check_size()?;
        reference.check_begins(&index_path)?;
        Ok((reference, is_new))
    }

    /// Whether the last base of every sequence is in the file.
    fn check_size(&self) -> Result<(), GenomeError> {
        let bytes = self.file.metadata().map_err(GenomeError::file("look at", &self.path))?.len();
        let fits = |record: &fai::Record| {
            record.length() == 0 || place(record, record.length()).is_some_and(|place| place < bytes)
        };
        if self.index.as_ref().iter().all(fits) {
            return Ok(());
        }
        let what = "its .fai speaks of bases behind its end: the file is cut off, or the index is of another";
        Err(GenomeError::Truncated { path: self.path.clone(), what })
    }

    /// Whether every sequence begins with a line, and lines have room for their ends: an index of another
    /// file hardly does.
    fn check_begins(&self, index_path: &Path) -> Result<(), GenomeError> {
        for record in self.index.as_ref().iter().filter(|record| record.length() > 0) {
            let mut before = [0];
            if let Some(place) = record.position().checked_sub(1) {
                self.file.read_exact_at(&mut before, place).map_err(GenomeError::file("read", &self.path))?;
            }
            let (bases, width) = (record.line_base_count().get(), record.line_width().get());
            if before != *b"\n" || (record.length() > bases && width <= bases) {
                let error = std::io::Error::other("it does not fit the lines of the file");
                return Err(GenomeError::side_index(index_path)(error));
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bases of a sequence, if it is there.
    pub(super) fn length(&self, sequence: &[u8]) -> Option<u64> {
        self.record(sequence).map(fai::Record::length)
    }

    /// The base at a position from 1, in upper case. None if there is no such sequence or position.
    pub(super) fn base(&self, sequence: &[u8], position: u64) -> Result<Option<u8>, GenomeError> {
        let Some(record) = self.record(sequence) else { return Ok(None) };
        if position == 0 || position > record.length() {
            return Ok(None);
        }
        let mut base = [0];
        if let Some(place) = place(record, position) {
            self.file.read_exact_at(&mut base, place).map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => GenomeError::Changed { path: self.path.clone() },
                _ => GenomeError::file("read", &self.path)(source),
            })?;
        }
        if base[0].is_ascii_alphabetic() {
            return Ok(Some(base[0].to_ascii_uppercase()));
        }
        let what = "there is no base where its .fai says there is one: the index is of another file";
        Err(GenomeError::Malformed {
            path: self.path.clone(),
            offset: place(record, position).unwrap_or(0),
            what,
        })
    }

    /// Fails if alignments were made to other sequences of the same names.
    pub(super) fn check_header(&self, header: &Header, alignments: &Path) -> Result<(), GenomeError> {
        for (name, sequence) in header.reference_sequences() {
            let aligned = sequence.length().get() as u64;
            if let Some(length) = self.length(name).filter(|&length| length != aligned) {
                let what = format!("{name} has {} there, and {aligned} here", counted(length, "base"));
                return Err(GenomeError::ForeignReference {
                    reference: self.path.clone(),
                    alignments: alignments.to_owned(),
                    what,
                });
            }
        }
        Ok(())
    }

    pub(super) fn index(&self) -> &fai::Index {
        &self.index
    }

    fn record(&self, sequence: &[u8]) -> Option<&fai::Record> {
        self.index.as_ref().get(*self.numbers.get(sequence)?)
    }
}

/// Where in the file a base lies.
fn place(record: &fai::Record, position: u64) -> Option<u64> {
    let (bases, width) = (record.line_base_count().get(), record.line_width().get());
    let line = (position - 1) / bases;
    line.checked_mul(width)?.checked_add((position - 1) % bases)?.checked_add(record.position())
}

/// Keeps an index for the next time, if the folder lets us.
fn keep(index: &fai::Index, path: &Path) -> Result<(), GenomeError> {
    let mut content = Vec::new();
    let mut writer = fai::io::Writer::new(&mut content);
    writer.write_index(index).map_err(GenomeError::file("write", path))?;
    files::write_if_possible(path, &content)
}
