//! A dataset being laid out: which sections it will have.

use onecopy_memory::dataset::{SectionSpec, Sections};

use super::draft::DatasetDraft;
use super::error::DatasetError;
use super::publishing::{Dataset, section_spec};
use crate::payload::PlainData;

/// Sections that a dataset will have; from [`Dataset::builder`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let builder = node.dataset("table")?.builder().section::<u64>("keys", 3).section::<f32>("values", 3);
/// let mut draft = builder.allocate()?;
/// draft.section_mut::<u64>("keys")?.copy_from_slice(&[2, 3, 5]);
/// draft.section_mut::<f32>("values")?.fill(0.5);
/// let _published = draft.publish()?;
/// let view = node.dataset("table")?.open()?;
/// assert_eq!(view.section::<u64>("keys")?, [2, 3, 5]);
/// # Ok(()) }
/// ```
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
