//! How a process that can't be the broker learns that there may be another one. It may not read the directory,
//! which belongs to another user. But it may connect to the socket, and so watch that: a broker that was killed leaves it
//! behind, and whoever is the next one removes it, just before there is another in its place.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::io::Errno;

use crate::broker::close_elsewhere;

/// Tells when the socket that a broker has left behind is removed.
#[derive(Debug)]
pub(crate) struct SuccessorWatch {
    socket: PathBuf,
    /// None where the kernel has no room for it, or once this ends.
    news: Option<OwnedFd>,
}

impl SuccessorWatch {
    pub(super) fn new(socket: PathBuf) -> Self {
        let news = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .inspect_err(|error| tracing::debug!(%error, "the next broker will be noticed late"));
        let watch = Self { socket, news: news.ok() };
        watch.renew();
        watch
    }

    /// Watches the socket that is there now. To be called before it is tried: what happens then has been seen.
    pub(crate) fn renew(&self) {
        let Some(news) = &self.news else { return };
        while matches!(rustix::io::read(news, &mut [0; 256]), Ok(1..) | Err(Errno::INTR)) {}
        // Its removal changes the number of its names. What is not there can't be watched, nor what may not be read.
        let changes = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        if let Err(error) = add_watch(news, &*self.socket, changes) {
            tracing::trace!(%error, "there is no socket to watch");
        }
    }

    /// Readable when it is time to try again.
    pub(crate) fn news(&self) -> Option<BorrowedFd<'_>> {
        self.news.as_ref().map(|news| news.as_fd())
    }
}

impl Drop for SuccessorWatch {
    /// Closing it takes the kernel milliseconds, on a busy machine up to seconds (see `broker/socket_watch.rs`), and whoever
    /// drops this has better things to do.
    fn drop(&mut self) {
        self.news.take().into_iter().for_each(close_elsewhere);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn has_news(watch: &SuccessorWatch, timeout: i64) -> bool {
        let news = watch.news().unwrap();
        let timeout = Timespec { tv_sec: timeout, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(news, PollFlags::IN)], Some(&timeout)).unwrap() > 0
    }

    #[test]
    fn the_removal_of_a_socket_that_was_left_behind_is_news() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lab.sock");
        drop(UnixListener::bind(&path).unwrap());
        let watch = SuccessorWatch::new(path.clone());
        assert!(!has_news(&watch, 0));
        for _ in 0..2 {
            std::fs::remove_file(&path).unwrap();
            drop(UnixListener::bind(&path).unwrap());
            assert!(has_news(&watch, 60));
            // From here on the next one is watched.
            watch.renew();
            assert!(!has_news(&watch, 0));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(has_news(&watch, 60));
        watch.renew();
        drop(UnixListener::bind(&path).unwrap());
        assert!(!has_news(&watch, 0), "what was not there is not watched");
    }
}
