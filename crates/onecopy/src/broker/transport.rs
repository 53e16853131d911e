//! A connected `SOCK_SEQPACKET` socket: whole packets, in order, each with at most one descriptor.
//!
//! The kernel keeps packets apart, so there is no framing to get wrong, and a closed socket is how death is noticed.
//! Descriptors are owned from the moment they arrive: whatever is wrong with a packet, none leaks.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use onecopy_memory::peer_credentials::peer_credentials;
use rustix::io::Errno;
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use thiserror::Error;

use super::codec::DecodeError;
use super::passed;
use super::protocol::{Event, Refusal, Request};
use crate::limits::{MAX_DESCRIPTORS_PER_PACKET, MAX_PACKET_BYTES};

/// Who is at the other end of a socket, as the kernel says.
///
/// ```
/// use onecopy::broker::transport::{Credentials, PacketSocket};
///
/// let (_ours, theirs) = PacketSocket::pair()?;
/// assert_eq!(theirs.peer_credentials()?, Credentials::own());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credentials {
    /// The process; 0 if it is in a PID name space that this one does not see, as the host's are for a container.
    pub pid: u32,
    /// The user it ran as when it connected (or, for a broker, when it began to listen).
    pub uid: u32,
}

impl Credentials {
    /// Those of this process.
    pub fn own() -> Self {
        Self { pid: std::process::id(), uid: rustix::process::geteuid().as_raw() }
    }
}

/// One packet as it arrived.
///
/// See [`PacketSocket`] for an example.
#[derive(Debug)]
pub struct Packet {
    /// What it says.
    pub bytes: Vec<u8>,
    /// What came along.
    pub descriptor: Option<OwnedFd>,
    /// A descriptor came, and this process could not take it in.
    pub is_descriptor_lost: bool,
}

/// Why a packet could not be sent or received.
///
/// ```
/// use onecopy::broker::transport::{PacketSocket, TransportError};
///
/// let (ours, theirs) = PacketSocket::pair()?;
/// assert!(matches!(ours.try_receive(), Err(TransportError::NotReady)));
/// drop(theirs);
/// assert!(matches!(ours.receive(), Err(TransportError::Closed)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Error)]
pub enum TransportError {
    /// Nothing to receive, or no room to send, and the call was told not to wait (any longer).
    #[error("the broker socket is not ready; wait until it is, or raise the timeout")]
    NotReady,
    /// The other end is closed: its process let go or died.
    #[error("the other end of the broker socket is closed; its process ended")]
    Closed,
    /// More than [`MAX_PACKET_BYTES`].
    #[error(
        "a packet has {bytes} bytes, and at most {MAX_PACKET_BYTES} can be sent; shorten the names in it"
    )]
    PacketTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// This process could not take in the descriptor that came with a packet.
    #[error(
        "a descriptor came and could not be received; this process is at its limit of open files: raise it with `ulimit -n` or LimitNOFILE="
    )]
    DescriptorLost,
    /// Too many descriptors are on their way between processes of this user.
    #[error(
        "too many descriptors of this user are on their way in sockets; raise the limit of open files with `ulimit -n` or LimitNOFILE="
    )]
    TooManyDescriptorsInFlight,
    /// What arrived is no packet of the protocol.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A packet came without its descriptor, or with one that does not belong to it.
    #[error("the broker sent a packet that breaks the protocol: {0}")]
    Descriptor(Refusal),
    /// The kernel refused for another reason.
    #[error("cannot {operation} on the broker socket: {source}")]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A connected socket to exchange packets over. Sending and receiving may happen on different threads at once.
///
/// ```
/// use onecopy::broker::protocol::{NodeId, Request};
/// use onecopy::broker::transport::{Credentials, PacketSocket};
///
/// let (node, broker) = PacketSocket::pair()?;
/// let hello = Request::Hello { node: NodeId(7), name: "camera".to_owned(), returns_from: None };
/// node.send_request(&hello, None)?;
/// let packet = broker.receive()?;
/// assert_eq!(Request::decode(&packet.bytes)?, hello);
/// // Who said so the kernel knows.
/// assert_eq!(broker.peer_credentials()?, Credentials::own());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct PacketSocket {
    descriptor: OwnedFd,
}

impl From<OwnedFd> for PacketSocket {
    fn from(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }
}

