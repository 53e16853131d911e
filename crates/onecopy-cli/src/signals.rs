//! SIGINT and SIGTERM, as something a command waits for beside its input and its messages, so that it ends in
//! order: its buffers written, its broker's socket removed.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use crate::failure::Failure;

/// The signals that end a command.
#[derive(Debug)]
pub(crate) struct Signals {
    received: Arc<AtomicBool>,
    /// One came that is not SIGHUP.
    ending: Arc<AtomicBool>,
    /// SIGHUP came.
    hung_up: Arc<AtomicBool>,
    /// Signals take their default action, which is to end the process at once.
    immediate: Arc<AtomicBool>,
    /// Readable once a signal came.
    bell: UnixStream,
}

impl Signals {
    /// Takes the signals over.
    pub(crate) fn install() -> Result<Self, Failure> {
        Self::try_install().map_err(Failure::system("take over signals"))
    }

    fn try_install() -> io::Result<Self> {
        let (bell, ringer) = UnixStream::pair()?;
        // Only `acknowledge` reads it, and only what is there.
        bell.set_nonblocking(true)?;
        let [received, immediate, ending, hung_up] = <[Arc<AtomicBool>; 4]>::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, Arc::clone(if signal == SIGHUP { &hung_up } else { &ending }))?;
            // In this order, so that `unless_signalled` can't miss one: noted first, then looked at `immediate`.
            flag::register(signal, Arc::clone(&received))?;
            flag::register_conditional_default(signal, Arc::clone(&immediate))?;
            low_level::pipe::register(signal, ringer.try_clone()?)?;
        }
        Ok(Self { received, ending, hung_up, immediate, bell })
    }

    /// Whether one came.
    pub(crate) fn received(&self) -> bool {
        self.received.load(Ordering::SeqCst)
    }

    /// For a command that does not end with SIGHUP: whether that came, and no other, since this was asked last.
    pub(crate) fn take_hangup(&self) -> bool {
        self.hung_up.swap(false, Ordering::SeqCst) && !self.ending.load(Ordering::SeqCst)
    }

    /// Becomes readable when one comes, and stays so until [`Self::acknowledge`].
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// From now on only further signals are news.
    pub(crate) fn acknowledge(&self) {
        let mut rings = [0; 64];
        while matches!((&self.bell).read(&mut rings), Ok(1..)) {}
    }

    /// Does something that may block for long without looking at [`Self::bell`]; a signal ends the process meanwhile.
    /// `None` if one came before.
    pub(crate) fn unless_signalled<T>(&self, blocking: impl FnOnce() -> T) -> Option<T> {
        self.immediate.store(true, Ordering::SeqCst);
        let result = (!self.received()).then(blocking);
        self.immediate.store(false, Ordering::SeqCst);
        result
    }

    /// Sleeps until a descriptor has something to say, or a signal comes, or the deadline passes.
    pub(crate) fn wait(
        &self,
        descriptors: &[(BorrowedFd<'_>, PollFlags)],
        deadline: Option<Instant>,
    ) -> Result<Woken, Failure> {
        let watched =
            descriptors.iter().map(|&(descriptor, flags)| PollFd::from_borrowed_fd(descriptor, flags));
        let bell = PollFd::from_borrowed_fd(self.bell(), PollFlags::IN);
        let mut polled: Vec<PollFd<'_>> = std::iter::once(bell).chain(watched).collect();
        loop {
            match poll(&mut polled, deadline.map(until).as_ref()) {
                Ok(0) => return Ok(Woken::Deadline),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Failure::system("wait")(error.into())),
            }
        }
        let mut results = polled.iter().map(|polled| !polled.revents().is_empty());
        if results.next() == Some(true) {
            return Ok(Woken::Signal);
        }
        Ok(Woken::Ready(results.collect()))
    }
}

/// What ended [`Signals::wait`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Signal,
    Deadline,
    /// For each descriptor, whether it has something to say.
    Ready(Vec<bool>),
}

fn until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    // A wait longer than the kernel can count is for ever, or near enough.
    Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::from(i32::MAX), tv_nsec: 0 })
}
