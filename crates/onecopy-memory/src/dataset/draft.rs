//! A dataset being filled. Nobody else has its memory yet, so whoever fills it may do so through plain
//! references; then it is sealed, which the kernel grants only when nobody can write it any more.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FallocateFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, ProtFlags};

use super::catalog::{Catalog, ContentHash};
use super::file::FileReference;
use super::huge_pages::{self, HugePagesError};
use super::room::{self, PIECE_BYTES};
use super::sealed::{REQUIRED_SEALS, SealedDataset};
use super::{DatasetError, Sections};
use crate::mapping::Mapping;
use crate::segment::{self, SegmentError};

/// Memory for a dataset, to be filled and then [sealed](Self::seal). Dropped before, it never was.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, Sections};
///
/// let mut draft = DatasetDraft::create(8, Sections::default())?;
/// assert_eq!(draft.catalog().content_bytes, 8);
/// // What lies elsewhere already is copied; the rest is written in place.
/// draft.write_at(0, b"ACGT")?;
/// draft.content_mut()?[4..].fill(b'N');
/// assert_eq!(draft.content()?, b"ACGTNNNN");
/// if let Err(why) = draft.use_huge_pages() {
///     println!("{why}");
/// }
/// assert_eq!(draft.seal(None)?.content(), Some(b"ACGTNNNN".as_slice()));
/// # Ok::<(), onecopy_memory::dataset::DatasetError>(())
/// ```
#[derive(Debug)]
pub struct DatasetDraft {
    descriptor: OwnedFd,
    total_bytes: usize,
    catalog: Catalog,
    /// Made when somebody wants to write in place.
    mapping: Option<Mapping>,
}

impl DatasetDraft {
    /// Takes memory for a content of so many bytes, all zero, with these parts.
    ///
    /// All of it is taken here: what is sealed has no holes, so that nobody who reads it is ever short of memory.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Segment`] if there is not so much memory, or no descriptor; [`DatasetError::TooLarge`];
    /// [`DatasetError::Impossible`] if the sections don't fit the content.
    pub fn create(content_bytes: usize, sections: Sections) -> Result<Self, DatasetError> {
        Self::with_catalog(Catalog::of_memory(content_bytes, sections)?)
    }

    /// The segment of a dataset whose content is a file. There is nothing to fill.
    ///
    /// ```
    /// use onecopy_memory::dataset::{DatasetDraft, DatasetFile, SealedDataset, Sections};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("reference.fa");
    /// std::fs::write(&path, "ACGT")?;
    /// let reference = DatasetFile::open(&path)?.reference().clone();
    /// let sealed = DatasetDraft::of_file(reference.clone(), Sections::default())?.seal(None)?;
    /// // Whoever receives it learns which file, and reads it there.
    /// let received = SealedDataset::open(sealed.descriptor().try_clone_to_owned()?)?;
    /// assert_eq!((received.content(), received.catalog().file.as_ref()), (None, Some(&reference)));
    /// let mut bases = [0; 4];
    /// DatasetFile::reopen(&reference)?.read_at(0, &mut bases)?;
    /// assert_eq!(&bases, b"ACGT");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::create`].
    pub fn of_file(file: FileReference, sections: Sections) -> Result<Self, DatasetError> {
        Self::with_catalog(Catalog::of_file(file, sections)?)
    }

    fn with_catalog(catalog: Catalog) -> Result<Self, DatasetError> {
        let total_bytes = catalog.segment_bytes()?;
        let descriptor = segment::new_memory(total_bytes)?;
        let mut draft = Self { descriptor, total_bytes, catalog, mapping: None };
        draft.allocate()?;
        draft.write_catalog()?;
        Ok(draft)
    }

    /// What the dataset will say of itself.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The content, to be written in place.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Segment`] if there is no address space for it.
    pub fn content_mut(&mut self) -> Result<&mut [u8], DatasetError> {
        let (offset, bytes) = self.content_range();
        let base = self.mapping()?.range(offset, bytes).ok_or(CUT_OFF)?;
        // SAFETY: `range` found the bytes inside the mapping, which lives as long as `self`. Nobody else can have them:
        // the descriptor has not left this value, the mapping is not inherited by children, and the reference
        // borrows `self` exclusively. All pages were allocated, and nobody can make the memory shorter but this
        // value, which never does.
        Ok(unsafe { std::slice::from_raw_parts_mut(base.as_ptr(), bytes) })
    }

