//! Positions of one assembly in another, by the reads that were aligned to both: where the base of a read that lies on a
//! position of the first reference lies in the second.
//!
//! Positions are read line by line ([`lines`], [`positions`]) and put in the order of the first file ([`chunk`]). A batch of
//! them passes three stations: [`first`] finds the reads on the positions and the base of each read that
//! lies there; [`second`] finds the same bases in the second file; [`vote`] has the reads vote. Each position is decided
//! by itself, so threads and batches change nothing in the result.

mod chunk;
mod cigar;
mod coordinates;
mod first;
mod lines;
mod options;
mod output;
mod placement;
mod positions;
mod reference;
mod second;
mod vote;

pub use options::{Convert, ConvertReport};
pub use output::Format;
