//! A dataset being laid out: which sections it will have.

use onecopy_memory::dataset::{SectionSpec, Sections};

use super::draft::DatasetDraft;
use super::error::DatasetError;
use super::publishing::{Dataset, section_spec};
use crate::payload::PlainData;

/// Sections that a dataset will have; from [`Dataset::builder`].
#[derive(Debug)]
#[must_use = "nothing happens until allocate()"]
pub struct DatasetBuilder {
    dataset: Dataset,
    specs: Vec<SectionSpec>,
}

impl DatasetBuilder {
    pub(super) fn new(dataset: Dataset) -> Self {
        Self { dataset, specs: Vec::new() }
    }

    /// A further section, of `len` elements of type `T`. It will start at a cache line, or where `T` has to.
    pub fn section<T: PlainData>(mut self, name: &str, len: usize) -> Self {
        self.specs.push(section_spec::<T>(name, len));
        self
    }

    /// Takes memory for all sections, all zero.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Memory`]: no memory, two sections of one name, or a section that can't be.
    pub fn allocate(self) -> Result<DatasetDraft, DatasetError> {
        let sections = Sections::lay_out(&self.specs)?;
        DatasetDraft::allocate(self.dataset, sections)
    }
}
