//! An index on its way to a file. It gets its name when it is complete.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tempfile::{NamedTempFile, SpooledTempFile};

use super::run::Sorted;
use super::{HEADER_BYTES, RECORD_BYTES, VERSION};
use crate::error::GenomeError;
use crate::{files, ordered};

/// Records that wait for the end of the names in memory; more than that wait on the disk.
const RECORDS_BYTES_IN_MEMORY: usize = 64 << 20;
/// Names that one thread writes at once: with their records they stay in a cache of 1 MiB.
const PART_NAMES: usize = 8 << 10;

/// Names in order, written by several threads: once it is known what each of them has to write, it is known where.
pub(super) fn write_sorted(
    sorted: &Sorted<'_>,
    path: &Path,
    threads: NonZero<usize>,
) -> Result<u64, GenomeError> {
    let failed = || GenomeError::file("write", path);
    let (parts, names_bytes, records) = lay_out(sorted, threads)?;
    let records_start = HEADER_BYTES as u64 + names_bytes;
    let bytes = records_start + records * RECORD_BYTES as u64;
    let temporary = NamedTempFile::new_in(files::folder(path)).map_err(failed())?;
    let file = temporary.as_file();
    allocate(file, bytes).map_err(failed())?;
    file.write_all_at(&header(names_bytes, records), 0).map_err(failed())?;
    let mut parts = parts.into_iter();
    ordered::run(
        threads,
        || Ok(parts.next()),
        || Ok((Vec::new(), Vec::new())),
        |(names, records), part| {
            part.fill(sorted, names, records);
            let records_at = records_start + part.first_record * RECORD_BYTES as u64;
            file.write_all_at(names, HEADER_BYTES as u64 + part.names_start)
                .and_then(|()| file.write_all_at(records, records_at))
                .map_err(failed())
        },
        |()| Ok(()),
    )?;
    finish(temporary, path).map_err(failed())?;
    Ok(bytes)
}

/// What one thread writes at once.
struct Part {
    places: Range<usize>,
    /// Where its first new name begins within the names.
    names_start: u64,
    first_record: u64,
}

/// Divides the work. Gives bytes of all names and the number of records as well.
fn lay_out(sorted: &Sorted<'_>, threads: NonZero<usize>) -> Result<(Vec<Part>, u64, u64), GenomeError> {
    let mut starts = (0..sorted.len()).step_by(PART_NAMES);
    let (mut parts, mut names_start, mut first_record) = (Vec::new(), 0, 0);
    ordered::run(
        threads,
        || Ok(starts.next().map(|start| start..sorted.len().min(start + PART_NAMES))),
        || Ok(()),
        |(), places| {
            let new = places.clone().filter(|&place| !sorted.is_repeated(place));
            let names_bytes: u64 = new.map(|place| sorted.name(place).len() as u64 + 1).sum();
            let records: u64 = places.clone().map(|place| sorted.alignments(place).len() as u64).sum();
            Ok((places, names_bytes, records))
        },
        |(places, names_bytes, records)| {
            parts.push(Part { places, names_start, first_record });
            names_start += names_bytes;
            first_record += records;
            Ok(())
        },
    )?;
    Ok((parts, names_start, first_record))
}

impl Part {
    fn fill(&self, sorted: &Sorted<'_>, names: &mut Vec<u8>, records: &mut Vec<u8>) {
        names.clear();
        records.clear();
        for place in self.places.clone() {
            let name = sorted.name(place);
            if !sorted.is_repeated(place) {
                names.extend_from_slice(name);
                names.push(0);
            }
            // A name that was there before lies at the end of what was written, by this part or the one before.
            let offset = self.names_start + names.len() as u64 - (name.len() as u64 + 1);
            for &alignment in sorted.alignments(place) {
                records.extend_from_slice(&record(offset, alignment));
            }
        }
    }
}

fn record(name_offset: u64, alignment: u64) -> [u8; RECORD_BYTES] {
    (u128::from(alignment) << 64 | u128::from(name_offset)).to_le_bytes()
}

fn header(names_bytes: u64, records: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    for (place, word) in header.chunks_exact_mut(8).zip([VERSION, names_bytes, records]) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    header
}

/// Takes the room on the disk. A disk that is full says so before anything is written; and where room has
/// been taken, ext4 lets a file replace another without writing all of it out at that moment.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::NOSPC) => Err(Errno::NOSPC.into()),
        // Not every file system can, and those that can't take it piece by piece.
        _ => Ok(()),
    }
}

fn finish(file: NamedTempFile, path: &Path) -> io::Result<()> {
    files::make_ordinary(file.as_file())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes names and records that come in order, one by one.
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
        self.records.write_all(&record(self.last_offset, alignment))?;
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
        let file = self.names.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().write_all_at(&header(self.names_bytes, self.records_len), 0)?;
        let bytes = file.as_file().metadata()?.len();
        finish(file, path)?;
        Ok(bytes)
    }
}
