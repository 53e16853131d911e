//! The unit of sharing: a memfd that its creator maps writable once, then seals so that nobody, the creator
//! included, can ever resize it or map it writable again. Others get the descriptor and map it read-only; the kernel
//! refuses them anything else. When the last process that has it mapped or open is gone, so is the memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::ProtFlags;

use crate::counted::counted;
use crate::layout::{FORMAT_VERSION, HEADER_BYTES, MAGIC, SegmentHeader, SegmentKind};
use crate::mapping::Mapping;
use crate::sync::{Arc, Ordering};
use crate::window::Window;

/// Seals without which a segment from somebody else is refused: its size can't change under us, the seals can't be
/// lifted, and nobody but the owner has it writable.
const REQUIRED_SEALS: SealFlags =
    SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

/// Seals of a segment that several processes write: its size is as fixed as that of any other.
const SHARED_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// What `fstatfs` says of ordinary shared memory.
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Why a segment could not be made, or one that was offered was refused.
///
/// ```
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::segment::{SegmentError, View};
///
/// // A file that somebody could make shorter under a reader's eyes is no segment.
/// let file = std::fs::File::open("/proc/self/exe")?;
/// assert!(matches!(View::open(file.into(), SegmentKind::Ring), Err(SegmentError::NotSealed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The process has as many descriptors open as it may.
    #[error("too many open descriptors: raise the limit with `ulimit -n` or LimitNOFILE=, then try again")]
    TooManyDescriptors(#[source] io::Error),
    /// The kernel has no memory, or no address space, for it.
    #[error(
        "no memory for a segment of {}: lower the byte budget, or raise the memory limit (cgroup, `ulimit -v`, vm.max_map_count)",
        counted(*bytes, "byte")
    )]
    OutOfMemory {
        /// Size that was asked for.
        bytes: usize,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A system call failed otherwise.
    #[error("{call} failed")]
    System {
        /// Name of the call.
        call: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The descriptor is no memfd with the seals that make sharing safe.
    #[error("the descriptor offered as a segment is not a sealed memfd: its sender is broken or hostile")]
    NotSealed,
    /// The first bytes are not a segment's.
    #[error("the memory offered as a segment has no onecopy header: its sender is broken or hostile")]
    NotASegment,
    /// The two sides were built with different layouts.
    #[error(
        "segment format version {theirs}, but this program speaks version {ours}: rebuild the older of the two"
    )]
    Version {
        /// Version of this program.
        ours: u64,
        /// Version in the header.
        theirs: u64,
    },
    /// A segment, but not the one that was expected.
    #[error("segment of kind {theirs} where kind {ours:?} was expected")]
    Kind {
        /// What was expected.
        ours: SegmentKind,
        /// Number in the header.
        theirs: u64,
    },
    /// The header claims another size than the memory has.
    #[error("segment header says {}, the memory has {actual}", counted(*claimed, "byte"))]
    Size {
        /// Size in the header.
        claimed: u64,
        /// Size of the memory.
        actual: u64,
    },
    /// A number that no pool gives to a segment.
    #[error("segment number {index} is impossible: its sender is broken or hostile")]
    Index {
        /// The number.
        index: u32,
    },
    /// The payload types differ.
    #[error(
        "payload layout {theirs:016x} where {ours:016x} was expected: the two programs define the type differently"
    )]
    Layout {
        /// Hash that was expected.
        ours: u64,
        /// Hash in the header.
        theirs: u64,
    },
    /// The sizes inside a region's header contradict each other.
    #[error(
        "region geometry is impossible: values of {} aligned to {alignment_bytes}, flags {flags:#x}, in {}",
        counted(*capacity_bytes, "byte"),
        counted(*total_bytes, "byte")
    )]
    RegionGeometry {
        /// Largest value in the header.
        capacity_bytes: u64,
        /// Alignment in the header.
        alignment_bytes: u64,
        /// Flags in the header.
        flags: u64,
        /// Size of the memory.
        total_bytes: u64,
    },
    /// The sizes inside a ring's header contradict each other.
    #[error(
        "ring geometry is impossible: {} of {}, history {history}, in {}",
        counted(*capacity, "slot"),
        counted(*slot_bytes, "byte"),
        counted(*total_bytes, "byte")
    )]
    Geometry {
        /// Number of slots in the header.
        capacity: u64,
        /// Slot size in the header.
        slot_bytes: u64,
        /// History in the header.
        history: u64,
        /// Size of the memory.
        total_bytes: u64,
    },
}

