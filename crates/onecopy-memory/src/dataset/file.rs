//! A file that is the content of a dataset, read where it is. Nothing is loaded: the kernel's page cache is
//! the one copy.
//!
//! A file belongs to its owner, who may change it or cut it short at any time. A mapping of it would then change under
//! its readers' references, or kill them with SIGBUS, and no check in front of an access can prevent that. So a file is
//! read by `pread`, which copies and at worst returns less, and after each read the file must be what it was when it
//! was published; if not, the read says that it is stale. Only where the kernel itself promises that a file can
//! never change is it mapped, and lent as bytes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use crate::counted::counted;
use crate::mapping::Mapping;

/// File systems to which nobody can write, as `fstatfs` calls them: squashfs, EROFS, ISO 9660, cramfs.
const UNWRITABLE: [u64; 4] = [0x7371_7368, 0xe0f5_e1e2, 0x9660, 0x28cd_3d45];

/// What is the same of a file as long as nobody changes it.
///
/// See [`FileReference`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileIdentity {
    /// Its device.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its size.
    pub bytes: u64,
    /// When it was last modified: whole seconds since 1970.
    pub modified_s: i64,
    /// The rest of that in nanoseconds.
    pub modified_ns: u64,
}

/// The file that a content is, as it was when the dataset was published.
///
/// ```
/// use onecopy_memory::dataset::{DatasetFile, FileError};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("reference.fa");
/// std::fs::write(&path, "ACGT")?;
/// let published = DatasetFile::open(&path)?.reference().clone();
/// assert_eq!((&published.path, published.identity.bytes), (&path, 4));
/// assert!(DatasetFile::reopen(&published).is_ok());
/// std::fs::remove_file(&path)?;
/// assert!(matches!(DatasetFile::reopen(&published), Err(FileError::Stale { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// Where it was.
    pub path: PathBuf,
    /// What it was.
    pub identity: FileIdentity,
}

/// Why a file can't be read as the content of a dataset.
///
/// See [`DatasetFile`] for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not what it was.
    #[error("{} {change} since it was published", path.display())]
    Stale {
        /// Where it is, or was.
        path: PathBuf,
        /// What happened to it.
        change: &'static str,
    },
    /// It is no file with bytes in it.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// Where it is.
        path: PathBuf,
    },
    /// There is nothing there in the content.
    #[error("a part of {} at {offset} is not in the dataset, which has {content_bytes}", counted(*bytes, "byte"))]
    OutOfRange {
        /// Where the read was to start.
        offset: u64,
        /// How much was to be read.
        bytes: usize,
        /// How much there is.
        content_bytes: u64,
    },
    /// The system refused.
    #[error("cannot {operation} {}", path.display())]
    System {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

/// A file opened to be read as the content of a dataset.
///
/// ```
/// use onecopy_memory::dataset::{DatasetFile, FileError};
///
/// # let directory = tempfile::tempdir()?;
/// let path = directory.path().join("reference.fa");
/// std::fs::write(&path, "ACGT")?;
/// let file = DatasetFile::open(&path)?;
/// let mut bases = [0; 2];
/// file.read_at(1, &mut bases)?;
/// assert_eq!(&bases, b"CG");
/// // Whoever has it open sees that it is not what it was.
/// std::fs::write(&path, "ACGTN")?;
/// assert!(matches!(file.check(), Err(FileError::Stale { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DatasetFile {
    descriptor: OwnedFd,
    reference: FileReference,
    /// Only of a file that can't change.
    mapping: Option<Mapping>,
}

