//! An index on its way to a file. It gets its name when it is complete.

use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use tempfile::{NamedTempFile, SpooledTempFile};

use super::{HEADER_BYTES, VERSION};

/// Records that wait for the end of the names in memory; more than that wait on the disk.
const RECORDS_BYTES_IN_MEMORY: usize = 64 << 20;

/// Writes names and records that come in order.
pub(super) struct BriWriter {
    names: BufWriter<NamedTempFile>,
    names_bytes: u64,
    records: BufWriter<SpooledTempFile>,
    records_len: u64,
    last: Vec<u8>,
    last_offset: u64,
}

impl BriWriter {
    /// Begins a file in the folder of the one that it will become.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let mut names = BufWriter::with_capacity(1 << 20, NamedTempFile::new_in(folder)?);
        names.write_all(&[0; HEADER_BYTES])?;
        let records = tempfile::spooled_tempfile_in(RECORDS_BYTES_IN_MEMORY, folder);
        let records = BufWriter::with_capacity(1 << 20, records);
        Ok(Self { names, names_bytes: 0, records, records_len: 0, last: Vec::new(), last_offset: 0 })
    }

    /// Adds an alignment. Names come in order.
    pub(super) fn push(&mut self, name: &[u8], alignment: u64) -> io::Result<()> {
        if self.records_len == 0 || self.last != name {
            self.last.clear();
            self.last.extend_from_slice(name);
            self.last_offset = self.names_bytes;
            self.names.write_all(name)?;
            self.names.write_all(&[0])?;
            self.names_bytes += name.len() as u64 + 1;
        }
        let record = (u128::from(alignment) << 64 | u128::from(self.last_offset)).to_le_bytes();
        self.records.write_all(&record)?;
        self.records_len += 1;
        Ok(())
    }

    /// Completes the file and puts it where it belongs. Gives its size.
    pub(super) fn finish(mut self, path: &Path) -> io::Result<u64> {
        let mut records = self.records.into_inner().map_err(io::IntoInnerError::into_error)?;
        records.rewind()?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match records.read(&mut buffer)? {
                0 => break,
                bytes => self.names.write_all(&buffer[..bytes])?,
            }
        }
        let mut file = self.names.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        for word in [VERSION, self.names_bytes, self.records_len] {
            file.write_all(&word.to_le_bytes())?;
        }
        let bytes = file.as_file().metadata()?.len();
        crate::files::make_ordinary(file.as_file())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(bytes)
    }
}
