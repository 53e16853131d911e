//! An index that all processes of a machine share: a dataset with the index as it is in its file, and the table that finds
//! names in it fast. It is found by the identity of the BAM file, so whoever has that file, by whatever path, finds it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use onecopy::Node;
use onecopy::dataset::{Dataset, DatasetError, DatasetView, PublishedDataset};

use crate::bri::{BriView, Records};
use crate::error::{GenomeError, IndexFault};
use crate::identity::FileIdentity;
use crate::lookup::LookupTable;
use crate::name_index;

/// The section with the index, byte for byte the file.
const INDEX: &str = "bri";
/// The section with the table.
const TABLE: &str = "names";

/// The name of the dataset in which the index of the BAM file with this identity is shared.
///
/// ```
/// # use onecopy_genome::FileIdentity;
/// # let identity = FileIdentity::parse("57-000102030405060708090a0b0c0d0e0f").ok_or("no identity")?;
/// assert_eq!(onecopy_genome::dataset_name(&identity), "genome/names/57-000102030405060708090a0b0c0d0e0f");
/// # Ok::<(), &str>(())
/// ```
pub fn dataset_name(bam: &FileIdentity) -> String {
    format!("genome/names/{bam}")
}

/// Publishes the index of `bam` in the file `index`. It is there as long as what is returned, or anybody's view of it.
/// `progress` is called with the bytes of the index that were read, and their sum.
///
/// Every record is looked at first: an index that breaks its format's rules is not shared.
///
/// # Errors
///
/// If the index is damaged or of another BAM file, or can't be published.
pub fn share(
    node: &Node,
    bam: &Path,
    index: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<PublishedDataset, GenomeError> {
    let file = name_index::open_checked(bam, index)?;
    let identity = FileIdentity::of(bam)?;
    let bytes = file.bytes_of_file();
    let table_bytes = LookupTable::bytes_for(file.count_names()?);
    let dataset = node.dataset(&dataset_name(&identity))?.huge_pages();
    let mut draft = lay_out(&dataset, bytes, table_bytes)?;
    let mut sections = draft.sections_mut()?;
    // In the order in which they were laid out.
    if let [content, table] = sections.as_mut_slice() {
        let content = content.bytes_mut();
        file.copy_to(content, |done| progress(done, bytes))?;
        let mut fill = || {
            let view = BriView::new(content)?;
            view.verify(identity.bytes())?;
            LookupTable::write(&view, table.bytes_mut())
        };
        fill().map_err(|fault| file.damaged(fault))?;
    }
    drop(sections);
    Ok(draft.publish()?)
}

fn lay_out(
    dataset: &Dataset,
    index_bytes: u64,
    table_bytes: u64,
) -> Result<onecopy::dataset::DatasetDraft, GenomeError> {
    Ok(dataset
        .builder()
        .section::<u8>(INDEX, index_bytes as usize)
        .section::<u8>(TABLE, table_bytes as usize)
        .allocate()?)
}

/// A shared index. Clones are for other threads.
#[derive(Clone)]
pub struct SharedIndex {
    view: Arc<DatasetView>,
    /// The BAM file that it is of.
    bam_bytes: u64,
}

impl SharedIndex {
    /// Opens the index of `bam`, if anybody shares it. The cost does not depend on its size.
    ///
    /// # Errors
    ///
    /// If the BAM file can't be read, or what is shared is no index.
    pub fn open(node: &Node, bam: &Path) -> Result<Option<Self>, GenomeError> {
        let identity = FileIdentity::of(bam)?;
        let view = match node.dataset(&dataset_name(&identity))?.open() {
            Ok(view) => Arc::new(view),
            Err(DatasetError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let index = Self { view, bam_bytes: identity.bytes() };
        index.lookup()?;
        Ok(Some(index))
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        self.view.name()
    }

    /// What finds names. To be had once for many names.
    ///
    /// # Errors
    ///
    /// If what is shared is no index.
    pub fn lookup(&self) -> Result<Lookup<'_>, GenomeError> {
        let index = BriView::new(self.view.section_bytes(INDEX)?).map_err(|fault| self.damaged(fault))?;
        let table = self.view.section_bytes(TABLE)?;
        let table = LookupTable::new(table, &index).map_err(|fault| self.damaged(fault))?;
        Ok(Lookup { index, table })
    }

    pub(crate) fn bam_bytes(&self) -> u64 {
        self.bam_bytes
    }

    pub(crate) fn damaged(&self, fault: IndexFault) -> GenomeError {
        GenomeError::Index { origin: format!("in dataset {:?}", self.name()), fault }
    }
}

impl fmt::Debug for SharedIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SharedIndex").field("view", &self.view).finish_non_exhaustive()
    }
}

/// Finds names in a shared index.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// The index.
    pub index: BriView<'a>,
    table: LookupTable<'a>,
}

impl Lookup<'_> {
    /// The records of a name; none if the name is unknown.
    ///
    /// # Errors
    ///
    /// If the table or the index points behind its end.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Result<Records, IndexFault> {
        self.table.find(name, &self.index)
    }

    /// The same for many names, which takes less time for each. Calls `found` for each name in turn.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find); names before the one that failed were found.
    pub fn find_all<'n>(
        &self,
        names: impl IntoIterator<Item = &'n [u8]>,
        found: impl FnMut(Records),
    ) -> Result<(), IndexFault> {
        self.table.find_all(names, &self.index, found)
    }
}
