//! A lock on the runtime directory that ends when it is dropped, whoever else has it open by then.
//!
//! `flock` belongs to the open file and not to the process: a child made by `fork` has the same open file, so closing
//! it here would leave it locked for as long as the child lives. It is unlocked explicitly.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

/// A file that this process has locked.
#[derive(Debug)]
pub(super) struct FileLock {
    file: Option<Arc<OwnedFd>>,
    /// A forked child has a copy of this lock, which is not its own to end.
    process: u32,
}

impl FileLock {
    /// Locks `file` if nobody else has it locked.
    pub(super) fn try_take(file: impl Into<Arc<OwnedFd>>) -> rustix::io::Result<Option<Self>> {
        let file: Arc<OwnedFd> = file.into();
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self::held(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Locks `file`, waiting for others for at most `timeout`: then it fails with [`Errno::TIMEDOUT`].
    pub(super) fn take(file: impl Into<Arc<OwnedFd>>, timeout: Duration) -> rustix::io::Result<Self> {
        let file: Arc<OwnedFd> = file.into();
        match Self::try_take(Arc::clone(&file))? {
            Some(lock) => Ok(lock),
            None => Self::wait(file, FlockOperation::LockExclusive, timeout),
        }
    }

    /// Waits until whoever has `file` locked lets go of it, for at most `timeout`. All who wait so go on at
    /// once, and not one after the other as those who want the lock.
    pub(super) fn wait_for_release(
        file: impl Into<Arc<OwnedFd>>,
        timeout: Duration,
    ) -> rustix::io::Result<()> {
        Self::wait(file.into(), FlockOperation::LockShared, timeout).map(drop)
    }

    /// The kernel knows no timeout for this, so a thread waits for it. If it gets the lock too late, it drops it.
    fn wait(file: Arc<OwnedFd>, how: FlockOperation, timeout: Duration) -> rustix::io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let wait = move || {
            let locked = retry_on_intr(|| flock(&file, how));
            // Nobody listens any more: the lock comes back in the error, and ends with it.
            let _ = sender.send(locked.map(|()| Self::held(file)));
        };
        std::thread::Builder::new().name("onecopy-lock".to_owned()).spawn(wait).map_err(|_| Errno::AGAIN)?;
        receiver.recv_timeout(timeout).unwrap_or(Err(Errno::TIMEDOUT))
    }

    fn held(file: Arc<OwnedFd>) -> Self {
        Self { file: Some(file), process: std::process::id() }
    }

    /// Ends the lock, and gives the file back.
    pub(super) fn release(mut self) -> Option<Arc<OwnedFd>> {
        self.unlock();
        self.file.take()
    }

    pub(super) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(|file| file.as_fd())
    }

    fn unlock(&self) {
        if let Some(file) = &self.file
            && self.process == std::process::id()
            && let Err(error) = retry_on_intr(|| flock(file, FlockOperation::Unlock))
        {
            tracing::debug!(%error, "a lock could not be ended before its file is closed");
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        self.unlock();
    }
}
