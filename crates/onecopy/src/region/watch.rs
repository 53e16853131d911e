//! Waiting for one value after the other. Values that come and go while nobody looks are passed over: a region is about
//! what is, and a topic about what happened.

use std::time::{Duration, Instant};

use super::error::RegionError;
use super::handle::Region;
use super::value::Value;
use crate::payload::Payload;

/// Values of a region as they come; from [`Region::watch`]. As an iterator it sleeps until the next, for ever.
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
