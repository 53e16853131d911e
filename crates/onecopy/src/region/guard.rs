//! The exclusive right to write a region, with the next value in the making.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use onecopy_memory::region::{Draft, Guard, SharedRegion};

use super::error::RegionError;
use super::file::ValueFile;
use crate::payload::{Payload, PlainData};

/// The lock of a region; from [`super::Region::lock`]. Derefs to the next value, which begins as the current
/// one. Dropped without [`Self::commit`], it leaves the region as it was.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let mut total = node.region::<u64>("total")?.shared().open_or_create(&0)?;
/// let mut next = total.lock(Duration::from_secs(5))?;
/// if next.was_abandoned() {
///     println!("whoever had it died; the value is the last that was committed");
/// }
/// assert_eq!(next.version(), 1);
/// *next += 1;
/// let version = next.commit()?;
/// assert_eq!(version, 2);
/// # Ok(()) }
/// ```
pub struct RegionGuard<'r, P: Payload + ?Sized> {
    right: Right<'r>,
    /// Bytes of the next value.
    length: usize,
    version: u64,
    file: Option<&'r ValueFile>,
    payload: PhantomData<fn() -> Box<P>>,
}

enum Right<'r> {
    Single(Draft<'r>),
    Shared(Box<Guard<Arc<SharedRegion>>>),
}

impl<'r, P: Payload + ?Sized> RegionGuard<'r, P> {
    pub(super) fn single(
        (draft, length, version, file): (Draft<'r>, usize, u64, Option<&'r ValueFile>),
    ) -> Result<Self, RegionError> {
        Self::checked(Self { right: Right::Single(draft), length, version, file, payload: PhantomData })
    }

    pub(super) fn shared(
        guard: Guard<Arc<SharedRegion>>,
        file: Option<&'r ValueFile>,
    ) -> Result<Self, RegionError> {
        let (length, version) = (guard.length(), guard.version());
        let right = Right::Shared(Box::new(guard));
        Self::checked(Self { right, length, version, file, payload: PhantomData })
    }

    fn checked(mut guard: Self) -> Result<Self, RegionError> {
        if let Right::Shared(shared) = &mut guard.right {
            // The copy to write is chosen here, so that later there is no error to be had.
            shared.draft()?;
        }
        let (version, length) = (guard.version, guard.length);
        match guard.value_mut() {
            Some(_) => Ok(guard),
            None => Err(RegionError::Misfit { version, bytes: length }),
        }
    }

    /// Whether the last one who had the lock died with it. The value is whole; what that one had not committed is gone.
    pub fn was_abandoned(&self) -> bool {
        match &self.right {
            Right::Single(_) => false,
            Right::Shared(guard) => guard.was_abandoned(),
        }
    }

    /// Version of the current value.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Makes the value current, gives its version, and lets go of the lock.
    ///
    /// # Errors
    ///
    /// [`RegionError::File`] if the value could not be kept: then it is not current either.
    pub fn commit(mut self) -> Result<u64, RegionError> {
        let (length, version) = (self.length, self.version);
        if let Some(file) = self.file {
            let room = self.room().ok_or(RegionError::Misfit { version, bytes: length })?;
            file.save(version + 1, room.get(..length).unwrap_or_default())?;
        }
        Ok(match self.right {
            Right::Single(draft) => draft.commit(length)?,
            Right::Shared(guard) => guard.commit(length)?,
        })
    }

    fn room(&mut self) -> Option<&mut [u8]> {
        match &mut self.right {
            Right::Single(draft) => Some(draft.bytes_mut()),
            Right::Shared(guard) => guard.draft().ok(),
        }
    }

    fn value_mut(&mut self) -> Option<&mut P> {
        let length = self.length;
        P::from_bytes_mut(self.room()?.get_mut(..length)?)
    }
}

impl<T: PlainData> RegionGuard<'_, [T]> {
    /// Makes the next value `elements` long. What comes to its end has no particular content.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut log = node.region_bytes("log")?.capacity(1000).open_or_create(b"one")?;
    /// let mut next = log.lock(Duration::from_secs(5))?;
    /// let end = next.len();
    /// next.set_len(end + 4)?;
    /// next[end..].copy_from_slice(b" two");
    /// next.commit()?;
    /// assert_eq!(log.read()?.as_text()?, "one two");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::TooLarge`].
    pub fn set_len(&mut self, elements: usize) -> Result<(), RegionError> {
        let bytes = elements.saturating_mul(size_of::<T>());
        let capacity_bytes = self.room().map_or(0, |room| room.len());
        if bytes > capacity_bytes {
            return Err(RegionError::TooLarge { bytes, capacity_bytes });
        }
        self.length = bytes;
        Ok(())
    }
}

impl<P: Payload + ?Sized> Deref for RegionGuard<'_, P> {
    type Target = P;

    fn deref(&self) -> &P {
        let room: &[u8] = match &self.right {
            Right::Single(draft) => draft.bytes(),
            Right::Shared(guard) => guard.drafted(),
        };
        room.get(..self.length)
            .and_then(P::from_bytes)
            .expect("the draft was checked when the lock was taken")
    }
}

impl<P: Payload + ?Sized> DerefMut for RegionGuard<'_, P> {
    fn deref_mut(&mut self) -> &mut P {
        self.value_mut().expect("the draft was checked when the lock was taken")
    }
}
