//! Positions of one assembly in another, by the reads that were aligned to both: where the base of a read
//! that lies on a position of the first reference lies in the second.
//!
//! Positions are put in the order of the first file. A batch of them passes three stations: the first file, the second
//! file, and the vote. Each position is decided by itself, so threads and batches change nothing in the result.
//!
//! | file | one concept |
//! |---|---|
//! | `options.rs` | a conversion as a whole |
//! | `lines.rs`, `positions.rs`, `format.rs` | lines of a list, the positions they speak of, and how these are written down |
//! | `chunk.rs` | a stretch of the list in the order of the first file, its answers in that of the list |
//! | `first.rs`, `coordinates.rs` | which reads lie on the positions and with which base; the index that tells where they are |
//! | `second.rs` | where the same bases lie in the second file |
//! | `vote.rs` | what the reads of a position decide |
//! | `reference.rs` | single bases of an assembly |
//! | `placement.rs`, `cigar.rs` | what an alignment says; which base lies on which position |
//! | `output.rs` | the files that are written |

mod chunk;
mod cigar;
mod coordinates;
mod first;
mod format;
mod lines;
mod options;
mod output;
mod placement;
mod positions;
mod reference;
mod second;
mod vote;

pub use format::Format;
pub use options::{Convert, ConvertReport};