impl DatasetFile {
    /// Opens a file as it is now, to be published.
    ///
    /// # Errors
    ///
    /// [`FileError::NotAFile`], [`FileError::System`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let descriptor = open(path)?;
        let identity = identity_of(&descriptor, path)?;
        Self::with_identity(descriptor, FileReference { path: path.to_owned(), identity })
    }

    /// Opens the file that was published, unless it is another by now.
    ///
    /// # Errors
    ///
    /// [`FileError::Stale`], else as for [`Self::open`].
    pub fn reopen(reference: &FileReference) -> Result<Self, FileError> {
        let path = &reference.path;
        let descriptor = match open(path) {
            Err(FileError::System { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(FileError::Stale { path: path.clone(), change: "was moved or deleted" });
            }
            opened => opened?,
        };
        same(&reference.identity, &identity_of(&descriptor, path)?, path)?;
        Self::with_identity(descriptor, reference.clone())
    }

    fn with_identity(descriptor: OwnedFd, reference: FileReference) -> Result<Self, FileError> {
        let mut file = Self { descriptor, reference, mapping: None };
        let bytes = usize::try_from(file.reference.identity.bytes).unwrap_or(0);
        if bytes > 0 && cannot_change(&file.descriptor) {
            // Without address space for it there is still `pread`.
            file.mapping = Mapping::huge(file.descriptor.as_fd(), bytes, ProtFlags::READ, true).ok();
        }
        Ok(file)
    }

    /// Which file, and as it was when.
    pub fn reference(&self) -> &FileReference {
        &self.reference
    }

    /// The file's bytes, if the kernel promises that they never change: a file with fs-verity, a file on a file system
    /// that can't be written (squashfs, EROFS, ISO 9660, cramfs), or sealed memory that has a path.
    ///
    /// ```
    /// # use onecopy_memory::dataset::{DatasetDraft, DatasetFile, Sections};
    /// # use std::{fs, os::fd::AsRawFd, path::Path};
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("reference.fa");
    /// fs::write(&path, "ACGT")?;
    /// assert_eq!(DatasetFile::open(&path)?.content(), None, "its owner may change it at any time");
    ///
    /// let mut draft = DatasetDraft::create(4, Sections::default())?;
    /// draft.write_at(0, b"ACGT")?;
    /// let sealed = draft.seal(None)?;
    /// let path = format!("/proc/self/fd/{}", sealed.descriptor().as_raw_fd());
    /// let file = DatasetFile::open(Path::new(&path))?;
    /// assert!(file.content().is_some_and(|bytes| bytes.ends_with(b"ACGT")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn content(&self) -> Option<&[u8]> {
        let mapping = self.mapping.as_ref()?;
        let base = mapping.range(0, mapping.len())?;
        // SAFETY: the bytes are the whole mapping, which lives as long as the reference. The kernel lets
        // nobody write the file or cut it short: that was asked (`cannot_change`) of the descriptor that is
        // mapped, and is never withdrawn from a file.
        Some(unsafe { std::slice::from_raw_parts(base.as_ptr(), mapping.len()) })
    }

    /// Copies bytes out of the file.
    ///
    /// # Errors
    ///
    /// [`FileError::Stale`] if the file is not what it was when it was published; what was copied is then
    /// worth nothing. [`FileError::OutOfRange`], [`FileError::System`].
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), FileError> {
        let content_bytes = self.reference.identity.bytes;
        let bytes = buffer.len();
        if offset.checked_add(bytes as u64).is_none_or(|end| end > content_bytes) {
            return Err(FileError::OutOfRange { offset, bytes, content_bytes });
        }
        if let Some(content) = self.content() {
            // Both ends were just checked.
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let source = content.get(start..).and_then(|rest| rest.get(..bytes)).unwrap_or_default();
            buffer.copy_from_slice(source);
            return Ok(());
        }
        let mut done = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(done..) {
            let place = offset + done as u64;
            match rustix::io::retry_on_intr(|| rustix::io::pread(&self.descriptor, &mut *rest, place)) {
                Ok(0) => return Err(self.stale("was cut short")),
                Ok(read) => done += read,
                Err(Errno::STALE) => return Err(self.stale("was deleted on its server")),
                Err(error) => return Err(failed("read", &self.reference.path, error)),
            }
        }
        // What changed before now may have been read; what changes later was not.
        self.check()
    }

    /// Whether the file still is what it was when it was published. Looks at its size and its time of modification.
    ///
    /// # Errors
    ///
    /// [`FileError::Stale`], [`FileError::System`].
    pub fn check(&self) -> Result<(), FileError> {
        if self.mapping.is_some() {
            return Ok(());
        }
        let path = &self.reference.path;
        same(&self.reference.identity, &identity_of(&self.descriptor, path)?, path)
    }

    fn stale(&self, change: &'static str) -> FileError {
        FileError::Stale { path: self.reference.path.clone(), change }
    }
}

fn open(path: &Path) -> Result<OwnedFd, FileError> {
    // What is no regular file must not make us wait, nor become our terminal.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()));
    opened.map_err(|error| failed("open", path, error))
}

fn identity_of(descriptor: &OwnedFd, path: &Path) -> Result<FileIdentity, FileError> {
    let stat = match rustix::fs::fstat(descriptor) {
        Err(Errno::STALE) => {
            return Err(FileError::Stale { path: path.to_owned(), change: "was deleted on its server" });
        }
        stat => stat.map_err(|error| failed("look at", path, error))?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    Ok(FileIdentity {
        device: stat.st_dev,
        inode: stat.st_ino,
        bytes: u64::try_from(stat.st_size).unwrap_or(0),
        modified_s: stat.st_mtime,
        modified_ns: stat.st_mtime_nsec,
    })
}

fn same(published: &FileIdentity, now: &FileIdentity, path: &Path) -> Result<(), FileError> {
    let change = if (published.device, published.inode) != (now.device, now.inode) {
        "was replaced by another file"
    } else if now.bytes < published.bytes {
        "was cut short"
    } else if now != published {
        "was modified"
    } else {
        return Ok(());
    };
    Err(FileError::Stale { path: path.to_owned(), change })
}

/// Whether the kernel promises that nobody can write the file or change its size, now or later.
fn cannot_change(descriptor: &OwnedFd) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    if let Ok(seals) = rustix::fs::fcntl_get_seals(descriptor)
        && seals.contains(SealFlags::SHRINK | SealFlags::WRITE)
    {
        return true;
    }
    if rustix::fs::fstatfs(descriptor).is_ok_and(|found| UNWRITABLE.contains(&(found.f_type as u64))) {
        return true;
    }
    // Files without this call are older than fs-verity.
    rustix::fs::statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::VERITY))
}

fn failed(operation: &'static str, path: &Path, error: Errno) -> FileError {
    FileError::System { operation, path: path.to_owned(), source: error.into() }
}
