//! An exchange whose calls are awaited by tasks, each woken for its own.

use std::task::Waker;

use super::Exchange;
use crate::broker::protocol::PortId;
use crate::error::{ReceiveError, WaitError};
use crate::service::error::CallError;

impl Exchange {
    /// Has `waker` woken when the call moves on.
    pub(in crate::service) fn note_waiting(&mut self, id: u64, waker: &Waker) {
        if let Some(call) = self.calls.get(id) {
            call.waker = Some(waker.clone());
        }
    }

    /// Has `waker` woken when there is a server.
    pub(in crate::service) fn note_waiting_for_server(&mut self, waker: &Waker) {
        if !self.server_wakers.iter().any(|noted| noted.will_wake(waker)) {
            self.server_wakers.push(waker.clone());
        }
    }

    /// What keeps the answers to a call from being received, once.
    pub(in crate::service) fn take_fault(&mut self, id: u64) -> Option<ReceiveError> {
        self.calls.get(id)?.fault.take()
    }

    /// Tells all who wait why nothing can be received.
    pub(in crate::service) fn tell_fault(&mut self, fault: &ReceiveError) {
        for call in self.calls.iter_mut().filter(|call| call.waker.is_some()) {
            call.fault = Some(fault.clone());
            call.wake();
        }
    }

    /// Has the task that receives try again.
    pub(in crate::service) fn unpark(&mut self) {
        if let Some(parked) = self.parked.take() {
            parked.wake();
        }
    }

    /// Lists a task once for each server that will do, which is `server` or any: to be woken when that has made space
    /// or is gone. Says under which keys.
    pub(in crate::service) fn enter_for_space(
        &mut self,
        server: Option<PortId>,
        waker: &Waker,
    ) -> Result<Vec<(PortId, u64)>, CallError> {
        // A child made by `fork` finds out when it tries again.
        if self.node.is_forked() {
            return Ok(Vec::new());
        }
        self.take_news()?;
        self.mail.feeds.keep_armed(false)?;
        let Self { links, mail, for_space, .. } = self;
        let will_do = |link: &&mut super::Link| server.is_none_or(|server| link.peer == server);
        let usable = links.iter_mut().filter(|link| link.is_usable()).filter(will_do);
        let (deaf, hearing): (Vec<_>, Vec<_>) = usable.partition(|link| mail.feeds.is_deaf_to(link.peer));
        if hearing.is_empty() && !deaf.is_empty() {
            return Err(WaitError::NoDoorbell.into());
        }
        let enter = |link: &mut super::Link| {
            let wait = link.sender.writer.expect_space()?;
            Some((link.peer, for_space.enter_for_space(wait, waker)))
        };
        Ok(hearing.into_iter().filter_map(enter).collect())
    }

    /// The end of what [`Self::enter_for_space`] did at one server, which may be gone.
    pub(in crate::service) fn leave_for_space(&mut self, server: PortId, key: u64) {
        self.for_space.leave(key);
        if let Some(link) = self.links.iter_mut().find(|link| link.peer == server) {
            link.sender.writer.stop_expecting_space();
        }
    }

    /// Wakes the tasks whose server has made space: a look takes the rings, whoever they were for.
    pub(super) fn wake_for_space(&self) {
        if !self.for_space.is_empty() {
            self.for_space.wake_for_space();
        }
    }

    /// Has everybody look again.
    pub(in crate::service) fn wake_all(&mut self) {
        self.for_space.wake_all();
        for call in self.calls.iter_mut() {
            call.wake();
        }
        self.server_wakers.drain(..).for_each(Waker::wake);
    }
}
