//! Bytes that are filled once and then never change, with named, typed parts.
//!
//! A dataset is a memfd that is filled while nobody else has it, and then sealed against *all* writing: not even its
//! owner can change a byte of it any more. So everybody may look at it through plain references, for as long as
//! they like. Or its content is a file, and the segment only says which file, and as it was when: see [`DatasetFile`].
//!
//! | file | one concept |
//! |---|---|
//! | `catalog.rs` | what a dataset says of itself, and the checks of it |
//! | `sections.rs` | parts of the content and where they lie |
//! | `draft.rs` | a dataset being filled |
//! | `sealed.rs` | one that never changes again |
//! | `file.rs` | a file that is the content, and whether it still is |
//! | `room.rs` | whether there is memory for it |
//! | `huge_pages.rs` | larger pages behind the memory |
//!
//! ```
//! use onecopy_memory::dataset::{DatasetDraft, SealedDataset, Sections};
//!
//! let mut draft = DatasetDraft::create(5, Sections::default())?;
//! draft.content_mut()?.copy_from_slice(b"bytes");
//! let sealed = draft.seal(None)?;
//!
//! let received = SealedDataset::open(sealed.descriptor().try_clone_to_owned()?)?;
//! assert_eq!(received.content(), Some(&b"bytes"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod catalog;
mod draft;
mod file;
mod huge_pages;
mod room;
mod sealed;
mod sections;

pub use catalog::{Catalog, ContentHash};
pub use draft::DatasetDraft;
pub use file::{DatasetFile, FileError, FileIdentity, FileReference};
pub use huge_pages::HugePagesError;
pub use sealed::SealedDataset;
pub use sections::{Section, SectionSpec, Sections};

use crate::counted::counted;
use crate::segment::SegmentError;

/// Why a dataset could not be made, or one that was offered was refused.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, DatasetError, Sections};
/// use onecopy_memory::layout::CONTENT_BYTES_MAX;
///
/// let mut draft = DatasetDraft::create(5, Sections::default())?;
/// // Four bytes from the third on end beyond the fifth.
/// assert!(matches!(draft.write_at(2, b"ACGT"), Err(DatasetError::Impossible { .. })));
/// let too_large = DatasetDraft::create(CONTENT_BYTES_MAX as usize + 1, Sections::default());
/// assert!(matches!(too_large, Err(DatasetError::TooLarge { .. })));
/// # Ok::<(), DatasetError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// Its memory.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// What it says of itself contradicts itself, or the size of its memory.
    #[error("the dataset is impossible ({reason}): its publisher is broken or hostile")]
    Impossible {
        /// What is wrong.
        reason: &'static str,
    },
    /// A section that can't be.
    #[error("section {section:?} is impossible: {reason}")]
    Section {
        /// Its name.
        section: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More than a dataset can have.
    #[error("a dataset of {bytes} bytes is larger than any can be")]
    TooLarge {
        /// What was asked for.
        bytes: u64,
    },
    /// There is not so much memory.
    #[error(
        "there is no memory for a dataset of {}: free some, raise the limit of the control group, or leave the bytes in a file",
        counted(*bytes, "byte")
    )]
    NoRoom {
        /// What was asked for.
        bytes: u64,
    },
    /// The memory could not be locked.
    #[error(
        "{} can't be locked in memory: raise the limit (`ulimit -l`, or LimitMEMLOCK= in a systemd unit), or do without",
        counted(*bytes, "byte")
    )]
    Lock {
        /// How much.
        bytes: usize,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else can still write the memory, as a child does that was forked while it was filled.
    #[error(
        "the dataset can't be sealed because another process can write it: don't fork while one is filled"
    )]
    Shared,
}
