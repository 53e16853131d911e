//! Whether a broker's socket is still where newcomers look for it. Somebody may remove it (a job that clears
//! `/tmp`), or put another one there (systemd, when a socket unit is started): then nobody finds the broker
//! any more, while its lock keeps everybody from taking its place. So it ends, and whoever was there meets at
//! the place that there is.
//!
//! The kernel tells of changes in the directory; nobody polls. But it is slow to close what it tells them by:
//! that waits until no processor can be looking at it any more, which takes 4 ms, and on a busy machine up to
//! seconds. So long would a killed broker keep its lock, and everybody wait for the next one. A process's
//! files are closed in no certain order, but what lies in the queue of a socket of its own is closed after
//! all of them. So that is where it is kept, and never taken out: to look, a copy will do. What was taken out
//! could be lost, when open files have run out and it can be neither received nor put back.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{AtFlags, statat};
use rustix::io::{Errno, retry_on_intr};

use super::transport::PacketSocket;

/// The socket, and news of the directory that it is in.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    /// News of the directory are in a packet from the first to the second, which stays there.
    drawer: (PacketSocket, PacketSocket),
    directory: OwnedFd,
    name: String,
    /// Device and inode.
    socket: (u64, u64),
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
            let drawer = PacketSocket::pair()?;
            drawer.0.try_send(&[0], Some(news.as_fd())).map_err(io::Error::other)?;
            Ok(Self { drawer, directory, name, socket })
        };
        watched().inspect_err(|error| tracing::warn!(%error, "the broker's socket is not watched")).ok()
    }

    /// Has somebody watch what becomes readable when something has changed; it may not be kept. Only changes
    /// are to be reported: what can't be looked at, for want of open files, would be so without end.
    pub(crate) fn be_watched(
        &self,
        watch: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<()> {
        self.news().map_or(Ok(()), |news| watch(news.as_fd()))
    }

    /// Takes in the news; `false` if newcomers don't find the socket any more.
    pub(crate) fn look(&self) -> bool {
        if let Some(news) = self.news() {
            let mut buffer = [0; 4096];
            while matches!(rustix::io::read(&news, &mut buffer), Ok(1..) | Err(Errno::INTR)) {}
        }
        self.is_in_place()
    }

    /// A copy of what tells them; `None` while there is no room for an open file.
    fn news(&self) -> Option<OwnedFd> {
        self.drawer
            .1
            .peek()
            .inspect_err(|error| tracing::debug!(%error, "news have to wait"))
            .ok()?
            .descriptor
    }

    fn is_in_place(&self) -> bool {
        let found = retry_on_intr(|| statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => (stat.st_dev, stat.st_ino) == self.socket,
            Err(error) => error != Errno::NOENT,
        }
    }
}
