//! An index from a BAM file.

use std::fs::File;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::names::{Names, Walk};
use super::sort::Sorter;
use crate::bam::BamHeader;
use crate::bgzf::{self, Batch, Order};
use crate::error::GenomeError;
use crate::identity::FileIdentity;
use crate::{files, owner};

/// How an index is built.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// How many threads inflate the BAM file, sort and write. As many as there are processors, unless told otherwise.
    pub threads: NonZero<usize>,
    /// Bytes for names in memory; more are sorted in temporary files beside the index. 512 MiB unless told otherwise.
    pub memory_bytes: usize,
}

impl Default for BuildOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Self { threads, memory_bytes: 512 << 20 }
    }
}

/// What was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildReport {
    /// The index.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// How many alignments it finds.
    pub records: u64,
    /// How often names were put aside because memory did not suffice.
    pub spills: usize,
}

/// What a thread makes of a run of blocks, supposing that a record begins at its beginning.
#[derive(Default)]
struct Supposed {
    names: Names,
    walk: Walk,
    fault: Option<&'static str>,
}

impl BuildOptions {
    /// Writes the index of `bam` to `path`, whole or not at all, and beside it whose index it is. `progress`
    /// is called with the bytes of the BAM file that are done, and their sum.
    ///
    /// # Errors
    ///
    /// If the BAM file is truncated, damaged or changes meanwhile, or a file can't be read or written.
    pub fn build(
        &self,
        bam: &Path,
        path: &Path,
        mut progress: impl FnMut(u64, u64),
    ) -> Result<BuildReport, GenomeError> {
        let header = BamHeader::read(bam)?;
        let file = File::open(bam).map_err(GenomeError::file("open", bam))?;
        let identity = FileIdentity::of_file(&file, bam)?;
        let mut sorter = Sorter::new(self.memory_bytes, self.threads, files::folder(path));
        let mut records = 0;

        let first = header.first_record();
        let mut walk = Walk::to_first_record(first & 0xffff);
        let order = Order { file: &file, path: bam, start: first >> 16, threads: self.threads };
        bgzf::in_order(&order, suppose, |batch| {
            settle(&mut walk, batch, bam)?;
            records += batch.made.names.alignments.len() as u64;
            progress(batch.end_offset, identity.bytes());
            sorter.add(&batch.made.names)
        })?;
        if !walk.is_between_records() {
            return Err(GenomeError::Truncated {
                path: bam.to_owned(),
                what: "its last alignment is cut off",
            });
        }

        let spills = sorter.spills();
        if FileIdentity::of_file(&file, bam)? != identity {
            return Err(GenomeError::Changed { path: bam.to_owned() });
        }
        let bytes = sorter.finish(path)?;
        owner::record(path, &identity)?;
        Ok(BuildReport { path: path.to_owned(), bytes, records, spills })
    }
}

/// What can be done with a run alone.
fn suppose(batch: &mut Batch<Supposed>) {
    let mut made = std::mem::take(&mut batch.made);
    made.walk = Walk::default();
    made.fault = read_names(&mut made.walk, batch, &mut made.names).err();
    batch.made = made;
}

/// Takes what was supposed if it is true, else reads the run again from where the one before has ended.
fn settle(walk: &mut Walk, batch: &mut Batch<Supposed>, path: &Path) -> Result<(), GenomeError> {
    let mut made = std::mem::take(&mut batch.made);
    if walk.is_between_records() {
        *walk = std::mem::take(&mut made.walk);
    } else {
        made.fault = read_names(walk, batch, &mut made.names).err();
    }
    let fault = made.fault.take();
    batch.made = made;
    match fault {
        None => Ok(()),
        Some(what) => Err(GenomeError::Malformed { path: path.to_owned(), offset: batch.offset(), what }),
    }
}

fn read_names(walk: &mut Walk, batch: &Batch<Supposed>, names: &mut Names) -> Result<(), &'static str> {
    names.clear();
    walk.over(&batch.content, batch.virtual_offsets(), names)
}
