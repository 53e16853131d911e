//! The broker at work: one thread, one epoll, sockets that never block.
//!
//! All decisions are made in `state.rs`; this file moves packets between it and the sockets. Whatever one peer does,
//! the others are served: a peer that does not read is let go of once too much waits for it, and one that floods gets its
//! turn like everybody else.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use rustix::net::{SocketFlags, accept_with};

use super::peers::PeerId;
use super::protocol::{Event, Refusal, Request};
use super::state::{Broker, Output};
use super::topics::Descriptor;
use super::transport::{Credentials, Packet, PacketSocket, TransportError};
use crate::limits::{EVENTS_PER_WAIT, MAX_QUEUED_PACKETS, PACKETS_PER_TURN, QUEUED_DESCRIPTORS_DIVISOR};

/// What epoll reports for the listening socket and for the stop signal; peers are numbered from there.
const LISTENER: u64 = 0;
const STOP: u64 = 1;
const FIRST_PEER: u64 = 2;

/// A broker that has the socket and the lock of its instance, ready to [`run`](Self::run).
///
/// Dropped, before or after, it removes its socket while it still holds the lock.
#[derive(Debug)]
pub struct Server {
    broker: Broker,
    connections: BTreeMap<PeerId, Connection>,
    next_peer: u64,
    epoll: OwnedFd,
    stop: StopHandle,
    /// Given up for a moment when the process is out of descriptors, to tell a newcomer so.
    spare: Option<OwnedFd>,
    accepting: bool,
    max_queued_descriptors: usize,
    listener: Arc<OwnedFd>,
    /// The broker's place in its instance, given up when the server is dropped.
    _seat: Box<dyn Any + Send>,
}

#[derive(Debug)]
struct Connection {
    socket: PacketSocket,
    queue: VecDeque<Queued>,
    /// How many in the queue were not caused by the peer's own requests.
    unsolicited: usize,
    /// How many of those have a descriptor.
    unsolicited_descriptors: usize,
    /// Epoll reports when there is room for the queue.
    waits_for_room: bool,
}

#[derive(Debug)]
struct Queued {
    bytes: Vec<u8>,
    descriptor: Option<Descriptor>,
    solicited: bool,
}

/// Ends a [`Server`] from another thread.
#[derive(Debug, Clone)]
pub struct StopHandle {
    signal: Arc<OwnedFd>,
}

impl StopHandle {
    /// Makes [`Server::run`] return. It may be called any number of times, and before `run`.
    pub fn stop(&self) {
        // The counter can only overflow after 2⁶⁴ calls, and then the signal is up anyway.
        let result = retry_on_intr(|| rustix::io::write(&self.signal, &1_u64.to_ne_bytes()));
        debug_assert!(matches!(result, Ok(8) | Err(Errno::AGAIN)), "{result:?}");
    }
}

/// A server on a thread of its own. Dropped, it stops the server and waits for it.
#[derive(Debug)]
pub struct ServerThread {
    stop: StopHandle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl ServerThread {
    /// Stops the server and waits until its socket is removed and its lock released.
    ///
    /// # Errors
    ///
    /// What ended the server before, if something did.
    pub fn stop(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stop.stop();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the broker's thread panicked")))
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the broker ended early");
        }
    }
}

impl Server {
    /// A server for those who connect to `listener`, for the user that this process runs as. It keeps `seat` while it
    /// lives.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors; four are needed.
    pub fn new(listener: Arc<OwnedFd>, seat: Box<dyn Any + Send>) -> io::Result<Self> {
        Self::for_user(listener, seat, Credentials::own())
    }

