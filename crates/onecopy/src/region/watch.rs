//! Waiting for one value after the other. Values that come and go while nobody looks are passed over: a region is about
//! what is, and a topic about what happened.

use std::time::{Duration, Instant};

use super::error::RegionError;
use super::handle::Region;
use super::value::Value;
use crate::payload::Payload;
use crate::readiness::Readiness;

/// Values of a region as they come; from [`Region::watch`]. As an iterator it sleeps until the next, for ever.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
/// let mut watch = gain.watch()?;
/// gain.write(&2.0)?;
/// gain.write(&3.0)?;
/// // A region is about what is: the value in between was not looked at in time.
/// assert_eq!(*watch.wait(Duration::from_secs(1))?, 3.0);
/// assert!(watch.receive()?.is_none());
/// # Ok(()) }
/// ```
pub struct Watch<'r, P: Payload + ?Sized> {
    region: &'r Region<P>,
    version: u64,
}

impl<'r, P: Payload + ?Sized> Watch<'r, P> {
    pub(super) fn new(region: &'r Region<P>, version: u64) -> Self {
        Self { region, version }
    }

    /// The next value; sleeps until there is one.
    ///
    /// # Errors
    ///
    /// [`RegionError::Timeout`], else as for [`Region::read`].
    pub fn wait(&mut self, timeout: Duration) -> Result<Value<P>, RegionError> {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// The next value, if there is one. Never blocks.
    ///
    /// # Errors
    ///
    /// As for [`Region::read`].
    pub fn receive(&mut self) -> Result<Option<Value<P>>, RegionError> {
        if self.region.version()? == self.version {
            self.region.arm(self.version)?;
            if self.region.version()? == self.version {
                return Ok(None);
            }
        }
        let value = self.region.read()?;
        self.version = value.version();
        Ok(Some(value))
    }

    /// A descriptor that is readable when there may be another value: for `poll`, `epoll` and event loops.
    ///
    /// After it became readable, call [`Self::receive`] until it returns `None`; then wait for the descriptor again.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// let mut watch = gain.watch()?;
    /// let readiness = watch.readiness()?;
    /// gain.write(&2.0)?;
    /// poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
    /// while let Some(now) = watch.receive()? {
    ///     assert_eq!(*now, 2.0);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left, or, for a shared region, no thread.
    pub fn readiness(&mut self) -> Result<Readiness, RegionError> {
        self.region.readiness(self.version)
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<Value<P>, RegionError> {
        let value = self.region.wait_until(self.version, deadline)?;
        self.version = value.version();
        Ok(value)
    }
}

impl<P: Payload + ?Sized> Iterator for Watch<'_, P> {
    type Item = Result<Value<P>, RegionError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.wait_until(None))
    }
}
