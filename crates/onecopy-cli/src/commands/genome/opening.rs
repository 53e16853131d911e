//! How a command comes by the index it needs: the one that is shared, else the file beside the BAM file, else
//! it makes that. It says which.

use std::path::{Path, PathBuf};

use clap::Args;
use onecopy::dataset::Progress;
use onecopy_genome::bri::{BuildOptions, BuildReport};
use onecopy_genome::{NameIndex, SharedIndex, default_index_path};

use crate::failure::Failure;
use crate::progress::ProgressBar;
use crate::scope::Scope;

/// Where the index of read names is.
#[derive(Debug, Args)]
pub(super) struct IndexArguments {
    /// The index of read names, if it is not shared, and not beside the BAM file as BAM.bri
    #[arg(short, long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Use the index that is shared; if there is none, fail (exit code 3) instead of using a file
    #[arg(long, conflicts_with = "index")]
    use_server: bool,
}

impl IndexArguments {
    pub(super) fn open(
        &self,
        bam: &Path,
        options: &BuildOptions,
        scope: &Scope,
    ) -> Result<NameIndex, Failure> {
        // Who names a file means that one.
        let shared = if self.index.is_none() { shared(bam, scope) } else { Ok(None) };
        match shared {
            Ok(Some(shared)) => {
                eprintln!("onecopy: uses the shared index of {}", bam.display());
                return Ok(NameIndex::of_shared(shared));
            }
            Ok(None) => {}
            Err(failure) if self.use_server => return Err(failure),
            // Whoever shared it may be ending at this moment; the file serves as well, only slower.
            Err(failure) => eprintln!("onecopy: no shared index: {}", failure.explanation()),
        }
        if self.use_server {
            return Err(Failure::NobodyShares { bam: bam.display().to_string() });
        }
        let path = self.index.clone().unwrap_or_else(|| default_index_path(bam));
        if path.exists() {
            eprintln!("onecopy: uses the index {}", path.display());
        } else {
            eprintln!("onecopy: makes the index {}", path.display());
            build(bam, &path, options)?;
        }
        Ok(NameIndex::open_file(bam, &path)?)
    }
}

/// The index that somebody shares, if the instance runs at all.
fn shared(bam: &Path, scope: &Scope) -> Result<Option<SharedIndex>, Failure> {
    match scope.visit_as("onecopy genome") {
        Ok(visit) => Ok(SharedIndex::open(&visit.node, bam)?),
        Err(Failure::NoBroker { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Makes an index, with a bar.
pub(super) fn build(bam: &Path, path: &Path, options: &BuildOptions) -> Result<BuildReport, Failure> {
    let bar = ProgressBar::new()?;
    let built =
        options.build(bam, path, |done_bytes, total_bytes| bar.show(Progress { done_bytes, total_bytes }));
    bar.clear();
    Ok(built?)
}
