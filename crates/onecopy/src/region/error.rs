//! What can go wrong with a region.

use std::path::PathBuf;

use onecopy_memory::counted::counted;
use onecopy_memory::region::{CompareError, GeometryError, LockError, ReadError, RegionFault, WriteError};

use crate::broker::protocol::KeepError;
use crate::error::{OpenError, ReceiveError, WaitError};

/// Why a region could not be opened, read, written, locked or waited for.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::region::RegionError;
/// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
/// match gain.compare_and_set(7, &2.0) {
///     Err(RegionError::Conflict { current }) => println!("it is at version {current}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegionError {
    /// The broker, memory, or another type or mode.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Nobody has a region of this name.
    #[error("there is no region {region:?}: create it with open_or_create(), or `onecopy region create`")]
    NotFound {
        /// Its name.
        region: String,
    },
    /// The value lies with a process that does not answer.
    #[error(
        "region {region:?} has a writer that is stopped or stuck, and may go on to write it: let it run or end it (`onecopy status` shows it), and open the region again"
    )]
    WriterStuck {
        /// Its name.
        region: String,
    },
    /// There is a region of this name, and it was to be new.
    #[error("region {region:?} exists already: open it with open() or open_or_create(), or use another name")]
    Exists {
        /// Its name.
        region: String,
    },
    /// Another process writes the region.
    #[error(
        "region {region:?} is written by process {pid}, and has a single writer: let that one write, or open the region for several writers with shared()"
    )]
    ReadOnly {
        /// Its name.
        region: String,
        /// Its writer; 0 if that has ended.
        pid: u32,
    },
    /// The value is larger than the region.
    #[error(
        "a value of {} is more than the region's capacity of {capacity_bytes}: resize() it first",
        counted(*bytes, "byte")
    )]
    TooLarge {
        /// Size of the value.
        bytes: usize,
        /// Room in the region.
        capacity_bytes: usize,
    },
    /// The bytes are no value of the region's type.
    #[error("a value of this region has {}, and this one has {bytes}", counted(*expected, "byte"))]
    WrongSize {
        /// How many were given.
        bytes: usize,
        /// How many there must be.
        expected: usize,
    },
    /// Somebody wrote in between.
    #[error("the region is at version {current} by now: read it again, then decide")]
    Conflict {
        /// Its version now.
        current: u64,
    },
    /// Somebody else had the lock all the time.
    #[error(
        "the region is locked by process {pid}, which did not let go in time: look what it does (`onecopy status`)"
    )]
    Locked {
        /// The holder's process; 0 if that is not known.
        pid: u32,
    },
    /// The value did not change in time.
    #[error("the region did not change in time")]
    Timeout,
    /// The sizes asked for make no region.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Reading failed: a broken writer, or too much is held.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(WriteError),
    /// The region's memory could not be made or opened.
    #[error(transparent)]
    Memory(onecopy_memory::region::OpenError),
    /// Comparing failed.
    #[error(transparent)]
    Compare(CompareError),
    /// What came of the region's memory was refused, or this node was.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The value has not the size or alignment of the region's type, though the region says that it has: a
    /// broken writer.
    #[error(
        "version {version} of the region is {} long, which is no value of its type: its writer is broken",
        counted(*bytes, "byte")
    )]
    Misfit {
        /// Which value.
        version: u64,
        /// Its length.
        bytes: usize,
    },
    /// The bytes are no text.
    #[error("version {version} of the region is no UTF-8 text: read it as bytes")]
    NotText {
        /// Which value.
        version: u64,
    },
    /// The file that keeps the region's value.
    #[error("cannot {operation} the region's file {}", path.display())]
    File {
        /// What was tried.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold this region's value ({reason}): move it away, or give another file", path.display())]
    ForeignFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The region is kept in a file that was not named, and whose name nobody vouches for.
    #[error(
        "region {region:?} is kept in the file {kept_in:?}, as another process says: if it is right, name that file when you open the region to write it, with file() or --file"
    )]
    FileNotNamed {
        /// Its name.
        region: String,
        /// Its file.
        kept_in: PathBuf,
    },
    /// The region is kept in another file than the one named.
    #[error(
        "region {region:?} is kept in the file {kept_in:?}, and not in {path:?}: name the former, or none"
    )]
    OtherFile {
        /// Its name.
        region: String,
        /// The file that was named.
        path: PathBuf,
        /// Its file.
        kept_in: PathBuf,
    },
    /// Several write the region, and keep it in no file.
    #[error(
        "region {region:?} is kept in no file, and others write it: {path:?} would miss that; open it without a file, or let all close it and make it anew with the file"
    )]
    NoFile {
        /// Its name.
        region: String,
        /// The file that was named.
        path: PathBuf,
    },
    /// The broker does not keep the region.
    #[error("region {region:?} is not kept: {source}")]
    Keep {
        /// Its name.
        region: String,
        /// Why not.
        source: KeepError,
    },
    /// Not a name for a region.
    #[error(transparent)]
    Name(#[from] crate::topic_name::TopicNameError),
    /// The system refused to wait.
    #[error(transparent)]
    Wait(WaitError),
}

impl From<WaitError> for RegionError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Timeout => Self::Timeout,
            WaitError::Receive(error) => Self::Receive(error),
            other => Self::Wait(other),
        }
    }
}

impl From<WriteError> for RegionError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::TooLarge { length_bytes, capacity_bytes } => {
                Self::TooLarge { bytes: length_bytes, capacity_bytes }
            }
            other => Self::Write(other),
        }
    }
}

impl From<RegionFault> for RegionError {
    fn from(fault: RegionFault) -> Self {
        Self::Read(fault.into())
    }
}

impl From<LockError> for RegionError {
    fn from(error: LockError) -> Self {
        Self::Write(error.into())
    }
}

impl From<CompareError> for RegionError {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Conflict { current } => Self::Conflict { current },
            CompareError::Write(error) => error.into(),
            other => Self::Compare(other),
        }
    }
}
