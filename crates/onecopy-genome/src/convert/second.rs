//! The second file: where the bases of the reads lie that were found in the first.

use std::path::Path;

use noodles_sam::Header;

use super::first::{BaseOfRead, Found};
use super::placement::Placement;
use super::vote::{Reason, Vote};
use crate::bam::AlignmentReader;
use crate::error::GenomeError;
use crate::name_index::NameIndex;
use crate::reads::is_named;

/// Reads the second file by names.
pub(super) struct SecondReader<'a> {
    header: &'a Header,
    index: NameIndex,
    alignments: AlignmentReader,
}

impl<'a> SecondReader<'a> {
    pub(super) fn open(path: &Path, header: &'a Header, index: NameIndex) -> Result<Self, GenomeError> {
        Ok(Self { header, index, alignments: AlignmentReader::open(path)? })
    }

    /// Gives the votes of the reads for each position, and notes how far they came. Alignments are read in
    /// the order of the file, so that each block is inflated once for the whole batch.
    pub(super) fn votes(&mut self, found: &mut Found) -> Result<Vec<Vec<Vote>>, GenomeError> {
        let mut votes = vec![Vec::new(); found.reasons.len()];
        let mut is_settled = vec![false; found.bases.len()];
        let (mut offset, mut placement) = (None, Placement::default());
        for (alignment, number) in self.alignments_of(found)? {
            if is_settled[number as usize] {
                continue;
            }
            let base = &found.bases[number as usize];
            if offset != Some(alignment) {
                placement = self.read(alignment, found.name(base))?;
                offset = Some(alignment);
            }
            if placement.end != base.end {
                continue;
            }
            let reason = &mut found.reasons[base.query as usize];
            // A name that stands for another read as well: that one has another length, or it is the first in the file
            // that counts.
            let is_same_read = placement.walk.read_bases() == base.read_bases;
            if !placement.is_usable || !is_same_read {
                *reason = (*reason).max(Reason::NotUsableInSecond);
                continue;
            }
            is_settled[number as usize] = true;
            *reason = Reason::NoBaseInSecond;
            if let Some(position) = placement.walk.position_of(placement.start, base.base) {
                let is_turned = placement.is_reverse != base.is_reverse;
                votes[base.query as usize].push(Vote { sequence: placement.sequence, position, is_turned });
            }
        }
        Ok(votes)
    }

    /// Places of all alignments that have the names of the bases, with the numbers of the bases, in the order
    /// of the file.
    fn alignments_of(&mut self, found: &Found) -> Result<Vec<(u64, u32)>, GenomeError> {
        let mut places = Vec::with_capacity(2 * found.bases.len());
        let mut alignments = Vec::new();
        // The bases of a read lie one behind the other; its name is looked up once.
        let reads: Vec<&[BaseOfRead]> = found.bases.chunk_by(|left, right| left.name == right.name).collect();
        let mut next = 0;
        self.index.find_all(
            reads.iter().filter_map(|bases| bases.first()).map(|base| found.name(base)),
            &mut alignments,
            |read, alignments| {
                let numbers = next..next + reads[read].len() as u32;
                next = numbers.end;
                places
                    .extend(numbers.flat_map(|number| alignments.iter().map(move |&place| (place, number))));
            },
        )?;
        places.sort_unstable();
        Ok(places)
    }

    fn read(&mut self, alignment: u64, name: &[u8]) -> Result<Placement, GenomeError> {
        let path = self.alignments.path().to_owned();
        let record = self.alignments.read(alignment)?;
        if !is_named(&record, name) {
            return Err(self.index.of_another(&path, name));
        }
        Placement::of(&record, self.header).map_err(GenomeError::unreadable("BAM", &path))
    }
}
