//! What makes a broker the broker: it has one byte of the lock file locked for itself alone, behind those in
//! which nodes are counted. That takes the file open for writing, which is the owner's right only; guests
//! have it open for reading, so what they lock there, if they mean harm, can be told from a broker.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use onecopy_memory::range_lock::{BYTES_END, Holder, holder_of, lock_byte_alone, unlock_byte};
use rustix::io::fcntl_dupfd_cloexec;

/// The byte.
const BROKER: u64 = BYTES_END - 1;

/// A lock file in which this process is the broker.
#[derive(Debug)]
pub(super) struct BrokerLock {
    file: Option<Arc<OwnedFd>>,
    /// A forked child has a copy of this lock, which is not its own to end.
    process: u32,
}

/// What came of an attempt to be the broker.
#[derive(Debug)]
pub(super) enum Claim {
    /// This process is it.
    Taken(BrokerLock),
    /// Another one is.
    Broker,
    /// Nobody is, and somebody who could not be it keeps others from it.
    Obstructed,
}

impl BrokerLock {
    /// Locks `file`, which is open for writing, if nobody has it locked.
    pub(super) fn try_take(file: OwnedFd) -> std::io::Result<Claim> {
        loop {
            if lock_byte_alone(&file, BROKER)? {
                return Ok(Claim::Taken(Self::held(file)));
            }
            match holder_of(&file, BROKER)? {
                Holder::Owner => return Ok(Claim::Broker),
                Holder::Sharers => return Ok(Claim::Obstructed),
                // Let go of in between.
                Holder::Nobody => {}
            }
        }
    }

    /// The lock of a file that is locked already, by whoever had it open and passed it on.
    pub(super) fn held(file: OwnedFd) -> Self {
        Self { file: Some(Arc::new(file)), process: std::process::id() }
    }

    /// The locked file, to pass on: the lock belongs to the file as it is open, so it is never free in between.
    pub(super) fn share(&self) -> Option<Arc<OwnedFd>> {
        self.file.clone()
    }

    /// Has the lock end before `listener` is closed when this process is killed, so that whoever finds nobody
    /// listening finds the lock free. The kernel goes through the files of a dying process from the lowest number on, and
    /// does what it takes to close each in the reverse order. That it does is not promised: so nobody may rely on it.
    pub(super) fn end_before(self, listener: &OwnedFd) -> Self {
        let above = listener.as_raw_fd().saturating_add(1);
        let is_above = self.file.as_ref().is_none_or(|file| file.as_raw_fd() >= above);
        let moved = self.file.as_ref().filter(|_| !is_above).map(|file| fcntl_dupfd_cloexec(file, above));
        match moved {
            // The lock belongs to the open file, whatever its number.
            Some(Ok(file)) => {
                let mut lock = self;
                lock.file = Some(Arc::new(file));
                lock
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "whoever follows a killed broker may have to wait for its lock");
                self
            }
            None => self,
        }
    }

    /// Lets go of the file, which somebody else has locked now.
    pub(super) fn leave(mut self) {
        self.file = None;
    }
}

impl Drop for BrokerLock {
    fn drop(&mut self) {
        // Closing would do, if no forked child had the same open file.
        if let Some(file) = &self.file
            && self.process == std::process::id()
            && let Err(error) = unlock_byte(file, BROKER)
        {
            tracing::debug!(%error, "a lock could not be ended before its file is closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use onecopy_memory::range_lock::lock_byte;

    use super::*;

    #[test]
    fn who_can_only_read_the_file_does_not_pass_for_a_broker() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lab.lock");
        let owner = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let claim = || BrokerLock::try_take(owner().unwrap().into()).unwrap();
        let Claim::Taken(lock) = claim() else { panic!("nobody has it") };
        assert!(matches!(claim(), Claim::Broker));
        drop(lock);
        let reader = std::fs::File::open(&path);
        drop(owner());
        let reader = reader.unwrap();
        assert!(lock_byte_alone(&reader, BROKER).is_err(), "a reader can't have it alone");
        lock_byte(&reader, BROKER).unwrap();
        assert!(matches!(claim(), Claim::Obstructed));
        drop(reader);
        assert!(matches!(claim(), Claim::Taken(_)));
    }
}
