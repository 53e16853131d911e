//! A region with several writers of the same trust.

use std::any::Any;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use zerocopy::{FromBytes, IntoBytes};

use super::held::Keep;
use super::seat::{Occupied, SeatHold};
use super::{
    CompareError, Current, Guard, HeldValue, LockError, OpenError, READ_TRIES, ReadError, Region,
    RegionFault, RegionGeometry, Seat, Value, WriteError,
};
use crate::fork::ForkGuard;
use crate::layout::SegmentKind;
use crate::segment::{SegmentError, SharedSegment};
use crate::sync::{Arc, Futex, Ordering};

/// One participant of a shared region: reads without waiting, writes under the lock. Threads may share it.
///
/// All participants have the memory mapped writable, so each must trust the others not to spoil the value. One that
/// scribbles costs them the region: they get a typed [`RegionFault`] or a time-out.
///
/// ```
/// use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
///
/// let seat = |line| Seat::new(line, 0).ok_or("no such seat");
/// let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
/// let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
/// let mut guard = second.lock(None)?;
/// guard.draft()?[0] += 1;
/// guard.commit(8)?;
/// assert_eq!(first.version(), 2);
/// // The whole of it at once.
/// first.write(&7_u64.to_ne_bytes(), None)?;
/// assert_eq!(second.get(), Some(7_u64));
/// assert_eq!((second.seat(), second.geometry().capacity_bytes()), (seat(2)?, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SharedRegion {
    region: Region,
    segment: Option<SharedSegment>,
    occupied: Arc<Occupied>,
}

impl SharedRegion {
    /// Makes the segment, with `value` as version `first_version` in it (1 if it replaces no other region), and sits
    /// down. `layout_hash` describes the type of the value.
    ///
    /// # Errors
    ///
    /// What [`SharedSegment::create`] says; a value or version beyond what a region takes.
    pub fn create(
        geometry: RegionGeometry,
        layout_hash: u64,
        first_version: u64,
        value: &[u8],
        seat: Seat,
    ) -> Result<Self, OpenError> {
        Self::create_with_note(geometry, layout_hash, (first_version, value), seat, &[])
    }

    /// The same with a note of up to [`NOTE_BYTES_MAX`](crate::layout::NOTE_BYTES_MAX) bytes, for all who take part.
    ///
    /// ```
    /// use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    ///
    /// let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// let geometry = RegionGeometry::new(8, 8)?;
    /// let first = SharedRegion::create_with_note(geometry, 0, (1, &[0; 8]), seat(1)?, b"by hand")?;
    /// let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// assert_eq!(second.note(), b"by hand");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::create`], or a note that is too long.
    pub fn create_with_note(
        geometry: RegionGeometry,
        layout_hash: u64,
        (first_version, value): (u64, &[u8]),
        seat: Seat,
        note: &[u8],
    ) -> Result<Self, OpenError> {
        let geometry = geometry.shared().with_note(note.len())?;
        geometry.check_length(value.len())?;
        let segment = SharedSegment::create(SegmentKind::Region, geometry.total_bytes(), layout_hash)?;
        let region = Region::over(segment.mapping(), geometry).expect("the segment has the region's size");
        region.write_note(note);
        region.start(first_version, value)?;
        Self::over(region, segment, seat)
    }

    /// Maps somebody's shared region, and sits down. Check its type with [`Self::expect_layout`].
    ///
    /// # Errors
    ///
    /// What [`SharedSegment::open`] says, a segment that is no shared region, or a seat that is taken.
    pub fn open(descriptor: OwnedFd, seat: Seat) -> Result<Self, OpenError> {
        let segment = SharedSegment::open(descriptor, SegmentKind::Region)?;
        let region = Region::open(segment.mapping(), true)?;
        Self::over(region, segment, seat)
    }

    fn over(region: Region, segment: SharedSegment, seat: Seat) -> Result<Self, OpenError> {
        let fork = ForkGuard::new().map_err(|source| SegmentError::System { call: "mmap", source })?;
        let occupied = Occupied::new(&region, seat, Some(fork)).ok_or(OpenError::SeatTaken { seat })?;
        Ok(Self { region, segment: Some(segment), occupied: Arc::new(occupied) })
    }

