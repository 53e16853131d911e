//! A look at a region from outside: its version, sizes and lock, without taking part in it.

use std::os::fd::AsFd;

use super::{Region, RegionGeometry, Seat};
use crate::layout::SegmentKind;
use crate::segment::{SegmentError, View};

/// Sees a region of either mode, and is seen by nobody.
///
/// ```
/// use onecopy_memory::region::{RegionGeometry, RegionObserver, RegionWriter};
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
/// let observer = RegionObserver::open(writer.descriptor())?;
/// writer.write(b"second")?;
/// assert_eq!((observer.version(), observer.geometry().capacity_bytes()), (2, 48));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RegionObserver {
    region: Region,
}

impl RegionObserver {
    /// Maps a region read-only.
    ///
    /// # Errors
    ///
    /// What [`View::open`] says.
    pub fn open(descriptor: impl AsFd) -> Result<Self, SegmentError> {
        let (view, shared) = View::open_either(descriptor, SegmentKind::Region)?;
        Ok(Self { region: Region::open(view.mapping(), shared)? })
    }

    /// Version of the current value.
    pub fn version(&self) -> u64 {
        self.region.current().version
    }

    /// How often participants of a shared region slept until its lock was free, since it has this memory.
    ///
    /// See [`Self::contended_lock`] for an example.
    pub fn lock_waits(&self) -> u64 {
        self.region.lock_waits()
    }

    /// Who has the lock of a shared region while others may be asleep for it.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, RegionObserver, Seat, SharedRegion};
    /// # use std::time::Instant;
    /// # let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// # let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
    /// # let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// let observer = RegionObserver::open(first.descriptor())?;
    /// let guard = first.lock(None)?;
    /// assert_eq!((observer.contended_lock(), observer.lock_waits()), (None, 0));
    /// // Somebody else comes for the lock, and gives up at once.
    /// assert!(second.lock(Some(Instant::now())).is_err());
    /// assert_eq!((observer.contended_lock(), observer.lock_waits()), (Some(seat(1)?), 1));
    /// drop(guard);
    /// assert_eq!(observer.contended_lock(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn contended_lock(&self) -> Option<Seat> {
        self.region.contended_holder()
    }

    /// The region's sizes.
    pub fn geometry(&self) -> RegionGeometry {
        self.region.geometry
    }
}