    pub(crate) fn for_user(
        listener: Arc<OwnedFd>,
        seat: Box<dyn Any + Send>,
        own: Credentials,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &signal, EventData::new_u64(STOP), EventFlags::IN)?;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
        let spare = Some(fcntl_dupfd_cloexec(&signal, 0)?);
        Ok(Self {
            broker: Broker::new(own),
            connections: BTreeMap::new(),
            next_peer: FIRST_PEER,
            epoll,
            stop: StopHandle { signal: Arc::new(signal) },
            spare,
            accepting: true,
            max_queued_descriptors: max_queued_descriptors(),
            listener,
            _seat: seat,
        })
    }

    /// What ends [`run`](Self::run).
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Runs on a new thread.
    ///
    /// # Errors
    ///
    /// When the process can't have another thread.
    pub fn spawn(self) -> io::Result<ServerThread> {
        let stop = self.stop_handle();
        let thread =
            std::thread::Builder::new().name("onecopy-broker".to_owned()).spawn(move || self.run())?;
        Ok(ServerThread { stop, thread: Some(thread) })
    }

    /// Serves until it is stopped.
    ///
    /// # Errors
    ///
    /// When epoll fails, for which the kernel has no reason to give on descriptors that it accepted before.
    pub fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::with_capacity(EVENTS_PER_WAIT);
        loop {
            ready.clear();
            retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut ready), None))?;
            for event in &ready {
                match event.data.u64() {
                    STOP => return self.finish_what_was_sent(),
                    LISTENER => self.accept()?,
                    peer => {
                        self.serve(PeerId(peer), event.flags);
                        // Whatever happened may have freed a descriptor; if it did not, the next newcomer pauses us again.
                        self.set_accepting(true)?;
                    }
                }
            }
        }
    }

    /// Passes on what nodes sent before the stop. The last words of the very process that stops are among it: a segment
    /// that its publisher added, and that subscribers need for its last messages.
    fn finish_what_was_sent(&mut self) -> io::Result<()> {
        let peers: Vec<PeerId> = self.connections.keys().copied().collect();
        for peer in peers {
            self.serve(peer, EventFlags::IN);
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..PACKETS_PER_TURN {
            match self.accept_one() {
                Ok(socket) => self.admit(socket),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => return self.turn_away(),
                Err(error) => {
                    tracing::error!(%error, "the broker can't accept");
                    return self.set_accepting(false);
                }
            }
        }
        Ok(())
    }

    fn accept_one(&self) -> rustix::io::Result<PacketSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        accept_with(&self.listener, flags).map(PacketSocket::from)
    }

    /// Out of descriptors: tells one newcomer so, or else leaves newcomers waiting until something else happens,
    /// since a listening socket that can't be accepted from stays ready and would keep this thread spinning.
    fn turn_away(&mut self) -> io::Result<()> {
        tracing::warn!("the broker's process is at its limit of open files; raise it with `ulimit -n`");
        let had_spare = self.spare.take().is_some();
        let refused =
            had_spare && self.accept_one().map(|socket| refuse(&socket, Refusal::OutOfDescriptors)).is_ok();
        self.spare = fcntl_dupfd_cloexec(&self.stop.signal, 0).ok();
        if refused && self.spare.is_some() { Ok(()) } else { self.set_accepting(false) }
    }

    fn set_accepting(&mut self, accepting: bool) -> io::Result<()> {
        if self.accepting != accepting {
            let flags = if accepting { EventFlags::IN } else { EventFlags::empty() };
            epoll::modify(&self.epoll, &self.listener, EventData::new_u64(LISTENER), flags)?;
            self.accepting = accepting;
        }
        Ok(())
    }

    fn admit(&mut self, socket: PacketSocket) {
        let peer = PeerId(self.next_peer);
        let credentials = match socket.peer_credentials() {
            Ok(credentials) => credentials,
            Err(error) => return tracing::warn!(%error, "a newcomer without credentials"),
        };
        if let Err(error) = epoll::add(&self.epoll, &socket, EventData::new_u64(peer.0), EventFlags::IN) {
            refuse(&socket, Refusal::OutOfDescriptors);
            return tracing::warn!(%error, "a newcomer can't be watched; raise fs.epoll.max_user_watches");
        }
        self.next_peer += 1;
        self.connections.insert(peer, Connection::new(socket));
        self.broker.connect(peer, credentials);
        self.perform_outputs(None);
    }

    fn serve(&mut self, peer: PeerId, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush(peer);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        for _ in 0..PACKETS_PER_TURN {
            // Looked up each time: what the last packet led to may have ended this peer.
            let Some(connection) = self.connections.get(&peer) else { return };
            match connection.socket.try_receive() {
                Ok(packet) => self.handle(peer, packet),
                Err(TransportError::NotReady) => return,
                Err(TransportError::Decode(error)) => self.broker.handle_malformed(peer, error),
                Err(TransportError::DescriptorLost) => self.broker.refuse(peer, Refusal::OutOfDescriptors),
                Err(_) => self.forget(peer),
            }
            self.perform_outputs(Some(peer));
        }
    }

    fn handle(&mut self, peer: PeerId, packet: Packet) {
        let queued = self.connections.get(&peer).map_or(0, |connection| connection.queue.len());
        if queued > MAX_QUEUED_PACKETS {
            return self.broker.refuse(peer, Refusal::TooSlow { queued: queued as u64 });
        }
        match Request::decode(&packet.bytes) {
            Ok(request) => self.broker.handle_request(peer, request, packet.descriptor.map(Arc::new)),
            Err(error) => self.broker.handle_malformed(peer, error),
        }
    }

    fn perform_outputs(&mut self, cause: Option<PeerId>) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Send { peer, event, descriptor } => {
                    let solicited = cause == Some(peer);
                    self.enqueue(peer, Queued { bytes: event.encode(), descriptor, solicited });
                }
                Output::Disconnect { peer, reason } => self.disconnect(peer, reason),
            }
        }
    }

    fn enqueue(&mut self, peer: PeerId, packet: Queued) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        let too_many = connection.unsolicited >= MAX_QUEUED_PACKETS
            || connection.unsolicited_descriptors >= self.max_queued_descriptors;
        if !packet.solicited && too_many {
            let queued = connection.queue.len() as u64;
            return self.broker.refuse(peer, Refusal::TooSlow { queued });
        }
        connection.push(packet);
        if !connection.waits_for_room {
            self.flush(peer);
        }
    }

    /// Sends what is queued for a peer as far as there is room, and has epoll report room exactly as long as it is
    /// needed: reported for an empty queue, it would keep this thread spinning.
    fn flush(&mut self, peer: PeerId) {
        let Some(connection) = self.connections.get_mut(&peer) else { return };
        match connection.send_queued() {
            Ok(()) | Err(TransportError::NotReady) => {}
            Err(TransportError::TooManyDescriptorsInFlight) => {
                return self.broker.refuse(peer, Refusal::OutOfDescriptors);
            }
            Err(_) => return self.forget(peer),
        }
        let needs_room = !connection.queue.is_empty();
        if connection.waits_for_room != needs_room {
            connection.waits_for_room = needs_room;
            self.watch(peer, if needs_room { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN });
        }
    }

    fn watch(&mut self, peer: PeerId, flags: EventFlags) {
        let Some(connection) = self.connections.get(&peer) else { return };
        if let Err(error) = epoll::modify(&self.epoll, &connection.socket, EventData::new_u64(peer.0), flags)
        {
            tracing::error!(%error, "a peer can't be watched any more");
            self.forget(peer);
        }
    }

    fn forget(&mut self, peer: PeerId) {
        self.remove(peer);
        self.broker.handle_gone(peer);
    }

    fn remove(&mut self, peer: PeerId) -> Option<Connection> {
        let connection = self.connections.remove(&peer)?;
        // Closing alone would leave it watched if the embedding process has forked meanwhile.
        if let Err(error) = epoll::delete(&self.epoll, &connection.socket) {
            tracing::error!(%error, "a peer was not watched");
        }
        Some(connection)
    }

    fn disconnect(&mut self, peer: PeerId, reason: Refusal) {
        tracing::warn!(peer = peer.0, %reason, "the broker lets go of a peer");
        if let Some(mut connection) = self.remove(peer)
            && connection.send_queued().is_ok()
        {
            refuse(&connection.socket, reason);
        }
    }
}

