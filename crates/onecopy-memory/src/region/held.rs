//! A large value read in place.

use std::ptr::NonNull;

use crate::hold::Hold;
use crate::region::seat::SeatHold;
use crate::region::{Current, Region, Value};

/// A value of a region, held where it is: its bytes stay as they are until this is dropped.
///
/// ```
/// # use onecopy_memory::hold::ReaderTable;
/// # use onecopy_memory::layout::SegmentKind;
/// # use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
/// # use onecopy_memory::segment::View;
/// let mut writer = RegionWriter::create(RegionGeometry::new(4096, 1)?, 0, 1, b"first")?;
/// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
/// let reader = RegionReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
/// let held = reader.hold()?;
/// assert_eq!((held.version(), held.bytes()), (1, b"first".as_slice()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct HeldValue {
    bytes: NonNull<[u8]>,
    version: u64,
    /// Also keeps the memory mapped: a reader's state and a seat both have windows into the region.
    _keep: Keep,
}

// SAFETY: memory that stays where it is and is only read, whatever thread has the value; what keeps it can be sent and
// shared.
unsafe impl Send for HeldValue where Keep: Send {}
// SAFETY: as above.
unsafe impl Sync for HeldValue where Keep: Sync {}

/// The entry that keeps writers away.
#[derive(Debug)]
pub(super) enum Keep {
    Reader { _hold: Hold },
    Seat { _hold: SeatHold },
}

impl HeldValue {
    /// `keep` was entered before `current` was found unchanged, and `length` checked.
    pub(super) fn new(region: &Region, current: Current, length: usize, keep: Keep) -> Self {
        Self { bytes: region.payload(current.copy, length), version: current.version, _keep: keep }
    }

    /// Number of the write that it comes from.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Copies as much of the value as `value` has room for.
    pub(super) fn copy_to(&self, value: &mut [u8]) -> Value {
        let bytes = self.bytes();
        let wanted = value.len().min(bytes.len());
        value[..wanted].copy_from_slice(&bytes[..wanted]);
        Value { version: self.version, length: bytes.len() }
    }

    /// The value's bytes.
    ///
    /// A writer that keeps the protocol leaves them unchanged while they are held. One that breaks it can change
    /// their values under the reader's eyes; it cannot make them vanish. Copy them first if the writer is not trusted.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `payload` checked that the range lies inside the mapping, which `_keep` keeps alive and whose size is
        // sealed. It is initialised memory (pages of a memfd start as zeros). The hold keeps writers from
        // changing it: they choose a copy only after they found no hold on it (`Region::next_large`).
        unsafe { self.bytes.as_ref() }
    }
}
