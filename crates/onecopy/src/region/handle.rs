//! A region as its users have it open, in either mode.

use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use onecopy_memory::region::{HeldValue, ReadError, RegionGeometry, RegionReader};

use super::error::RegionError;
use super::guard::RegionGuard;
use super::note;
use super::sharing::Sharing;
use super::single::Single;
use super::value::Value;
use super::watch::Watch;
use crate::content::InlineBytes;
use crate::payload::{Payload, PlainData};
use crate::readiness::Readiness;

/// A named value that everyone sees as it is now; see [`crate::Node::region`].
///
/// Reading never waits, and never gives a mixture of two values. A handle belongs to one thread at a time; threads open
/// one each.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
/// gain.write(&2.0)?;
/// gain.update(|gain| *gain *= 1.5)?;
/// // Usually in another process.
/// let seen = node.region::<f64>("gain")?.open()?;
/// assert_eq!((seen.name(), *seen.read()?, seen.version()?), ("gain", 3.0, 3));
/// assert!(gain.is_writer() && !seen.is_writer());
/// # Ok(()) }
/// ```
pub struct Region<P: Payload + ?Sized> {
    mode: Mode,
    name: String,
    lock_timeout: Duration,
    /// Size of every value, where all have the same.
    exact_bytes: Option<usize>,
    payload: PhantomData<fn() -> Box<P>>,
}

// There is one of it per open region, and reading goes straight through it.
#[allow(clippy::large_enum_variant)]
pub(super) enum Mode {
    Single(Single),
    Shared(Sharing),
}

impl<P: Payload + ?Sized> Region<P> {
    pub(super) fn new(mode: Mode, name: String, lock_timeout: Duration, exact_bytes: Option<usize>) -> Self {
        Self { mode, name, lock_timeout, exact_bytes, payload: PhantomData }
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether this handle may write: of a region with a single writer, only one may.
    pub fn is_writer(&self) -> bool {
        match &self.mode {
            Mode::Single(single) => single.is_writer(),
            Mode::Shared(_) => true,
        }
    }

    /// The file that keeps the value, whoever named it: what the region's memory says, which is as true as those are who
    /// write it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # let path = directory.path().canonicalize()?.join("gain");
    /// let writer = node.region::<f64>("gain")?.file(&path).open_or_create(&1.0)?;
    /// let reader = node.region::<f64>("gain")?.open()?;
    /// assert_eq!(reader.file()?, Some(path));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    pub fn file(&self) -> Result<Option<PathBuf>, RegionError> {
        match &self.mode {
            Mode::Single(single) => single.read(|reader| Ok(note::path_in(&reader.note()))),
            Mode::Shared(sharing) => Ok(note::path_in(&sharing.region()?.note())),
        }
    }

    /// The value as it is now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let now = gain.read()?;
    /// assert_eq!((*now, now.version()), (1.0, 1));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::Read`] if the region's memory is broken, or more values are held than can be noted.
    #[inline]
    pub fn read(&self) -> Result<Value<P>, RegionError> {
        match &self.mode {
            Mode::Single(single) => single.read(read),
            Mode::Shared(sharing) => {
                let region = sharing.region()?;
                value(region.geometry(), |bytes| region.read(bytes), || region.hold())
            }
        }
    }

    /// Lets `look` see the value as it is now, where it is: the quickest way to a large one. It may read and write the
    /// region, and goes on seeing the value that it was given.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let map = node.region_slice::<f32>("map")?.open()?;
    /// let highest = map.with(|heights| heights.iter().copied().fold(0.0, f32::max))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    ///
    /// # Panics
    ///
    /// If `look` waits for a change of the same `Region`.
    #[inline]
    pub fn with<R>(&self, look: impl FnOnce(&P) -> R) -> Result<R, RegionError> {
        match &self.mode {
            Mode::Single(single) => single.read(|reader| {
                if reader.geometry().is_small() {
                    return Ok(look(&*read(reader)?));
                }
                reader.look(|bytes, version| match P::from_bytes(bytes) {
                    Some(value) => Ok(look(value)),
                    None => Err(RegionError::Misfit { version, bytes: bytes.len() }),
                })?
            }),
            Mode::Shared(_) => Ok(look(&*self.read()?)),
        }
    }

    /// Version of the value as it is now: how often the region had been written, its first value counting as
    /// one. Looks at one word.
    ///
    /// # Errors
    ///
    /// [`RegionError::Receive`] if this node was refused, or is its parent's.
    #[inline]
    pub fn version(&self) -> Result<u64, RegionError> {
        match &self.mode {
            Mode::Single(single) => single.read(|reader| Ok(reader.version())),
            Mode::Shared(sharing) => Ok(sharing.region()?.version()),
        }
    }