    /// The content as it is so far.
    ///
    /// # Errors
    ///
    /// As for [`Self::content_mut`].
    pub fn content(&mut self) -> Result<&[u8], DatasetError> {
        Ok(self.content_mut()?)
    }

    /// Copies bytes to a place in the content: quicker than through [`Self::content_mut`] for those that lie elsewhere
    /// already, since memory that is written whole pages at a time is neither cleared nor mapped first.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Impossible`] if they don't fit there, [`DatasetError::Segment`] if the kernel refuses.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) -> Result<(), DatasetError> {
        let (start, length) = self.content_range();
        let fits = offset.checked_add(bytes.len()).is_some_and(|end| end <= length);
        if !fits {
            return Err(DatasetError::Impossible { reason: "more was written to it than fits" });
        }
        self.write(start + offset, bytes)
    }

    /// Has larger pages put behind what was written, as far as the kernel can.
    ///
    /// # Errors
    ///
    /// [`HugePagesError`] says why not. The draft is as good as before.
    pub fn use_huge_pages(&mut self) -> Result<(), HugePagesError> {
        let mapping = self.mapping().map_err(|_| HugePagesError::NoAddressSpace)?;
        huge_pages::collapse(mapping)
    }

    /// Ends the filling: from now on nobody can change it, this process included.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Shared`] if somebody can, [`DatasetError::Segment`] if the kernel refuses.
    pub fn seal(mut self, hash: Option<ContentHash>) -> Result<SealedDataset, DatasetError> {
        self.catalog.hash = hash;
        self.write_catalog()?;
        // The kernel refuses the seal while there is a mapping to write through.
        drop(self.mapping.take());
        match rustix::fs::fcntl_add_seals(&self.descriptor, REQUIRED_SEALS.union(SealFlags::FUTURE_WRITE)) {
            Ok(()) => SealedDataset::open(self.descriptor),
            Err(Errno::BUSY) => Err(DatasetError::Shared),
            Err(error) => Err(self.failed("F_ADD_SEALS", error)),
        }
    }

    fn content_range(&self) -> (usize, usize) {
        // Whether a content is in the segment was decided, and its size checked, when the draft was made.
        let bytes = if self.catalog.file.is_some() { 0 } else { self.catalog.content_bytes };
        (self.catalog.content_offset, usize::try_from(bytes).unwrap_or(0))
    }

    fn mapping(&mut self) -> Result<&Mapping, DatasetError> {
        if self.mapping.is_none() {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            let mapping = Mapping::huge(self.descriptor.as_fd(), self.total_bytes, protection, false)
                .map_err(|error| self.failed("mmap", error))?;
            // A child that had it could write what is sealed here, or rather keep it from being sealed.
            mapping.advise(Advice::LinuxDontFork).map_err(|error| self.failed("madvise", error))?;
            self.mapping = Some(mapping);
        }
        self.mapping.as_ref().ok_or(CUT_OFF)
    }

    fn allocate(&mut self) -> Result<(), DatasetError> {
        let total_bytes = self.total_bytes as u64;
        if !room::is_there_room(total_bytes) {
            return Err(DatasetError::NoRoom { bytes: total_bytes });
        }
        let mut taken = 0;
        while taken < total_bytes {
            let piece = (total_bytes - taken).min(PIECE_BYTES);
            if taken > 0 && !room::is_there_room(piece) {
                return Err(DatasetError::NoRoom { bytes: total_bytes });
            }
            let flags = FallocateFlags::empty();
            rustix::io::retry_on_intr(|| rustix::fs::fallocate(&self.descriptor, flags, taken, piece))
                .map_err(|error| self.failed("fallocate", error))?;
            taken += piece;
        }
        Ok(())
    }

    fn write_catalog(&mut self) -> Result<(), DatasetError> {
        let encoded = self.catalog.encode()?;
        self.write(0, &encoded)
    }

    fn write(&self, mut offset: usize, mut bytes: &[u8]) -> Result<(), DatasetError> {
        while !bytes.is_empty() {
            let written =
                rustix::io::retry_on_intr(|| rustix::io::pwrite(&self.descriptor, bytes, offset as u64));
            let written = written.map_err(|error| self.failed("pwrite", error))?;
            bytes = bytes.get(written..).unwrap_or_default();
            offset += written;
        }
        Ok(())
    }

    fn failed(&self, call: &'static str, error: Errno) -> DatasetError {
        SegmentError::system(call, self.total_bytes, error).into()
    }
}

/// Of memory that this very process made.
const CUT_OFF: DatasetError = DatasetError::Impossible { reason: "its memory is cut off" };
