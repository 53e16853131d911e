//! What the publisher of a dataset has: as long as it is not dropped, the dataset is there.

use std::sync::Arc;

use onecopy_memory::dataset::{Catalog, HugePagesError, SealedDataset};

use super::error::DatasetError;
use super::load::Hash;
use super::publishing::Dataset;
use crate::node::datasets::OpenedDataset;
use crate::node::handle::NodeHandle;

/// A version of a dataset that this process published. Dropped, the dataset stays as long as anybody else has
/// it open, or it is kept ([`crate::Node::keep_dataset`]).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let dataset = node.dataset("reference")?;
/// let first = dataset.publish_bytes(b"ACGT")?;
/// let second = dataset.publish_bytes(b"ACGTN")?;
/// assert_eq!((second.version(), second.is_current()), (2, true));
/// assert!(first.newest_version() <= 2);
/// assert_eq!(second.catalog().content_bytes, 5);
/// println!("{} has BLAKE3 {:?}", second.name(), second.hash());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PublishedDataset {
    node: Arc<NodeHandle>,
    name: String,
    opened: OpenedDataset,
    catalog: Catalog,
    huge_pages_error: Option<HugePagesError>,
}

impl PublishedDataset {
    pub(super) fn publish(
        dataset: &Dataset,
        sealed: SealedDataset,
        huge_pages_error: Option<HugePagesError>,
    ) -> Result<Self, DatasetError> {
        if dataset.lock {
            sealed.lock()?;
        }
        let (node, name) = (Arc::clone(&dataset.node), dataset.name.clone());
        let catalog = sealed.catalog().clone();
        let mut opened = node.publish_dataset(&name, sealed, dataset.lock)?;
        // The node has it, until there is a newer version.
        opened.memory = None;
        Ok(Self { node, name, opened, catalog, huge_pages_error })
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which version this is: the first is 1.
    pub fn version(&self) -> u64 {
        self.opened.version
    }

    /// The newest version there is, as far as this node was told.
    pub fn newest_version(&self) -> u64 {
        self.opened.newest.version().max(self.opened.version)
    }

    /// Whether this still is the newest version.
    pub fn is_current(&self) -> bool {
        self.newest_version() == self.opened.version
    }

    /// What the dataset says of itself: its size, its sections, its file if it is one.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// BLAKE3 of the content, unless it was not to be taken.
    pub fn hash(&self) -> Option<Hash> {
        self.catalog.hash.map(Hash)
    }

    /// Why there are ordinary pages behind it, if it was to have huge ones.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let dataset = node.dataset("index")?;
    /// let published = dataset.clone().huge_pages().publish_bytes(&vec![7; 4 << 20])?;
    /// if let Some(error) = published.huge_pages_error() {
    ///     println!("it is there, and lookups take longer than they could: {error}");
    /// }
    /// assert_eq!(dataset.open()?.content_bytes(), 4 << 20);
    /// // Nobody asked for any.
    /// assert!(dataset.publish_bytes(b"small")?.huge_pages_error().is_none());
    /// # Ok(()) }
    /// ```
    pub fn huge_pages_error(&self) -> Option<&HugePagesError> {
        self.huge_pages_error.as_ref()
    }
}

impl Drop for PublishedDataset {
    fn drop(&mut self) {
        self.node.close(self.opened.port);
    }
}
