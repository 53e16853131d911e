//! The index of coordinates beside a BAM file: which of its blocks hold the alignments of an interval. Read, or made.
//!
//! noodles takes memory for as many parts as a file promises before it has seen one of them, and bins by their numbers
//! from a table that has room for those there can be. So both are looked at first.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use noodles_csi::binning_index::index::reference_sequence::Bin;
use noodles_sam::Header;

use crate::error::GenomeError;
use crate::files;

/// Bytes of a chunk: where it begins in the BAM file, and where it ends.
const CHUNK_BYTES: u64 = 16;
/// Bytes of an interval of the linear index.
const INTERVAL_BYTES: u64 = 8;
/// Levels of bins in a .bai, below the one that holds all.
const BAI_DEPTH: u8 = 5;
/// The largest number of levels that noodles takes.
const DEPTH_MAX: u8 = 9;
/// Bits of a position that the smallest bins leave out, at most: a position has no more.
const MIN_SHIFT_MAX: u32 = 31;

/// The index beside a BAM file, or a new one.
pub(super) fn bam_index(path: &Path, header: &Header) -> Result<(noodles_bam::Index, bool), GenomeError> {
    let beside = [files::beside(path, ".bai"), files::beside(path, ".csi"), path.with_extension("bai")];
    if let Some(found) = beside.iter().find(|path| path.exists()) {
        return Ok((read(found).map_err(GenomeError::side_index(found))?, false));
    }
    if !is_sorted(header) {
        return Err(GenomeError::NotSorted { path: path.to_owned() });
    }
    let index =
        noodles_bam::fs::index(path).map_err(GenomeError::unreadable("BAM sorted by coordinate", path))?;
    match &index {
        noodles_bam::Index::Bai(index) => {
            files::keep(&files::beside(path, ".bai"), |temporary| {
                noodles_bam::bai::fs::write(temporary, index)
            })?;
        }
        noodles_bam::Index::Csi(index) => {
            files::keep(&files::beside(path, ".csi"), |temporary| noodles_csi::fs::write(temporary, index))?;
        }
    }
    Ok((index, true))
}

/// Whether the header says that alignments are in the order of their positions.
pub(super) fn is_sorted(header: &Header) -> bool {
    use noodles_sam::header::record::value::map::header::{sort_order::COORDINATE, tag::SORT_ORDER};
    header
        .header()
        .and_then(|header| header.other_fields().get(&SORT_ORDER))
        .is_some_and(|order| order == COORDINATE)
}

fn read(path: &Path) -> io::Result<noodles_bam::Index> {
    if path.extension().is_some_and(|extension| extension == "csi") {
        Promises(noodles_bgzf::io::Reader::new(File::open(path)?)).check_csi()?;
        return noodles_csi::fs::read(path).map(noodles_bam::Index::Csi);
    }
    Promises(BufReader::new(File::open(path)?)).check_bai()?;
    noodles_bam::bai::fs::read(path).map(noodles_bam::Index::Bai)
}

/// An index that is gone through once for the counts in it.
struct Promises<Source>(Source);

impl<Source: Read> Promises<Source> {
    /// Fails unless all that the index promises is there, and its bins can be. What else is wrong with it,
    /// noodles tells.
    fn check_bai(&mut self) -> io::Result<()> {
        self.skip(4)?;
        for _ in 0..self.number()? {
            self.check_bins(BAI_DEPTH, 0)?;
            let intervals = self.number()?;
            self.skip(u64::from(intervals) * INTERVAL_BYTES)?;
        }
        Ok(())
    }

    /// The same for the other format.
    fn check_csi(&mut self) -> io::Result<()> {
        self.skip(4)?;
        let (min_shift, depth) = (self.number()?, self.number()?);
        let depth = u8::try_from(depth).ok().filter(|&depth| depth <= DEPTH_MAX);
        let Some(depth) = depth.filter(|_| min_shift <= MIN_SHIFT_MAX) else {
            return Err(invalid("its bins are larger than any chromosome"));
        };
        let auxiliary_bytes = self.number()?;
        self.skip(auxiliary_bytes.into())?;
        for _ in 0..self.number()? {
            self.check_bins(depth, 8)?;
        }
        Ok(())
    }

    /// Goes over the bins of a sequence, each with so many bytes between its number and its chunks.
    fn check_bins(&mut self, depth: u8, offset_bytes: u64) -> io::Result<()> {
        for _ in 0..self.number()? {
            let number = usize::try_from(self.number()?).ok();
            // Statistics of the sequence are called a bin as well.
            if number > Bin::max_id(depth) && number != Bin::metadata_id(depth) {
                return Err(invalid("one of its bins has a number that no bin can have"));
            }
            self.skip(offset_bytes)?;
            let chunks = self.number()?;
            self.skip(u64::from(chunks) * CHUNK_BYTES)?;
        }
        Ok(())
    }

    fn number(&mut self) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => cut_off(),
            _ => error,
        })?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        if io::copy(&mut self.0.by_ref().take(bytes), &mut io::sink())? == bytes {
            Ok(())
        } else {
            Err(cut_off())
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends before all that it promises")
}
