//! Requests to the broker, sent from any thread without ever waiting for it. If the broker does not read (it may be
//! stopped), they queue here and the control thread sends them when it does. Between two brokers they wait
//! for the next.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onecopy_memory::fork::ForkGuard;
use onecopy_memory::wait::{Doorbell, Ringer};

use super::ledger::{Letter, is_in_ledger};
use crate::broker::protocol::Request;
use crate::broker::transport::{PacketSocket, TransportError};

#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// There is a broker again, or there will be none.
    moved: Condvar,
    /// Rung when the queue stops being empty, for the control thread to wait for room in the socket.
    ringer: Ringer,
    fork: Arc<ForkGuard>,
}

#[derive(Debug)]
struct State {
    line: Line,
    queue: VecDeque<Queued>,
}

/// The way to the broker.
#[derive(Debug)]
enum Line {
    Up(Arc<PacketSocket>),
    /// The last broker has ended, and the next one was not found yet.
    Down,
    /// The node has ended, or was refused.
    Closed,
}

/// What keeps requests in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// There are none.
    No,
    /// The broker has to read first; the socket tells when there is room.
    ForRoom,
    /// Programs of this user have too many descriptors on their way, and somebody has to receive some. Nobody tells
    /// when that has happened, and the socket may have room all the while.
    ForOthers,
}

#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    descriptor: Option<Attachment>,
    is_in_ledger: bool,
}

#[derive(Debug)]
enum Attachment {
    Own(OwnedFd),
    Shared(Arc<OwnedFd>),
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(descriptor) => descriptor.as_fd(),
            Self::Shared(descriptor) => descriptor.as_fd(),
        }
    }
}

impl Outbox {
    pub(super) fn new(socket: Arc<PacketSocket>, fork: Arc<ForkGuard>) -> std::io::Result<(Self, Doorbell)> {
        let (doorbell, ringer) = Doorbell::pair()?;
        let state = Mutex::new(State { line: Line::Up(socket), queue: VecDeque::new() });
        Ok((Self { state, moved: Condvar::new(), ringer, fork }, doorbell))
    }

    pub(super) fn is_forked(&self) -> bool {
        self.fork.is_child()
    }

    /// Sends `request`, or queues it behind those that wait already. A child made by `fork` shares its parent's socket
    /// and must not speak for it: to the child the connection is closed. When there is no broker, what is in the ledger
    /// is left to the announcement; so the ledger has to be changed first, and stay locked where the broker
    /// may not hear of a thing twice.
    pub(super) fn send(
        &self,
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), TransportError> {
        if self.fork.is_child() {
            return Err(TransportError::Closed);
        }
        let (bytes, is_in_ledger) = (request.encode(), is_in_ledger(request));
        let mut state = self.lock();
        match &state.line {
            Line::Closed => return Err(TransportError::Closed),
            Line::Down if is_in_ledger => return Ok(()),
            Line::Up(socket) if state.queue.is_empty() => match socket.try_send(&bytes, descriptor) {
                Err(TransportError::NotReady | TransportError::TooManyDescriptorsInFlight) => {}
                // The control thread is about to notice the same.
                Err(TransportError::Closed) => state.line = Line::Down,
                sent => return sent,
            },
            Line::Up(_) | Line::Down => {}
        }
        if is_in_ledger && matches!(state.line, Line::Down) {
            return Ok(());
        }
        let descriptor = descriptor.map(|descriptor| descriptor.try_clone_to_owned()).transpose();
        let descriptor =
            descriptor.map_err(|source| TransportError::Kernel { operation: "queue a packet", source })?;
        let descriptor = descriptor.map(Attachment::Own);
        state.queue.push_back(Queued { bytes, descriptor, is_in_ledger });
        self.ringer.ring();
        Ok(())
    }

    /// Gets the control thread to look.
    pub(super) fn wake_control(&self) {
        self.ringer.ring();
    }

    /// Sends what is queued, as far as the broker takes it. Returns what the rest waits for.
    pub(super) fn flush(&self) -> Result<Waiting, TransportError> {
        let mut state = self.lock();
        let State { line: Line::Up(socket), queue } = &mut *state else { return Err(TransportError::Closed) };
        while let Some(Queued { bytes, descriptor, .. }) = queue.front() {
            match socket.try_send(bytes, descriptor.as_ref().map(AsFd::as_fd)) {
                Ok(()) => drop(queue.pop_front()),
                Err(TransportError::NotReady) => return Ok(Waiting::ForRoom),
                Err(TransportError::TooManyDescriptorsInFlight) => return Ok(Waiting::ForOthers),
                Err(error) => return Err(error),
            }
        }
        Ok(Waiting::No)
    }

    /// The broker has ended: what is in the ledger need not be sent to it any more.
    pub(super) fn go_down(&self) {
        let mut state = self.lock();
        if !matches!(state.line, Line::Closed) {
            state.line = Line::Down;
            state.queue.retain(|queued| !queued.is_in_ledger);
        }
    }

    /// There is another broker, which is told `letters` before anything else, and `questions` after that.
    /// `false` if the node is ending.
    pub(super) fn go_up(
        &self,
        socket: &Arc<PacketSocket>,
        letters: Vec<Letter>,
        questions: Vec<Request>,
    ) -> bool {
        let mut state = self.lock();
        if matches!(state.line, Line::Closed) {
            return false;
        }
        let waiting = std::mem::take(&mut state.queue);
        let queued = |(request, descriptor): Letter| Queued {
            bytes: request.encode(),
            descriptor: descriptor.map(Attachment::Shared),
            is_in_ledger: true,
        };
        let questions = questions.into_iter().map(|question| (question, None));
        state.queue.extend(letters.into_iter().chain(questions).map(queued));
        state.queue.extend(waiting);
        state.line = Line::Up(Arc::clone(socket));
        self.moved.notify_all();
        true
    }

    /// Nothing is sent any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if let Line::Up(socket) = std::mem::replace(&mut state.line, Line::Closed) {
            socket.end();
        }
        state.queue.clear();
        self.moved.notify_all();
    }

    /// Waits until a broker is there, if there is none just now, for at most `timeout`.
    pub(super) fn wait_for_broker(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        while matches!(state.line, Line::Down) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
