//! Awaiting the values of a region on tokio's reactor. The runtime watches the region's [`Readiness`]; no
//! thread of it is blocked.

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::RegionError;
use super::handle::Region;
use super::value::Value;
use crate::error::WaitError;
use crate::payload::Payload;
use crate::readiness::Readiness;

/// A [`Region`] whose next values can be awaited; from [`Region::into_async_watch`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
/// let mut watch = node.region::<f64>("gain")?.open()?.into_async_watch()?;
/// assert_eq!(*watch.get_mut().read()?, 1.0);
/// gain.write(&2.0)?;
/// assert_eq!(*watch.changed().await?, 2.0);
/// # Ok(()) }
/// ```
pub struct AsyncWatch<P: Payload + ?Sized> {
    region: Region<P>,
    version: u64,
    readiness: AsyncFd<Readiness>,
}

impl<P: Payload + ?Sized> Region<P> {
    /// Hands the region to the current tokio runtime (feature `tokio`), to await its values from the next on; see
    /// [`AsyncWatch`] for an example.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left, or, for a shared region, no thread.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn into_async_watch(self) -> Result<AsyncWatch<P>, RegionError> {
        let version = self.version()?;
        #[expect(
            deprecated,
            reason = "unsound only for types that may lose their descriptor while registered, and Readiness owns its \
                      own; the replacement is an unsafe function"
        )]
        let readiness =
            AsyncFd::with_interest(self.readiness(version)?, Interest::READABLE).map_err(WaitError::from)?;
        Ok(AsyncWatch { region: self, version, readiness })
    }
}

impl<P: Payload + ?Sized> AsyncWatch<P> {
    /// The next value. Cancel-safe: a value is either returned or still to come.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let mut gain = node.region::<f64>("gain")?.open()?.into_async_watch()?;
    /// println!("{}", *gain.changed().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Region::read`] says.
    pub async fn changed(&mut self) -> Result<Value<P>, RegionError> {
        while self.region.version()? == self.version {
            self.region.arm(self.version)?;
            if self.region.version()? != self.version {
                break;
            }
            let mut ready = self.readiness.readable().await.map_err(WaitError::from)?;
            ready.clear_ready();
        }
        let value = self.region.read()?;
        self.version = value.version();
        Ok(value)
    }

    /// The region itself, for everything that does not wait.
    pub fn get_mut(&mut self) -> &mut Region<P> {
        &mut self.region
    }
}
