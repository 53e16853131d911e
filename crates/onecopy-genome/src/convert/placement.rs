//! What a read's alignment says, as far as it matters here.

use std::io;

use noodles_sam::Header;
use noodles_sam::alignment::Record;
use noodles_sam::alignment::record::data::field::Tag;

use super::cigar::Walk;

/// An alignment of a read.
#[derive(Debug, Default, Clone)]
pub(super) struct Placement {
    /// Mapped, of a quality above 0, primary, and in one piece.
    pub(super) is_usable: bool,
    pub(super) end: ReadEnd,
    pub(super) is_reverse: bool,
    /// Number of the sequence in the file's header.
    pub(super) sequence: usize,
    /// Position of the first aligned base, from 1.
    pub(super) start: u64,
    pub(super) walk: Walk,
}

/// Which end of a pair a read is, or none.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadEnd {
    is_first: bool,
    is_last: bool,
}

impl Placement {
    pub(super) fn of(record: &dyn Record, header: &Header) -> io::Result<Self> {
        let flags = record.flags()?;
        let end = ReadEnd { is_first: flags.is_first_segment(), is_last: flags.is_last_segment() };
        let is_reverse = flags.is_reverse_complemented();
        let (Some(sequence), Some(start)) = (record.reference_sequence_id(header), record.alignment_start())
        else {
            return Ok(Self { end, is_reverse, ..Self::default() });
        };
        let walk = Walk::new(record.cigar().iter(), is_reverse)?;
        // The quality 255 stands for "not known", which noodles gives as none: that is no doubt.
        let quality = record.mapping_quality().transpose()?.map_or(u8::MAX, u8::from);
        let is_whole = !flags.is_unmapped() && !flags.is_secondary() && !flags.is_supplementary();
        let is_usable = is_whole && quality > 0 && !is_in_pieces(record)?;
        Ok(Self { is_usable, end, is_reverse, sequence: sequence?, start: start?.get() as u64, walk })
    }
}

/// Whether other parts of the read are aligned elsewhere.
fn is_in_pieces(record: &dyn Record) -> io::Result<bool> {
    record.data().get(&Tag::OTHER_ALIGNMENTS).transpose().map(|tag| tag.is_some())
}
