//! A version of a dataset, as its readers have it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use onecopy_memory::counted::counted;
use onecopy_memory::dataset::{Catalog, SealedDataset, Section, Sections};
use zerocopy::{FromBytes, IntoBytes};

use super::error::DatasetError;
use super::load::{self, Hash, Progress};
use super::publishing::{Backing, section_spec};
use super::source::Source;
use crate::error::WaitError;
use crate::node::datasets::{OpenedDataset, Waited};
use crate::node::handle::NodeHandle;
use crate::payload::PlainData;
use crate::readiness::Readiness;

/// One version of a dataset; from [`super::Dataset::open`]. It stays as it is, whatever is published later, until it is
/// dropped. Any number of threads may use it at once.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Record { name_offset: u64, place: u64 }
///
/// # let records = node.dataset("reads.bri")?.builder().section::<Record>("records", 3).allocate()?;
/// # let _published = records.publish()?;
/// let view = node.dataset("reads.bri")?.open()?;
/// let records: &[Record] = view.section("records")?;
/// assert_eq!((records.len(), view.version()), (3, 1));
/// // A copy of some, wherever they are.
/// let mut two = [Record { name_offset: 1, place: 1 }, Record { name_offset: 2, place: 2 }];
/// view.read_section("records", 1, &mut two)?;
/// assert_eq!(two[0].place, records[1].place);
/// // What there is, for somebody who does not know it.
/// println!("{} ({} bytes, {:?}):", view.name(), view.content_bytes(), view.backing());
/// for section in view.sections() {
///     assert_eq!(view.section_bytes(&section.name)?.len() as u64, section.bytes);
///     println!("  {} of {}: {}", section.len(), section.type_name, section.name);
/// }
/// assert!(view.catalog().file.is_none());
/// # Ok(()) }
/// ```
///
/// A program that runs for long goes on with newer ones as they come:
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let dataset = node.dataset("index")?;
/// let _first = dataset.publish_bytes(b"one")?;
/// let mut view = dataset.open()?;
/// let _second = dataset.publish_bytes(b"two")?;
/// view = view.wait_for_newer(Duration::from_secs(10))?;
/// assert!(view.is_current() && view.newest_version() == 2);
/// # Ok(()) }
/// ```
pub struct DatasetView {
    node: Arc<NodeHandle>,
    name: String,
    opened: OpenedDataset,
    source: Source,
    /// For each section, the type that was asked for and found to be its elements'.
    checked: Box<[OnceLock<&'static str>]>,
}

impl DatasetView {
    pub(super) fn new(
        node: Arc<NodeHandle>,
        name: String,
        mut opened: OpenedDataset,
    ) -> Result<Self, DatasetError> {
        let memory = opened.memory.take();
        let source = open_source(memory);
        match source {
            Ok(source) => {
                let checked = source.catalog().sections.as_slice().iter().map(|_| OnceLock::new()).collect();
                Ok(Self { node, name, opened, source, checked })
            }
            Err(error) => {
                node.close(opened.port);
                Err(error)
            }
        }
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

    /// Whether this is the newest version.
    pub fn is_current(&self) -> bool {
        self.newest_version() == self.opened.version
    }

    /// Sleeps until there is a newer version than this one, and opens the newest.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Timeout`], [`DatasetError::BrokerGone`], else as for [`super::Dataset::open`].
    pub fn wait_for_newer(&self, timeout: Duration) -> Result<Self, DatasetError> {
        let deadline = Instant::now().checked_add(timeout);
        match self.opened.newest.wait_past(self.opened.version, deadline) {
            Waited::Newer => {
                let opened = self.node.open_dataset(&self.name, false)?;
                Self::new(Arc::clone(&self.node), self.name.clone(), opened)
            }
            Waited::Timeout => Err(DatasetError::Timeout { dataset: self.name.clone() }),
            Waited::Ended => Err(DatasetError::BrokerGone { dataset: self.name.clone() }),
        }
    }

    /// A descriptor that is readable once there is a newer version, and stays so: for `poll`, `epoll` and event loops.
    ///
    /// It is of no use without the view: [`Self::wait_for_newer`] then gives the newest version at once, whose own
    /// descriptor tells of the next; or [`DatasetError::BrokerGone`], of which it tells as well.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let dataset = node.dataset("index")?;
    /// let first = dataset.publish_bytes(b"one")?;
    /// let view = dataset.open()?;
    /// let readiness = view.readiness()?;
    /// let second = dataset.publish_bytes(b"two")?;
    /// poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
    /// assert_eq!(view.wait_for_newer(Duration::ZERO)?.bytes()?, b"two");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Wait`] if the process has no descriptor left.
    pub fn readiness(&self) -> Result<Readiness, DatasetError> {
        Ok(self.opened.newest.readiness_past(self.opened.version).map_err(WaitError::from)?)
    }

    /// Bytes of the content.
    pub fn content_bytes(&self) -> u64 {
        self.catalog().content_bytes
    }

    /// What the dataset says of itself: its size, its sections, its file if it is one.
    pub fn catalog(&self) -> &Catalog {
        self.source.catalog()
    }

    /// Its sections, in the order in which they lie in the content.
    pub fn sections(&self) -> &[Section] {
        self.catalog().sections.as_slice()
    }

    /// Where its bytes are.
    pub fn backing(&self) -> Backing {
        if self.source.file().is_some() { Backing::File } else { Backing::Memory }
    }

    /// The whole content.
    ///
    /// # Errors
    ///
    /// [`DatasetError::NotMapped`] if it is a file that could change.
    #[inline]
    pub fn bytes(&self) -> Result<&[u8], DatasetError> {
        self.source.bytes().ok_or_else(|| self.not_mapped())
    }

    /// The elements of a section, where they are.
    ///
    /// # Errors
    ///
    /// [`DatasetError::NoSection`], [`DatasetError::SectionType`], and [`DatasetError::NotMapped`] if the
    /// content is a file that could change.
    pub fn section<T: PlainData>(&self, name: &str) -> Result<&[T], DatasetError> {
        let section = self.find_of::<T>(name)?;
        let bytes = self.bytes_of(section)?;
        <[T]>::ref_from_bytes(bytes).map_err(|_| MISPLACED.into())
    }

    /// The bytes of a section, whatever its type.
    ///
    /// # Errors
    ///
    /// As for [`Self::section`], but for the type.
    pub fn section_bytes(&self, name: &str) -> Result<&[u8], DatasetError> {
        self.bytes_of(self.find(name)?)
    }

    /// Copies bytes out of the content, wherever that is.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use onecopy::dataset::Backing;
    ///
    /// # let path = directory.path().join("reference.fa");
    /// # std::fs::write(&path, ">chr1\nACGT\n")?;
    /// let dataset = node.dataset("reference")?.backing(Backing::File);
    /// let _published = dataset.publish_file(&path)?;
    /// let view = dataset.open()?;
    /// let mut bases = [0; 4];
    /// view.read_at(6, &mut bases)?;
    /// assert_eq!(&bases, b"ACGT");
    /// assert!(view.read_at(9, &mut bases).is_err(), "the file ends before that");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::OutOfRange`]; [`DatasetError::Stale`] if the content is a file that is not what it was
    /// when it was published, and then what was copied is worth nothing; [`DatasetError::File`].
    pub fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), DatasetError> {
        self.source.read_at(offset_bytes, buffer)
    }

