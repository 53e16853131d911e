//! The promise to an event loop: its descriptor becomes readable at the next message. It is given when there is nothing
//! more to receive, and kept by doorbells; whoever takes the rings in for another purpose rings again.

use onecopy_memory::sync::full_barrier;

use super::Feeds;
use super::event_loop::EventLoop;
#[cfg(feature = "tokio")]
use crate::broker::protocol::PortId;
use crate::error::{ReceiveError, WaitError};
#[cfg(feature = "tokio")]
use crate::feed::Feed;
use crate::readiness::Readiness;
use crate::sleep::Sleeper;

impl Feeds {
    /// Arms the doorbells of a subscriber with an event loop. Returns `true` if a message came meanwhile.
    #[inline]
    pub(crate) fn arm(&mut self) -> Result<bool, ReceiveError> {
        if !self.event_loop.as_ref().is_some_and(|event_loop| event_loop.for_user) {
            return Ok(false);
        }
        self.hand_out_doorbells_once()?;
        self.prepare(true);
        full_barrier();
        if let Some(event_loop) = &mut self.event_loop {
            event_loop.armed = true;
        }
        Ok(self.is_ready())
    }

    /// For whoever stops receiving before there is nothing more: keeps the promise to the user's event loop.
    /// With `look`, the descriptor becomes readable in any case.
    #[inline]
    pub(crate) fn keep_armed(&mut self, look: bool) -> Result<(), ReceiveError> {
        let came = !self.is_armed() && self.arm()?;
        if came || look {
            self.ring_own_bell();
        }
        Ok(())
    }

    /// For whoever listens on behalf of others: takes the rings back, and has the doorbells rung for what comes from
    /// now on. Returns `true` if there is something to receive, or to be told.
    #[cfg(feature = "tokio")]
    pub(crate) fn listen_again(&mut self) -> bool {
        // A child must not write into its parent's reader state; that it is one, it finds when it receives.
        if self.node.is_forked() {
            return true;
        }
        self.disarm();
        loop {
            match self.arm() {
                Ok(is_ready) => return is_ready,
                // Kept for whoever receives. There is one for each feed at most.
                Err(error) => self.tell_later(error),
            }
        }
    }

    /// Whether this client or server can't ring for what it does: it is not heard, or there was no doorbell to
    /// be had for it.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_deaf_to(&self, peer: PortId) -> bool {
        self.feeds.iter().find(|feed| feed.from == Some(peer)).is_none_or(Feed::wants_doorbell)
    }

    /// As if no doorbell were to be had for this client or server.
    #[cfg(all(test, feature = "tokio"))]
    pub(crate) fn deafen(&mut self, peer: PortId) {
        let feed = self.feeds.iter_mut().find(|feed| feed.from == Some(peer)).expect("it is heard");
        feed.bell = Default::default();
        feed.is_known_deaf = true;
    }

    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        self.event_loop.as_ref().is_some_and(|event_loop| event_loop.armed)
    }

    pub(super) fn disarm(&mut self) {
        if self.is_armed() {
            self.say_awake();
        }
    }

    pub(super) fn say_awake(&mut self) {
        if let Some(event_loop) = &mut self.event_loop {
            event_loop.armed = false;
            event_loop.inbox_bell.was_rung();
        }
        for feed in &mut self.feeds {
            feed.reader.cancel_sleep();
            if let Some(event_loop) = &self.event_loop {
                feed.bell.listen(&event_loop.readiness);
            }
        }
    }

    /// Hands out the doorbells that an event loop's publishers don't have yet. What keeps one from it is told once: the
    /// user can go on without.
    #[inline]
    fn hand_out_doorbells_once(&mut self) -> Result<(), ReceiveError> {
        let is_wanted = self.feeds.iter().any(|feed| feed.wants_doorbell() && !feed.is_known_deaf);
        if is_wanted { self.hand_out_wanted() } else { Ok(()) }
    }

    #[cold]
    fn hand_out_wanted(&mut self) -> Result<(), ReceiveError> {
        let Some(event_loop) = &self.event_loop else { return Ok(()) };
        for feed in self.feeds.iter_mut().filter(|feed| !feed.is_known_deaf) {
            if let Err(error) = feed.hand_out_doorbell(&self.node, self.port, &event_loop.readiness) {
                feed.is_known_deaf = true;
                return Err(ReceiveError::NoDoorbell(error.to_string()));
            }
        }
        Ok(())
    }

    /// A descriptor for the user's event loop.
    pub(crate) fn readiness(&mut self) -> Result<Readiness, WaitError> {
        self.announce(true)?;
        let event_loop = self.event_loop.as_mut().expect("announcing a doorbell makes the event loop");
        event_loop.for_user = true;
        let readiness = event_loop.readiness.try_clone()?;
        // Readable at once if something is there already.
        if self.arm().map_err(WaitError::Receive)? {
            self.ring_own_bell();
        }
        Ok(readiness)
    }

    pub(crate) fn ring_own_bell(&self) {
        if let Some(ringer) = self.inbox.ringer.get() {
            ringer.ring();
        }
    }

    pub(super) fn make_event_loop(&mut self) -> Result<(), WaitError> {
        if self.event_loop.is_none() {
            self.event_loop = Some(EventLoop::new(&self.inbox)?);
        }
        Ok(())
    }
}
