//! A dataset that never changes again, as its publisher and all its readers have it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::SealFlags;
use rustix::mm::ProtFlags;

use super::DatasetError;
use super::catalog::Catalog;
use crate::layout::SegmentKind;
use crate::mapping::Mapping;
use crate::segment::{self, SegmentError};
use crate::sync::Arc;

/// Seals without which a dataset from somebody else is refused: nobody can change its size or a byte of it.
pub(super) const REQUIRED_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::WRITE).union(SealFlags::SEAL);

/// What `stat` counts blocks in.
const BLOCK_BYTES: u64 = 512;

/// A dataset of this process or another, sealed and checked.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, DatasetError, SealedDataset, Sections};
/// use onecopy_memory::layout::CONTENT_ALIGNMENT;
///
/// let mut draft = DatasetDraft::create(4, Sections::default())?;
/// draft.write_at(0, b"ACGT")?;
/// let sealed = draft.seal(None)?;
/// // Whoever keeps the descriptor can hand it out, or open it again.
/// let kept = sealed.share_descriptor();
/// drop(sealed);
/// let reopened = SealedDataset::open_shared(kept)?;
/// assert_eq!((reopened.content(), reopened.catalog().content_bytes), (Some(b"ACGT".as_slice()), 4));
/// // Elements of any type are where they may be looked at.
/// assert!(reopened.content().is_some_and(|bytes| bytes.as_ptr().addr().is_multiple_of(CONTENT_ALIGNMENT)));
/// match reopened.lock() {
///     Ok(()) => println!("it is never swapped out"),
///     Err(told) => assert!(matches!(told, DatasetError::Lock { .. }), "{told}"),
/// }
/// # Ok::<(), DatasetError>(())
/// ```
#[derive(Debug)]
pub struct SealedDataset {
    descriptor: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
    catalog: Catalog,
}

impl SealedDataset {
    /// Checks and maps what may have come from another process. Takes as long for a large one as for a small one.
    ///
    /// See [`crate::dataset`] for an example.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it has its variant of [`DatasetError`] or [`SegmentError`].
    pub fn open(descriptor: OwnedFd) -> Result<Self, DatasetError> {
        Self::open_shared(Arc::new(descriptor))
    }

    /// The same of a descriptor that somebody else keeps, too.
    ///
    /// # Errors
    ///
    /// As for [`Self::open`].
    pub fn open_shared(descriptor: Arc<OwnedFd>) -> Result<Self, DatasetError> {
        let total_bytes = segment::check_memory(descriptor.as_fd(), REQUIRED_SEALS)?.total_bytes;
        check_filled(&descriptor, total_bytes)?;
        let mapping = Mapping::huge(descriptor.as_fd(), total_bytes, ProtFlags::READ, true)
            .map_err(|error| SegmentError::system("mmap", total_bytes, error))?;
        let mapping = Arc::new(mapping);
        segment::check_header(&mapping, SegmentKind::Dataset)?;
        let catalog = Catalog::decode(bytes_of(&mapping, 0, total_bytes)?)?;
        Ok(Self { descriptor, mapping, catalog })
    }

    /// What it says of itself.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Its bytes; `None` if they are in a file.
    #[inline]
    pub fn content(&self) -> Option<&[u8]> {
        let Catalog { content_offset, content_bytes, file: None, .. } = &self.catalog else { return None };
        bytes_of(&self.mapping, *content_offset, usize::try_from(*content_bytes).ok()?).ok()
    }

    /// Keeps all of it in memory, never to be swapped out, for as long as this value lives.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Lock`] if that is more than this process may.
    pub fn lock(&self) -> Result<(), DatasetError> {
        let bytes = self.mapping.len();
        self.mapping.lock().map_err(|error| DatasetError::Lock { bytes, source: error.into() })
    }

    /// What others need to open it.
    ///
    /// See [`crate::dataset`] for an example.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The same, for somebody who hands it out again later.
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }
}

/// Refuses memory with holes: reading one would allocate it, for which there may be no memory when it is too
/// late for an error. Sealed memory gets no further holes.
fn check_filled(descriptor: &OwnedFd, total_bytes: usize) -> Result<(), DatasetError> {
    let stat =
        rustix::fs::fstat(descriptor).map_err(|error| SegmentError::system("fstat", total_bytes, error))?;
    let filled = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES);
    if filled < total_bytes as u64 {
        return Err(DatasetError::Impossible { reason: "its memory has holes" });
    }
    Ok(())
}

fn bytes_of(mapping: &Mapping, offset: usize, bytes: usize) -> Result<&[u8], DatasetError> {
    let base = mapping.range(offset, bytes);
    let base = base.ok_or(DatasetError::Impossible { reason: "its content is not in its memory" })?;
    // SAFETY: `range` found the bytes inside the mapping, which lives as long as the reference. They can't change: the
    // memory is sealed against writing, a seal that the kernel grants only when no mapping is left to write through
    // and that nobody can lift; nor can it get shorter, and it has no holes.
    Ok(unsafe { std::slice::from_raw_parts(base.as_ptr(), bytes) })
}
