//! An index that all processes of a machine share: a dataset with the names and what finds them. It is found
//! by the identity of the BAM file, so whoever has that file, by whatever path, finds it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use onecopy::Node;
use onecopy::dataset::{DatasetError, DatasetView, PublishedDataset};

use crate::error::{GenomeError, IndexFault};
use crate::identity::FileIdentity;
use crate::lookup::{Lookup, LookupWriter};
use crate::owner;

/// The section with the names and their alignments.
const ENTRIES: &str = "entries";
/// The section with what finds them.
const BUCKETS: &str = "buckets";

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
/// ```no_run
/// use std::path::Path;
/// use onecopy_genome::{NameIndex, SharedIndex, default_index_path, share};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (node, bam) = (onecopy::Node::open()?, Path::new("reads.bam"));
/// let published = share(&node, bam, &default_index_path(bam), |_, _| {})?;
/// // In every other process, while `published` or a view of it lives:
/// let index = SharedIndex::open(&node, bam)?.ok_or("nobody shares it")?;
/// let mut index = NameIndex::of_shared(index);
/// # Ok(()) }
/// ```
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
    let file = owner::open_checked(bam, index)?;
    let identity = FileIdentity::of(bam)?;
    let size = file.lookup_size()?;
    let dataset = node.dataset(&dataset_name(&identity))?.huge_pages();
    let layout = dataset.builder().section::<u8>(ENTRIES, size.entries_bytes());
    let mut draft = layout.section::<u8>(BUCKETS, size.buckets_bytes()).allocate()?;
    let mut sections = draft.sections_mut()?;
    // In the order in which they were laid out.
    if let [entries, buckets] = sections.as_mut_slice() {
        let mut writer = LookupWriter::new(entries.bytes_mut());
        let bytes = file.bytes_of_file();
        let push = |name: &[u8], alignments: &[u64]| writer.push(name, alignments);
        file.scan(identity.bytes(), push, |done| progress(done, bytes))?;
        writer.finish(buckets.bytes_mut()).map_err(|fault| file.damaged(fault))?;
    }
    drop(sections);
    Ok(draft.publish()?)
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
        let (entries, buckets) = (self.view.section_bytes(ENTRIES)?, self.view.section_bytes(BUCKETS)?);
        Lookup::new(entries, buckets).map_err(|fault| self.damaged(fault))
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
