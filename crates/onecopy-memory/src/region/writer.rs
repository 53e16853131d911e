//! The one writer of a region that everyone else has mapped read-only.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::{Current, OpenError, Region, RegionGeometry, SmallBytes, WriteError, mark_held};
use crate::fork::ForkGuard;
use crate::kernel;
use crate::layout::{COPIES, COPY_HEADER_WORDS, FLAG_ASYMMETRIC, SMALL_BYTES_MAX, SegmentKind};
use crate::readers::{AttachedReader, ReaderKey, Readers, sleepers};
use crate::segment::{Segment, SegmentError};
use crate::sync::{Arc, Barrier, Ordering, full_barrier, heavy_barrier};
use crate::words::load_bytes;

/// The one writer of a region.
///
/// ```
/// use onecopy_memory::region::{RegionGeometry, RegionWriter};
///
/// let mut writer = RegionWriter::create(RegionGeometry::new(1 << 20, 8)?, 0, 1, b"empty")?;
/// let mut draft = writer.draft()?;
/// assert_eq!(&draft.bytes()[..5], b"empty");
/// draft.bytes_mut()[..4].copy_from_slice(b"full");
/// assert_eq!(draft.commit(4)?, 2);
/// assert_eq!(writer.value(), b"full");
/// // As good for what lies elsewhere already, and fits.
/// let value = b"overflowing";
/// if value.len() <= writer.geometry().capacity_bytes() {
///     writer.write(value)?;
/// }
/// assert_eq!(writer.version(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RegionWriter {
    pub(super) region: Region,
    segment: Option<Segment>,
    /// The shared words are for others.
    current: Current,
    length: usize,
    /// A draft of a small value is written here, and the current one looked at.
    small: SmallBytes,
    /// Whether that is the current value: writing does not wait for a second copy.
    small_is_current: bool,
    /// Towards the thread of this process that attaches readers, and towards readers that enter a hold.
    barrier: Barrier,
    /// Large values: copies that nobody held when that was looked up last, and that have not been current since. Only
    /// what is current can be taken hold of, so they are still free.
    free: u16,
    readers: Arc<Readers>,
    readers_version: u64,
    attached: Vec<Arc<AttachedReader>>,
    sleepers: Vec<Arc<AttachedReader>>,
    /// Absent in a model only.
    fork: Option<ForkGuard>,
}

impl RegionWriter {
    /// Makes the segment, with `value` as version `first_version` in it (1 if it replaces no other region).
    /// `layout_hash` describes the type of the value.
    ///
    /// # Errors
    ///
    /// What [`Segment::create`] says; a value or version beyond what a region takes.
    pub fn create(
        geometry: RegionGeometry,
        layout_hash: u64,
        first_version: u64,
        value: &[u8],
    ) -> Result<Self, OpenError> {
        Self::create_with_note(geometry, layout_hash, first_version, value, &[])
    }

    /// The same with a note of up to [`NOTE_BYTES_MAX`](crate::layout::NOTE_BYTES_MAX) bytes, for whoever writes the
    /// region next.
    ///
    /// ```
    /// use onecopy_memory::hold::ReaderTable;
    /// use onecopy_memory::layout::{NOTE_BYTES_MAX, SegmentKind};
    /// use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
    /// use onecopy_memory::segment::View;
    ///
    /// let writer = RegionWriter::create_with_note(RegionGeometry::new(48, 1)?, 0, 1, b"ACGT", b"by hand")?;
    /// let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
    /// let reader = RegionReader::open(&view, &ReaderTable::create()?, Box::new(()))?;
    /// assert_eq!(reader.note(), b"by hand");
    ///
    /// let note = [b'x'; NOTE_BYTES_MAX + 1];
    /// assert!(RegionWriter::create_with_note(RegionGeometry::new(48, 1)?, 0, 1, b"ACGT", &note).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::create`], or a note that is too long.
    pub fn create_with_note(
        geometry: RegionGeometry,
        layout_hash: u64,
        first_version: u64,
        value: &[u8],
        note: &[u8],
    ) -> Result<Self, OpenError> {
        let geometry = geometry.with_note(note.len())?;
        geometry.check_length(value.len())?;
        let segment = Segment::create(SegmentKind::Region, geometry.total_bytes(), layout_hash)?;
        let region = Region::over(segment.mapping(), geometry).expect("the segment has the region's size");
        region.write_note(note);
        let fork = ForkGuard::new().map_err(|source| SegmentError::System { call: "mmap", source })?;
        let writer = Self::over(region, first_version, value)?;
        Ok(Self { segment: Some(segment), fork: Some(fork), ..writer })
    }