impl SegmentError {
    pub(crate) fn system(call: &'static str, bytes: usize, error: rustix::io::Errno) -> Self {
        use rustix::io::Errno;
        match error {
            Errno::MFILE | Errno::NFILE => Self::TooManyDescriptors(error.into()),
            Errno::NOMEM | Errno::NOSPC => Self::OutOfMemory { bytes, source: error.into() },
            _ => Self::System { call, source: error.into() },
        }
    }
}

/// A segment of this process: mapped writable, sealed, its descriptor ready to be handed out.
///
/// ```
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::segment::{Segment, View};
///
/// let segment = Segment::create(SegmentKind::Pool, 8192, 0)?;
/// let view = View::open(segment.descriptor().try_clone_to_owned()?, SegmentKind::Pool)?;
/// assert_eq!(view.total_bytes(), 8192);
/// // Whoever keeps the descriptor can hand the memory out when its owner is gone.
/// let kept = segment.share_descriptor();
/// drop(segment);
/// assert!(View::open(kept.try_clone()?, SegmentKind::Pool).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Segment {
    descriptor: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
}

impl Segment {
    /// Makes a segment of `total_bytes` (header included) and writes its header. Memory is taken page by page as it
    /// is touched, not here.
    ///
    /// # Errors
    ///
    /// [`SegmentError::TooManyDescriptors`], [`SegmentError::OutOfMemory`] or [`SegmentError::System`].
    pub fn create(kind: SegmentKind, total_bytes: usize, layout_hash: u64) -> Result<Self, SegmentError> {
        let (descriptor, mapping) = create(kind, total_bytes, layout_hash, REQUIRED_SEALS)?;
        Ok(Self { descriptor: Arc::new(descriptor), mapping })
    }

    /// What others need to map the segment.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The same, for somebody who hands it out again later.
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

/// Somebody else's segment, mapped read-only, its header checked.
///
/// ```
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::segment::{Segment, SegmentError, View};
///
/// let segment = Segment::create(SegmentKind::Ring, 1 << 16, 7)?;
/// let received = || segment.descriptor().try_clone_to_owned();
/// let view = View::open(received()?, SegmentKind::Ring)?;
/// assert_eq!(view.total_bytes(), 1 << 16);
/// // Nothing that comes from another process is believed.
/// assert!(matches!(View::open(received()?, SegmentKind::Pool), Err(SegmentError::Kind { .. })));
/// view.expect_layout(7)?;
/// assert!(matches!(view.expect_layout(8), Err(SegmentError::Layout { ours: 8, theirs: 7 })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct View {
    mapping: Arc<Mapping>,
    layout_hash: u64,
    owner_uid: u32,
}

impl View {
    /// Checks and maps a descriptor that came from another process. The descriptor is closed again: the mapping
    /// keeps the memory.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the memory has its variant of [`SegmentError`].
    pub fn open(descriptor: OwnedFd, kind: SegmentKind) -> Result<Self, SegmentError> {
        map(descriptor.as_fd(), kind, REQUIRED_SEALS, ProtFlags::READ)
    }

    /// Like [`Self::open`], but takes also a segment that several may write, for a look from outside; says
    /// whether it is one.
    ///
    /// ```
    /// use onecopy_memory::layout::SegmentKind;
    /// use onecopy_memory::segment::{Segment, SharedSegment, View};
    ///
    /// let own = Segment::create(SegmentKind::Region, 8192, 0)?.share_descriptor();
    /// let common = SharedSegment::create(SegmentKind::Region, 8192, 0)?.share_descriptor();
    /// assert!(!View::open_either(&own, SegmentKind::Region)?.1);
    /// assert!(View::open_either(&common, SegmentKind::Region)?.1);
    /// // Who relies on what is read there must not have it changed by others.
    /// assert!(View::open(common.try_clone()?, SegmentKind::Region).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::open`].
    pub fn open_either(descriptor: impl AsFd, kind: SegmentKind) -> Result<(Self, bool), SegmentError> {
        let descriptor = descriptor.as_fd();
        let view = map(descriptor, kind, SHARED_SEALS, ProtFlags::READ)?;
        let seals = rustix::fs::fcntl_get_seals(descriptor).map_err(|_| SegmentError::NotSealed)?;
        Ok((view, !seals.contains(REQUIRED_SEALS)))
    }