    /// Most bytes that the value can have.
    ///
    /// # Errors
    ///
    /// As for [`Self::version`].
    pub fn capacity_bytes(&self) -> Result<usize, RegionError> {
        match &self.mode {
            Mode::Single(single) => single.read(|reader| Ok(reader.geometry().capacity_bytes())),
            Mode::Shared(sharing) => Ok(sharing.region()?.geometry().capacity_bytes()),
        }
    }

    /// Makes `value` the current one, and gives its version. Of a shared region, waits for the lock.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let version = gain.write(&2.0)?;
    /// assert_eq!(version, 2);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::ReadOnly`], [`RegionError::TooLarge`], [`RegionError::Locked`], [`RegionError::File`], and
    /// [`RegionError::Write`] if readers hold every copy. The value is then as it was.
    #[inline(always)]
    pub fn write(&self, value: &P) -> Result<u64, RegionError> {
        self.check_exact(value)?;
        match &self.mode {
            Mode::Single(single) => single.write(value.to_bytes()),
            Mode::Shared(sharing) => sharing.write(value.to_bytes(), self.lock_deadline()),
        }
    }

    /// Makes `value` the current one if `version` still is, and gives the new version.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let total = node.region::<u64>("total")?.shared().open_or_create(&0)?;
    /// loop {
    ///     let now = total.read()?;
    ///     match total.compare_and_set(now.version(), &(*now + 1)) {
    ///         Err(onecopy::region::RegionError::Conflict { .. }) => continue,
    ///         done => {
    ///             done?;
    ///             break;
    ///         }
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::Conflict`] with the version that is current instead; else as for [`Self::write`].
    pub fn compare_and_set(&self, version: u64, value: &P) -> Result<u64, RegionError> {
        self.check_exact(value)?;
        match &self.mode {
            Mode::Single(single) => single.compare_and_set(version, value.to_bytes()),
            Mode::Shared(sharing) => sharing.compare_and_set(version, value.to_bytes(), self.lock_deadline()),
        }
    }

    /// The exclusive right to write, to change a value in place: the guard derefs to the next value, which
    /// begins as the current one. [`RegionGuard::commit`] makes it current; dropped, nothing has happened.
    ///
    /// If the last holder died with the lock, it is free at once, the value is the last that was committed, and
    /// [`RegionGuard::was_abandoned`] says so.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut map = node.region_slice::<f32>("map")?.shared().capacity(1000).open_or_create(&[])?;
    /// let mut next = map.lock(Duration::from_secs(5))?;
    /// next.set_len(100)?;
    /// next.fill(0.5);
    /// next.commit()?;
    /// assert_eq!(map.read()?.len(), 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::Locked`] names the process that had the lock until `timeout`; else as for [`Self::write`].
    pub fn lock(&mut self, timeout: Duration) -> Result<RegionGuard<'_, P>, RegionError> {
        match &mut self.mode {
            Mode::Single(single) => RegionGuard::single(single.draft()?),
            Mode::Shared(sharing) => {
                let guard = sharing.lock(Instant::now().checked_add(timeout))?;
                RegionGuard::shared(guard, sharing.file.as_ref())
            }
        }
    }

    /// Makes room for larger values. Whoever has the region open follows without reopening it. Never shrinks.
    ///
    /// Others learn of the larger memory from the broker, a moment after this returns: until then they read
    /// the value as it was, and of a shared region, whoever writes waits for the news. No update is lost, and
    /// no version falls.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let notes = node.region_bytes("notes")?.capacity(1024).open_or_create(b"")?;
    /// let text = "long ".repeat(1000);
    /// if notes.capacity_bytes()? < text.len() {
    ///     notes.resize(text.len())?;
    /// }
    /// notes.write_text(&text)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::write`], and [`RegionError::Open`] if there is no memory or no broker.
    pub fn resize(&self, capacity_bytes: usize) -> Result<(), RegionError> {
        match &self.mode {
            Mode::Single(single) => single.resize(capacity_bytes),
            Mode::Shared(sharing) => sharing.resize(capacity_bytes, self.lock_deadline()),
        }
    }

    /// Waits for one value after the other, beginning with the first after this call.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = onecopy::Node::open()?;
    /// let notes = node.region_bytes("notes")?.open()?;
    /// for change in notes.watch()? {
    ///     println!("{}", change?.as_text()?);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::version`].
    pub fn watch(&self) -> Result<Watch<'_, P>, RegionError> {
        Ok(Watch::new(self, self.version()?))
    }

    /// Sleeps until the value is another than that of `version`, and reads it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::region::RegionError;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let seen = gain.version()?;
    /// assert!(matches!(gain.wait_for_change(seen, Duration::from_millis(1)), Err(RegionError::Timeout)));
    /// gain.write(&2.0)?;
    /// assert_eq!(*gain.wait_for_change(seen, Duration::from_secs(1))?, 2.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RegionError::Timeout`], else as for [`Self::read`].
    pub fn wait_for_change(&self, version: u64, timeout: Duration) -> Result<Value<P>, RegionError> {
        let deadline = Instant::now().checked_add(timeout);
        self.wait_until(version, deadline)
    }

    pub(super) fn wait_until(
        &self,
        version: u64,
        deadline: Option<Instant>,
    ) -> Result<Value<P>, RegionError> {
        let moved = match &self.mode {
            Mode::Single(single) => single.reading.borrow_mut().wait_for_change(version, deadline)?,
            Mode::Shared(sharing) => sharing.wait_for_change(version, deadline)?,
        };
        if moved { self.read() } else { Err(RegionError::Timeout) }
    }

    /// A descriptor that becomes readable when the version moves on from `version`.
    pub(super) fn readiness(&self, version: u64) -> Result<Readiness, RegionError> {
        Ok(match &self.mode {
            Mode::Single(single) => single.reading.borrow_mut().readiness(version)?,
            Mode::Shared(sharing) => sharing.readiness()?,
        })
    }

    /// Makes sure that the descriptor becomes readable when the version moves on from `version`.
    pub(super) fn arm(&self, version: u64) -> Result<(), RegionError> {
        match &self.mode {
            Mode::Single(single) => single.reading.borrow_mut().arm(version)?,
            Mode::Shared(sharing) => sharing.arm()?,
        }
        Ok(())
    }

    /// Bytes given for a value of a type that has another size.
    #[inline]
    fn check_exact(&self, value: &P) -> Result<(), RegionError> {
        let bytes = value.to_bytes().len();
        match self.exact_bytes {
            Some(expected) if expected != bytes => Err(RegionError::WrongSize { bytes, expected }),
            _ => Ok(()),
        }
    }

    fn lock_deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.lock_timeout)
    }
}

