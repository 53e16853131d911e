//! Larger pages behind a dataset: a table of pages that is 512 times smaller, which is felt when reads jump
//! about in more memory than the processor has translations for.
//!
//! Pages that an administrator would have to set aside (`MFD_HUGETLB`) are not used: there are none on most
//! machines, and a reader that touches one when they have run out dies of it. What is used is `MADV_COLLAPSE`
//! (Linux 6.1), which turns ordinary pages that are filled already into a huge one, whatever the policy for
//! shared memory says (`shmem_enabled`, which is "never" nearly everywhere). Where there is none,
//! `MADV_HUGEPAGE` before filling would help only under a policy that few have, so it is not tried.

use std::io;

use crate::kernel;
use crate::mapping::{HUGE_PAGE_BYTES, Mapping};

/// Why ordinary pages are behind a dataset that was to have huge ones.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, HugePagesError, Sections};
///
/// let mut draft = DatasetDraft::create(4096, Sections::default())?;
/// assert!(matches!(draft.use_huge_pages(), Err(HugePagesError::TooSmall)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HugePagesError {
    /// It is smaller than one of them.
    #[error("the dataset is smaller than a huge page of 2 MiB: ordinary pages serve as well")]
    TooSmall,
    /// The kernel can't collapse pages.
    #[error("the kernel can't collapse pages of shared memory (Linux 6.1 can): ordinary pages are used")]
    Unsupported,
    /// There is no contiguous memory.
    #[error("no contiguous memory for huge pages is free: ordinary pages are used for some or all of it")]
    Fragmented(#[source] io::Error),
    /// There is no room to map it.
    #[error("no address space to map the dataset in: ordinary pages are used")]
    NoAddressSpace,
}

/// Puts huge pages behind a mapping whose pages are all there.
pub(super) fn collapse(mapping: &Mapping) -> Result<(), HugePagesError> {
    if mapping.len() < HUGE_PAGE_BYTES {
        return Err(HugePagesError::TooSmall);
    }
    if !kernel::features().collapse {
        return Err(HugePagesError::Unsupported);
    }
    match mapping.collapse() {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::INVAL) => Err(HugePagesError::Unsupported),
        Err(error) => Err(HugePagesError::Fragmented(error.into())),
    }
}
