//! A dataset by its name: how it is to be published, and the ways to publish and to open it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::dataset::{DatasetDraft, DatasetFile, Section, SectionSpec, Sections};

use super::builder::DatasetBuilder;
use super::error::DatasetError;
use super::load::{self, Hash, Progress};
use super::published::PublishedDataset;
use super::view::DatasetView;
use crate::node::datasets::Waited;
use crate::node::handle::NodeHandle;
use crate::payload::PlainData;
use crate::payload_type::{PayloadType, TypeDescription};

/// Where a dataset's bytes are.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::dataset::Backing;
///
/// let path = directory.path().join("reference.fa");
/// std::fs::write(&path, "ACGT")?;
/// let dataset = node.dataset("reference")?.backing(Backing::File);
/// let _published = dataset.publish_file(&path)?;
/// // Nothing was loaded: what is read is read from the file.
/// let mut bases = [0; 2];
/// dataset.open()?.read_at(1, &mut bases)?;
/// assert_eq!(&bases, b"CG");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backing {
    /// In memory, into which they are copied once, and where nobody can change them. Readers have them as
    /// references, at the speed of memory; it takes as much memory as there are bytes, however many readers
    /// there are.
    #[default]
    Memory,
    /// In the file, where they are read ([`DatasetView::read_at`]). Nothing is loaded: the kernel's page
    /// cache is the one copy. A read costs a system call and its own bytes' copy, and if the file was changed
    /// it says so ([`DatasetError::Stale`]). Where the kernel promises that the file can never change
    /// (fs-verity, or a file system that can't be written, such as squashfs), readers have references, as
    /// with memory.
    File,
}

/// A dataset's name, and how it is to be published; from [`crate::Node::dataset`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let dataset = node.dataset("reference")?.huge_pages();
/// assert_eq!(dataset.name(), "reference");
/// let published = dataset.publish_bytes(b"ACGT")?;
/// let view = dataset.open()?;
/// assert_eq!((published.version(), view.bytes()?), (1, &b"ACGT"[..]));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    pub(super) node: Arc<NodeHandle>,
    pub(super) name: String,
    backing: Backing,
    pub(super) huge_pages: bool,
    pub(super) lock: bool,
    pub(super) hash: bool,
    sections: Vec<(SectionSpec, u64)>,
}

impl Dataset {
    pub(crate) fn new(node: Arc<NodeHandle>, name: String) -> Self {
        let (backing, sections) = Default::default();
        Self { node, name, backing, huge_pages: false, lock: false, hash: true, sections }
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the bytes of a file are to be. Default: in memory. See [`Backing`] for an example.
    #[must_use]
    pub fn backing(mut self, backing: Backing) -> Self {
        self.backing = backing;
        self
    }

    /// Puts pages of 2 MiB behind the memory: reads that jump about in more than some megabytes get quicker.
    /// Takes up to as long as copying the bytes once more. Where the kernel can't, ordinary pages are used,
    /// and [`PublishedDataset::huge_pages_error`] says why.
    #[must_use]
    pub fn huge_pages(mut self) -> Self {
        self.huge_pages = true;
        self
    }

    /// Keeps the memory from being swapped out, for as long as the publisher has it open and it is the newest version.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::dataset::DatasetError;
    /// let dataset = node.dataset("index")?;
    /// let published = match dataset.clone().lock_memory().publish_bytes(b"needed at once") {
    ///     Err(DatasetError::Memory(error)) => {
    ///         println!("it may get swapped out: {error}");
    ///         dataset.publish_bytes(b"needed at once")?
    ///     }
    ///     published => published?,
    /// };
    /// assert_eq!(published.version(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn lock_memory(mut self) -> Self {
        self.lock = true;
        self
    }

