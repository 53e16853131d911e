//! Whether a broker's socket is still where newcomers look for it. Somebody may remove it (a job that clears `/tmp`), or put
//! another one there (systemd, when a socket unit is started): then nobody finds the broker any more, while its lock keeps
//! everybody from taking its place. So it ends, and whoever was there meets at the place that there is.
//!
//! The kernel tells of changes in the directory; nobody polls.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::fs::{AtFlags, statat};
use rustix::io::{Errno, retry_on_intr};

use super::Instance;

/// The socket, and news of the directory that it is in.
#[derive(Debug)]
pub(crate) struct SocketWatch {
    news: OwnedFd,
    directory: OwnedFd,
    name: String,
    /// Device and inode.
    socket: (u64, u64),
}

impl SocketWatch {
    /// Watches the socket of that device and inode. `None` if the kernel has no room for it, which it has for 128 of a user:
    /// then a socket that is removed is found out by those who look for it.
    pub(super) fn new(instance: &Instance, directory: impl AsFd, socket: (u64, u64)) -> Option<Self> {
        let watched = || -> rustix::io::Result<Self> {
            let news = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            let changes = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::MOVE | WatchFlags::ONLYDIR;
            add_watch(&news, instance.directory(), changes)?;
            let directory = rustix::io::fcntl_dupfd_cloexec(&directory, 0)?;
            Ok(Self { news, directory, name: instance.socket_name(), socket })
        };
        watched().inspect_err(|error| tracing::debug!(%error, "the socket is not watched")).ok()
    }

    /// Readable when something has changed.
    pub(crate) fn news(&self) -> &OwnedFd {
        &self.news
    }

    /// Takes in the news; `false` if newcomers don't find the socket any more.
    pub(crate) fn look(&self) -> bool {
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(&self.news, &mut buffer), Ok(1..) | Err(Errno::INTR)) {}
        self.is_in_place()
    }

    fn is_in_place(&self) -> bool {
        let found = retry_on_intr(|| statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW));
        match found {
            Ok(stat) => (stat.st_dev, stat.st_ino) == self.socket,
            Err(error) => error != Errno::NOENT,
        }
    }
}
