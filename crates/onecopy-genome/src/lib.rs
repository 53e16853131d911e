//! Reads of a BAM file by name, and positions of one assembly in another: an application of onecopy, for jobs by the
//! thousand that share one index.
//!
//! [`bri::BuildOptions`] writes an index of read names in the public format "bri"; [`share`] publishes it as a dataset;
//! [`NameIndex`] opens either and makes sure whose it is; [`Reads`] gives the alignments of a name;
//! [`Convert`] converts positions.
//!
//! ```no_run
//! use std::path::Path;
//! use onecopy_genome::bri::BuildOptions;
//! use onecopy_genome::{GenomeError, NameIndex, Reads};
//!
//! # fn main() -> Result<(), GenomeError> {
//! let bam = Path::new("reads.bam");
//! // Beside the file, and made if it is not there.
//! let (index, _) = NameIndex::open_or_build(bam, None, &BuildOptions::default(), |_, _| {})?;
//! let mut reads = Reads::open(bam, index)?;
//! let count = reads.get(b"read:7", |record| {
//!     println!("{:?}", record.flags());
//!     Ok::<_, GenomeError>(())
//! })?;
//! assert!(count > 0, "both ends of a pair, and what else is aligned of it");
//! # Ok(()) }
//! ```
//!
//! Nothing here trusts a file: every offset and length is checked before it is used, and a file that is truncated,
//! damaged or changed while in use ends in a [`GenomeError`] that names it.
#![forbid(unsafe_code)]

mod bam;
mod bgzf;
pub mod bri;
mod convert;
mod error;
mod files;
mod identity;
mod lookup;
mod name_index;
mod ordered;
mod owner;
mod reads;
mod sam;
mod shared;

pub use bam::{AlignmentReader, BamHeader};
pub use convert::{Convert, ConvertReport, Format};
pub use error::{GenomeError, IndexFault};
pub use identity::FileIdentity;
pub use lookup::{Alignments, Lookup, LookupSize, LookupWriter};
pub use name_index::{NameIndex, default_index_path};
pub use reads::Reads;
pub use sam::SamLines;
pub use shared::{SharedIndex, dataset_name, share};
