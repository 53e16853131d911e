//! A long stretch of the list of positions, answered in the order of the first file whatever order it is in, so that
//! positions that lie together there are looked at together; the answers come out in the order of the list.

use noodles_sam::Header;

use super::positions::{Positions, Query};
use super::vote::Outcome;
use crate::error::GenomeError;

/// Positions that are put in order together. Some hundred bytes each; a list that is longer and in no order goes over
/// the files once for each stretch.
const CHUNK_POSITIONS: usize = 1 << 19;
/// Bytes of names and alleles that they have at most, whatever stands in the list.
const CHUNK_TEXT_BYTES: usize = 64 << 20;

/// Positions as they stand in the list, and an order to answer them in.
pub(super) struct Chunk {
    queries: Vec<Query>,
    /// Numbers of the positions, in the order of the file.
    order: Vec<u32>,
}

/// The answers that are there, some of them early.
pub(super) struct Answers<'a> {
    queries: &'a [Query],
    outcomes: Vec<Option<Outcome>>,
    /// The first that was not given out.
    next: usize,
}

impl Chunk {
    /// The next stretch. None at the end of the list.
    pub(super) fn read(positions: &mut Positions, header: &Header) -> Result<Option<Self>, GenomeError> {
        let queries = positions.take(CHUNK_POSITIONS, CHUNK_TEXT_BYTES)?;
        if queries.is_empty() {
            return Ok(None);
        }
        let sequences = header.reference_sequences();
        let mut keys: Vec<(u32, u64, u32)> = (0..)
            .zip(&queries)
            .map(|(number, query)| {
                let sequence = sequences.get_index_of(query.sequence.as_bytes());
                (sequence.map_or(u32::MAX, |sequence| sequence as u32), query.position, number)
            })
            .collect();
        keys.sort_unstable();
        let order = keys.into_iter().map(|(_, _, number)| number).collect();
        Ok(Some(Self { queries, order }))
    }

    /// Numbers of positions that lie together in the file, so many at a time.
    pub(super) fn batches(&self, count: usize) -> impl Iterator<Item = &[u32]> {
        self.order.chunks(count)
    }

    /// The positions with these numbers.
    pub(super) fn queries(&self, numbers: &[u32]) -> Vec<&Query> {
        numbers.iter().map(|&number| &self.queries[number as usize]).collect()
    }

    pub(super) fn answers(&self) -> Answers<'_> {
        let outcomes = self.queries.iter().map(|_| None).collect();
        Answers { queries: &self.queries, outcomes, next: 0 }
    }
}

impl Answers<'_> {
    /// Takes the answers to these positions.
    pub(super) fn put(&mut self, numbers: &[u32], outcomes: Vec<Outcome>) {
        for (&number, outcome) in numbers.iter().zip(outcomes) {
            self.outcomes[number as usize] = Some(outcome);
        }
    }

    /// The next in the order of the list, if its answer is there.
    pub(super) fn next(&mut self) -> Option<(&Query, Outcome)> {
        let outcome = self.outcomes.get_mut(self.next)?.take()?;
        let query = &self.queries[self.next];
        self.next += 1;
        Some((query, outcome))
    }
}