impl From<PacketSocket> for OwnedFd {
    fn from(socket: PacketSocket) -> Self {
        socket.descriptor
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl PacketSocket {
    /// Two sockets connected to each other.
    ///
    /// # Errors
    ///
    /// When the process is out of descriptors.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((one.into(), other.into()))
    }

    /// Who is at the other end.
    ///
    /// # Errors
    ///
    /// When the kernel doesn't know, which no Unix socket that is connected makes it say.
    pub fn peer_credentials(&self) -> io::Result<Credentials> {
        let peer = peer_credentials(&self.descriptor)?;
        Ok(Credentials { pid: peer.pid, uid: peer.uid })
    }

    /// The groups of who is at the other end: the one that it ran as, and its further ones.
    ///
    /// ```
    /// use onecopy::broker::transport::PacketSocket;
    ///
    /// let (_node, broker) = PacketSocket::pair()?;
    /// let own = rustix::process::getegid().as_raw();
    /// assert!(broker.peer_groups()?.contains(&own));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`peer_credentials`](Self::peer_credentials).
    pub fn peer_groups(&self) -> io::Result<Vec<u32>> {
        let mut gids = onecopy_memory::peer_groups::peer_groups(&self.descriptor)?;
        gids.push(peer_credentials(&self.descriptor)?.gid);
        Ok(gids)
    }

    /// Bounds how long [`send`](Self::send) and [`receive`](Self::receive) wait; `None` for as long as it takes.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use onecopy::broker::transport::{PacketSocket, TransportError};
    ///
    /// let (node, _broker) = PacketSocket::pair()?;
    /// node.set_timeout(Some(Duration::from_millis(1)))?;
    /// assert!(matches!(node.receive(), Err(TransportError::NotReady)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the kernel refuses the duration (zero is none).
    pub fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.descriptor, Timeout::Send, timeout)?;
        sockopt::set_socket_timeout(&self.descriptor, Timeout::Recv, timeout)?;
        Ok(())
    }

    /// Ends the conversation for both sides, also for a thread that waits in [`receive`](Self::receive).
    ///
    /// ```
    /// use onecopy::broker::transport::{PacketSocket, TransportError};
    ///
    /// let (node, _broker) = PacketSocket::pair()?;
    /// std::thread::scope(|scope| {
    ///     let listening = scope.spawn(|| node.receive());
    ///     node.shutdown()?;
    ///     assert!(matches!(listening.join(), Ok(Err(TransportError::Closed))));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When the socket is not connected any more.
    pub fn shutdown(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.descriptor, rustix::net::Shutdown::Both)?)
    }

    /// Ends the conversation for both sides, whether they are still connected or not.
    pub(crate) fn end(&self) {
        if let Err(error) = self.shutdown() {
            tracing::trace!(%error, "a connection had ended already");
        }
    }

    /// Says that nothing more will be sent: the other side finds the end behind what was sent before. It may go on
    /// sending.
    pub(crate) fn finish_sending(&self) {
        if let Err(error) = rustix::net::shutdown(&self.descriptor, rustix::net::Shutdown::Write) {
            tracing::trace!(%error, "a connection had ended already");
        }
    }

    /// Throws away what came and nobody will read. Left to the kernel, descriptors in it could keep us when the socket
    /// is closed.
    pub(crate) fn discard_received(&self) {
        loop {
            match self.try_receive() {
                Ok(Packet { descriptor, .. }) => descriptor.into_iter().for_each(passed::dispose),
                Err(TransportError::NotReady | TransportError::Closed | TransportError::Kernel { .. }) => {
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Sends one packet, waiting for room.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotReady`] only if a timeout is set or the socket is non-blocking.
    pub fn send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), TransportError> {
        self.send_with(bytes, descriptor, SendFlags::NOSIGNAL)
    }

    /// Sends one packet, or returns [`TransportError::NotReady`] if that would have to wait.
    ///
    /// ```
    /// use onecopy::broker::transport::{PacketSocket, TransportError};
    ///
    /// let (node, broker) = PacketSocket::pair()?;
    /// node.send(b"first", None)?;
    /// // Nobody reads, and a broker must not wait for anybody.
    /// let error = loop {
    ///     if let Err(error) = node.try_send(b"another", None) {
    ///         break error;
    ///     }
    /// };
    /// assert!(matches!(error, TransportError::NotReady));
    /// assert_eq!(broker.receive()?.bytes, b"first");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn try_send(&self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Result<(), TransportError> {
        self.send_with(bytes, descriptor, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// Sends a request, waiting for room.
    ///
    /// # Errors
    ///
    /// As for [`send`](Self::send).
    pub fn send_request(
        &self,
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), TransportError> {
        debug_assert_eq!(request.carries_descriptor(), descriptor.is_some(), "{request:?}");
        self.send(&request.encode(), descriptor)
    }

    /// Receives one packet, waiting for it.
    ///
    /// # Errors
    ///
    /// [`TransportError::NotReady`] only if a timeout is set or the socket is non-blocking.
    pub fn receive(&self) -> Result<Packet, TransportError> {
        whole(self.receive_with(RecvFlags::empty())?)
    }

    /// Receives one packet, or returns [`TransportError::NotReady`] if there is none, as shown at [`TransportError`].
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive).
    pub fn try_receive(&self) -> Result<Packet, TransportError> {
        whole(self.receive_with(RecvFlags::DONTWAIT)?)
    }

    /// The next packet, which stays the next one; its descriptor is a copy.
    pub(crate) fn peek(&self) -> Result<Packet, TransportError> {
        whole(self.receive_with(RecvFlags::DONTWAIT | RecvFlags::PEEK)?)
    }

    /// Receives one event of the broker, waiting for it. Its descriptor is there exactly if
    /// [`Event::carries_descriptor`].
    ///
    /// ```
    /// use std::os::fd::AsFd;
    ///
    /// use onecopy::broker::protocol::Event;
    /// use onecopy::broker::transport::{PacketSocket, TransportError};
    ///
    /// let (node, broker) = PacketSocket::pair()?;
    /// assert!(matches!(node.try_receive_event(), Err(TransportError::NotReady)));
    /// let file = std::fs::File::open("/dev/null")?;
    /// broker.send(&Event::Roll.encode(), Some(file.as_fd()))?;
    /// let (event, descriptor) = node.receive_event()?;
    /// assert!(event == Event::Roll && descriptor.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`receive`](Self::receive), and whatever is wrong with the packet.
    pub fn receive_event(&self) -> Result<(Event, Option<OwnedFd>), TransportError> {
        event_of(self.receive()?)
    }

    /// Receives one event of the broker, or returns [`TransportError::NotReady`] if there is none. If this
    /// process could not take in the descriptor that came with it, the event comes without.
    ///
    /// # Errors
    ///
    /// As for [`receive_event`](Self::receive_event), except for [`TransportError::DescriptorLost`].
    pub fn try_receive_event(&self) -> Result<(Event, Option<OwnedFd>), TransportError> {
        let packet = self.receive_with(RecvFlags::DONTWAIT)?;
        if packet.is_descriptor_lost {
            return Ok((Event::decode(&packet.bytes)?, None));
        }
        event_of(packet)
    }

    fn send_with(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        flags: SendFlags,
    ) -> Result<(), TransportError> {
        if bytes.len() > MAX_PACKET_BYTES {
            return Err(TransportError::PacketTooLarge { bytes: bytes.len() });
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_PACKET))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            let pushed = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(pushed, "the buffer has room for {MAX_DESCRIPTORS_PER_PACKET}");
        }
        let parts = [IoSlice::new(bytes)];
        match rustix::io::retry_on_intr(|| sendmsg(&self.descriptor, &parts, &mut control, flags)) {
            Ok(_) => Ok(()),
            Err(Errno::AGAIN) => Err(TransportError::NotReady),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(TransportError::Closed),
            Err(Errno::TOOMANYREFS) => Err(TransportError::TooManyDescriptorsInFlight),
            Err(source) => Err(TransportError::Kernel { operation: "send a packet", source: source.into() }),
        }
    }

    fn receive_with(&self, flags: RecvFlags) -> Result<Packet, TransportError> {
        let mut buffer = [0_u8; MAX_PACKET_BYTES];
        // Room for one descriptor more than allowed, to tell "too many came" from "this process can't take any".
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS_PER_PACKET + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut buffer)];
            match recvmsg(&self.descriptor, &mut parts, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
                // A reset is reported once, ahead of packets that the peer sent before it closed: those may hold
                // the reason. Behind them comes the end.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Err(TransportError::NotReady),
                Err(Errno::NOTCONN) => return Err(TransportError::Closed),
                Err(source) => {
                    return Err(TransportError::Kernel {
                        operation: "receive a packet",
                        source: source.into(),
                    });
                }
                Ok(received) => break received,
            }
        };
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if let Err(error) = check_received(received.bytes, received.flags, descriptors.len()) {
            descriptors.into_iter().for_each(passed::dispose);
            return Err(error);
        }
        let is_descriptor_lost = received.flags.contains(ReturnFlags::CTRUNC);
        let bytes = buffer.get(..received.bytes).unwrap_or_default().to_vec();
        Ok(Packet { bytes, descriptor: descriptors.pop(), is_descriptor_lost })
    }
}

fn whole(packet: Packet) -> Result<Packet, TransportError> {
    if packet.is_descriptor_lost { Err(TransportError::DescriptorLost) } else { Ok(packet) }
}

fn check_received(bytes: usize, flags: ReturnFlags, descriptors: usize) -> Result<(), TransportError> {
    // A packet of no bytes can't be told from the end, and no packet of the protocol is empty.
    if bytes == 0 {
        return Err(TransportError::Closed);
    }
    if flags.contains(ReturnFlags::TRUNC) {
        return Err(DecodeError::TooLong.into());
    }
    if descriptors > MAX_DESCRIPTORS_PER_PACKET {
        return Err(DecodeError::SurplusDescriptors.into());
    }
    Ok(())
}

fn event_of(packet: Packet) -> Result<(Event, Option<OwnedFd>), TransportError> {
    let event = Event::decode(&packet.bytes)?;
    match (event.carries_descriptor(), packet.descriptor) {
        (true, None) => Err(TransportError::Descriptor(Refusal::DescriptorMissing)),
        (false, Some(_)) => Err(TransportError::Descriptor(Refusal::DescriptorSurplus)),
        (_, descriptor) => Ok((event, descriptor)),
    }
}