    /// Copies elements out of a section, from the `first` on, wherever the content is.
    ///
    /// # Errors
    ///
    /// As for [`Self::read_at`], and [`DatasetError::NoSection`], [`DatasetError::SectionType`].
    pub fn read_section<T: PlainData>(
        &self,
        name: &str,
        first: usize,
        elements: &mut [T],
    ) -> Result<(), DatasetError> {
        let section = self.find_of::<T>(name)?;
        let bytes = elements.as_mut_bytes();
        let offset = (first as u64).saturating_mul(section.element_bytes);
        if offset.saturating_add(bytes.len() as u64) > section.bytes {
            let (bytes, content_bytes) = (bytes.len(), section.bytes);
            return Err(DatasetError::OutOfRange { offset, bytes, content_bytes });
        }
        self.source.read_at(section.offset + offset, bytes)
    }

    /// Whether the content still is what was published. Of one in memory, nobody can change it; of a file,
    /// looks whether it is the same.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use onecopy::dataset::{Backing, DatasetError};
    ///
    /// # let path = directory.path().join("reference.fa");
    /// # std::fs::write(&path, ">chr1\nACGT\n")?;
    /// let dataset = node.dataset("reference")?.backing(Backing::File);
    /// let _published = dataset.publish_file(&path)?;
    /// let view = dataset.open()?;
    /// view.check()?;
    /// std::fs::write(&path, "something else")?;
    /// assert!(matches!(view.check(), Err(DatasetError::Stale { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Stale`], [`DatasetError::File`].
    pub fn check(&self) -> Result<(), DatasetError> {
        Ok(self.source.file().map_or(Ok(()), |file| file.check())?)
    }

    /// BLAKE3 of the content, as its publisher took it; `None` if it took none.
    pub fn hash(&self) -> Option<Hash> {
        self.catalog().hash.map(Hash)
    }

    /// Reads the whole content, and compares its hash with the one that its publisher took.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let published = node.dataset("reference")?.publish_bytes(b"ACGT")?;
    /// let view = node.dataset("reference")?.open()?;
    /// let hash = view.verify()?;
    /// assert_eq!((view.hash(), published.hash()), (Some(hash), Some(hash)));
    /// println!("as `b3sum` says of the file: {hash}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Corrupt`], [`DatasetError::NoHash`], and what [`Self::read_at`] says.
    pub fn verify(&self) -> Result<Hash, DatasetError> {
        self.verify_with(|_| {})
    }

