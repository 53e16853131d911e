//! What can go wrong with a region: faults of whoever writes it, and conditions that the caller handles.

use crate::counted::counted;
use crate::hold::HoldError;
use crate::layout::{COPIES, HELD_PER_SEAT};
use crate::region::{GeometryError, Seat};
use crate::segment::SegmentError;

/// What stands in the region was written by no honest writer: it is given up.
///
/// ```
/// use onecopy_memory::layout::{REGION_HEADER_OFFSET, RegionHeader};
/// use onecopy_memory::region::{ReadError, RegionFault, RegionGeometry, Seat, SharedRegion};
/// use std::{fs::File, mem::offset_of, os::unix::fs::FileExt};
///
/// let seat = Seat::new(1, 0).ok_or("no such seat")?;
/// let region = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat)?;
/// // Whoever takes part can scribble over the word that says which value is current.
/// let file = File::from(region.descriptor().try_clone_to_owned()?);
/// file.write_all_at(&[0xff; 8], (REGION_HEADER_OFFSET + offset_of!(RegionHeader, current)) as u64)?;
/// let fault = region.read(&mut [0; 8]);
/// assert!(matches!(fault, Err(ReadError::Fault(RegionFault::CorruptSequence { .. }))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegionFault {
    /// The region never had a value.
    #[error("the region has no value: its creator is broken or hostile, create the region again")]
    NoValue,
    /// The length of a value is beyond the region's capacity.
    #[error(
        "version {version} of the region claims {}, more than it can hold: a writer is broken or hostile, create the region again",
        counted(*length, "byte")
    )]
    CorruptLength {
        /// Version of the value.
        version: u64,
        /// What it claims.
        length: u64,
    },
    /// The current copy is not of the version that is current.
    #[error(
        "the current copy of the region is not version {version}: a writer is broken or hostile, create the region again"
    )]
    CorruptSequence {
        /// Version that is current.
        version: u64,
    },
    /// The region changed faster than it can be written.
    #[error(
        "the region changed under every one of thousands of reads: a writer is broken or hostile, create the region again"
    )]
    Unsettled,
    /// The lock names nobody who could hold it.
    #[error(
        "the region's lock has the impossible value {word:#010x}: a writer is broken or hostile, create the region again"
    )]
    CorruptLock {
        /// What stands there.
        word: u32,
    },
}

/// Why a value could not be read in place.
///
/// ```
/// use onecopy_memory::layout::HELD_PER_SEAT;
/// use onecopy_memory::region::{ReadError, RegionGeometry, Seat, SharedRegion};
///
/// let seat = Seat::new(1, 0).ok_or("no such seat")?;
/// let small = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat)?;
/// assert_eq!(small.hold().err(), Some(ReadError::Small));
///
/// let large = SharedRegion::create(RegionGeometry::new(4096, 8)?, 0, 1, &[0; 4096], seat)?;
/// let held: Vec<_> = (0..HELD_PER_SEAT).map(|_| large.hold()).collect::<Result<_, _>>()?;
/// assert_eq!(large.hold().err(), Some(ReadError::SeatFull));
/// drop(held);
/// assert!(large.hold().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The region is broken.
    #[error(transparent)]
    Fault(#[from] RegionFault),
    /// No room to note a further held value.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// This participant of a shared region holds as many values as can be told to the others.
    #[error(
        "{HELD_PER_SEAT} values of this shared region are held already: drop some, or copy what is to be kept"
    )]
    SeatFull,
    /// Small values are copied out.
    #[error("values of this region are too small to be held: read them")]
    Small,
    /// What the process has of the region belongs to its parent.
    #[error("the region was opened before fork: open it again in the child process")]
    Forked,
}

/// Why a value could not be written. The region is unchanged.
///
/// ```
/// use onecopy_memory::layout::VERSION_MAX;
/// use onecopy_memory::region::{RegionGeometry, RegionWriter, WriteError};
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(4, 1)?, 0, 1, b"kept")?;
/// assert_eq!(writer.write(b"refused"), Err(WriteError::TooLarge { length_bytes: 7, capacity_bytes: 4 }));
/// assert_eq!(writer.value(), b"kept");
/// // Billions a second for years: no region comes there.
/// let mut writer = RegionWriter::create(RegionGeometry::new(4, 1)?, 0, VERSION_MAX, b"last")?;
/// assert_eq!(writer.write(b"none"), Err(WriteError::VersionsExhausted));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The value is larger than the region.
    #[error(
        "a value of {} does not fit the region, which has room for {capacity_bytes}: resize it",
        counted(*length_bytes, "byte")
    )]
    TooLarge {
        /// Bytes of the value.
        length_bytes: usize,
        /// Bytes the region has room for.
        capacity_bytes: usize,
    },
    /// Readers hold every copy but the current one.
    #[error("readers hold {} older values of the region, which leaves no room for a new one: have them drop some", COPIES - 1)]
    AllHeld,
    /// There is no higher version.
    #[error("the region's version can't grow any more: create the region again")]
    VersionsExhausted,
    /// What the process has of the region belongs to its parent.
    #[error("the region was opened before fork: open it again in the child process")]
    Forked,
    /// The region is broken.
    #[error(transparent)]
    Fault(#[from] RegionFault),
    /// The lock of a shared region could not be taken.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// Why the lock of a shared region could not be taken.
///
/// ```
/// use onecopy_memory::region::{LockError, RegionGeometry, Seat, SharedRegion};
/// use std::time::Instant;
///
/// let seat = |line| Seat::new(line, 0).ok_or("no such seat");
/// let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
/// let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
/// let guard = first.lock(None)?;
/// let refused = second.lock(Some(Instant::now())).err();
/// assert_eq!(refused, Some(LockError::Timeout { holder: Some(seat(1)?) }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else has it, and lives.
    #[error("the region stayed locked until the deadline: wait longer, or see what its holder does")]
    Timeout {
        /// Who had it last; `None` if others were quicker each time.
        holder: Option<Seat>,
    },
    /// The value has moved to another, larger segment.
    #[error("the region has moved to a larger segment: open that one")]
    Retired,
    /// What the process has of the region belongs to its parent.
    #[error("the region was opened before fork: open it again in the child process")]
    Forked,
    /// The region is broken.
    #[error(transparent)]
    Fault(#[from] RegionFault),
}

/// Why a value was not put in the place of an expected one. The region is unchanged.
///
/// ```
/// use onecopy_memory::region::{CompareError, RegionGeometry, Seat, SharedRegion};
///
/// let seat = Seat::new(1, 0).ok_or("no such seat")?;
/// let region = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat)?;
/// assert_eq!(region.compare_and_set(1, &[1; 8], None), Ok(2));
/// assert_eq!(region.compare_and_set(1, &[2; 8], None), Err(CompareError::Conflict { current: 2 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// The value had changed already.
    #[error("the region is at version {current} already: read it again, then try with that version")]
    Conflict {
        /// Version that is current.
        current: u64,
    },
    /// The value could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Why a region could not be made or opened.
///
/// ```
/// use onecopy_memory::region::{OpenError, RegionGeometry, Seat, SharedRegion};
///
/// let seat = Seat::new(1, 0).ok_or("no such seat")?;
/// let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat)?;
/// let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat);
/// assert!(matches!(second, Err(OpenError::SeatTaken { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The memory could not be made, or what was offered is no region.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// No room for a further reader.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The first value does not fit.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The note is too long.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Somebody else has this seat.
    #[error("seat {} of the shared region is taken: ask the broker for another", seat.line())]
    SeatTaken {
        /// The seat that was asked for.
        seat: Seat,
    },
}
