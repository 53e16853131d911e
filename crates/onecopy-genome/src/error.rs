//! What goes wrong with genome files, said so that the reader knows which file it is and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use onecopy::counted;

/// A failure of this crate. Every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenomeError {
    /// The system refused to read or to write.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// What was tried, as in "open".
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file ends before it is complete.
    #[error("{} is truncated: {what}; copy or write it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
    },
    /// The file holds something else than its format allows.
    #[error("{} is damaged or of another format: {what}, at byte {offset}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where, in the file as it lies on the disk.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// What noodles says of a file that it can't read.
    #[error("{} cannot be read as {format}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The format it should have.
        format: &'static str,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An index beside a file (`.fai`, `.bai`, `.csi`, `.crai`) that can't be read.
    #[error("{} is damaged: {source}; remove it, and it is made again", path.display())]
    SideIndex {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// An index of read names that breaks the rules of its format.
    #[error("the index {origin} is damaged: {fault}; make it again with `onecopy genome index`")]
    Index {
        /// Its file, or its dataset.
        origin: String,
        /// What is wrong.
        #[source]
        fault: IndexFault,
    },
    /// A dataset that can't be published, opened or read.
    #[error(transparent)]
    Dataset(#[from] onecopy::dataset::DatasetError),
    /// The index was made for another BAM file, or for an earlier state of this one.
    #[error(
        "the index {index} is not of {}: {what}; make one with `onecopy genome index {}`",
        bam.display(),
        bam.display()
    )]
    IndexOfAnother {
        /// The index's file or dataset.
        index: String,
        /// The BAM file.
        bam: PathBuf,
        /// How that is known.
        what: String,
    },
    /// The file was written to while it was in use.
    #[error("{} was changed while it was in use: what was read of it is not to be trusted; start again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The index of coordinates beside a file does not fit it.
    #[error(
        "the index of coordinates beside {} was made for another file, or for an earlier state of this one; make it again with `samtools index`",
        path.display()
    )]
    ForeignCoordinates {
        /// The BAM file.
        path: PathBuf,
    },
    /// The alignments are not in the order of their positions.
    #[error("{} is not sorted by coordinate; sort it with `samtools sort`", path.display())]
    NotSorted {
        /// The file.
        path: PathBuf,
    },
    /// The alignments refer to another reference than the one given.
    #[error("{} is not the reference of {}: {what}", reference.display(), alignments.display())]
    ForeignReference {
        /// The FASTA file.
        reference: PathBuf,
        /// The BAM or CRAM file.
        alignments: PathBuf,
        /// The first difference.
        what: String,
    },
    /// A line of the list of positions makes no sense.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The file's format is not what the task needs.
    #[error("{} cannot be used here: {what}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        what: &'static str,
    },
}

/// How an index of read names breaks its format's rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexFault {
    /// Not even the header.
    #[error("it has {}, which is less than a header", counted(*bytes, "byte"))]
    NoHeader {
        /// Its size.
        bytes: u64,
    },
    /// Another version, or something else altogether.
    #[error("its version is {found}, and only version 1 is known")]
    Version {
        /// What stands in the place of the version.
        found: u64,
    },
    /// Its parts don't add up to its size.
    #[error(
        "its header promises {} of names and {}, and it has {}",
        counted(*names_bytes, "byte"), counted(*records, "record"), counted(*bytes, "byte")
    )]
    Size {
        /// Bytes of names, as the header says.
        names_bytes: u64,
        /// Records, as the header says.
        records: u64,
        /// Its size.
        bytes: u64,
    },
    /// The names don't end with a NUL.
    #[error("its last name has no end")]
    Unterminated,
    /// A record points behind the names.
    #[error("record {record} has its name at {offset}, and the names end at {names_bytes}")]
    NameOffset {
        /// Which record, from 0.
        record: u64,
        /// The offset it holds.
        offset: u64,
        /// The bytes there are.
        names_bytes: u64,
    },
    /// A record points behind the alignments.
    #[error("it has an alignment at byte {offset}, and the BAM file has {}", counted(*file_bytes, "byte"))]
    AlignmentOffset {
        /// The place of its block.
        offset: u64,
        /// The BAM file's size.
        file_bytes: u64,
    },
    /// The names are not in order.
    #[error("record {record} is out of order")]
    Order {
        /// Which record, from 0.
        record: u64,
    },
    /// The table of names beside the records does not belong to them.
    #[error("its table of names is damaged: {0}")]
    Table(&'static str),
}

impl GenomeError {
    /// For `map_err`: what the system refused.
    pub(crate) fn file<'a>(operation: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::File { operation, path: path.to_owned(), source }
    }

    /// For `map_err`: what noodles refused of an index that can be made again.
    pub(crate) fn side_index(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
                Self::File { operation: "read", path: path.to_owned(), source }
            }
            _ => Self::SideIndex { path: path.to_owned(), source },
        }
    }

    /// For `map_err`: what noodles refused.
    pub(crate) fn unreadable<'a>(
        format: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| match source.kind() {
            io::ErrorKind::UnexpectedEof => {
                Self::Truncated { path: path.to_owned(), what: "it ends in the middle of something" }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound => {
                Self::File { operation: "read", path: path.to_owned(), source }
            }
            _ => Self::Unreadable { path: path.to_owned(), format, source },
        }
    }
}