    /// The same, and tells how far it has come.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # let _published = node.dataset("reference")?.publish_bytes(b"ACGT")?;
    /// let mut percent = 0;
    /// node.dataset("reference")?.open()?.verify_with(|progress| {
    ///     percent = 100 * progress.done_bytes / progress.total_bytes.max(1);
    /// })?;
    /// assert_eq!(percent, 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::verify`].
    pub fn verify_with(&self, mut progress: impl FnMut(Progress)) -> Result<Hash, DatasetError> {
        let expected = self.hash().ok_or_else(|| DatasetError::NoHash { dataset: self.name.clone() })?;
        let actual = match self.source.file() {
            Some(file) => load::hash_file(file, &mut progress)?,
            None => load::hash_bytes(self.bytes()?, &mut progress),
        };
        if actual == expected {
            Ok(actual)
        } else {
            Err(DatasetError::Corrupt { dataset: self.name.clone(), expected, actual })
        }
    }

    /// Keeps the dataset's memory from being swapped out for as long as this view lives.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::dataset::DatasetError;
    /// # let _published = node.dataset("index")?.publish_bytes(b"needed at once")?;
    /// let view = node.dataset("index")?.open()?;
    /// match view.lock_memory() {
    ///     Ok(()) => println!("every lookup finds it in memory"),
    ///     Err(DatasetError::Memory(error)) => println!("some lookups may have to wait for a disk: {error}"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// assert_eq!(view.bytes()?, b"needed at once");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::Memory`] if that is more than this process may lock.
    pub fn lock_memory(&self) -> Result<(), DatasetError> {
        self.source.lock()
    }

    fn find(&self, name: &str) -> Result<&Section, DatasetError> {
        let sections = &self.catalog().sections;
        sections.find(name).ok_or_else(|| no_section(&self.name, name, sections))
    }

    /// A section whose elements are `T`.
    fn find_of<T: PlainData>(&self, name: &str) -> Result<&Section, DatasetError> {
        let sections = self.catalog().sections.as_slice();
        let index = sections.iter().position(|section| section.name == name);
        let Some(index) = index else { return self.find(name) };
        let section = &sections[index];
        // The hash is of the name, the size and the alignment, so there is nothing new to be learnt from it.
        let is_known = self.checked[index].get() == Some(&std::any::type_name::<T>())
            && section.element_bytes == size_of::<T>() as u64
            && section.alignment_bytes == align_of::<T>() as u64;
        if !is_known {
            check_type::<T>(section)?;
            self.checked[index].get_or_init(std::any::type_name::<T>);
        }
        Ok(section)
    }

    fn bytes_of(&self, section: &Section) -> Result<&[u8], DatasetError> {
        // Both ends were checked to lie in the content when it was opened.
        let range = section.offset as usize..section.end() as usize;
        self.bytes()?.get(range).ok_or_else(|| MISPLACED.into())
    }

    fn not_mapped(&self) -> DatasetError {
        let path = self.catalog().file.as_ref().map_or(Path::new(""), |file| &file.path).to_owned();
        DatasetError::NotMapped { dataset: self.name.clone(), path }
    }
}

impl fmt::Debug for DatasetView {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DatasetView")
            .field("name", &self.name)
            .field("version", &self.opened.version)
            .field("catalog", self.catalog())
            .finish_non_exhaustive()
    }
}

impl Drop for DatasetView {
    fn drop(&mut self) {
        self.node.close(self.opened.port);
    }
}

/// What was checked when the dataset was opened does not hold.
const MISPLACED: onecopy_memory::dataset::DatasetError =
    onecopy_memory::dataset::DatasetError::Impossible { reason: "a section is not where it should be" };

fn open_source(memory: Option<Arc<OwnedFd>>) -> Result<Source, DatasetError> {
    let none = onecopy_memory::dataset::DatasetError::Impossible { reason: "it came without memory" };
    Source::open(SealedDataset::open_shared(memory.ok_or(none)?)?)
}

pub(super) fn no_section(dataset: &str, section: &str, sections: &Sections) -> DatasetError {
    let existing = sections.as_slice().iter().map(|section| section.name.clone()).collect();
    DatasetError::NoSection { dataset: dataset.to_owned(), section: section.to_owned(), existing }
}

/// Whether a section's elements are `T`.
pub(super) fn check_type<T: PlainData>(section: &Section) -> Result<(), DatasetError> {
    let asked = section_spec::<T>("", 0);
    let is_same = asked.layout_hash == section.layout_hash
        && asked.element_bytes == section.element_bytes
        && asked.alignment_bytes == section.alignment_bytes;
    if is_same {
        return Ok(());
    }
    let describe = |name: &str, bytes: u64, alignment: u64| {
        format!("{name} ({}, aligned to {alignment})", counted(bytes, "byte"))
    };
    Err(DatasetError::SectionType {
        section: section.name.clone(),
        existing: describe(&section.type_name, section.element_bytes, section.alignment_bytes),
        requested: describe(&asked.type_name, asked.element_bytes, asked.alignment_bytes),
    })
}
