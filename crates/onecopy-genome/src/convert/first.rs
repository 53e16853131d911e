//! The first file: which reads lie on the positions, and with which base.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use noodles_core::{Position, Region};
use noodles_cram::crai;
use noodles_csi::BinningIndex;
use noodles_fasta as fasta;
use noodles_sam::Header;
use noodles_sam::alignment::Record;

use super::coordinates::{bam_index, is_sorted};
use super::placement::{Placement, ReadEnd};
use super::positions::Query;
use super::reference::Reference;
use super::vote::Reason;
use crate::bam::{AlignmentReader, BamHeader};
use crate::error::GenomeError;
use crate::files;

/// Positions nearer to each other are answered from one look at the file: the coordinate index is no finer.
const GAP_MAX: u64 = 16 << 10;

/// The base of a read that lies on a position.
#[derive(Debug, Clone)]
pub(super) struct BaseOfRead {
    /// Number of the position in its batch.
    pub(super) query: u32,
    /// The read's name, in the batch's names.
    pub(super) name: (u32, u8),
    pub(super) end: ReadEnd,
    pub(super) is_reverse: bool,
    /// Number of the base in the read, and bases of the read.
    pub(super) base: u64,
    pub(super) read_bases: u64,
}

/// What the first file says about a batch.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) names: Vec<u8>,
    pub(super) bases: Vec<BaseOfRead>,
    /// For each position, how far its reads have come.
    pub(super) reasons: Vec<Reason>,
}

/// The first file, open; each thread makes its own [`FirstReader`] of it.
pub(super) struct FirstFile {
    path: PathBuf,
    header: Header,
    index: Index,
}

enum Index {
    Bam(Arc<noodles_bam::Index>),
    Cram { index: Arc<crai::Index>, bases: fasta::Repository },
}

/// Reads the first file.
pub(super) struct FirstReader<'a> {
    file: &'a FirstFile,
    reader: Reader,
}

enum Reader {
    Bam(AlignmentReader),
    Cram(noodles_cram::io::Reader<File>),
}

impl FirstFile {
    /// Opens a BAM or CRAM file with the index beside it, or makes one. Tells whether it did.
    pub(super) fn open(path: &Path, reference: &Reference) -> Result<(Self, bool), GenomeError> {
        let mut begin = [0; 4];
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        std::os::unix::fs::FileExt::read_at(&file, &mut begin, 0).map_err(GenomeError::file("read", path))?;
        let (header, index, is_new) = if begin == *b"CRAM" {
            Self::open_cram(path, reference)?
        } else {
            let header = BamHeader::read(path)?.header().clone();
            let (index, is_new) = bam_index(path, &header)?;
            (header, Index::Bam(Arc::new(index)), is_new)
        };
        Ok((Self { path: path.to_owned(), header, index }, is_new))
    }

    fn open_cram(path: &Path, reference: &Reference) -> Result<(Header, Index, bool), GenomeError> {
        let unreadable = || GenomeError::unreadable("CRAM", path);
        let bases = fasta::io::indexed_reader::Builder::default()
            .set_index(reference.index().clone())
            .build_from_path(reference.path())
            .map_err(GenomeError::unreadable("FASTA", reference.path()))?;
        let bases = fasta::Repository::new(fasta::repository::adapters::IndexedReader::new(bases));
        let mut reader = noodles_cram::io::reader::Builder::default()
            .set_reference_sequence_repository(bases.clone())
            .build_from_path(path)
            .map_err(unreadable())?;
        let header = reader.read_header().map_err(unreadable())?;
        let index_path = files::beside(path, ".crai");
        let (index, is_new) = if index_path.exists() {
            (crai::fs::read(&index_path).map_err(GenomeError::side_index(&index_path))?, false)
        } else {
            if !is_sorted(&header) {
                return Err(GenomeError::NotSorted { path: path.to_owned() });
            }
            let index = noodles_cram::fs::index(path).map_err(unreadable())?;
            files::keep(&index_path, |temporary| crai::fs::write(temporary, &index))?;
            (index, true)
        };
        Ok((header, Index::Cram { index: Arc::new(index), bases }, is_new))
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn reader(&self) -> Result<FirstReader<'_>, GenomeError> {
        let path = &self.path;
        let reader = match &self.index {
            Index::Bam(_) => {
                return Ok(FirstReader { file: self, reader: Reader::Bam(AlignmentReader::open(path)?) });
            }
            Index::Cram { bases, .. } => noodles_cram::io::reader::Builder::default()
                .set_reference_sequence_repository(bases.clone())
                .build_from_path(path)
                .map(Reader::Cram),
        };
        Ok(FirstReader { file: self, reader: reader.map_err(GenomeError::file("open", path))? })
    }
}

