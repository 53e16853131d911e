//! The exclusive right to write a shared region.

use std::ops::Deref;

use super::{Current, Region, RegionFault, SharedRegion, SmallBytes, WriteError};
use crate::layout::SMALL_BYTES_MAX;
use crate::sync::{Ordering, full_barrier};

/// The lock of a shared region. Dropped without a commit, it leaves the value as it was.
///
/// ```
/// use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
///
/// let seat = Seat::new(1, 0).ok_or("no such seat")?;
/// let region = SharedRegion::create(RegionGeometry::new(16, 1)?, 0, 1, b"one", seat)?;
/// let mut guard = region.lock(None)?;
/// assert_eq!((guard.version(), guard.length(), guard.capacity_bytes()), (1, 3, 16));
/// // A change of what is there, and then a value that needs none of it.
/// guard.draft()?[3..7].copy_from_slice(b" two");
/// assert_eq!(&guard.drafted()[..7], b"one two");
/// assert_eq!(guard.commit(7)?, 2);
/// assert_eq!(region.lock(None)?.write(b"three")?, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Guard<R: Deref<Target = SharedRegion>> {
    region: R,
    current: Current,
    length: usize,
    abandoned: bool,
    draft: Option<Place>,
    wrote: bool,
    /// It is let go already, otherwise than by a drop.
    released: bool,
}

/// Where the next value is in the making.
#[derive(Debug)]
// A guard is used where it was made: nothing is moved, and a value of a few lines is not worth an allocation.
#[allow(clippy::large_enum_variant)]
enum Place {
    /// Small: here, since readers look at every copy all the time.
    Private(SmallBytes),
    /// Large: in a copy that is neither current nor held.
    Copy(usize),
}

impl<R: Deref<Target = SharedRegion>> Guard<R> {
    /// The lock was just taken.
    pub(super) fn new(region: R, abandoned: bool) -> Result<Self, RegionFault> {
        let current = region.words().current();
        // From here on the lock is let go also if this fails.
        let mut guard =
            Self { region, current, length: 0, abandoned, draft: None, wrote: false, released: false };
        let words = guard.region.words();
        // Nobody writes the current copy while we have the lock.
        let length = words.copy(current.copy)[1].load(Ordering::Relaxed);
        guard.length = words.checked_length(current.version, length)?;
        Ok(guard)
    }

    /// Whether the last one who had the lock died with it. The value is whole: what it had not committed is gone.
    ///
    /// ```
    /// # use onecopy_memory::region::{RegionGeometry, Seat, SharedRegion};
    /// # let seat = |line| Seat::new(line, 0).ok_or("no such seat");
    /// # let first = SharedRegion::create(RegionGeometry::new(8, 8)?, 0, 1, &[0; 8], seat(1)?)?;
    /// # let second = SharedRegion::open(first.descriptor().try_clone_to_owned()?, seat(2)?)?;
    /// // The process on the second seat dies with the lock, and the kernel says so to the others.
    /// std::mem::forget(second.lock(None)?);
    /// first.seat_gone(second.seat());
    /// let guard = first.lock(None)?;
    /// assert!(guard.was_abandoned());
    /// // Whoever can do nothing about what the dead had begun leaves that to the next.
    /// guard.pass_on();
    /// assert!(first.lock(None)?.was_abandoned());
    /// assert!(!first.lock(None)?.was_abandoned());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn was_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Version of the current value. It stays current until this guard commits or is dropped.
    pub fn version(&self) -> u64 {
        self.current.version
    }

    /// Bytes of the current value.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes that a value can have.
    pub fn capacity_bytes(&self) -> usize {
        self.region.geometry().capacity_bytes()
    }

    /// What [`Self::draft`] gave last; nothing before that.
    pub fn drafted(&self) -> &[u8] {
        let words = self.region.words();
        let capacity_bytes = words.geometry.capacity_bytes();
        match &self.draft {
            Some(Place::Private(bytes)) => &bytes.0[..capacity_bytes],
            // SAFETY: as in `draft`; the guard is borrowed, so nobody has the bytes for writing.
            Some(Place::Copy(copy)) => unsafe { words.payload(*copy, capacity_bytes).as_ref() },
            None => &[],
        }
    }

