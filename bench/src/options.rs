//! What the command line of every subject has.

use std::path::PathBuf;

/// How thoroughly to measure, and where the results go.
#[derive(Debug, clap::Args)]
pub(crate) struct CommonOptions {
    /// Measure less: sooner done, and less sure of itself
    #[arg(long)]
    pub(crate) quick: bool,
    /// Write the results as JSON lines to FILE; `-` is standard output, and the table then goes to standard error
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
