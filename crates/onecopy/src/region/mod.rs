//! Regions: a named value that everyone sees as it is now.
//!
//! The value lies in shared memory in several copies, one of which is current. Readers never wait: a small
//! value they copy out, and look whether the copy was written meanwhile; a large one they hold where it is. A
//! writer fills a copy that nobody needs and then makes it current with one store, so a writer that dies
//! leaves the last value.
//!
//! | file | one concept |
//! |---|---|
//! | `handle.rs` | what users read and write |
//! | `single.rs`, `reading.rs` | a region with a single writer: all others have it read-only |
//! | `sharing.rs` | a region that several may write, by turns |
//! | `guard.rs` | the exclusive right to write |
//! | `value.rs` | a value as it was read |
//! | `watch.rs`, `bell.rs`, `async_watch.rs` | waiting for the next value |
//! | `file.rs` | a file that keeps the value from one run to the next |
//! | `note.rs` | how whoever writes next learns of that file |
//! | `error.rs` | what can go wrong |

#[cfg(feature = "tokio")]
mod async_watch;
mod bell;
mod error;
mod file;
mod guard;
mod handle;
mod note;
mod reading;
mod sharing;
mod single;
mod value;
mod watch;

use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "tokio")]
pub use self::async_watch::AsyncWatch;
pub use self::error::RegionError;
pub use self::guard::RegionGuard;
use self::handle::Mode;
pub use self::handle::Region;
use self::sharing::Sharing;
use self::single::Single;
pub use self::value::Value;
pub use self::watch::Watch;
use crate::error::OpenError;
use crate::inventory::RegionEntry;
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::{Payload, PlainData, describe};
use crate::payload_type::{PayloadKind, PayloadType};

/// How a region is to be opened; from [`crate::Node::region`] and [`crate::Node::region_bytes`].
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let total = node.region::<u64>("total")?.shared().lock_timeout(Duration::from_secs(1)).open_or_create(&0)?;
/// let notes = node.region_bytes("notes")?.capacity(1 << 20).create(b"")?;
/// assert!(total.is_writer() && notes.is_writer());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing happens until it is opened"]
pub struct RegionBuilder<P: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    name: String,
    capacity_bytes: usize,
    alignment_bytes: usize,
    shared: bool,
    file: Option<PathBuf>,
    lock_timeout: Duration,
    /// What the region holds, if that is not `P` but is used as such.
    described: Option<PayloadType>,
    payload: PhantomData<fn() -> Box<P>>,
}

/// What both modes need to open a region.
#[derive(Debug)]
struct Opening {
    node: Arc<NodeHandle>,
    name: String,
    payload: PayloadType,
    capacity_bytes: usize,
    alignment_bytes: usize,
    file: Option<PathBuf>,
}

