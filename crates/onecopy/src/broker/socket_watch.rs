//! Whether a broker's socket is still where newcomers look for it. Somebody may remove it (a job that clears
//! `/tmp`), or put another one there (systemd, when a socket unit is started): then nobody finds the broker
//! any more, while its lock keeps everybody from taking its place. So it ends, and whoever was there meets at
//! the place that there is.
//!
//! The kernel tells of changes in the directory; nobody polls. But it is slow to close what it tells them by:
//! that waits until no processor can be looking at it any more, which takes 4 ms, and on a busy machine up to
//! seconds. So long would a killed broker keep its lock, and everybody wait for the next one. A process's
//! files are closed in no certain order, but what lies in the queue of a socket of its own is closed after
//! all of them. So that is where it is kept.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{AtFlags, statat};
use rustix::io::{Errno, retry_on_intr};

use super::transport::{PacketSocket, TransportError};

/// The socket, and news of the directory that it is in.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    /// News of the directory are in a packet from the first to the second.
    drawer: (PacketSocket, PacketSocket),
    directory: OwnedFd,
    name: String,
    /// Device and inode.
    socket: (u64, u64),
    /// The news, while the kernel has no room for them in the drawer.
    left_out: Mutex<Option<OwnedFd>>,
}

impl SocketWatch {
    /// Watches the socket of that name, device and inode in a directory, which is open and lies at `path`.
    /// `None` if the kernel has no room for it, which it has for 128 of a user: then a socket that is removed
    /// is found out by those who look for it.
    pub(crate) fn new(path: &Path, directory: impl AsFd, name: String, socket: (u64, u64)) -> Option<Self> {
        let watched = || -> io::Result<Self> {
            let news = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
            add_watch(&news, path, changes)?;
            let directory = rustix::io::fcntl_dupfd_cloexec(&directory, 0)?;
            let (drawer, left_out) = (PacketSocket::pair()?, Mutex::new(Some(news)));
            Ok(Self { drawer, directory, name, socket, left_out })
        };
        watched().inspect_err(|error| tracing::debug!(%error, "the socket is not watched")).ok()
    }

    /// Has somebody watch what is readable when something has changed; it may not be kept.
    pub(crate) fn be_watched(
        &self,
        watch: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        let Some(news) = self.take_out() else { return Ok(()) };
        watch(news.as_fd())?;
        self.put_away(news);
        Ok(())
    }

    /// Takes in the news; `false` if newcomers don't find the socket any more.
    pub(crate) fn look(&self) -> bool {
        if let Some(news) = self.take_out() {
            let mut buffer = [0; 4096];
            while matches!(rustix::io::read(&news, &mut buffer), Ok(1..) | Err(Errno::INTR)) {}
            self.put_away(news);
        }
        self.is_in_place()
    }

    fn put_away(&self, news: OwnedFd) {
        if let Err(error) = self.drawer.0.try_send(&[0], Some(news.as_fd())) {
            // The next time there may be room.
            tracing::debug!(%error, "what watches the socket is slow to close now");
            *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = Some(news);
        }
    }

    /// `None` if there is no room for an open file, which is the end of it.
    fn take_out(&self) -> Option<OwnedFd> {
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lost =
            |error: &TransportError| tracing::warn!(%error, "the broker's socket is not watched any more");
        left_out.or_else(|| self.drawer.1.try_receive().inspect_err(lost).ok()?.descriptor)
    }

    fn is_in_place(&self) -> bool {
        let found = retry_on_intr(|| statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => (stat.st_dev, stat.st_ino) == self.socket,
            Err(error) => error != Errno::NOENT,
        }
    }
}
