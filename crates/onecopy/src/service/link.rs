//! The way to one counterpart: the ring to it. What comes from it is a feed (see `mail.rs`).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use onecopy_memory::ring::RingWriter;
use onecopy_memory::wait::{Woken, remaining};

use super::error::RespondError;
use super::interest::InterestBoard;
use super::outgoing::Outgoing;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::inbox::Inbox;
use crate::sender::Sender;

/// A client's way to one server.
pub(super) struct Link {
    pub(super) peer: PortId,
    /// Its process.
    pub(super) pid: u32,
    pub(super) sender: Sender,
    /// It reads what is sent.
    pub(super) hears: bool,
    /// The broker said that it ended.
    pub(super) parted: bool,
    /// It is heard.
    pub(super) is_heard: bool,
    /// It has been heard, so when it is not any more, it ended.
    pub(super) was_heard: bool,
    pub(super) interest: InterestBoard,
    /// Calls that wait for its answer.
    pub(super) waiting: usize,
}

impl Link {
    pub(super) fn new(peer: PortId, pid: u32, mut sender: Sender) -> Self {
        let interest = InterestBoard::new(&mut sender.pool);
        let (hears, parted, is_heard, was_heard) = Default::default();
        Self { peer, pid, sender, hears, parted, is_heard, was_heard, interest, waiting: 0 }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.hears && self.is_heard && !self.parted
    }

    /// Whether nothing more will come from it.
    pub(super) fn is_over(&self) -> bool {
        (self.parted || self.was_heard) && !self.is_heard
    }
}

/// A server's way to one client, as the client's requests share it.
pub(super) struct ReplyLink {
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "what waits on a doorbell asks for it"))]
    pub(super) client: PortId,
    /// The client's process.
    pub(super) pid: u32,
    parted: AtomicBool,
    /// Why it is not heard any more, though it has not ended.
    fault: OnceLock<ReceiveError>,
    sender: Mutex<Sender>,
    /// Rung for tasks that wait for this client, when something changes at this end.
    inbox: Arc<Inbox>,
    /// Somebody sleeps until the client takes its answers. Others of this client queue behind; nobody else is concerned.
    pub(super) is_awaited: Mutex<bool>,
    sleep_over: Condvar,
}

impl ReplyLink {
    pub(super) fn new(client: PortId, pid: u32, sender: Sender, inbox: Arc<Inbox>) -> Self {
        let (parted, fault, is_awaited, sleep_over) = Default::default();
        Self { client, pid, parted, fault, sender: Mutex::new(sender), inbox, is_awaited, sleep_over }
    }

    /// Gives the memory of an answer back that was not sent. No client tells of that.
    pub(super) fn discard(&self, unsent: Outgoing) {
        let mut sender = self.sender();
        unsent.discard(&mut sender);
        if sender.writer.have_waits_look_again() {
            // Threads are awake now, and tasks wait for the doorbell.
            self.inbox.ring();
        }
    }

    /// The client ended, as the broker said, or its own ring.
    pub(super) fn part(&self) {
        // Pairs with the load in `has_parted`: who sees this sees the fault as well.
        self.parted.store(true, Ordering::Release);
        // It may still read, and could not tell a task of the space that it makes.
        self.sender().writer.have_waits_look_again();
    }

    /// The client is not heard any more because of what it did, or what was done to this node.
    pub(super) fn give_up(&self, fault: ReceiveError) {
        let _first = self.fault.set(fault);
        self.part();
    }

    pub(super) fn has_parted(&self) -> bool {
        self.parted.load(Ordering::Acquire)
    }

    /// Why nobody takes answers, if nobody does.
    pub(super) fn ending(&self) -> RespondError {
        let fault = self.fault.get().cloned();
        fault.map_or(RespondError::PeerDied { pid: self.pid }, RespondError::Receive)
    }

    /// For a moment: nobody sleeps with it.
    pub(super) fn sender(&self) -> MutexGuard<'_, Sender> {
        lock(&self.sender)
    }

    /// Whether the client is gone: it reads this ring no more, as it did when it asked, or it is not heard.
    pub(super) fn is_dead(&self, writer: &mut RingWriter) -> bool {
        self.has_parted() || !writer.has_readers()
    }

    /// Tries `send` until it does not find the way full any more; `None` if `deadline` comes first. The sender is free for
    /// others while this sleeps.
    pub(super) fn send_when_possible<R>(
        &self,
        deadline: Option<Instant>,
        mut send: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        let _turn = self.take_turn(deadline)?;
        loop {
            // Without readers there is nobody to wait for.
            let Some(wait) = self.sender().writer.expect_space() else { return send() };
            let sent = send();
            let woken = if sent.is_none() { Some(wait.sleep(deadline)) } else { None };
            self.sender().writer.stop_expecting_space();
            match woken {
                None => return sent,
                Some(Woken::Maybe) => {}
                // Space may have come with the deadline.
                Some(Woken::TimedOut) => return send(),
            }
        }
    }

    fn take_turn(&self, deadline: Option<Instant>) -> Option<Turn<'_>> {
        let mut is_awaited = lock(&self.is_awaited);
        while *is_awaited {
            is_awaited = match remaining(deadline) {
                Some(left) if left.is_zero() => return None,
                Some(left) => {
                    self.sleep_over.wait_timeout(is_awaited, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.sleep_over.wait(is_awaited).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *is_awaited = true;
        Some(Turn { link: self })
    }
}

/// The right to sleep until the client takes its answers.
struct Turn<'l> {
    link: &'l ReplyLink,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.link.is_awaited) = false;
        self.link.sleep_over.notify_one();
    }
}

/// A way to a client as requests share it with their server.
pub(super) type SharedLink = Arc<ReplyLink>;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panics in between is user code that holds no half-made state of ours.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
