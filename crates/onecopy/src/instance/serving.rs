//! Becoming the broker: where there is none, or in the place of one that is there.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::connection::Attempt;
use super::error::InstanceError;
use super::file_lock::FileLock;
use super::seat::Seat;
use super::{Instance, presence};
use crate::broker::Roll;
use crate::broker::protocol::Refusal;
use crate::broker::server::Server;
use crate::broker::transport::PacketSocket;
use crate::limits::{DIRECTORY_TIMEOUT, HANDSHAKE_ATTEMPTS};

/// A connection to the broker, and the broker itself where this process has become it.
///
/// The server must be run (see [`Server::spawn`]) before the connection is of use.
///
/// ```
/// use onecopy::instance::{Found, Instance};
///
/// # let directory = tempfile::tempdir()?;
/// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
/// let Found { server, .. } = instance.connect_or_serve()?;
/// // Nobody was there, so it is up to us.
/// let server = server.ok_or("somebody was there")?.spawn()?;
/// assert!(instance.connect()?.is_some());
/// server.stop()?;
/// assert!(instance.connect()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Found {
    /// Connected, with nothing sent yet.
    pub socket: PacketSocket,
    /// The broker, if there was none.
    pub server: Option<Server>,
}

/// The broker's place, as somebody finds it who needs a broker.
pub(super) enum Place {
    Taken(PacketSocket),
    Ours(Box<Seat>),
}

impl Instance {
    /// A connection to the broker; where there is none, this process becomes it. See [`Found`] for an example.
    ///
    /// # Errors
    ///
    /// When directory or socket are not ours, the directory can't be created, or the broker does not accept in time.
    pub fn connect_or_serve(&self) -> Result<Found, InstanceError> {
        if self.is_guest()? {
            let socket = self.connect()?.ok_or_else(|| self.no_broker())?;
            return Ok(Found { socket, server: None });
        }
        match self.find_place()? {
            Place::Taken(socket) => Ok(Found { socket, server: None }),
            Place::Ours(seat) => {
                let server = self.server(*seat)?;
                // The kernel keeps the connection until the server runs and accepts it.
                let socket = self.connect()?.ok_or_else(|| self.socket_removed())?;
                Ok(Found { socket, server: Some(server) })
            }
        }
    }

    /// Becomes the broker: one that runs on its own, and keeps regions. A broker inside a program makes room for it.
    ///
    /// ```
    /// use onecopy::instance::{Instance, InstanceError};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
    /// let server = instance.serve()?.spawn()?;
    /// assert!(matches!(instance.serve(), Err(InstanceError::AlreadyServed { .. })));
    /// server.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InstanceError::AlreadyServed`] if there is another one that runs on its own, else as for
    /// [`connect_or_serve`](Self::connect_or_serve).
    pub fn serve(&self) -> Result<Server, InstanceError> {
        self.serve_instead(false)
    }

    /// The same, and if there is another one that runs on its own, takes its place, with all that it keeps.
    ///
    /// ```
    /// use onecopy::broker::server::Ended;
    /// use onecopy::instance::Instance;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
    /// let old = instance.serve()?;
    /// let old = std::thread::spawn(|| old.run());
    /// let new = instance.replace()?.spawn()?;
    /// assert_eq!(old.join().map_err(|_| "it panicked")??, Ended::Replaced);
    /// assert!(instance.connect()?.is_some());
    /// new.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`connect_or_serve`](Self::connect_or_serve).
    pub fn replace(&self) -> Result<Server, InstanceError> {
        self.serve_instead(true)
    }

