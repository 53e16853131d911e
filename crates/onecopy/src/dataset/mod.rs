//! Datasets: bytes that are loaded once and read by many, replaced only as a whole.
//!
//! A publisher fills memory and seals it: from then on nobody can change it, not even the publisher, and every process
//! that opens the dataset has the same memory mapped. Opening costs the same for a kilobyte and for a
//! terabyte. A further publication is a new version: whoever opens gets that one, whoever has an older one
//! open keeps it, and the kernel frees it when the last of those lets go.
//!
//! A dataset is there as long as any process has it open, to publish it or to look at it, whichever version. With
//! [`crate::Node::keep_dataset`], `onecopy serve` keeps it while nobody does.
//!
//! | file | one concept |
//! |---|---|
//! | `publishing.rs` | a dataset by its name, and how it is to be published |
//! | `builder.rs`, `draft.rs` | one laid out in sections and written in place |
//! | `load.rs` | a file on its way into memory, and hashes |
//! | `published.rs` | what its publisher has |
//! | `view.rs` | what its readers have |
//! | `source.rs` | where a reader's bytes are: memory, or a file |
//! | `error.rs` | what can go wrong |

mod builder;
mod draft;
mod error;
mod load;
mod published;
mod publishing;
mod source;
mod view;

pub use builder::DatasetBuilder;
pub use draft::{DatasetDraft, SectionMut};
pub use error::DatasetError;
pub use load::{Hash, Progress};
pub use onecopy_memory::dataset::{Catalog, FileIdentity, FileReference, HugePagesError, Section};
pub use published::PublishedDataset;
pub use publishing::{Backing, Dataset};
pub use view::DatasetView;
