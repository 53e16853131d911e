//! One descriptor that stands for all doorbells of a subscriber: an epoll instance, which can itself be waited on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::event::epoll;

/// Readable when its [`crate::Subscriber`] may have messages; from [`crate::Subscriber::readiness`]. Regions
/// and datasets have them as well.
///
/// It only ever says "look": after it became readable, call [`crate::Subscriber::receive`] until that returns `None`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use std::os::fd::{AsFd, AsRawFd};
///
/// let mut subscriber = node.topic::<u64>("counter")?.subscriber().open()?;
/// let readiness = subscriber.readiness()?;
/// // For `epoll_ctl`, `poll`, or an event loop of any kind.
/// assert!(readiness.as_fd().as_raw_fd() >= 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Readiness {
    epoll: OwnedFd,
}

impl Readiness {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// Adds a doorbell.
    pub(crate) fn add(&self, doorbell: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, doorbell, epoll::EventData::new_u64(0), epoll::EventFlags::IN)?)
    }

    /// Takes a doorbell out again. To close it is not enough where a forked child has it too.
    pub(crate) fn remove(&self, doorbell: BorrowedFd<'_>) {
        if let Err(error) = epoll::delete(&self.epoll, doorbell) {
            tracing::debug!(%error, "doorbell was not in its epoll set");
        }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { epoll: self.epoll.try_clone()? })
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
