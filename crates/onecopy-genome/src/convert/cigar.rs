//! Which base of a read lies on which position of the reference.
//!
//! Bases are numbered as the sequencer read them, from 0, with those that a hard clip took away: so a base
//! has the same number in every alignment of the read, whichever strand it is on and however much of it was
//! kept.

use noodles_sam::alignment::record::cigar::op::{Kind, Op};

/// The operations of an alignment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    operations: Vec<(Kind, u64)>,
    is_reverse: bool,
}

impl Walk {
    pub(crate) fn new<Failure>(
        operations: impl Iterator<Item = Result<Op, Failure>>,
        is_reverse: bool,
    ) -> Result<Self, Failure> {
        let operations = operations
            .map(|operation| operation.map(|operation| (operation.kind(), operation.len() as u64)))
            .collect::<Result<_, _>>()?;
        Ok(Self { operations, is_reverse })
    }

    /// Bases of the whole read.
    pub(crate) fn read_bases(&self) -> u64 {
        self.operations.iter().filter(|(kind, _)| is_in_read(*kind)).map(|(_, length)| length).sum()
    }

    /// Positions of the reference from the first aligned base to the last.
    pub(crate) fn reference_bases(&self) -> u64 {
        self.operations.iter().filter(|(kind, _)| kind.consumes_reference()).map(|(_, length)| length).sum()
    }

    /// The base that lies on `position`, if the alignment begins at `start`. None if the read has no base there.
    pub(crate) fn base_at(&self, start: u64, position: u64) -> Option<u64> {
        let distance = position.checked_sub(start)?;
        let (mut reference, mut read) = (0, 0);
        for &(kind, length) in &self.operations {
            let is_there = kind.consumes_reference() && distance < reference + length;
            match (kind.consumes_reference(), is_in_read(kind)) {
                (true, true) if is_there => return Some(self.as_read(read + distance - reference)),
                (true, false) if is_there => return None,
                _ => {}
            }
            reference += if kind.consumes_reference() { length } else { 0 };
            read += if is_in_read(kind) { length } else { 0 };
        }
        None
    }

    /// The position on which a base lies, if the alignment begins at `start`. None if it lies on none: it is clipped
    /// or inserted, or the read is not so long.
    pub(crate) fn position_of(&self, start: u64, base: u64) -> Option<u64> {
        let bases = self.read_bases();
        if base >= bases {
            return None;
        }
        let base = self.as_read(base);
        let (mut reference, mut read) = (start, 0);
        for &(kind, length) in &self.operations {
            if is_in_read(kind) && base < read + length {
                return kind.consumes_reference().then(|| reference + base - read);
            }
            reference += if kind.consumes_reference() { length } else { 0 };
            read += if is_in_read(kind) { length } else { 0 };
        }
        None
    }

    /// From the number in the alignment to that in the read, and back.
    fn as_read(&self, base: u64) -> u64 {
        if self.is_reverse { self.read_bases() - 1 - base } else { base }
    }
}

/// Whether the operation's bases are the read's, kept or not.
fn is_in_read(kind: Kind) -> bool {
    kind.consumes_read() || kind == Kind::HardClip
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(text: &str, is_reverse: bool) -> Walk {
        let mut operations = Vec::new();
        let mut length = 0;
        for character in text.chars() {
            let kind = match character {
                'M' => Kind::Match,
                'I' => Kind::Insertion,
                'D' => Kind::Deletion,
                'N' => Kind::Skip,
                'S' => Kind::SoftClip,
                'H' => Kind::HardClip,
                'P' => Kind::Pad,
                '=' => Kind::SequenceMatch,
                'X' => Kind::SequenceMismatch,
                digit => {
                    length = length * 10 + digit.to_digit(10).unwrap() as usize;
                    continue;
                }
            };
            operations.push(Ok::<_, ()>(Op::new(kind, length)));
            length = 0;
        }
        Walk::new(operations.into_iter(), is_reverse).unwrap()
    }

    #[test]
    fn every_operation_moves_what_it_should() {
        // Bases 0–1 hard clipped, 2–4 soft clipped, 5–8 on 100–103, 9–10 inserted, 104–106 deleted, 11 on 107,
        // 108–207 skipped, a pad, 12–13 on 208–209, 14 clipped.
        let walk = walk("2H3S4M2I3D1=100N1P2X1S", false);
        assert_eq!((walk.read_bases(), walk.reference_bases()), (15, 110));
        let expected = [(100, 5), (103, 8), (107, 11), (208, 12), (209, 13)];
        for (position, base) in expected {
            assert_eq!(walk.base_at(100, position), Some(base));
            assert_eq!(walk.position_of(100, base), Some(position));
        }
        for position in [0, 99, 104, 106, 108, 207, 210, u64::MAX] {
            assert_eq!(walk.base_at(100, position), None, "{position}");
        }
        for base in [0, 4, 9, 10, 14, 15, u64::MAX] {
            assert_eq!(walk.position_of(100, base), None, "{base}");
        }
    }

    #[test]
    fn a_read_on_the_other_strand_counts_from_its_end() {
        let walk = walk("2H3M1D4M1S", true);
        assert_eq!(walk.base_at(7, 7), Some(7));
        assert_eq!(walk.base_at(7, 14), Some(1));
        for base in 0..walk.read_bases() {
            if let Some(position) = walk.position_of(7, base) {
                assert_eq!(walk.base_at(7, position), Some(base));
            }
        }
        assert_eq!((0..10).filter(|&base| walk.position_of(7, base).is_some()).count(), 7);
    }

    #[test]
    fn an_alignment_without_operations_has_no_bases() {
        let walk = walk("", true);
        assert_eq!((walk.base_at(5, 5), walk.position_of(5, 0)), (None, None));
    }
}
