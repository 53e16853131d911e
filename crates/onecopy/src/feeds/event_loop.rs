//! A subscriber that is waited for through a descriptor.

use std::os::fd::AsFd;

use onecopy_memory::wait::Doorbell;

use crate::error::WaitError;
use crate::inbox::Inbox;
use crate::readiness::Readiness;

/// A subscriber that is waited for through a descriptor.
#[derive(Debug)]
pub(super) struct EventLoop {
    pub(super) readiness: Readiness,
    pub(super) inbox_bell: Doorbell,
    /// The descriptor was promised to become readable at the next message.
    pub(super) armed: bool,
    /// The user asked for the descriptor; otherwise only [`Sleeper`] uses it.
    pub(super) for_user: bool,
}

impl EventLoop {
    /// Also has news ring from now on.
    pub(super) fn new(inbox: &Inbox) -> Result<Self, WaitError> {
        let (inbox_bell, ringer) = Doorbell::pair()?;
        let readiness = Readiness::new()?;
        readiness.add(inbox_bell.as_fd())?;
        // Only its one subscriber sets it, and only here.
        let _ = inbox.ringer.set(ringer);
        Ok(Self { readiness, inbox_bell, armed: false, for_user: false })
    }
}