    /// Takes no hash of the content: publishing is quicker, and [`DatasetView::verify`] has nothing to compare with.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::dataset::DatasetError;
    /// let dataset = node.dataset("scratch")?.without_hash();
    /// let published = dataset.publish_bytes(b"for a moment")?;
    /// assert_eq!(published.hash(), None);
    /// assert!(matches!(dataset.open()?.verify(), Err(DatasetError::NoHash { .. })));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn without_hash(mut self) -> Self {
        self.hash = false;
        self
    }

    /// Names a part of the file, or of the bytes, that will be published: `len` elements of type `T`,
    /// `offset_bytes` from the start, where `T` must be aligned. Parts are named in the order in which they
    /// lie there.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let published = node.dataset("samples")?.section_at::<f32>("left", 64, 48_000)?.publish_file("samples.raw")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Memory`] if there can't be such a part.
    pub fn section_at<T: PlainData>(
        mut self,
        name: &str,
        offset_bytes: u64,
        len: usize,
    ) -> Result<Self, DatasetError> {
        self.sections.push((section_spec::<T>(name, len), offset_bytes));
        // Whatever is wrong is told here, not after a file was loaded.
        self.sections_in(u64::MAX)?;
        Ok(self)
    }

    /// Publishes a file as the dataset's newest version, and gives what keeps it published.
    ///
    /// # Errors
    ///
    /// [`DatasetError::File`] if the file can't be read, [`DatasetError::Stale`] if it changes meanwhile,
    /// [`DatasetError::Memory`] if there is not enough memory, [`DatasetError::Open`] if the broker refuses. Nothing is
    /// published then.
    pub fn publish_file(&self, path: impl AsRef<Path>) -> Result<PublishedDataset, DatasetError> {
        self.publish_file_with(path, |_| {})
    }

    /// The same, and tells how far it has come.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # let path = directory.path().join("reads.bri");
    /// # std::fs::write(&path, vec![0; 1000])?;
    /// let mut done = 0;
    /// let published = node.dataset("reads.bri")?.publish_file_with(&path, |progress| {
    ///     done = progress.done_bytes;
    ///     print!("\r{done} of {} bytes", progress.total_bytes);
    /// })?;
    /// assert_eq!(done, published.catalog().content_bytes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::publish_file`].
    pub fn publish_file_with(
        &self,
        path: impl AsRef<Path>,
        mut progress: impl FnMut(Progress),
    ) -> Result<PublishedDataset, DatasetError> {
        let file = DatasetFile::open(&findable(path.as_ref())?)?;
        let sections = self.sections_in(file.reference().identity.bytes)?;
        match self.backing {
            Backing::Memory => {
                let bytes = file.reference().identity.bytes;
                let too_large = onecopy_memory::dataset::DatasetError::TooLarge { bytes };
                let mut draft =
                    DatasetDraft::create(usize::try_from(bytes).map_err(|_| too_large)?, sections)?;
                let hash = load::load(&file, &mut draft, self.hash, &mut progress)?;
                self.publish_draft(draft, hash)
            }
            Backing::File => {
                let hash = self.hash.then(|| load::hash_file(&file, &mut progress)).transpose()?;
                file.check()?;
                let draft = DatasetDraft::of_file(file.reference().clone(), sections)?;
                let sealed = draft.seal(hash.map(|Hash(hash)| hash))?;
                PublishedDataset::publish(self, sealed, None)
            }
        }
    }

    /// Publishes a copy of `bytes` as the dataset's newest version.
    ///
    /// # Errors
    ///
    /// As for [`Self::publish_file`].
    pub fn publish_bytes(&self, bytes: &[u8]) -> Result<PublishedDataset, DatasetError> {
        let mut draft = DatasetDraft::create(bytes.len(), self.sections_in(bytes.len() as u64)?)?;
        draft.write_at(0, bytes)?;
        let hash = self.hash.then(|| load::hash_bytes(bytes, &mut |_| {}));
        self.publish_draft(draft, hash)
    }

    /// Lays the dataset out in sections, to be written where they will be read.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let mut draft = node.dataset("squares")?.builder().section::<u64>("squares", 1000).allocate()?;
    /// for (number, square) in draft.section_mut::<u64>("squares")?.iter_mut().enumerate() {
    ///     *square = (number * number) as u64;
    /// }
    /// let published = draft.publish()?;
    /// # Ok(()) }
    /// ```
    pub fn builder(&self) -> DatasetBuilder {
        DatasetBuilder::new(self.clone())
    }

    /// Opens the newest version. Costs the same however large it is.
    ///
    /// # Errors
    ///
    /// [`DatasetError::NotFound`]; [`DatasetError::Memory`] if what was published is broken;
    /// [`DatasetError::Stale`] and [`DatasetError::File`] if it is a file that is gone or changed.
    pub fn open(&self) -> Result<DatasetView, DatasetError> {
        let opened = self.node.open_dataset(&self.name, false)?;
        DatasetView::new(Arc::clone(&self.node), self.name.clone(), opened)
    }

    /// The same, but sleeps until there is a version, if there is none yet.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let dataset = node.dataset("reference")?;
    /// assert!(dataset.open().is_err(), "nobody has published it yet");
    /// // Usually another process.
    /// let publisher = dataset.clone();
    /// let publishing = std::thread::spawn(move || publisher.publish_bytes(b"ACGT"));
    /// assert_eq!(dataset.open_within(Duration::from_secs(10))?.bytes()?, b"ACGT");
    /// # publishing.join().map_err(|_| "it panicked")??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Timeout`], else as for [`Self::open`].
    pub fn open_within(&self, timeout: Duration) -> Result<DatasetView, DatasetError> {
        let deadline = Instant::now().checked_add(timeout);
        let opened = self.node.open_dataset(&self.name, true)?;
        if opened.memory.is_some() {
            return DatasetView::new(Arc::clone(&self.node), self.name.clone(), opened);
        }
        // Keeps what is published meanwhile, also if its publisher ends at once.
        let waited = opened.newest.wait_past(0, deadline);
        let view = match waited {
            Waited::Newer => self.open(),
            Waited::Timeout => Err(DatasetError::Timeout { dataset: self.name.clone() }),
            Waited::Ended => Err(DatasetError::BrokerGone { dataset: self.name.clone() }),
        };
        self.node.close(opened.port);
        view
    }

    pub(super) fn publish_draft(
        &self,
        mut draft: DatasetDraft,
        hash: Option<Hash>,
    ) -> Result<PublishedDataset, DatasetError> {
        let huge_pages_error = if self.huge_pages { draft.use_huge_pages().err() } else { None };
        let sealed = draft.seal(hash.map(|Hash(hash)| hash))?;
        PublishedDataset::publish(self, sealed, huge_pages_error)
    }

    fn sections_in(&self, content_bytes: u64) -> Result<Sections, DatasetError> {
        let placed: Result<Vec<Section>, _> =
            self.sections.iter().map(|(spec, offset)| spec.clone().at(*offset)).collect();
        Ok(Sections::checked(placed?, content_bytes)?)
    }
}

/// A path by which other processes find the file, too.
fn findable(path: &Path) -> Result<PathBuf, DatasetError> {
    // What has no name of its own, such as a descriptor in /proc, is found by the path as it is.
    let found = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    found.map_err(|source| {
        let path = path.to_owned();
        DatasetError::File(onecopy_memory::dataset::FileError::System { operation: "find", path, source })
    })
}

pub(super) fn section_spec<T: PlainData>(name: &str, len: usize) -> SectionSpec {
    let TypeDescription { name: type_name, size_bytes, align_bytes } = TypeDescription::of::<T>();
    SectionSpec {
        name: name.to_owned(),
        type_name,
        element_bytes: size_bytes,
        alignment_bytes: align_bytes,
        layout_hash: PayloadType::slice::<T>().layout_hash(),
        len: len as u64,
    }
}
