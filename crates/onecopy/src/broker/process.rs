//! The process at the other end of a socket, by a descriptor that tells of its end.
//!
//! A closed socket is not enough to notice a death: a child made by `fork` inherits its parent's sockets, and keeps
//! them open when the parent is killed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use onecopy_memory::peer_credentials::peer_credentials;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What the kernel says of a process.
#[derive(Debug)]
pub(crate) enum Process {
    /// It runs; the descriptor is readable from its end on.
    Running(OwnedFd),
    /// It has ended, whoever may have its sockets now.
    Ended,
    /// It can't be watched: it is hidden from this process, or the system forbids it. Its sockets must do.
    Unknown,
}

impl Process {
    /// The process that connected to `socket`, or that began to listen where it was connected to. To be called as soon
    /// as there is a connection: the kernel gives the number of a process that ended to another one some time.
    ///
    /// # Errors
    ///
    /// When this process is out of descriptors.
    pub(crate) fn behind(socket: impl AsFd) -> rustix::io::Result<Self> {
        // One in another name space has no number here.
        let peer = peer_credentials(socket).ok().and_then(|peer| Pid::from_raw(peer.pid.cast_signed()));
        peer.map_or(Ok(Self::Unknown), Self::numbered)
    }

    pub(crate) fn numbered(pid: Pid) -> rustix::io::Result<Self> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => Ok(Self::Running(descriptor)),
            // What has the number now is no process, but a thread, or the group or session that the process led and
            // that its children are still in. Which of the three errors says so depends on the kernel.
            Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => Ok(Self::Ended),
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "a process can't be watched");
                Ok(Self::Unknown)
            }
        }
    }

    /// What becomes readable when it ends, if that can be told.
    pub(crate) fn end(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Running(descriptor) => Some(descriptor.as_fd()),
            Self::Ended | Self::Unknown => None,
        }
    }

    /// Whether it has ended by now.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Running(descriptor) => {
                let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
                matches!(rustix::event::poll(&mut polled, Some(&Timespec::default())), Ok(1))
            }
            Self::Ended => true,
            Self::Unknown => false,
        }
    }
}

/// The name space in which this process sees others; 0 if that can't be told.
pub(crate) fn pid_namespace() -> u64 {
    rustix::fs::stat("/proc/self/ns/pid").map_or(0, |stat| stat.st_ino)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_a_thread_has_is_no_process() {
        let thread = std::thread::spawn(|| Process::numbered(rustix::thread::gettid()).unwrap());
        assert!(matches!(thread.join().unwrap(), Process::Ended));
        let own = Process::numbered(rustix::process::getpid()).unwrap();
        assert!(matches!(own, Process::Running(_)) && !own.has_ended());
    }
}
