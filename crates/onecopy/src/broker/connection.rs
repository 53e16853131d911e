//! A peer's socket with what waits for it to be read.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::retry_on_intr;

use super::descriptor::Descriptor;
use super::process::Process;
use super::protocol::{Event, Refusal};
use super::transport::{Credentials, PacketSocket, TransportError};
use crate::limits::IN_FLIGHT_RETRY;

/// Why nothing more can be sent just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// It can: nothing waits.
    No,
    /// The peer has to read first. Epoll tells when there is room.
    Full,
    /// The kernel has no room for another descriptor on its way, whose ever they are. Nobody tells when there is.
    InFlight,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: PacketSocket,
    pub(super) process: Process,
    /// Those of that process when it connected.
    pub(super) credentials: Credentials,
    /// The set of epoll that it is in, if it is not the broker's own.
    pub(super) group: Option<Arc<OwnedFd>>,
    /// It is, or was, a node's.
    pub(super) has_joined: bool,
    pub(super) blocked: Blocked,
    /// What epoll reports of the socket.
    pub(super) interest: EventFlags,
    /// The peer was refused, and is heard only as far as it lets go of something.
    pub(super) is_refused: bool,
    queue: VecDeque<Queued>,
    /// How many in the queue were not caused by the peer's own requests.
    unsolicited: usize,
    /// How many of those have a descriptor.
    unsolicited_descriptors: usize,
}

#[derive(Debug)]
pub(super) struct Queued {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptor: Option<Descriptor>,
    pub(super) solicited: bool,
}

impl Connection {
    pub(super) fn new(socket: PacketSocket, process: Process, credentials: Credentials) -> Self {
        Self {
            socket,
            process,
            credentials,
            group: None,
            has_joined: false,
            blocked: Blocked::No,
            interest: EventFlags::IN,
            is_refused: false,
            queue: VecDeque::new(),
            unsolicited: 0,
            unsolicited_descriptors: 0,
        }
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether the peer is slower than it may be, with that many packets and descriptors allowed to wait. A peer that
    /// could not be sent its descriptors is not to blame for those that wait.
    pub(super) fn is_too_slow(&self, packets_max: usize, descriptors_max: usize) -> bool {
        let pins_too_much =
            self.blocked != Blocked::InFlight && self.unsolicited_descriptors >= descriptors_max;
        self.unsolicited >= packets_max || pins_too_much
    }

    pub(super) fn push(&mut self, packet: Queued) {
        if !packet.solicited {
            self.unsolicited += 1;
            self.unsolicited_descriptors += usize::from(packet.descriptor.is_some());
        }
        self.queue.push_back(packet);
    }

    /// Sends what is queued as far as there is room, and returns what keeps the rest.
    pub(super) fn send_queued(&mut self) -> Result<Blocked, TransportError> {
        while let Some(packet) = self.queue.front() {
            let descriptor = packet.descriptor.as_ref().map(|descriptor| descriptor.as_fd());
            match self.socket.try_send(&packet.bytes, descriptor) {
                Ok(()) => {}
                Err(TransportError::NotReady) => return Ok(Blocked::Full),
                Err(TransportError::TooManyDescriptorsInFlight) => return Ok(Blocked::InFlight),
                Err(error) => return Err(error),
            }
            if !packet.solicited {
                self.unsolicited -= 1;
                self.unsolicited_descriptors -= usize::from(packet.descriptor.is_some());
            }
            self.queue.pop_front();
        }
        Ok(Blocked::No)
    }

    /// Waits until there is room in the socket, or for others.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> rustix::io::Result<()> {
        let timeout = if self.blocked == Blocked::InFlight { timeout.min(IN_FLIGHT_RETRY) } else { timeout };
        let mut polled = [PollFd::new(&self.socket, PollFlags::OUT)];
        retry_on_intr(|| rustix::event::poll(&mut polled, Timespec::try_from(timeout).ok().as_ref()))
            .map(drop)
    }

    /// Sends what there is room for, then the reason, and forgets the rest.
    pub(super) fn refuse(&mut self, reason: Refusal) {
        if matches!(self.send_queued(), Ok(Blocked::No)) {
            refuse(&self.socket, reason);
        }
        self.socket.finish_sending();
        (self.queue, self.unsolicited, self.unsolicited_descriptors) = (VecDeque::new(), 0, 0);
        (self.blocked, self.is_refused) = (Blocked::No, true);
    }

    /// What becomes readable when the peer's process ends, if that can be told.
    pub(super) fn end_of_process(&self) -> Option<BorrowedFd<'_>> {
        self.process.end()
    }
}

impl Drop for Connection {
    /// The peer notices the end although a forked child of this process may have the socket as well.
    fn drop(&mut self) {
        self.socket.end();
        self.socket.discard_received();
    }
}

/// Tells a peer why it is let go of, if it has room to hear it.
pub(super) fn refuse(socket: &PacketSocket, reason: Refusal) {
    if let Err(error) = socket.try_send(&Event::Refused { reason }.encode(), None) {
        tracing::debug!(%error, "a peer could not be told why it was refused");
    }
}
