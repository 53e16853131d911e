//! What can go wrong with a dataset.

use std::path::PathBuf;

use onecopy_memory::counted::counted;
use onecopy_memory::dataset::FileError;

use super::load::Hash;
use crate::broker::protocol::{self, KeepError};
use crate::error::{OpenError, WaitError};

/// Why a dataset could not be published, opened or read.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::dataset::DatasetError;
/// match node.dataset("reference")?.open() {
///     Ok(view) => println!("{} bytes", view.content_bytes()),
///     Err(DatasetError::NotFound { dataset }) => println!("publish {dataset:?} first"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// The broker.
    #[error(transparent)]
    Open(OpenError),
    /// Nobody has published a dataset of this name.
    #[error(
        "there is no dataset {dataset:?}: publish it with publish_file(), or `onecopy dataset publish`, or wait for it with open_within()"
    )]
    NotFound {
        /// Its name.
        dataset: String,
    },
    /// Nobody published in time.
    #[error("no newer version of dataset {dataset:?} was published in time")]
    Timeout {
        /// Its name.
        dataset: String,
    },
    /// Waiting was not possible.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The broker ended, and nobody else can tell of newer versions.
    #[error(
        "the broker of this instance has ended: what is open of dataset {dataset:?} goes on, but open a new node to learn of newer versions"
    )]
    BrokerGone {
        /// Its name.
        dataset: String,
    },
    /// The dataset's memory, on either side.
    #[error(transparent)]
    Memory(#[from] onecopy_memory::dataset::DatasetError),
    /// The file that is the content is not what it was.
    #[error(
        "{} {change} since it was published: publish it again, and to replace it rename a new file over it",
        path.display()
    )]
    Stale {
        /// Where it is, or was.
        path: PathBuf,
        /// What happened to it.
        change: &'static str,
    },
    /// The file could not be read, or what was asked for is not in it.
    #[error(transparent)]
    File(FileError),
    /// The dataset has no section of this name.
    #[error("dataset {dataset:?} has no section {section:?}; {}", sections(existing))]
    NoSection {
        /// The dataset's name.
        dataset: String,
        /// What was asked for.
        section: String,
        /// What there is.
        existing: Vec<String>,
    },
    /// The section has elements of another type.
    #[error(
        "section {section:?} has elements {existing}, and this program asked for {requested}: build both with the same type"
    )]
    SectionType {
        /// The section's name.
        section: String,
        /// What its elements are.
        existing: String,
        /// What was asked for.
        requested: String,
    },
    /// The content is a file that could change at any time, so it can't be lent.
    #[error(
        "dataset {dataset:?} is the file {}, which its owner can change under every reference: read it with read_at(), or publish it in memory",
        path.display()
    )]
    NotMapped {
        /// The dataset's name.
        dataset: String,
        /// The file.
        path: PathBuf,
    },
    /// There is nothing there in the content.
    #[error("a part of {} at {offset} is not in the dataset, which has {content_bytes}", counted(*bytes, "byte"))]
    OutOfRange {
        /// Where the read was to start.
        offset: u64,
        /// How much was to be read.
        bytes: usize,
        /// How much there is.
        content_bytes: u64,
    },
    /// The content is not the one whose hash was taken.
    #[error(
        "dataset {dataset:?} has the hash {actual}, and was published with {expected}: its publisher is broken, or the file was changed without a trace"
    )]
    Corrupt {
        /// Its name.
        dataset: String,
        /// What it should be.
        expected: Hash,
        /// What it is.
        actual: Hash,
    },
    /// There is no hash to compare with.
    #[error("dataset {dataset:?} was published without a hash, so nothing tells whether it is whole")]
    NoHash {
        /// Its name.
        dataset: String,
    },
    /// The broker does not keep the dataset.
    #[error("dataset {dataset:?} is not kept: {source}")]
    Keep {
        /// Its name.
        dataset: String,
        /// Why not.
        source: KeepError,
    },
    /// Not a name for a dataset.
    #[error(transparent)]
    Name(#[from] crate::topic_name::TopicNameError),
}

impl From<OpenError> for DatasetError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Refused(protocol::OpenError::NoDataset { dataset }) => Self::NotFound { dataset },
            other => Self::Open(other),
        }
    }
}

impl From<FileError> for DatasetError {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Stale { path, change } => Self::Stale { path, change },
            FileError::OutOfRange { offset, bytes, content_bytes } => {
                Self::OutOfRange { offset, bytes, content_bytes }
            }
            other => Self::File(other),
        }
    }
}

fn sections(existing: &[String]) -> String {
    if existing.is_empty() {
        return "it has none: read it with bytes()".to_owned();
    }
    let quoted: Vec<String> = existing.iter().map(|name| format!("{name:?}")).collect();
    format!("there are {}", quoted.join(", "))
}
