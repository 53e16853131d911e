//! What the reads of a position decide.

/// Where one read has the base in the second reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Vote {
    /// Number of the sequence in the second file's header.
    pub(super) sequence: usize,
    pub(super) position: u64,
    /// The read lies on opposite strands in the two files.
    pub(super) is_turned: bool,
}

/// The decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Winner {
    pub(super) sequence: usize,
    pub(super) position: u64,
    /// Most of the reads for it lie on opposite strands.
    pub(super) is_turned: bool,
    /// Reads for it.
    pub(super) support: u64,
    /// Reads for anything.
    pub(super) votes: u64,
    pub(super) runner_up: Option<RunnerUp>,
}

/// The place with the second most reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RunnerUp {
    pub(super) sequence: usize,
    pub(super) position: u64,
    pub(super) support: u64,
}

/// The place with the most reads. Of those with as many, the one that comes first in the second reference, in
/// the order of the file's header.
pub(super) fn decide(votes: &mut [Vote]) -> Option<Winner> {
    votes.sort_unstable();
    let mut places: Vec<&[Vote]> = votes
        .chunk_by(|left, right| (left.sequence, left.position) == (right.sequence, right.position))
        .collect();
    // Stable: places stay in order where support is equal.
    places.sort_by_key(|place| std::cmp::Reverse(place.len()));
    let winner = places.first()?;
    let first = winner.first()?;
    let turned = winner.iter().filter(|vote| vote.is_turned).count();
    let runner_up = places.get(1).and_then(|place| {
        let first = place.first()?;
        Some(RunnerUp { sequence: first.sequence, position: first.position, support: place.len() as u64 })
    });
    Some(Winner {
        sequence: first.sequence,
        position: first.position,
        is_turned: 2 * turned > winner.len(),
        support: winner.len() as u64,
        votes: votes.len() as u64,
        runner_up,
    })
}

/// How two references compare at a pair of positions.
///
/// 0: the same base; 1: the complement, and the assembly is turned round, so it is the same base too; 2: another base;
/// 3: another base, and the assembly is turned round.
pub(super) fn code(first: u8, second: u8, is_turned: bool) -> u8 {
    match (is_turned, first, second) {
        (false, first, second) if first == second => 0,
        (true, first, second) if complement(first) == second => 1,
        (false, ..) => 2,
        (true, ..) => 3,
    }
}

/// The base on the other strand; letters for several bases likewise. Upper case.
pub(super) fn complement(base: u8) -> u8 {
    match base.to_ascii_uppercase() {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' | b'U' => b'A',
        b'R' => b'Y',
        b'Y' => b'R',
        b'K' => b'M',
        b'M' => b'K',
        b'B' => b'V',
        b'V' => b'B',
        b'D' => b'H',
        b'H' => b'D',
        other => other,
    }
}

/// What became of a position: its place in the second reference, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Converted { first_base: u8, second_base: u8, code: u8, winner: Winner },
    Unmapped(Reason),
}

/// How far the reads of a position came that has no place. In the order of the way there: what is told is the furthest
/// that any read has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// The first reference or file has no such sequence.
    UnknownSequence,
    /// The sequence is shorter.
    PastEnd,
    /// No alignment of the first file covers the position.
    NotCovered,
    /// Those that do are uncertain, secondary, or in several pieces.
    NoUsableRead,
    /// Reads cover the position with a deletion or a gap.
    NoBase,
    /// The second file has no such reads.
    NotInSecond,
    /// It has them, unmapped, uncertain, or in several pieces.
    NotUsableInSecond,
    /// There the base is clipped or inserted.
    NoBaseInSecond,
}

impl Reason {
    /// The word in the file of unmapped positions.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UnknownSequence => "unknown-chromosome",
            Self::PastEnd => "past-end",
            Self::NotCovered => "not-covered",
            Self::NoUsableRead => "no-usable-read",
            Self::NoBase => "deleted-in-reads",
            Self::NotInSecond => "reads-not-in-second",
            Self::NotUsableInSecond => "reads-not-usable-in-second",
            Self::NoBaseInSecond => "no-base-in-second",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vote(sequence: usize, position: u64, is_turned: bool) -> Vote {
        Vote { sequence, position, is_turned }
    }

    #[test]
    fn most_reads_win() {
        let mut votes = [vote(0, 5, false), vote(1, 7, true), vote(1, 7, true), vote(1, 7, false)];
        let winner = decide(&mut votes).unwrap();
        assert_eq!((winner.sequence, winner.position, winner.is_turned), (1, 7, true));
        assert_eq!((winner.support, winner.votes), (3, 4));
        assert_eq!(winner.runner_up, Some(RunnerUp { sequence: 0, position: 5, support: 1 }));
        assert_eq!(decide(&mut []), None);
    }

    #[test]
    fn a_tie_goes_to_what_comes_first_in_any_order_of_the_reads() {
        let votes =
            [vote(1, 2, true), vote(0, 9, false), vote(0, 3, false), vote(0, 3, true), vote(0, 9, false)];
        for rotation in 0..votes.len() {
            let mut votes = votes;
            votes.rotate_left(rotation);
            let winner = decide(&mut votes).unwrap();
            assert_eq!((winner.sequence, winner.position, winner.support), (0, 3, 2));
            assert!(!winner.is_turned, "half of the reads are not most of them");
            assert_eq!(winner.runner_up, Some(RunnerUp { sequence: 0, position: 9, support: 2 }));
        }
    }

    #[test]
    fn codes() {
        let cases = [
            (b'A', b'A', false, 0),
            (b'A', b'T', true, 1),
            (b'A', b'C', false, 2),
            (b'A', b'T', false, 2),
            (b'A', b'C', true, 3),
            (b'A', b'A', true, 3),
            (b'N', b'N', false, 0),
            (b'N', b'N', true, 1),
            (b'N', b'A', false, 2),
            (b'R', b'Y', true, 1),
        ];
        for (first, second, is_turned, expected) in cases {
            assert_eq!(code(first, second, is_turned), expected, "{first} {second} {is_turned}");
        }
    }

    #[test]
    fn complements_are_their_own_inverse() {
        for base in *b"ACGTRYKMBVDHSWN" {
            assert_eq!(complement(complement(base)), base);
        }
        assert_eq!((complement(b'u'), complement(b'a')), (b'A', b'T'));
    }
}