    /// Lets the lock go for good, since the value has moved to another segment: who comes for it gets
    /// [`super::LockError::Retired`].
    ///
    /// ```
    /// # use onecopy_memory::region::{LockError, RegionGeometry, Seat, SharedRegion};
    /// # let seat = Seat::new(1, 0).ok_or("no such seat")?;
    /// let region = SharedRegion::create(RegionGeometry::new(8, 1)?, 0, 1, b"value", seat)?;
    /// let guard = region.lock(None)?;
    /// // The same value, with more room.
    /// let next = guard.version() + 1;
    /// let larger = SharedRegion::create(RegionGeometry::new(64, 1)?, 0, next, b"value", seat)?;
    /// guard.retire();
    /// assert_eq!(region.lock(None).err(), Some(LockError::Retired));
    /// assert_eq!(larger.version(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retire(mut self) {
        if !self.region.is_inherited() {
            self.region.words().retire();
        }
        self.released = true;
    }

    /// Lets the lock go as it was had: if its last holder died, the next one is told so too. The value stays as it was.
    ///
    /// See [`Self::was_abandoned`] for an example.
    pub fn pass_on(mut self) {
        if !self.region.is_inherited() {
            self.region.words().unlock_as_found(self.abandoned);
        }
        self.released = true;
    }

    /// Room for the next value, which begins as the current one; what lies beyond its length is left over from older
    /// ones. Called again, it gives the same bytes. It becomes current by [`Self::commit`].
    ///
    /// # Errors
    ///
    /// [`WriteError`]: readers hold every copy, or what is wrong with the region. Once there is a draft, only
    /// its length can keep it from being committed.
    pub fn draft(&mut self) -> Result<&mut [u8], WriteError> {
        let words = self.region.words();
        let capacity_bytes = words.geometry.capacity_bytes();
        if self.draft.is_none() {
            self.current.next_version()?;
            self.draft = Some(if words.geometry.is_small() {
                let mut bytes = SmallBytes([0; SMALL_BYTES_MAX]);
                words.read_small(&mut bytes.0[..self.length])?;
                Place::Private(bytes)
            } else {
                let copy = self.free_copy()?;
                words.copy_value(self.current.copy, copy, self.length);
                Place::Copy(copy)
            });
        }
        match &mut self.draft {
            Some(Place::Private(bytes)) => Ok(&mut bytes.0[..capacity_bytes]),
            Some(Place::Copy(copy)) => {
                let mut bytes = words.payload(*copy, capacity_bytes);
                // SAFETY: the copy is neither current nor held, so nobody reads it until it is committed; nobody else
                // writes the region while we have the lock. The guard is borrowed by the slice.
                Ok(unsafe { bytes.as_mut() })
            }
            None => unreachable!("the draft was just begun"),
        }
    }

    /// Makes the first `length` bytes of the draft the current value, lets the lock go, and gives the version.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the lock is let go, the value unchanged.
    pub fn commit(mut self, length: usize) -> Result<u64, WriteError> {
        self.region.words().geometry.check_length(length)?;
        // Without a draft, as much of the current value.
        self.draft()?;
        let version = self.current.next_version()?;
        let words = self.region.words();
        let next = match &self.draft {
            Some(Place::Private(bytes)) => {
                let next = Current { version, copy: Region::next_small(self.current) };
                words.fill_small(next, &bytes.0[..length]);
                next
            }
            Some(Place::Copy(copy)) => Current { version, copy: *copy },
            None => unreachable!("the draft was begun above"),
        };
        words.commit(next, length);
        self.wrote = true;
        Ok(version)
    }

    /// Makes `value` the current one, lets the lock go, and gives the version.
    ///
    /// # Errors
    ///
    /// [`WriteError`]; the lock is let go, the value unchanged.
    pub fn write(mut self, value: &[u8]) -> Result<u64, WriteError> {
        let words = self.region.words();
        words.geometry.check_length(value.len())?;
        let version = self.current.next_version()?;
        let next = if words.geometry.is_small() {
            let next = Current { version, copy: Region::next_small(self.current) };
            words.fill_small(next, value);
            next
        } else {
            let copy = match self.draft {
                Some(Place::Copy(copy)) => copy,
                _ => self.free_copy()?,
            };
            // SAFETY: as in `draft`, from which nobody has a slice any more.
            unsafe { words.payload(copy, value.len()).as_mut() }.copy_from_slice(value);
            Current { version, copy }
        };
        words.commit(next, value.len());
        self.wrote = true;
        Ok(version)
    }

    fn free_copy(&self) -> Result<usize, WriteError> {
        // Pairs with the fence between an entry and the second look at `current`: see `Region::claim`.
        full_barrier();
        Region::next_large(self.current, self.region.words().held_by_seats())
    }

    /// Chooses a copy for the next value without writing it, for models.
    #[cfg(loom)]
    pub fn choose_for_model(&self) -> usize {
        self.free_copy().expect("the model's readers hold little")
    }

    /// Dies after the lock was let go, before anybody was woken for it.
    #[cfg(loom)]
    pub fn die_unlocking_for_model(self) {
        self.region.words().header().lock.word().swap(0, Ordering::Release);
        std::mem::forget(self);
    }

    /// Commits the copy that [`Self::choose_for_model`] gave.
    #[cfg(loom)]
    pub fn commit_for_model(mut self, copy: usize) {
        let version = self.current.next_version().expect("a model does not come so far");
        self.region.words().commit(Current { version, copy }, 0);
        self.wrote = true;
    }
}

impl<R: Deref<Target = SharedRegion>> Drop for Guard<R> {
    fn drop(&mut self) {
        if self.region.is_inherited() || self.released {
            return;
        }
        self.region.words().unlock();
        if self.wrote {
            self.region.words().wake_watchers();
        }
    }
}
