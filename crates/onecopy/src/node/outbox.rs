//! Requests to the broker, sent from any thread without ever waiting for it. If the broker does not read (it may be
//! stopped), they queue here and the control thread sends them when it does.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use onecopy_memory::fork::ForkGuard;
use onecopy_memory::wait::{Doorbell, Ringer};

use crate::broker::protocol::Request;
use crate::broker::transport::{PacketSocket, TransportError};

#[derive(Debug)]
pub(super) struct Outbox {
    socket: PacketSocket,
    queue: Mutex<VecDeque<Queued>>,
    /// Rung when the queue stops being empty, for the control thread to wait for room in the socket.
    ringer: Ringer,
    fork: Arc<ForkGuard>,
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
    descriptor: Option<OwnedFd>,
}

impl Outbox {
    pub(super) fn new(socket: PacketSocket, fork: Arc<ForkGuard>) -> std::io::Result<(Self, Doorbell)> {
        let (doorbell, ringer) = Doorbell::pair()?;
        Ok((Self { socket, queue: Mutex::default(), ringer, fork }, doorbell))
    }

    pub(super) fn socket(&self) -> &PacketSocket {
        &self.socket
    }

    /// Sends a request whose failure nobody waits for: the broker is gone then, which the control thread notices.
    pub(super) fn send_or_log(&self, request: &Request, descriptor: Option<BorrowedFd<'_>>) {
        if let Err(error) = self.send(request, descriptor) {
            tracing::debug!(?request, %error, "request not sent");
        }
    }

    /// Sends `request`, or queues it behind those that wait already. A child made by `fork` shares its parent's socket
    /// and must not speak for it: to the child the connection is closed.
    pub(super) fn send(
        &self,
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), TransportError> {
        if self.fork.is_child() {
            return Err(TransportError::Closed);
        }
        let bytes = request.encode();
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_empty() {
            match self.socket.try_send(&bytes, descriptor) {
                Err(TransportError::NotReady | TransportError::TooManyDescriptorsInFlight) => {}
                sent => return sent,
            }
        }
        let descriptor = descriptor.map(|descriptor| descriptor.try_clone_to_owned()).transpose();
        let descriptor =
            descriptor.map_err(|source| TransportError::Kernel { operation: "queue a packet", source })?;
        queue.push_back(Queued { bytes, descriptor });
        self.ringer.ring();
        Ok(())
    }

    /// Gets the control thread to look.
    pub(super) fn wake_control(&self) {
        self.ringer.ring();
    }

    /// Sends what is queued, as far as the broker takes it. Returns what the rest waits for.
    pub(super) fn flush(&self) -> Result<Waiting, TransportError> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Queued { bytes, descriptor }) = queue.front() {
            match self.socket.try_send(bytes, descriptor.as_ref().map(AsFd::as_fd)) {
                Ok(()) => drop(queue.pop_front()),
                Err(TransportError::NotReady) => return Ok(Waiting::ForRoom),
                Err(TransportError::TooManyDescriptorsInFlight) => return Ok(Waiting::ForOthers),
                Err(error) => return Err(error),
            }
        }
        Ok(Waiting::No)
    }
}
