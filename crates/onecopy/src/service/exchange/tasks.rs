//! An exchange whose calls are awaited by tasks, each woken for its own.

use std::task::Waker;

use super::Exchange;
use crate::error::ReceiveError;

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

    /// Has everybody look again.
    pub(in crate::service) fn wake_all(&mut self) {
        for call in self.calls.iter_mut() {
            call.wake();
        }
        self.server_wakers.drain(..).for_each(Waker::wake);
    }
}