impl Connection {
    fn new(socket: PacketSocket) -> Self {
        let queue = VecDeque::new();
        Self { socket, queue, unsolicited: 0, unsolicited_descriptors: 0, waits_for_room: false }
    }

    fn push(&mut self, packet: Queued) {
        if !packet.solicited {
            self.unsolicited += 1;
            self.unsolicited_descriptors += usize::from(packet.descriptor.is_some());
        }
        self.queue.push_back(packet);
    }

    fn send_queued(&mut self) -> Result<(), TransportError> {
        while let Some(packet) = self.queue.front() {
            let descriptor = packet.descriptor.as_ref().map(|descriptor| descriptor.as_fd());
            self.socket.try_send(&packet.bytes, descriptor)?;
            if !packet.solicited {
                self.unsolicited -= 1;
                self.unsolicited_descriptors -= usize::from(packet.descriptor.is_some());
            }
            self.queue.pop_front();
        }
        Ok(())
    }
}

/// Tells a peer why it is let go of, if it has room to hear it.
fn refuse(socket: &PacketSocket, reason: Refusal) {
    if let Err(error) = socket.try_send(&Event::Refused { reason }.encode(), None) {
        tracing::debug!(%error, "a peer could not be told why it was refused");
    }
}

fn max_queued_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(limit / QUEUED_DESCRIPTORS_DIVISOR).unwrap_or(usize::MAX)
}