    /// The same on the heap, for models.
    #[cfg(loom)]
    pub fn heap(geometry: RegionGeometry, value: &[u8]) -> Self {
        Self::over(Region::heap(geometry, 0), 1, value).expect("the model's value fits")
    }

    fn over(region: Region, first_version: u64, value: &[u8]) -> Result<Self, WriteError> {
        let current = region.start(first_version, value)?;
        let asymmetric = kernel::features().membarrier;
        if asymmetric {
            region.waking.flags.store(FLAG_ASYMMETRIC, Ordering::Relaxed);
        }
        Ok(Self {
            segment: None,
            current,
            length: value.len(),
            small: SmallBytes([0; SMALL_BYTES_MAX]),
            small_is_current: false,
            barrier: if asymmetric { Barrier::Asymmetric } else { Barrier::Full },
            readers: Arc::new(Readers::new(region.waking.clone(), 0, 1)),
            free: 0,
            readers_version: 0,
            attached: Vec::new(),
            sleepers: Vec::new(),
            fork: None,
            region,
        })
    }

    /// What readers need to map the region.
    ///
    /// See [`RegionReader`](super::RegionReader) for an example.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.segment.as_ref().expect("only a model has no segment").descriptor()
    }

    /// The same, for somebody who hands it out again later.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, RegionObserver, RegionWriter};
    /// let mut writer = RegionWriter::create(RegionGeometry::new(48, 1)?, 0, 1, b"first")?;
    /// let kept = writer.share_descriptor();
    /// writer.write(b"last")?;
    /// drop(writer);
    /// // Whoever comes late still finds the last value.
    /// assert_eq!(RegionObserver::open(&kept)?.version(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        self.segment.as_ref().expect("only a model has no segment").share_descriptor()
    }

    /// The list of readers, for the thread that attaches and detaches them.
    ///
    /// See [`Self::holders`] for an example.
    pub fn readers(&self) -> &Arc<Readers> {
        &self.readers
    }

    /// Sizes of the region.
    pub fn geometry(&self) -> RegionGeometry {
        self.region.geometry
    }

    /// Version of the current value.
    pub fn version(&self) -> u64 {
        self.current.version
    }

    /// The current value, as this writer left it.
    pub fn value(&mut self) -> &[u8] {
        if self.region.geometry.is_small() {
            self.refresh_small();
            return &self.small.0[..self.length];
        }
        // SAFETY: only this writer writes the region, and not while it is borrowed; `payload` checked the range.
        unsafe { self.region.payload(self.current.copy, self.length).as_ref() }
    }

    /// Makes `value` the current one, and gives its version. Never waits.
    ///
    /// # Errors
    ///
    /// [`WriteError`], which leaves the region as it was.
    // Always inlined, so that a small value of known size is copied by straight code.
    #[inline(always)]
    pub fn write(&mut self, value: &[u8]) -> Result<u64, WriteError> {
        if !self.region.geometry.is_small() {
            return self.write_large(value);
        }
        self.region.geometry.check_length(value.len())?;
        let next = self.next()?;
        self.region.fill_small(next, value);
        self.small_is_current = false;
        self.commit(next, value.len());
        Ok(next.version)
    }

    fn write_large(&mut self, value: &[u8]) -> Result<u64, WriteError> {
        self.region.geometry.check_length(value.len())?;
        let next = self.next()?;
        // SAFETY: `next` found the copy neither current nor held, so nobody reads it; nobody else writes the region.
        unsafe { self.region.payload(next.copy, value.len()).as_mut() }.copy_from_slice(value);
        self.commit(next, value.len());
        Ok(next.version)
    }

    /// Room for the next value, in place, which begins as the current one. It becomes current when it is committed;
    /// dropped, it leaves the region as it was.
    ///
    /// # Errors
    ///
    /// [`WriteError`], which leaves the region as it was.
    pub fn draft(&mut self) -> Result<Draft<'_>, WriteError> {
        let next = self.next()?;
        if self.region.geometry.is_small() {
            self.refresh_small();
        } else {
            self.region.copy_value(self.current.copy, next.copy, self.length);
        }
        Ok(Draft { writer: self, next, committed: false })
    }

    /// The readers that hold values, and how many copies each keeps from being written: for telling whose fault
    /// [`WriteError::AllHeld`] is.
    ///
    /// ```
    /// # use onecopy_memory::hold::{PeerReader, ReaderTable};
    /// # use onecopy_memory::{layout::SegmentKind, segment::View};
    /// # use onecopy_memory::region::{RegionGeometry, RegionReader, RegionWriter};
    /// use onecopy_memory::{layout::COPIES, region::WriteError};
    ///
    /// # let mut writer = RegionWriter::create(RegionGeometry::new(4096, 1)?, 0, 1, b"first")?;
    /// # let view = View::open(writer.descriptor().try_clone_to_owned()?, SegmentKind::Region)?;
    /// # let table = ReaderTable::create()?;
    /// # let reader = RegionReader::open(&view, &table, Box::new(()))?;
    /// # let state = View::open(table.descriptor().try_clone_to_owned()?, SegmentKind::Readers)?;
    /// # let peer = PeerReader::open(&state, reader.state().block()).ok_or("it has that block")?;
    /// let key = (1, 1);
    /// writer.readers().attach(key, peer);
    /// let mut held = Vec::new();
    /// for _ in 1..COPIES {
    ///     held.push(reader.hold()?);
    ///     writer.write(b"another")?;
    /// }
    /// assert_eq!(writer.write(b"one too many"), Err(WriteError::AllHeld));
    /// assert_eq!(writer.holders(), [(key, COPIES as u32 - 1)]);
    /// held.truncate(1);
    /// assert_eq!(writer.holders(), [(key, 1)]);
    /// assert!(writer.write(b"now there is room").is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn holders(&mut self) -> Vec<(ReaderKey, u32)> {
        heavy_barrier();
        self.refresh_readers();
        let held = self.attached.iter().map(|reader| (reader.key(), held_by(reader).count_ones()));
        held.filter(|(_, copies)| *copies > 0).collect()
    }

    /// The next version, and a copy for it.
    #[inline(always)]
    fn next(&mut self) -> Result<Current, WriteError> {
        if self.fork.as_ref().is_some_and(ForkGuard::is_child) {
            return Err(WriteError::Forked);
        }
        let version = self.current.next_version()?;
        let copy = if self.region.geometry.is_small() {
            Region::next_small(self.current)
        } else {
            self.free_copy()?
        };
        Ok(Current { version, copy })
    }

    /// A copy to write, out of few, so that few have memory behind them, but not so few that readers have to
    /// be looked at for each value.
    #[inline(never)]
    fn free_copy(&mut self) -> Result<usize, WriteError> {
        let copies =
            (ROTATION_BYTES / self.region.geometry.capacity_bytes()).clamp(ROTATION_MIN, ROTATION_MAX);
        let usual = (1_u16 << copies) - 1;
        self.free &= !(1 << self.current.copy);
        if self.free & usual == 0 {
            self.look_for_free_copies();
        }
        let candidates = if self.free & usual != 0 { self.free & usual } else { self.free };
        if candidates == 0 { Err(WriteError::AllHeld) } else { Ok(candidates.trailing_zeros() as usize) }
    }

    fn look_for_free_copies(&mut self) {
        self.refresh_readers();
        // Pairs with the barrier between a reader's entry and its second look at `current`: see
        // `Region::claim`. It also pairs with `Readers::attach`: a reader that we don't find on the list sees
        // our last commit when it holds.
        if self.attached.is_empty() {
            full_barrier()
        } else {
            heavy_barrier()
        }
        self.refresh_readers();
        let held = self.attached.iter().fold(0, |held, reader| held | held_by(reader));
        self.free = !(held | 1 << self.current.copy);
    }

    #[inline(always)]
    fn commit(&mut self, next: Current, length: usize) {
        self.region.commit(next, length);
        self.current = next;
        self.length = length;
        // Pairs with `heavy_barrier` in `Readers::may_sleep`: either we see the new list, or the reader that is woken
        // there sees our value.
        self.barrier.light();
        self.refresh_readers();
        if !self.sleepers.is_empty() {
            self.wake_sleepers();
        }
    }

    #[cold]
    fn wake_sleepers(&self) {
        // Pairs with the fence of a reader between its ticket and its last look at the version: either we see
        // the ticket, or it sees our value.
        full_barrier();
        // Not `any`: each doorbell has to be rung.
        let on_futex = self.sleepers.iter().filter(|reader| reader.wants_wake()).count();
        if on_futex > 0 {
            self.region.waking.wake.bump_and_wake();
        }
    }

    #[inline]
    fn refresh_readers(&mut self) {
        if self.readers.version() != self.readers_version {
            self.take_readers();
        }
    }

    #[cold]
    fn take_readers(&mut self) {
        self.readers_version = self.readers.version();
        self.attached = self.readers.snapshot();
        self.sleepers = sleepers(&self.attached);
    }

    /// Takes the current value, which is small, into private memory.
    fn refresh_small(&mut self) {
        if !self.small_is_current {
            let words = self.region.copy(self.current.copy);
            load_bytes(&words[COPY_HEADER_WORDS..], &mut self.small.0[..self.length]);
            self.small_is_current = true;
        }
    }

    /// Chooses a copy for the next value without writing it, for models.
    #[cfg(loom)]
    pub fn choose_for_model(&mut self) -> usize {
        self.free_copy().expect("the model's readers hold little")
    }

    /// Commits the copy that [`Self::choose_for_model`] gave.
    #[cfg(loom)]
    pub fn commit_for_model(&mut self, copy: usize) {
        let version = self.current.next_version().expect("a model does not come so far");
        self.commit(Current { version, copy }, 0);
    }
}

