//! A dataset being written, where it will be read.

use std::fmt;

use onecopy_memory::dataset::{Section, Sections};
use zerocopy::FromBytes;

use super::error::DatasetError;
use super::load;
use super::published::PublishedDataset;
use super::publishing::Dataset;
use super::view::{check_type, no_section};
use crate::payload::PlainData;

/// Memory of a dataset that nobody else sees yet; from [`super::DatasetBuilder::allocate`]. Dropped without
/// [`Self::publish`], it never was.
///
/// See [`super::DatasetBuilder`] and [`Self::section_mut`] for examples.
#[derive(Debug)]
pub struct DatasetDraft {
    dataset: Dataset,
    draft: onecopy_memory::dataset::DatasetDraft,
}

/// A section being written; from [`DatasetDraft::sections_mut`]. Several may be written at once, by several threads.
///
/// See [`DatasetDraft::sections_mut`] for an example.
pub struct SectionMut<'d> {
    section: Section,
    bytes: &'d mut [u8],
}

impl DatasetDraft {
    pub(super) fn allocate(dataset: Dataset, sections: Sections) -> Result<Self, DatasetError> {
        let bytes = sections.content_bytes();
        let too_large = onecopy_memory::dataset::DatasetError::TooLarge { bytes };
        let bytes = usize::try_from(bytes).map_err(|_| too_large)?;
        let draft = onecopy_memory::dataset::DatasetDraft::create(bytes, sections)?;
        Ok(Self { dataset, draft })
    }

    /// One section, to be written in place.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let builder = node.dataset("squares")?.builder().section::<u64>("squares", 1000);
    /// let mut draft = builder.allocate()?;
    /// for (number, square) in (0..).zip(draft.section_mut::<u64>("squares")?) {
    ///     *square = number * number;
    /// }
    /// let _published = draft.publish()?;
    /// assert_eq!(node.dataset("squares")?.open()?.section::<u64>("squares")?[12], 144);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::NoSection`], [`DatasetError::SectionType`].
    pub fn section_mut<T: PlainData>(&mut self, name: &str) -> Result<&mut [T], DatasetError> {
        let sections = &self.draft.catalog().sections;
        let section = sections.find(name).ok_or_else(|| no_section(&self.dataset.name, name, sections))?;
        check_type::<T>(section)?;
        let (start, end) = (section.offset as usize, section.end() as usize);
        let bytes = self.draft.content_mut()?.get_mut(start..end).unwrap_or_default();
        <[T]>::mut_from_bytes(bytes).map_err(|_| MISPLACED.into())
    }

    /// All sections at once, in the order in which they were laid out.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let builder = node.dataset("waves")?.builder();
    /// let mut draft = builder.section::<f32>("left", 480).section::<f32>("right", 480).allocate()?;
    /// std::thread::scope(|scope| {
    ///     for section in draft.sections_mut()? {
    ///         scope.spawn(|| section.into_slice::<f32>().map(|samples| samples.fill(0.5)));
    ///     }
    ///     Ok::<(), onecopy::dataset::DatasetError>(())
    /// })?;
    /// let published = draft.publish()?;
    /// # Ok(()) }
    /// ```
    ///
    /// What comes as bytes is written as bytes, whatever the elements are:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use std::io::Read;
    ///
    /// # let mut file: &[u8] = &[1; 960];
    /// let builder = node.dataset("waves")?.builder();
    /// let mut draft = builder.section::<u16>("left", 240).section::<u16>("right", 240).allocate()?;
    /// for mut section in draft.sections_mut()? {
    ///     println!("reading {}", section.name());
    ///     file.read_exact(section.bytes_mut())?;
    /// }
    /// # assert!(file.is_empty());
    /// let _published = draft.publish()?;
    /// assert_eq!(node.dataset("waves")?.open()?.section::<u16>("right")?, [0x0101; 240]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Memory`] if there is no address space for them.
    pub fn sections_mut(&mut self) -> Result<Vec<SectionMut<'_>>, DatasetError> {
        let sections = self.draft.catalog().sections.as_slice().to_vec();
        let mut rest = self.draft.content_mut()?;
        let mut at = 0;
        let mut split = Vec::with_capacity(sections.len());
        for section in sections {
            // They were laid out one behind the other.
            let (gap, bytes) = (section.offset as usize - at, section.bytes as usize);
            let Some((bytes, behind)) =
                rest.split_at_mut_checked(gap).and_then(|(_, rest)| rest.split_at_mut_checked(bytes))
            else {
                return Err(MISPLACED.into());
            };
            at = section.end() as usize;
            rest = behind;
            split.push(SectionMut { section, bytes });
        }
        Ok(split)
    }

    /// Seals what was written, and makes it the dataset's newest version.
    ///
    /// # Errors
    ///
    /// As for [`Dataset::publish_file`].
    pub fn publish(mut self) -> Result<PublishedDataset, DatasetError> {
        let hash = match self.dataset.hash {
            true => Some(load::hash_bytes(self.draft.content()?, &mut |_| {})),
            false => None,
        };
        self.dataset.publish_draft(self.draft, hash)
    }
}

/// Of memory that this very process laid out.
const MISPLACED: onecopy_memory::dataset::DatasetError =
    onecopy_memory::dataset::DatasetError::Impossible { reason: "a section is not where it was laid out" };

impl<'d> SectionMut<'d> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.section.name
    }

    /// Its bytes, to be written in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.bytes
    }

    /// Its elements, to be written in place.
    ///
    /// # Errors
    ///
    /// [`DatasetError::SectionType`].
    pub fn into_slice<T: PlainData>(self) -> Result<&'d mut [T], DatasetError> {
        check_type::<T>(&self.section)?;
        <[T]>::mut_from_bytes(self.bytes).map_err(|_| MISPLACED.into())
    }
}

impl fmt::Debug for SectionMut<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SectionMut").field(&self.section).finish()
    }
}