/// Which regions will do, with the first value of a new one.
#[derive(Clone, Copy)]
enum Wish<'a> {
    Existing,
    New(&'a [u8]),
    Either(&'a [u8]),
}

impl<P: Payload + ?Sized> RegionBuilder<P> {
    fn with(node: Arc<NodeHandle>, name: String, capacity_bytes: usize, alignment_bytes: usize) -> Self {
        Self {
            node,
            name,
            capacity_bytes,
            alignment_bytes,
            shared: false,
            file: None,
            lock_timeout: limits::LOCK_TIMEOUT_DEFAULT,
            described: None,
            payload: PhantomData,
        }
    }

    /// Several processes may write the region, taking turns. They have its memory writable, so they must
    /// trust each other: one that is broken can destroy the value for all (but not crash them). Without this,
    /// the kernel lets nobody but the one writer touch it. All who open a region must agree on this.
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }

    /// Keeps the value in a file from one run to the next. A new region begins with what is there; each write
    /// returns when it is on the disk.
    ///
    /// The region's memory notes the file's absolute path, so that nobody writes past it. Whoever becomes the single writer
    /// without naming a file writes the one that the last writer had, if that was a process of the same user; otherwise,
    /// and in a [`Self::shared`] region, where anybody may have written the note, all who write must name it:
    /// [`RegionError::FileNotNamed`] says which. Another one than the region's is [`RegionError::OtherFile`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let path = directory.path().join("gain.region");
    /// node.region::<f64>("gain")?.file(&path).open_or_create(&1.0)?.write(&2.5)?;
    /// // Nobody has it open any more, and the next one begins with what the file has.
    /// let gain = node.region::<f64>("gain")?.file(&path).open_or_create(&1.0)?;
    /// assert_eq!(*gain.read()?, 2.5);
    /// # Ok(()) }
    /// ```
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// How long writes of a shared region wait for others to let go of its lock. Default 5 s. A lock that somebody died
    /// with is free at once.
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Opens a region that is there, to read it; of a shared region, also to write it.
    ///
    /// # Errors
    ///
    /// [`RegionError::NotFound`]; [`RegionError::WriterStuck`] if the value lies with a process that does not
    /// answer within a second; [`RegionError::Open`] if it has another type or mode.
    pub fn open(self) -> Result<Region<P>, RegionError> {
        self.open_as(Wish::Existing)
    }

    /// Makes a region that is not there.
    ///
    /// # Errors
    ///
    /// [`RegionError::Exists`], else as for [`Self::open_or_create`].
    pub fn create(self, initial: &P) -> Result<Region<P>, RegionError> {
        let initial = initial.to_bytes();
        self.open_as(Wish::New(initial))
    }

    /// Opens the region, or makes it. Whoever makes it is its writer; if the writer has ended, the next to come here
    /// becomes the writer, and the value stays as it was left.
    ///
    /// # Errors
    ///
    /// [`RegionError::Open`] if it has another type or mode; [`RegionError::TooLarge`] if `initial` is larger than the
    /// capacity; [`RegionError::File`] and what [`Self::file`] names; [`RegionError::WriterStuck`] as for [`Self::open`].
    pub fn open_or_create(self, initial: &P) -> Result<Region<P>, RegionError> {
        let initial = initial.to_bytes();
        self.open_as(Wish::Either(initial))
    }

    fn open_as(self, wish: Wish<'_>) -> Result<Region<P>, RegionError> {
        if let Wish::New(initial) | Wish::Either(initial) = wish
            && initial.len() > self.capacity_bytes
        {
            let capacity_bytes = self.capacity_bytes;
            return Err(RegionError::TooLarge { bytes: initial.len(), capacity_bytes });
        }
        let payload = self.described.unwrap_or_else(describe::<P, ()>);
        let exact_bytes = match payload.kind {
            PayloadKind::Value => usize::try_from(payload.element.size_bytes).ok(),
            PayloadKind::Slice => None,
        };
        let opening = Opening {
            node: self.node,
            name: self.name.clone(),
            payload,
            capacity_bytes: self.capacity_bytes,
            alignment_bytes: self.alignment_bytes,
            file: self.file.as_deref().map(note::absolute).transpose()?,
        };
        Ok(match self.shared {
            true => {
                let mode = Mode::Shared(Sharing::open(opening, wish)?);
                Region::new(mode, self.name, self.lock_timeout, exact_bytes)
            }
            false => {
                let mode = Mode::Single(Single::open(opening, wish)?);
                Region::new(mode, self.name, self.lock_timeout, exact_bytes)
            }
        })
    }
}

impl<T: PlainData> RegionBuilder<T> {
    pub(crate) fn of_value(node: Arc<NodeHandle>, name: String) -> Self {
        Self::with(node, name, size_of::<T>(), align_of::<T>())
    }
}

impl<T: PlainData> RegionBuilder<[T]> {
    pub(crate) fn of_slice(node: Arc<NodeHandle>, name: String) -> Self {
        let capacity_bytes = limits::REGION_BYTES_DEFAULT;
        Self::with(node, name, capacity_bytes, align_of::<T>())
    }

    /// Most elements that the value can have, until it is resized. Default: as many as fit 64 KiB. Only what a value
    /// touches takes memory.
    pub fn capacity(mut self, elements: usize) -> Self {
        self.capacity_bytes = elements.saturating_mul(size_of::<T>());
        self
    }
}

impl RegionBuilder<[u8]> {
    /// A region that is there, as bytes, whatever its type.
    pub(crate) fn of_any(node: Arc<NodeHandle>, entry: RegionEntry) -> Result<Self, RegionError> {
        let (Some(payload), Some(capacity_bytes)) = (entry.payload.clone(), entry.capacity_bytes()) else {
            return Err(RegionError::NotFound { region: entry.name });
        };
        let alignment_bytes = usize::try_from(payload.element.align_bytes).unwrap_or(1);
        let mut builder = Self::with(node, entry.name, capacity_bytes, alignment_bytes);
        builder.shared = entry.is_shared;
        builder.described = Some(payload);
        Ok(builder)
    }
}

fn memory_error(error: onecopy_memory::region::OpenError) -> RegionError {
    use onecopy_memory::region::OpenError as Memory;
    match error {
        Memory::Segment(error) => OpenError::from(error).into(),
        Memory::Write(error) => error.into(),
        Memory::Hold(error) => RegionError::Read(error.into()),
        other => RegionError::Memory(other),
    }
}
