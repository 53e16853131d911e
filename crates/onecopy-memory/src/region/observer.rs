//! A look at a region from outside: its version, sizes and lock, without taking part in it.

use std::os::fd::OwnedFd;

use super::{Region, RegionGeometry, Seat};
use crate::layout::SegmentKind;
use crate::segment::{SegmentError, View};

/// Sees a region of either mode, and is seen by nobody.
///
/// ```
/// use onecopy_memory::region::{RegionGeometry, RegionObserver, RegionWriter};
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
/// let observer = RegionObserver::open(writer.descriptor().try_clone_to_owned()?)?;
/// writer.write(b"second")?;
/// assert_eq!(observer.version(), 2);
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
    pub fn open(descriptor: OwnedFd) -> Result<Self, SegmentError> {
        let (view, shared) = View::open_either(descriptor, SegmentKind::Region)?;
        Ok(Self { region: Region::open(view.mapping(), shared)? })
    }

    /// Version of the current value.
    pub fn version(&self) -> u64 {
        self.region.current().version
    }

    /// How often participants of a shared region slept until its lock was free, since it has this memory.
    pub fn lock_waits(&self) -> u64 {
        self.region.lock_waits()
    }

    /// Who has the lock of a shared region while others may be asleep for it.
    pub fn contended_lock(&self) -> Option<Seat> {
        self.region.contended_holder()
    }

    /// The region's sizes.
    pub fn geometry(&self) -> RegionGeometry {
        self.region.geometry
    }
}