impl FirstReader<'_> {
    /// Finds the bases on the positions of a batch. `reference` tells where sequences end.
    pub(super) fn find(&mut self, queries: &[&Query], reference: &Reference) -> Result<Found, GenomeError> {
        let mut found = Found { reasons: vec![Reason::NotCovered; queries.len()], ..Found::default() };
        let mut wanted = Vec::new();
        for (number, query) in queries.iter().enumerate() {
            let sequence = self.file.header.reference_sequences().get_index_of(query.sequence.as_bytes());
            match (sequence, reference.length(query.sequence.as_bytes())) {
                (Some(_), Some(length)) if query.position > length => found.reasons[number] = Reason::PastEnd,
                (Some(sequence), Some(_)) => wanted.push((sequence, query.position, number as u32)),
                _ => found.reasons[number] = Reason::UnknownSequence,
            }
        }
        wanted.sort_unstable();
        let is_near = |left: &(usize, u64, u32), right: &(usize, u64, u32)| {
            left.0 == right.0 && right.1 - left.1 <= GAP_MAX
        };
        for cluster in wanted.chunk_by(is_near) {
            self.look_at(cluster, queries, &mut found)?;
        }
        Ok(found)
    }

    /// Reads what overlaps a cluster of positions.
    fn look_at(
        &mut self,
        cluster: &[(usize, u64, u32)],
        queries: &[&Query],
        found: &mut Found,
    ) -> Result<(), GenomeError> {
        let ([(sequence, first, query), ..], [.., (_, last, _)]) = (cluster, cluster) else { return Ok(()) };
        let (Some(start), Some(end)) = (as_position(*first), as_position(*last)) else { return Ok(()) };
        let region = Region::new(queries[*query as usize].sequence.as_bytes(), start..=end);
        let FirstFile { path, header, index } = self.file;
        let (mut previous, mut next) = (0, 0);
        let mut consume = |record: &dyn Record| {
            let start = record.alignment_start().transpose()?.map_or(0, |start| start.get() as u64);
            if start < previous {
                return Ok(false);
            }
            previous = start;
            // Most alignments lie between two positions: those are not looked at any further.
            next += cluster[next..].iter().take_while(|&&(_, position, _)| position < start).count();
            let end = record.alignment_end().transpose()?.map_or(0, |end| end.get() as u64);
            if cluster.get(next).is_some_and(|&(_, position, _)| position <= end) {
                let placement = Placement::of(record, header)?;
                if placement.sequence == *sequence {
                    found.add(record, &placement, cluster);
                }
            }
            Ok(true)
        };
        let is_sorted = match (&mut self.reader, index) {
            (Reader::Bam(reader), Index::Bam(index)) => {
                overlapping(reader, index, *sequence, start..=end, &mut consume)?
            }
            (Reader::Cram(reader), Index::Cram { index, .. }) => reader
                .query(header, index, &region)
                .and_then(|query| {
                    query.records().try_fold(true, |sorted, record| Ok(consume(&record?)? && sorted))
                })
                .map_err(GenomeError::unreadable("CRAM", path))?,
            _ => true,
        };
        if is_sorted { Ok(()) } else { Err(GenomeError::NotSorted { path: path.clone() }) }
    }
}

/// Gives the alignments of a BAM file that may overlap an interval. False as soon as `consume` says so.
fn overlapping(
    reader: &mut AlignmentReader,
    index: &noodles_bam::Index,
    sequence: usize,
    interval: RangeInclusive<Position>,
    consume: &mut impl FnMut(&dyn Record) -> io::Result<bool>,
) -> Result<bool, GenomeError> {
    let path = reader.path().to_owned();
    let end = *interval.end();
    let chunks =
        index.query(sequence, interval.into()).map_err(GenomeError::unreadable("BAM index", &path))?;
    let foreign = |_| GenomeError::ForeignCoordinates { path: path.clone() };
    for chunk in chunks {
        reader.seek(chunk.start().into()).map_err(foreign)?;
        let mut is_complete = true;
        while reader.position() < chunk.end().into() {
            let Some(record) = reader.next()? else { break };
            if record.alignment_start().is_none_or(|start| start.is_ok_and(|start| start > end)) {
                is_complete = false;
                break;
            }
            if !consume(&record).map_err(GenomeError::unreadable("BAM", &path))? {
                return Ok(false);
            }
        }
        // A chunk ends between two alignments; in another file that would be chance.
        if is_complete && reader.position() != u64::from(chunk.end()) {
            return Err(GenomeError::ForeignCoordinates { path });
        }
    }
    Ok(true)
}

impl Found {
    /// Adds the bases of a read that lie on positions of the cluster.
    fn add(&mut self, record: &dyn Record, placement: &Placement, cluster: &[(usize, u64, u32)]) {
        let end = placement.start + placement.walk.reference_bases();
        let from = cluster.partition_point(|&(_, position, _)| position < placement.start);
        let mut name = None;
        for &(_, position, query) in cluster[from..].iter().take_while(|&&(_, position, _)| position < end) {
            let reason = match (placement.is_usable, placement.walk.base_at(placement.start, position)) {
                (false, _) => Reason::NoUsableRead,
                (true, None) => Reason::NoBase,
                (true, Some(base)) => {
                    let name = *name.get_or_insert_with(|| self.keep_name(record));
                    self.bases.push(BaseOfRead {
                        query,
                        name,
                        end: placement.end,
                        is_reverse: placement.is_reverse,
                        base,
                        read_bases: placement.walk.read_bases(),
                    });
                    Reason::NotInSecond
                }
            };
            let known = &mut self.reasons[query as usize];
            *known = reason.max(*known);
        }
    }

    fn keep_name(&mut self, record: &dyn Record) -> (u32, u8) {
        let start = self.names.len() as u32;
        let name: &[u8] = record.name().map_or(b"*", |name| name.as_ref());
        let name = &name[..name.len().min(usize::from(u8::MAX))];
        self.names.extend_from_slice(name);
        (start, name.len() as u8)
    }

    pub(super) fn name(&self, of: &BaseOfRead) -> &[u8] {
        &self.names[of.name.0 as usize..][..usize::from(of.name.1)]
    }
}

fn as_position(position: u64) -> Option<Position> {
    usize::try_from(position).ok().and_then(Position::new)
}