    /// Becomes the broker on a socket that somebody else listens on already (systemd, say) and keeps
    /// afterwards. It must be of type `SOCK_SEQPACKET`, at [`Self::socket_path`].
    ///
    /// ```
    /// use onecopy::instance::Instance;
    /// use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path(), "lab")?;
    /// // What systemd does.
    /// let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    /// bind(&listener, &SocketAddrUnix::new(instance.socket_path())?)?;
    /// listen(&listener, 16)?;
    /// let server = instance.serve_on(listener)?.spawn()?;
    /// assert!(instance.connect()?.is_some());
    /// server.stop()?;
    /// assert!(instance.socket_path().exists(), "it was not ours");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If it is another socket, or if somebody else is the broker.
    pub fn serve_on(&self, listener: OwnedFd) -> Result<Server, InstanceError> {
        self.create_directory()?;
        let mut server = self.server(Seat::adopt(self, listener)?)?;
        server.keep_regions();
        Ok(server)
    }

    fn serve_instead(&self, replaces: bool) -> Result<Server, InstanceError> {
        if self.is_guest()? {
            return Err(self.not_owner(self.directory_owner()?.unwrap_or_default()));
        }
        let mut attempts_left = HANDSHAKE_ATTEMPTS;
        let (seat, heirlooms) = loop {
            attempts_left -= 1;
            match self.find_place()? {
                Place::Ours(seat) => break (*seat, Vec::new()),
                Place::Taken(socket) => match self.take_over(&socket, replaces) {
                    // It was just ending when we came.
                    Err(InstanceError::BrokerEnded { .. }) if attempts_left > 0 => {}
                    Err(InstanceError::Refused(Refusal::AlreadyServed { pid })) => {
                        return Err(InstanceError::AlreadyServed { instance: self.name.clone(), pid });
                    }
                    taken_over => break taken_over?,
                },
            }
        };
        let mut server = self.server(seat)?;
        server.keep_regions();
        server.inherit(heirlooms);
        Ok(server)
    }

    pub(super) fn find_place(&self) -> Result<Place, InstanceError> {
        let failed = |error| match error {
            Errno::TIMEDOUT => InstanceError::DirectoryLocked { path: self.directory.clone() },
            source => self.failed("lock the directory of", source),
        };
        let mut has_waited = false;
        loop {
            if let Some(socket) = self.connect()? {
                return Ok(Place::Taken(socket));
            }
            self.create_directory()?;
            // Somebody may remove the directory at any time: then it is created again.
            let Some(directory) = self.open_directory()? else { continue };
            let directory = Arc::new(directory);
            let lock = match FileLock::try_take(Arc::clone(&directory)).map_err(failed)? {
                Some(lock) => lock,
                // Whoever has it locked is becoming the broker, most likely, for all of us.
                None if !has_waited => {
                    has_waited = true;
                    FileLock::wait_for_release(directory, DIRECTORY_TIMEOUT).map_err(failed)?;
                    continue;
                }
                None => FileLock::take(directory, DIRECTORY_TIMEOUT).map_err(failed)?,
            };
            let is_orphaned = match self.attempt(SocketFlags::NONBLOCK, self.uid)? {
                Attempt::Connected(socket) => return Ok(Place::Taken(socket)),
                Attempt::Absent => false,
                Attempt::Orphaned => true,
                // Wait for room without keeping everybody else from starting up.
                Attempt::Busy => continue,
            };
            return Ok(Place::Ours(Box::new(Seat::take(self, lock, is_orphaned)?)));
        }
    }

    fn server(&self, mut seat: Seat) -> Result<Server, InstanceError> {
        let files = seat.replaced_lock().into_iter().chain([presence::open(self)?]).collect();
        let roll = Roll::call(files).map_err(|source| self.failed("see who is in", source))?;
        let config = seat.config();
        let mut server = Server::new(seat.into_place()).map_err(|source| self.failed("serve", source))?;
        server.govern(config);
        server.gather(roll);
        Ok(server)
    }

    fn no_broker(&self) -> InstanceError {
        let owner = self.directory_owner().ok().flatten().or(self.config.owner()).unwrap_or_default();
        InstanceError::NoBroker { path: self.socket_path(), owner, uid: self.uid }
    }
}
