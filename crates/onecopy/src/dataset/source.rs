//! Where a reader's bytes are.

use onecopy_memory::dataset::{Catalog, DatasetFile, SealedDataset};

use super::error::DatasetError;

/// The bytes of a version, and what it says of itself.
#[derive(Debug)]
pub(super) struct Source {
    sealed: SealedDataset,
    /// Set where the content is a file.
    file: Option<DatasetFile>,
}

impl Source {
    pub(super) fn open(sealed: SealedDataset) -> Result<Self, DatasetError> {
        let file = sealed.catalog().file.as_ref().map(DatasetFile::reopen).transpose()?;
        Ok(Self { sealed, file })
    }

    pub(super) fn catalog(&self) -> &Catalog {
        self.sealed.catalog()
    }

    pub(super) fn file(&self) -> Option<&DatasetFile> {
        self.file.as_ref()
    }

    /// The bytes, if they can be lent.
    #[inline]
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.file {
            None => self.sealed.content(),
            Some(file) => file.content(),
        }
    }

    pub(super) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DatasetError> {
        if let Some(file) = &self.file {
            return Ok(file.read_at(offset, buffer)?);
        }
        let content = self.sealed.content().unwrap_or_default();
        let bytes = buffer.len();
        let part =
            usize::try_from(offset).ok().and_then(|start| content.get(start..start.checked_add(bytes)?));
        let content_bytes = content.len() as u64;
        buffer.copy_from_slice(part.ok_or(DatasetError::OutOfRange { offset, bytes, content_bytes })?);
        Ok(())
    }

    pub(super) fn lock(&self) -> Result<(), DatasetError> {
        Ok(self.sealed.lock()?)
    }
}
