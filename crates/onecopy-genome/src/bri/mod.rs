//! The index of read names, in the public format "bri", version 1. Everything is little-endian.
//!
//! ```text
//! 0   u64  version: 1
//! 8   u64  bytes of all names
//! 16  u64  number of records
//! 24       the distinct names, each with a NUL at its end, in the order of strcmp
//! …        the records, in the order of their names, equal names in the order of the file:
//!            u64  where its name begins, within the names
//!            u64  virtual offset of its alignment in the BAM file
//! ```
//!
//! Nothing is aligned, and nothing is added to it: what this crate knows beyond (whose index it is, a table that finds
//! names faster) lies beside it.

pub(crate) mod build;
mod file;
mod names;
mod run;
mod scan;
mod sort;
mod view;
mod write;

pub use build::{BuildOptions, BuildReport};
pub use file::BriFile;
pub use view::{BriView, Records};

/// The version this crate reads and writes.
pub(crate) const VERSION: u64 = 1;
/// Bytes before the names.
pub(crate) const HEADER_BYTES: usize = 24;
/// Bytes of a record.
pub(crate) const RECORD_BYTES: usize = 16;
/// Bytes of a name at most, without its NUL: a BAM record counts them in one byte.
pub(crate) const NAME_BYTES_MAX: usize = 254;
