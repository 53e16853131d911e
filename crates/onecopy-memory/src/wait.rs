//! Sleeping. The library waits on futexes in mapped memory: one with `futex`, several with `futex_waitv`. Whoever
//! has an event loop, and any process on a kernel before 5.16, gets a [`Doorbell`] instead: a descriptor that
//! becomes readable.
//!
//! A doorbell is a socket pair and not an eventfd, because it is shared with a process that need not be friendly: the
//! other side can clear `O_NONBLOCK` on an eventfd and fill it up, and then the next ring blocks a publisher for ever.
//! `send` has its own flag against that (see docs/decisions/doorbell.md).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// How a wait ended.
///
/// ```
/// use onecopy_memory::wait::Woken;
/// use std::time::Instant;
///
/// assert_eq!(Woken::Maybe.by(None), Woken::Maybe);
/// // Too late, whatever it was that woke us.
/// assert_eq!(Woken::Maybe.by(Some(Instant::now())), Woken::TimedOut);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something happened, or a spurious wake-up: look again.
    Maybe,
    /// The deadline passed, whatever else happened.
    TimedOut,
}

impl Woken {
    /// The same, unless `deadline` has passed meanwhile: whoever keeps waking us does not keep us from noticing that.
    pub fn by(self, deadline: Option<Instant>) -> Self {
        match deadline {
            Some(deadline) if Instant::now() >= deadline => Self::TimedOut,
            _ => self,
        }
    }
}

/// Most futexes that one call can wait on (`FUTEX_WAITV_MAX`).
///
/// See [`wait_any`] for an example.
pub const FUTEXES_MAX: usize = 128;

/// Time left until a deadline; `None` waits for ever.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let soon = Instant::now() + Duration::from_secs(9);
/// assert!(onecopy_memory::wait::remaining(Some(soon)) > Some(Duration::from_secs(1)));
/// assert_eq!(onecopy_memory::wait::remaining(None), None);
/// ```
pub fn remaining(deadline: Option<Instant>) -> Option<Duration> {
    deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
}

#[cfg(not(loom))]
pub use futexes::{wait, wait_any};

/// [`wait`] of a model, which knows no time.
#[cfg(loom)]
pub fn wait(futex: &crate::sync::Futex, expected: u32, _deadline: Option<Instant>) -> Woken {
    futex.wait(expected);
    Woken::Maybe
}

/// [`wait_any`] of a model.
#[cfg(loom)]
pub fn wait_any(futexes: &[(&crate::sync::Futex, u32)], _deadline: Option<Instant>) -> Woken {
    crate::sync::wait_any(futexes);
    Woken::Maybe
}

#[cfg(not(loom))]
mod futexes {
    use super::*;
    use crate::sync::Futex;
    use rustix::io::Errno;
    use rustix::thread::{ClockId, futex};

    /// Sleeps while `futex` has the value `expected`, until `deadline`.
    ///
    /// ```
    /// use onecopy_memory::{sync::Futex, wait::wait};
    ///
    /// let futex = Futex::default();
    /// let seen = futex.value();
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| futex.bump_and_wake());
    ///     while futex.value() == seen {
    ///         wait(&futex, seen, None);
    ///     }
    /// });
    /// assert_ne!(futex.value(), seen);
    /// ```
    pub fn wait(futex: &Futex, expected: u32, deadline: Option<Instant>) -> Woken {
        let timeout = match remaining(deadline).map(Timespec::try_from) {
            Some(Ok(Timespec { tv_sec: 0, tv_nsec: 0 })) => return Woken::TimedOut,
            Some(Ok(timeout)) => Some(timeout),
            // Longer than the kernel can count is for ever.
            Some(Err(_)) | None => None,
        };
        woken(futex::wait(futex.word(), futex::Flags::empty(), expected, timeout.as_ref())).by(deadline)
    }

    /// Sleeps while every futex has the value that stands beside it, until `deadline`. Needs
    /// [`crate::kernel::Features::futex_waitv`].
    ///
    /// ```
    /// use onecopy_memory::{kernel::features, sync::Futex};
    /// use onecopy_memory::wait::{FUTEXES_MAX, Woken, wait_any};
    /// use std::time::Instant;
    ///
    /// let (one, other) = (Futex::default(), Futex::default());
    /// let seen = [(&one, one.value()), (&other, other.value())];
    /// if features().futex_waitv && seen.len() <= FUTEXES_MAX {
    ///     assert_eq!(wait_any(&seen, Some(Instant::now())), Woken::TimedOut);
    ///     // One of them has moved by now, so there is no sleep.
    ///     other.bump_and_wake();
    ///     assert_eq!(wait_any(&seen, None), Woken::Maybe);
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If there are more than [`FUTEXES_MAX`].
    pub fn wait_any(futexes: &[(&Futex, u32)], deadline: Option<Instant>) -> Woken {
        assert!(futexes.len() <= FUTEXES_MAX, "the kernel waits on {FUTEXES_MAX} futexes at most");
        let mut waiters = [futex::Wait::new(); FUTEXES_MAX];
        for (waiter, (futex, expected)) in waiters.iter_mut().zip(futexes) {
            waiter.val = u64::from(*expected);
            waiter.uaddr = (std::ptr::from_ref(futex.word()) as *mut std::ffi::c_void).into();
            waiter.flags = futex::WaitFlags::SIZE_U32;
        }
        // futex_waitv counts to a point in time, not for a while.
        let until = remaining(deadline).and_then(|left| {
            let now = rustix::time::clock_gettime(ClockId::Monotonic);
            now.checked_add(Timespec::try_from(left).ok()?)
        });
        let waiters = &waiters[..futexes.len()];
        woken(futex::waitv(waiters, futex::WaitvFlags::empty(), until.as_ref(), ClockId::Monotonic).map(drop))
            .by(deadline)
    }

    fn woken(result: Result<(), Errno>) -> Woken {
        match result {
            Err(Errno::TIMEDOUT) => Woken::TimedOut,
            // AGAIN: the value had changed already. INTR: a signal. Either way the caller looks again.
            _ => Woken::Maybe,
        }
    }
}

