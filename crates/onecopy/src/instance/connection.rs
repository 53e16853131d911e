//! A connection to the broker of an instance, if one is there. Whoever else may listen is told from it here:
//! an orphan of a process that was killed, and another user.

use std::time::Duration;

use rustix::event::Timespec;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::Instance;
use super::error::InstanceError;
use crate::broker::Process;
use crate::broker::transport::PacketSocket;
use crate::limits::HANDSHAKE_TIMEOUT;

/// What came of an attempt to connect.
pub(super) enum Attempt {
    Connected(PacketSocket),
    /// There is no socket, or nobody listens on it.
    Absent,
    /// There is a socket, kept open by a child of a process that was killed: nobody will ever accept.
    Orphaned,
    /// Somebody listens, with no room for another newcomer just now.
    Busy,
}

impl Instance {
    /// A connection to the broker, or `None` if there is none. Nothing is created.
    ///
    /// ```
    /// use onecopy::instance::Instance;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
    /// assert!(instance.connect()?.is_none());
    /// assert!(!instance.directory().exists());
    /// let server = instance.serve()?.spawn()?;
    /// let socket = instance.connect()?.ok_or("there is one")?;
    /// assert_eq!(socket.peer_credentials()?.pid, std::process::id());
    /// server.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When directory or socket are not ours, or the broker does not accept in time.
    pub fn connect(&self) -> Result<Option<PacketSocket>, InstanceError> {
        let Some(owner) = self.directory_owner()? else { return Ok(None) };
        match self.attempt(SocketFlags::empty(), owner)? {
            Attempt::Connected(socket) => Ok(Some(socket)),
            Attempt::Absent | Attempt::Orphaned => Ok(None),
            Attempt::Busy => {
                Err(InstanceError::NoAnswer { path: self.socket_path(), process: String::new() })
            }
        }
    }

    pub(super) fn address(&self) -> Result<SocketAddrUnix, InstanceError> {
        SocketAddrUnix::new(self.socket_path()).map_err(|source| self.failed("name the socket of", source))
    }

    pub(super) fn attempt(&self, flags: SocketFlags, owner: u32) -> Result<Attempt, InstanceError> {
        let failed = |source: Errno| self.failed("connect to the broker of", source);
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)
                .map_err(failed)?;
        let socket = PacketSocket::from(socket);
        socket
            .set_timeout(Some(HANDSHAKE_TIMEOUT))
            .map_err(|source| self.failed("set a timeout on", source))?;
        let address = self.address()?;
        let mut connected = retry_on_intr(|| connect(&socket, &address));
        if connected == Err(Errno::ACCESS) && self.is_open_to_others() {
            // A broker had just made the socket, and has opened it to others since.
            connected = retry_on_intr(|| connect(&socket, &address));
        }
        match connected {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(Attempt::Absent),
            Err(Errno::AGAIN) => return Ok(Attempt::Busy),
            Err(source) => return Err(failed(source)),
        }
        if broker_behind(&socket).has_ended() {
            return Ok(Attempt::Orphaned);
        }
        let peer = socket.peer_credentials().map_err(|source| self.failed("look at", source))?;
        self.check_listener(peer.pid, peer.uid, owner)?;
        rustix::io::ioctl_fionbio(&socket, false).map_err(failed)?;
        socket.set_timeout(None).map_err(|source| self.failed("set a timeout on", source))?;
        Ok(Attempt::Connected(socket))
    }

    /// Lets some time pass, where nobody tells what is waited for.
    pub(super) fn pause(&self, time: Duration) -> Result<(), InstanceError> {
        let nothing = rustix::event::poll(&mut [], Timespec::try_from(time).ok().as_ref());
        match nothing {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(source) => Err(self.failed("wait for the broker of", source)),
        }
    }
}

/// The broker's process. A newcomer that has no descriptor left for it makes do without: then it learns of a
/// death while it waits from the socket only, or not before its time is up.
pub(super) fn broker_behind(socket: &PacketSocket) -> Process {
    Process::behind(socket).unwrap_or(Process::Unknown)
}
