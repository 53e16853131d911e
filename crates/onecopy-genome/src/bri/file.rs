//! An index as a file, read where it is: nothing is loaded, the kernel's page cache is the one copy. A file
//! can be cut short at any time, which a mapping of it would not survive; reads of it do.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HEADER_BYTES, NAME_BYTES_MAX, RECORD_BYTES, VERSION};
use crate::error::{GenomeError, IndexFault};

/// Steps of a bisection whose names are kept: the same few thousand for every name that is looked for.
const KEPT_STEPS: u32 = 12;

/// An index in a file. Clones share the open file.
#[derive(Debug, Clone)]
pub struct BriFile {
    file: Arc<File>,
    path: PathBuf,
    names_bytes: u64,
    records: u64,
    kept: HashMap<u64, Box<[u8]>>,
}

impl BriFile {
    /// Opens an index. The cost does not depend on its size.
    ///
    /// # Errors
    ///
    /// If the file can't be read, is truncated, or is no index of version 1.
    pub fn open(path: &Path) -> Result<Self, GenomeError> {
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        let bytes = file.metadata().map_err(GenomeError::file("look at", path))?.len();
        let mut index = Self {
            file: Arc::new(file),
            path: path.to_owned(),
            names_bytes: bytes,
            records: 0,
            kept: HashMap::new(),
        };
        if bytes < HEADER_BYTES as u64 {
            return Err(index.damaged(IndexFault::NoHeader { bytes }));
        }
        let (version, names_bytes, records) = (index.word(0)?, index.word(8)?, index.word(16)?);
        if version != VERSION {
            return Err(index.damaged(IndexFault::Version { found: version }));
        }
        let promised = records
            .checked_mul(RECORD_BYTES as u64)
            .and_then(|bytes| bytes.checked_add(names_bytes)?.checked_add(HEADER_BYTES as u64));
        if promised != Some(bytes) || (records == 0) != (names_bytes == 0) {
            return Err(index.damaged(IndexFault::Size { names_bytes, records, bytes }));
        }
        index.names_bytes = names_bytes;
        index.records = records;
        if names_bytes > 0 && index.bytes::<1>(HEADER_BYTES as u64 + names_bytes - 1)? != [0] {
            return Err(index.damaged(IndexFault::Unterminated));
        }
        Ok(index)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many alignments are indexed.
    pub fn len(&self) -> u64 {
        self.records
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the whole index.
    pub(crate) fn bytes_of_file(&self) -> u64 {
        HEADER_BYTES as u64 + self.names_bytes + self.records * RECORD_BYTES as u64
    }

    /// Bytes of all names with their ends.
    pub(crate) fn names_bytes(&self) -> u64 {
        self.names_bytes
    }

    /// The name of a record and the virtual offset of its alignment.
    ///
    /// # Errors
    ///
    /// If there is no such record, or it breaks the format's rules.
    pub fn record(&self, record: u64) -> Result<(Vec<u8>, u64), GenomeError> {
        let (offset, alignment) = self.entry(record)?;
        let mut name = vec![0; (self.names_bytes - offset).min(NAME_BYTES_MAX as u64 + 1) as usize];
        self.read(&mut name, HEADER_BYTES as u64 + offset)?;
        let end = name.iter().position(|&byte| byte == 0);
        name.truncate(end.ok_or_else(|| self.damaged(IndexFault::Unterminated))?);
        Ok((name, alignment))
    }

    /// The virtual offsets of a name's alignments, appended to `alignments`.
    ///
    /// # Errors
    ///
    /// If the way there leads over a record that breaks the format's rules, or the file is not what it was.
    pub fn find(&mut self, name: &[u8], alignments: &mut Vec<u64>) -> Result<(), GenomeError> {
        let (mut low, mut high, mut step) = (0, self.records, 0);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.compare(middle, name, step)? {
                Ordering::Less => low = middle + 1,
                _ => high = middle,
            }
            step += 1;
        }
        if low == self.records || self.record(low)?.0 != name {
            return Ok(());
        }
        let (first, _) = self.entry(low)?;
        for record in low..self.records {
            let (offset, alignment) = self.entry(record)?;
            if offset != first {
                break;
            }
            alignments.push(alignment);
        }
        Ok(())
    }

    fn compare(&mut self, record: u64, name: &[u8], step: u32) -> Result<Ordering, GenomeError> {
        if step >= KEPT_STEPS {
            return Ok(self.record(record)?.0.as_slice().cmp(name));
        }
        if let Some(kept) = self.kept.get(&record) {
            return Ok((**kept).cmp(name));
        }
        let found = self.record(record)?.0.into_boxed_slice();
        let order = (*found).cmp(name);
        self.kept.insert(record, found);
        Ok(order)
    }

    fn entry(&self, record: u64) -> Result<(u64, u64), GenomeError> {
        let place = HEADER_BYTES as u64 + self.names_bytes + record * RECORD_BYTES as u64;
        let words = u128::from_le_bytes(self.bytes(place)?);
        let (offset, alignment) = (words as u64, (words >> 64) as u64);
        if offset < self.names_bytes {
            return Ok((offset, alignment));
        }
        Err(self.damaged(IndexFault::NameOffset { record, offset, names_bytes: self.names_bytes }))
    }

    fn word(&self, place: u64) -> Result<u64, GenomeError> {
        Ok(u64::from_le_bytes(self.bytes(place)?))
    }

    fn bytes<const COUNT: usize>(&self, place: u64) -> Result<[u8; COUNT], GenomeError> {
        let mut bytes = [0; COUNT];
        self.read(&mut bytes, place)?;
        Ok(bytes)
    }

    pub(super) fn read(&self, bytes: &mut [u8], place: u64) -> Result<(), GenomeError> {
        self.file.read_exact_at(bytes, place).map_err(|source| match source.kind() {
            // It had these bytes when it was opened.
            std::io::ErrorKind::UnexpectedEof => GenomeError::Changed { path: self.path.clone() },
            _ => GenomeError::file("read", &self.path)(source),
        })
    }

    pub(crate) fn damaged(&self, fault: IndexFault) -> GenomeError {
        GenomeError::Index { origin: self.path.display().to_string(), fault }
    }
}