/// Among how many copies large values are usually written: looking for held ones takes a barrier on all
/// processors, some microseconds, so small ones share it among several, while of large ones no more than
/// needed should have memory.
#[cfg(not(loom))]
const ROTATION_MAX: usize = 8;
#[cfg(not(loom))]
const ROTATION_MIN: usize = 3;
/// In a model, as few as there can be, so that it comes to a copy again.
#[cfg(loom)]
const ROTATION_MAX: usize = 2;
#[cfg(loom)]
const ROTATION_MIN: usize = 2;
const ROTATION_BYTES: usize = 256 << 10;

/// The copies that a reader holds. A chain that makes no sense is its reader's loss: the rest of what it holds has no
/// protection.
fn held_by(reader: &AttachedReader) -> u16 {
    let mut held = 0;
    let _honest = reader.peer.for_each_held(|word| mark_held(&mut held, word));
    held
}

/// The next value of a region in the making.
///
/// See [`RegionWriter`] for an example.
#[derive(Debug)]
pub struct Draft<'a> {
    writer: &'a mut RegionWriter,
    next: Current,
    committed: bool,
}

impl Draft<'_> {
    /// What [`Self::bytes_mut`] gives, to look at.
    pub fn bytes(&self) -> &[u8] {
        let geometry = self.writer.region.geometry;
        if geometry.is_small() {
            return &self.writer.small.0[..geometry.capacity_bytes()];
        }
        // SAFETY: as in `bytes_mut`; the draft is borrowed, so nobody has the bytes for writing.
        unsafe { self.writer.region.payload(self.next.copy, geometry.capacity_bytes()).as_ref() }
    }

    /// All the room there is; what lies beyond the current value's length is left over from older ones.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let geometry = self.writer.region.geometry;
        if geometry.is_small() {
            return &mut self.writer.small.0[..geometry.capacity_bytes()];
        }
        let mut bytes = self.writer.region.payload(self.next.copy, geometry.capacity_bytes());
        // SAFETY: `next` found the copy neither current nor held, so nobody reads it until it is committed; nobody else
        // writes the region, and the writer is borrowed by this draft, which is borrowed by the slice.
        unsafe { bytes.as_mut() }
    }

    /// Makes the first `length` bytes the current value, and gives its version.
    ///
    /// # Errors
    ///
    /// [`WriteError::TooLarge`].
    pub fn commit(mut self, length: usize) -> Result<u64, WriteError> {
        self.writer.region.geometry.check_length(length)?;
        if self.writer.region.geometry.is_small() {
            self.writer.region.fill_small(self.next, &self.writer.small.0[..length]);
        }
        self.writer.commit(self.next, length);
        self.committed = true;
        Ok(self.next.version)
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.committed {
            self.writer.small_is_current = false;
        }
    }
}

// A set of copies is a `u16`.
const _: () = assert!(COPIES == 16);