/// The listening half of a doorbell: readable after [`Ringer::ring`].
///
/// ```
/// let (doorbell, ringer) = onecopy_memory::wait::Doorbell::pair()?;
/// ringer.ring();
/// assert!(doorbell.was_rung());
/// assert!(!doorbell.was_rung());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Doorbell {
    socket: OwnedFd,
}

/// What [`Doorbell::listen`] found.
///
/// ```
/// use onecopy_memory::wait::Doorbell;
///
/// let (doorbell, ringer) = Doorbell::pair()?;
/// ringer.ring();
/// let heard = doorbell.listen();
/// assert!(heard.rung && !heard.is_broken);
/// drop(ringer);
/// // Nobody can ring it any more, and it stays readable for ever.
/// assert!(doorbell.listen().is_broken);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// It was rung.
    pub rung: bool,
    /// Nobody has the other half any more: it will not be rung again, and stays readable for ever.
    pub is_broken: bool,
}

/// Rings taken back by one call of the kernel.
const RINGS_AT_ONCE: usize = 256;
/// How often the kernel is called for them: somebody who rings without end must not keep us listening. A
/// socket's buffer has room for less.
const READS_MAX: usize = 8;

/// The ringing half of a doorbell; given to the process that is to ring.
///
/// See [`Doorbell`] for an example.
#[derive(Debug)]
pub struct Ringer {
    socket: OwnedFd,
}

impl Doorbell {
    /// Makes both halves.
    ///
    /// # Errors
    ///
    /// What `socketpair` says: too many descriptors, or no memory.
    pub fn pair() -> io::Result<(Self, Ringer)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (listening, ringing) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        Ok((Self { socket: listening }, Ringer { socket: ringing }))
    }

    /// Whether it has been rung since the last call; takes all rings back.
    pub fn was_rung(&self) -> bool {
        self.listen().rung
    }

    /// Takes all rings back.
    pub fn listen(&self) -> Heard {
        let mut heard = Heard { rung: false, is_broken: false };
        let mut rings = [0_u8; RINGS_AT_ONCE];
        for _ in 0..READS_MAX {
            match rustix::net::recv(&self.socket, &mut rings, RecvFlags::DONTWAIT) {
                Ok((1.., _)) => heard.rung = true,
                Err(rustix::io::Errno::AGAIN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Ok((0, _)) | Err(_) => {
                    heard.is_broken = true;
                    break;
                }
            }
        }
        heard
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Ringer {
    /// Takes a descriptor that came from another process.
    ///
    /// ```
    /// use onecopy_memory::wait::{Doorbell, Ringer};
    /// use std::os::fd::AsFd;
    ///
    /// let (doorbell, ringer) = Doorbell::pair()?;
    /// let received = ringer.as_fd().try_clone_to_owned()?;
    /// Ringer::from_descriptor(received)?.ring();
    /// assert!(doorbell.was_rung());
    /// // A pipe that is full would keep waiting whoever rings.
    /// let (_unread, pipe) = std::io::pipe()?;
    /// assert!(Ringer::from_descriptor(pipe.into()).is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is no Unix socket: on anything else a ring could block.
    pub fn from_descriptor(socket: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_domain(&socket)? == AddressFamily::UNIX {
            Ok(Self { socket })
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Makes the other half readable. Never blocks: if the buffer is full, it is readable already; if the other side
    /// is gone, nobody needs the ring.
    pub fn ring(&self) {
        let _ = rustix::net::send(&self.socket, &[1], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
    }
}

impl AsFd for Ringer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sleeps until one of the descriptors is readable, or `deadline`.
///
/// ```
/// use onecopy_memory::wait::{Doorbell, Woken, poll_readable};
/// use std::os::fd::AsFd;
/// use std::time::Instant;
///
/// let (doorbell, ringer) = Doorbell::pair()?;
/// assert_eq!(poll_readable(&[doorbell.as_fd()], Some(Instant::now()))?, Woken::TimedOut);
/// ringer.ring();
/// assert_eq!(poll_readable(&[doorbell.as_fd()], None)?, Woken::Maybe);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// What `poll` says; an interruption counts as woken.
pub fn poll_readable(descriptors: &[BorrowedFd<'_>], deadline: Option<Instant>) -> io::Result<Woken> {
    let mut polled: Vec<PollFd<'_>> =
        descriptors.iter().map(|descriptor| PollFd::from_borrowed_fd(*descriptor, PollFlags::IN)).collect();
    let timeout = remaining(deadline).and_then(|left| Timespec::try_from(left).ok());
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(0) => Ok(Woken::TimedOut),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Woken::Maybe),
        Err(error) => Err(error.into()),
    }
}
