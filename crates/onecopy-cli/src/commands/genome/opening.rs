//! How a command comes by the index it needs: the file beside the BAM file, else it makes one. It says which.

use std::path::{Path, PathBuf};

use clap::Args;
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{NameIndex, default_index_path};

use super::progress::Progress;
use crate::failure::Failure;

/// Where the index of read names is.
#[derive(Debug, Args)]
pub(super) struct IndexArguments {
    /// The index of read names, if it is not beside the BAM file as BAM.bri
    #[arg(short, long, value_name = "FILE")]
    index: Option<PathBuf>,
}

impl IndexArguments {
    pub(super) fn open(&self, bam: &Path, options: &BuildOptions) -> Result<NameIndex, Failure> {
        let path = self.index.clone().unwrap_or_else(|| default_index_path(bam));
        if path.exists() {
            eprintln!("onecopy: uses the index {}", path.display());
            return Ok(NameIndex::open_file(bam, &path)?);
        }
        eprintln!("onecopy: makes the index {}", path.display());
        build(bam, &path, options)?;
        Ok(NameIndex::open_file(bam, &path)?)
    }
}

/// Makes an index, with a bar.
pub(super) fn build(
    bam: &Path,
    path: &Path,
    options: &BuildOptions,
) -> Result<onecopy_genome::bri::BuildReport, Failure> {
    let bytes = std::fs::metadata(bam).map_or(0, |metadata| metadata.len());
    let progress = Progress::of_bytes("reading names", bytes);
    Ok(options.build(bam, path, |done, _| progress.set(done))?)
}