impl<T: PlainData> Region<T> {
    /// A copy of the value as it is now: the quickest way to a small one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let now: f64 = gain.get()?;
    /// assert_eq!(now, 1.0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::read`].
    #[inline(always)]
    pub fn get(&self) -> Result<T, RegionError> {
        match self.get_at_once() {
            Some(value) => Ok(value),
            // Taken apart and put together, so that the value of the usual case need not lie where this one is put.
            None => match self.get_slowly() {
                Ok(value) => Ok(value),
                Err(error) => Err(error),
            },
        }
    }

    /// The value, if it is small, nothing came from the broker, and nobody overwrites it.
    #[inline(always)]
    fn get_at_once(&self) -> Option<T> {
        match &self.mode {
            Mode::Single(single) => single.get(),
            Mode::Shared(sharing) => sharing.get(),
        }
    }

    #[cold]
    fn get_slowly(&self) -> Result<T, RegionError> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        let read = match &self.mode {
            Mode::Single(single) => single.read(|reader| Ok(reader.read(bytes)?))?,
            Mode::Shared(sharing) => sharing.region()?.read(bytes)?,
        };
        if read.length == size_of::<T>() {
            Ok(value)
        } else {
            Err(RegionError::Misfit { version: read.version, bytes: read.length })
        }
    }

    /// Replaces the value by what `change` makes of it, and gives its version. Nobody writes in between.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let total = node.region::<u64>("total")?.shared().open_or_create(&0)?;
    /// total.update(|total| *total += 1)?;
    /// assert_eq!(total.get()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::write`].
    pub fn update(&self, change: impl FnOnce(&mut T)) -> Result<u64, RegionError> {
        let apply = |bytes: &mut [u8], length: usize| {
            let value = bytes.get_mut(..size_of::<T>()).and_then(T::from_bytes_mut);
            let value = value.ok_or(RegionError::Misfit { version: 0, bytes: length })?;
            change(value);
            Ok(size_of::<T>())
        };
        match &self.mode {
            Mode::Single(single) => single.change(apply),
            Mode::Shared(sharing) => sharing.change(self.lock_deadline(), apply),
        }
    }
}

impl Region<[u8]> {
    /// Makes `text` the current value, and gives its version.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let notes = node.region_bytes("notes")?.open_or_create(b"first")?;
    /// notes.write_text("second")?;
    /// assert_eq!(notes.read()?.as_text()?, "second");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::write`].
    pub fn write_text(&self, text: &str) -> Result<u64, RegionError> {
        self.write(text.as_bytes())
    }
}

#[inline]
fn read<P: Payload + ?Sized>(reader: &RegionReader) -> Result<Value<P>, RegionError> {
    value(reader.geometry(), |bytes| reader.read(bytes), || reader.hold())
}

#[inline]
fn value<P: Payload + ?Sized>(
    geometry: RegionGeometry,
    copy: impl FnOnce(&mut [u8]) -> Result<onecopy_memory::region::Value, ReadError>,
    hold: impl FnOnce() -> Result<HeldValue, ReadError>,
) -> Result<Value<P>, RegionError> {
    if !geometry.is_small() {
        return Value::held(hold()?);
    }
    let mut bytes = InlineBytes::new();
    let value = copy(bytes.buffer())?;
    bytes.set_bytes(value.length);
    Value::small(value.version, bytes)
}