    /// A region on the heap with seats 1 to 3, for models: the first seat's.
    #[cfg(loom)]
    pub fn heap(geometry: RegionGeometry, value: &[u8]) -> Self {
        let region = Region::heap(geometry.shared(), 4);
        region.start(1, value).expect("the model's value fits");
        Self::over_heap(region, 1)
    }

    /// A further seat of the same region, for models.
    #[cfg(loom)]
    pub fn join_for_model(&self, line: u32) -> Self {
        Self::over_heap(self.region.clone(), line)
    }

    #[cfg(loom)]
    fn over_heap(region: Region, line: u32) -> Self {
        let seat = Seat::new(line, 0).expect("a model has few seats");
        let occupied = Occupied::new(&region, seat, None).expect("the seat is free");
        Self { region, segment: None, occupied: Arc::new(occupied) }
    }

    fn segment(&self) -> &SharedSegment {
        self.segment.as_ref().expect("only a model has no segment")
    }

    /// What others need to take part.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.segment().descriptor()
    }

    /// The same, for somebody who hands it out again later.
    ///
    /// See [`Self::expect_layout`] for an example.
    pub fn share_descriptor(&self) -> Arc<OwnedFd> {
        self.segment().share_descriptor()
    }

    /// Refuses a region whose values are not of the expected type.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    /// # use onecopy_memory::segment::SegmentError;
    /// # let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// // A number that describes the type of its values.
    /// let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 7, 1, &[0; 8], seat(1)?)?;
    /// let second = SharedRegion::open(first.share_descriptor().try_clone()?, seat(2)?)?;
    /// second.expect_layout(7)?;
    /// assert!(matches!(second.expect_layout(8), Err(SegmentError::Layout { ours: 8, theirs: 7 })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SegmentError::Layout`] names both.
    pub fn expect_layout(&self, layout_hash: u64) -> Result<(), SegmentError> {
        self.segment().expect_layout(layout_hash)
    }

    /// What the memory has noted: by whoever made it, unless another participant has scribbled there.
    ///
    /// See [`Self::create_with_note`] for an example.
    pub fn note(&self) -> Vec<u8> {
        self.region.note()
    }

    /// Sizes of the region.
    pub fn geometry(&self) -> RegionGeometry {
        self.region.geometry
    }

    /// This participant's seat.
    pub fn seat(&self) -> Seat {
        self.occupied.seat()
    }

    /// Version of the current value. Looks at one word.
    #[inline]
    pub fn version(&self) -> u64 {
        self.region.current().version
    }

    /// Copies a small value out that is of just this size, by straight code. `None` if there is none, or it
    /// was overwritten meanwhile: [`Self::read`] tells which. Never waits.
    #[inline(always)]
    pub fn get<T: FromBytes + IntoBytes>(&self) -> Option<T> {
        self.region.read_exact()
    }

    /// Copies the current value out: as much of it as `value` has room for. Never waits. Large values are
    /// held meanwhile.
    ///
    /// # Errors
    ///
    /// A small value only knows [`ReadError::Fault`].
    #[inline]
    pub fn read(&self, value: &mut [u8]) -> Result<Value, ReadError> {
        if self.region.geometry.is_small() {
            return Ok(self.region.read_small(value)?);
        }
        Ok(self.hold()?.copy_to(value))
    }

    /// Takes hold of the current value where it is. Never waits.
    ///
    /// See [`Self::leave`] for an example.
    ///
    /// # Errors
    ///
    /// [`ReadError`]: the region is broken, this seat holds too many values, or the region's values are small.
    pub fn hold(&self) -> Result<HeldValue, ReadError> {
        if self.region.geometry.is_small() {
            return Err(ReadError::Small);
        }
        let (hold, current, length) = self.claim()?;
        Ok(HeldValue::new(&self.region, current, length, Keep::Seat { _hold: hold }))
    }

    fn claim(&self) -> Result<(SeatHold, Current, usize), ReadError> {
        if self.is_inherited() {
            return Err(ReadError::Forked);
        }
        for _ in 0..READ_TRIES {
            if let Some(claimed) = Occupied::hold(&self.occupied, self.region.current_word())? {
                return Ok(claimed);
            }
        }
        Err(RegionFault::Unsettled.into())
    }

    /// Gives up reading and writing. The seat must not be reported as gone before all that is held has been
    /// dropped, so that is when `token` is dropped; at once, if nothing is held.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    /// # use std::sync::Arc;
    /// # let seat = Seat::new(1, 0).ok_or("no such seat")?;
    /// let region = SharedRegion::create(RegionGeometry::new(4096, 1)?, 0, 1, b"value", seat)?;
    /// let held = region.hold()?;
    /// let token = Arc::new("the seat");
    /// region.leave(Box::new(Arc::clone(&token)));
    /// assert_eq!(Arc::strong_count(&token), 2, "a value is held");
    /// drop(held);
    /// assert_eq!(Arc::strong_count(&token), 1, "somebody else may have the seat");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn leave(&self, token: Box<dyn Any + Send + Sync>) {
        self.occupied.leave(token);
    }

    /// Reserves the lock, and dies.
    #[cfg(loom)]
    pub fn die_starving_for_model(&self) {
        self.region.reserve(self.seat());
    }

    /// Waits for the lock, and dies when it is woken for it. Gives whether it slept.
    #[cfg(loom)]
    pub fn die_waiting_for_model(&self) -> bool {
        self.region.sleep_for_model()
    }

    /// Holds the current copy without looking into it, for models. Gives its version and number.
    #[cfg(loom)]
    pub fn hold_for_model(&self) -> (impl Drop + use<>, u64, usize) {
        let (hold, current, _) = self.claim().expect("the model's writers are honest");
        (hold, current.version, current.copy)
    }

    /// Takes the exclusive right to write, sleeping until `deadline` if need be (`None`: for ever).
    ///
    /// # Errors
    ///
    /// [`LockError::Timeout`] names the holder.
    pub fn lock(&self, deadline: Option<Instant>) -> Result<Guard<&Self>, LockError> {
        Ok(Guard::new(self, self.take_lock(deadline)?)?)
    }

    /// Like [`Self::lock`], with a guard that keeps the region.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    /// # use std::sync::Arc;
    /// # let seat = Seat::new(1, 0).ok_or("no such seat")?;
    /// let region = Arc::new(SharedRegion::create(RegionGeometry::new(8, 1)?, 0, 1, b"first", seat)?);
    /// let guard = SharedRegion::lock_kept(&region, None)?;
    /// // It can go wherever it is needed, without the one who took it.
    /// drop(region);
    /// assert_eq!(guard.write(b"second")?, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::lock`].
    pub fn lock_kept(region: &Arc<Self>, deadline: Option<Instant>) -> Result<Guard<Arc<Self>>, LockError> {
        Ok(Guard::new(Arc::clone(region), region.take_lock(deadline)?)?)
    }

    /// Gives whether its last holder died.
    fn take_lock(&self, deadline: Option<Instant>) -> Result<bool, LockError> {
        if self.is_inherited() {
            return Err(LockError::Forked);
        }
        self.region.lock(self.seat(), deadline)
    }

    /// Makes `value` the current one, and gives its version.
    ///
    /// # Errors
    ///
    /// [`WriteError`], which leaves the value as it was.
    pub fn write(&self, value: &[u8], deadline: Option<Instant>) -> Result<u64, WriteError> {
        self.region.geometry.check_length(value.len())?;
        self.lock(deadline)?.write(value)
    }

    /// Makes `value` the current one if `version` still is, and gives the new version.
    ///
    /// ```
    /// use onecopy_memory::region::{CompareError, RegionGeometry, Seat, SharedRegion};
    ///
    /// /// Counts one more, whoever else does the same meanwhile.
    /// fn increment(region: &SharedRegion) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    ///     loop {
    ///         let mut bytes = [0; 8];
    ///         let read = region.read(&mut bytes)?;
    ///         let more = u64::from_ne_bytes(bytes) + 1;
    ///         match region.compare_and_set(read.version, &more.to_ne_bytes(), None) {
    ///             Err(CompareError::Conflict { .. }) => {}
    ///             done => return Ok(done?),
    ///         }
    ///     }
    /// }
    /// # let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// # let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
    /// # let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// std::thread::scope(|scope| {
    ///     let other = scope.spawn(|| increment(&second));
    ///     increment(&first)?;
    ///     other.join().expect("it does not panic")
    /// })?;
    /// assert_eq!(first.get(), Some(2_u64));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CompareError::Conflict`] with the version that is current instead.
    pub fn compare_and_set(
        &self,
        version: u64,
        value: &[u8],
        deadline: Option<Instant>,
    ) -> Result<u64, CompareError> {
        let conflict =
            |current| if current == version { Ok(()) } else { Err(CompareError::Conflict { current }) };
        // Versions don't come back: a conflict now is one under the lock too.
        conflict(self.version())?;
        let guard = self.lock(deadline).map_err(WriteError::from)?;
        conflict(guard.version())?;
        Ok(guard.write(value)?)
    }

    /// The kernel said that the process on `seat` died: what it held is free, its lock goes to the next, all sleepers
    /// look again. Every survivor calls this; it makes no difference who is first, or that the line has been given to
    /// somebody else meanwhile.
    ///
    /// See [`Guard::was_abandoned`] for an example.
    pub fn seat_gone(&self, seat: Seat) {
        if !self.is_inherited() {
            self.region.seat_gone(seat);
        }
    }

    /// Everyone who sits according to the memory. Who is on this list, but not on a list of the living that is made
    /// *after* it, died while nobody was there to notice: report it to [`Self::seat_gone`]. Worth doing once by whoever
    /// comes to an existing region, and after the broker changed.
    ///
    /// ```
    /// use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    ///
    /// let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
    /// let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// assert_eq!(first.seated(), [seat(1)?, seat(2)?]);
    /// drop(second);
    /// assert_eq!(first.seated(), [seat(1)?]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn seated(&self) -> Vec<Seat> {
        self.region.seated()
    }

    /// First half of going to sleep until the version moves: marks that somebody may sleep, and returns the value of
    /// [`Self::wake_word`] to sleep with. The caller then issues one [`crate::sync::full_barrier`], looks at
    /// [`Self::version`] once more, and sleeps. There is nothing to take back afterwards.
    ///
    /// ```
    /// use onecopy_memory::{region::SharedRegion, sync::full_barrier, wait::wait};
    ///
    /// /// Sleeps until the value is not that of version `seen` any more.
    /// fn wait_for_change(region: &SharedRegion, seen: u64) {
    ///     while region.version() == seen {
    ///         let value = region.prepare_sleep();
    ///         full_barrier();
    ///         if region.version() == seen {
    ///             wait(region.wake_word(), value, None);
    ///         }
    ///     }
    /// }
    /// # use onecopy_memory::region::{RegionGeometry, Seat};
    /// # let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// # let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
    /// # let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// std::thread::scope(|scope| {
    ///     let writer = scope.spawn(|| second.write(&[1; 8], None));
    ///     wait_for_change(&first, 1);
    ///     writer.join().expect("it does not panic")
    /// })?;
    /// assert_eq!(first.version(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prepare_sleep(&self) -> u32 {
        // The value before the mark: see `Region::wake_watchers`.
        let value = self.wake_word().value();
        self.region.header().sleepers.store(1, Ordering::Release);
        value
    }

    /// The word that changes when a writer wakes those who sleep.
    ///
    /// See [`Self::prepare_sleep`] for an example.
    pub fn wake_word(&self) -> &Futex {
        &self.region.waking.wake
    }

    pub(super) fn words(&self) -> &Region {
        &self.region
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.occupied.is_inherited()
    }
}