    /// Refuses a segment whose payload type is not the expected one.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Layout`] names both.
    pub fn expect_layout(&self, layout_hash: u64) -> Result<(), SegmentError> {
        same_layout(layout_hash, self.layout_hash)
    }

    /// Size of the segment, header included.
    pub fn total_bytes(&self) -> usize {
        self.mapping.len()
    }

    /// The user whose process made the memory.
    ///
    /// See [`RegionReader::owner_uid`](crate::region::RegionReader::owner_uid) for an example.
    pub fn owner_uid(&self) -> u32 {
        self.owner_uid
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

/// A segment that several processes of the same trust have mapped writable. Its size is sealed like any other's, but
/// everyone who has it can write every byte of it: nothing read from it is trusted, not even one's own words.
///
/// ```
/// use onecopy_memory::layout::SegmentKind;
/// use onecopy_memory::segment::SharedSegment;
///
/// let created = SharedSegment::create(SegmentKind::Region, 8192, 7)?;
/// let joined = SharedSegment::open(created.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
/// assert_eq!((joined.total_bytes(), joined.expect_layout(7).is_ok()), (8192, true));
/// // Each of them can hand it on.
/// drop(created);
/// assert!(SharedSegment::open(joined.share_descriptor().try_clone()?, SegmentKind::Region).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SharedSegment {
    descriptor: Arc<OwnedFd>,
    mapping: Arc<Mapping>,
    layout_hash: u64,
}

impl SharedSegment {
    /// As [`Segment::create`], but others may map it writable too.
    ///
    /// # Errors
    ///
    /// What [`Segment::create`] says.
    pub fn create(kind: SegmentKind, total_bytes: usize, layout_hash: u64) -> Result<Self, SegmentError> {
        let (descriptor, mapping) = create(kind, total_bytes, layout_hash, SHARED_SEALS)?;
        Ok(Self { descriptor: Arc::new(descriptor), mapping, layout_hash })
    }

    /// Checks a descriptor that came from another process, and maps it writable. It is kept: whoever takes part can
    /// hand the segment on when its creator is gone.
    ///
    /// # Errors
    ///
    /// As [`View::open`]; a segment that only its owner may write is [`SegmentError::System`].
    pub fn open(descriptor: OwnedFd, kind: SegmentKind) -> Result<Self, SegmentError> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let View { mapping, layout_hash, .. } = map(descriptor.as_fd(), kind, SHARED_SEALS, protection)?;
        Ok(Self { descriptor: Arc::new(descriptor), mapping, layout_hash })
    }

    /// Refuses a segment whose payload type is not the expected one.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Layout`] names both.
    pub fn expect_layout(&self, layout_hash: u64) -> Result<(), SegmentError> {
        same_layout(layout_hash, self.layout_hash)
    }

    /// What others need to take part.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// The same, for somebody who hands it out again later.
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.descriptor)
    }

    /// Size of the segment, header included.
    pub fn total_bytes(&self) -> usize {
        self.mapping.len()
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }
}

fn same_layout(ours: u64, theirs: u64) -> Result<(), SegmentError> {
    if ours == theirs { Ok(()) } else { Err(SegmentError::Layout { ours, theirs }) }
}

/// A memfd of so many bytes, not sealed yet.
pub(crate) fn new_memory(total_bytes: usize) -> Result<OwnedFd, SegmentError> {
    let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    if crate::kernel::features().noexec_seal {
        flags |= MemfdFlags::NOEXEC_SEAL;
    }
    let fail = |call| move |error| SegmentError::system(call, total_bytes, error);
    let descriptor = rustix::fs::memfd_create("onecopy", flags).map_err(fail("memfd_create"))?;
    rustix::fs::ftruncate(&descriptor, total_bytes as u64).map_err(fail("ftruncate"))?;
    Ok(descriptor)
}

/// A memfd with its header, mapped writable and then sealed.
fn create(
    kind: SegmentKind,
    total_bytes: usize,
    layout_hash: u64,
    seals: SealFlags,
) -> Result<(OwnedFd, Arc<Mapping>), SegmentError> {
    assert!(total_bytes >= HEADER_BYTES, "a segment has at least a header");
    let fail = |call| move |error| SegmentError::system(call, total_bytes, error);
    let descriptor = new_memory(total_bytes)?;
    let mapping = Mapping::new(descriptor.as_fd(), total_bytes, ProtFlags::READ | ProtFlags::WRITE)
        .map_err(fail("mmap"))?;
    rustix::fs::fcntl_add_seals(&descriptor, seals).map_err(fail("F_ADD_SEALS"))?;

    let mapping = Arc::new(mapping);
    let header = Window::<SegmentHeader>::new(&mapping, 0, 1).expect("the header fits");
    let [header] = &*header else { unreachable!("the window has one element") };
    header.magic.store(MAGIC, Ordering::Relaxed);
    header.format_version.store(FORMAT_VERSION, Ordering::Relaxed);
    header.kind.store(kind as u64, Ordering::Relaxed);
    header.total_bytes.store(total_bytes as u64, Ordering::Relaxed);
    header.layout_hash.store(layout_hash, Ordering::Relaxed);
    Ok((descriptor, mapping))
}

/// Checks a descriptor that came from outside, maps it, and checks what it finds there.
fn map(
    descriptor: BorrowedFd<'_>,
    kind: SegmentKind,
    required: SealFlags,
    protection: ProtFlags,
) -> Result<View, SegmentError> {
    let Memory { total_bytes, owner_uid } = check_memory(descriptor, required)?;
    let mapping = Mapping::new(descriptor, total_bytes, protection)
        .map_err(|error| SegmentError::system("mmap", total_bytes, error))?;
    let mapping = Arc::new(mapping);
    let layout_hash = check_header(&mapping, kind)?;
    Ok(View { mapping, layout_hash, owner_uid })
}

/// What the kernel says of memory before it is mapped.
pub(crate) struct Memory {
    pub(crate) total_bytes: usize,
    /// The user whose process made it.
    owner_uid: u32,
}

/// Checks what a descriptor that came from outside is, before it is mapped.
pub(crate) fn check_memory(descriptor: BorrowedFd<'_>, required: SealFlags) -> Result<Memory, SegmentError> {
    // Only a memfd has seals: anything else fails here.
    let seals = rustix::fs::fcntl_get_seals(descriptor).map_err(|_| SegmentError::NotSealed)?;
    if !seals.contains(required) {
        return Err(SegmentError::NotSealed);
    }
    // Huge pages are memfds too, but touching one can fail with a signal when their quota is used up.
    let file_system = rustix::fs::fstatfs(descriptor);
    let file_system = file_system.map_err(|error| SegmentError::system("fstatfs", 0, error))?;
    if file_system.f_type as u64 != TMPFS_MAGIC {
        return Err(SegmentError::NotSealed);
    }
    let stat = rustix::fs::fstat(descriptor).map_err(|error| SegmentError::system("fstat", 0, error))?;
    let total_bytes = usize::try_from(stat.st_size).map_err(|_| SegmentError::NotASegment)?;
    if total_bytes < HEADER_BYTES {
        return Err(SegmentError::NotASegment);
    }
    Ok(Memory { total_bytes, owner_uid: stat.st_uid })
}

/// Reads each field once (its owner may still be writing), checks the copies, and returns the layout hash.
pub(crate) fn check_header(mapping: &Arc<Mapping>, kind: SegmentKind) -> Result<u64, SegmentError> {
    let window = Window::<SegmentHeader>::new(mapping, 0, 1).ok_or(SegmentError::NotASegment)?;
    let [header] = &*window else { return Err(SegmentError::NotASegment) };
    if header.magic.load(Ordering::Relaxed) != MAGIC {
        return Err(SegmentError::NotASegment);
    }
    let theirs = header.format_version.load(Ordering::Relaxed);
    if theirs != FORMAT_VERSION {
        return Err(SegmentError::Version { ours: FORMAT_VERSION, theirs });
    }
    let theirs = header.kind.load(Ordering::Relaxed);
    if theirs != kind as u64 {
        return Err(SegmentError::Kind { ours: kind, theirs });
    }
    let claimed = header.total_bytes.load(Ordering::Relaxed);
    if claimed != mapping.len() as u64 {
        return Err(SegmentError::Size { claimed, actual: mapping.len() as u64 });
    }
    Ok(header.layout_hash.load(Ordering::Relaxed))
}
