//! Where an instance lives, and how a process finds its broker or becomes it.
//!
//! An instance is one broker's world, chosen by name. Its runtime directory holds two files for each:
//! `<instance>.sock`, where the broker listens, and `<instance>.lock`, of which the broker holds a byte locked for as
//! long as it lives. The kernel lets go of a lock when its process dies, so neither file can be stale in a way that
//! matters.
//!
//! Who starts up or shuts down holds the directory itself locked meanwhile. Under that lock there is either a
//! broker with its lock *and* its socket, or none; so nobody ever has to poll, or to guess.

mod broker_lock;
mod directory;
mod error;
mod file_lock;
mod presence;
mod seat;
mod socket_watch;
mod succession;
#[cfg(test)]
mod tests;
mod visiting;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::scheduling::Preference;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

pub use error::InstanceError;
use file_lock::FileLock;
pub use presence::Presence;
pub use seat::Seat;
pub(crate) use socket_watch::SocketWatch;
pub use succession::{Stopped, Survivor};

use crate::broker::protocol::{BrokerId, Event, NodeId, Refusal, Request};
use crate::broker::server::{Server, ServerThread};
use crate::broker::transport::{PacketSocket, TransportError};
use crate::broker::{Process, Roll};
use crate::config::Config;
use crate::limits::{
    DIRECTORY_TIMEOUT, GATHERING_NICE, HANDSHAKE_ATTEMPTS, HANDSHAKE_TIMEOUT, MAX_INSTANCE_NAME_BYTES,
    MAX_SOCKET_PATH_BYTES, SUCCESSION_TIMEOUT,
};

/// The instance that is meant when none is named.
pub const DEFAULT_INSTANCE: &str = "default";
/// The environment variable that says where instances live.
pub const RUNTIME_DIRECTORY_VARIABLE: &str = "ONECOPY_RUNTIME_DIR";

/// One broker's world: a name in a runtime directory.
///
/// ```
/// use onecopy::instance::Instance;
///
/// let instance = Instance::in_directory("/run/user/1000/onecopy", "lab")?;
/// assert_eq!(instance.socket_path().to_str(), Some("/run/user/1000/onecopy/lab.sock"));
/// # Ok::<(), onecopy::instance::InstanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    directory: PathBuf,
    name: String,
    uid: u32,
    /// As its file was when this was made.
    config: Arc<Config>,
}

/// A connection to the broker, and the broker itself where this process has become it.
///
/// The server must be run (see [`Server::spawn`]) before the connection is of use.
#[derive(Debug)]
pub struct Found {
    /// Connected, with nothing sent yet.
    pub socket: PacketSocket,
    /// The broker, if there was none.
    pub server: Option<Server>,
}

/// A node that the broker knows.
#[derive(Debug)]
pub struct Joined {
    /// Connected, and introduced.
    pub socket: PacketSocket,
    /// The process that the broker runs in.
    pub broker_pid: u32,
    /// What else it said.
    pub welcome: Welcome,
    /// The broker, if this process has become it.
    pub server: Option<ServerThread>,
    /// Counts the node among those who are there.
    pub presence: Presence,
}

/// A broker's answer to a node that introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// The process that the broker runs in.
    pub broker_pid: u32,
    /// Which broker it is.
    pub broker: BrokerId,
    /// In which name space the processes that it tells of have their numbers; 0 if that is not known.
    pub pid_namespace: u64,
    /// The configuration bounds what this user may have.
    pub limited: bool,
}

/// What ends the wait for a broker's answer early.
#[derive(Clone, Copy)]
pub(crate) struct Interruption<'a> {
    /// Readable when it is time to look whether [`Self::is_due`].
    pub(crate) bell: BorrowedFd<'a>,
    /// Whether nobody is interested in the answer any more; called when the bell has rung, which it ends.
    pub(crate) is_due: &'a dyn Fn() -> bool,
}

enum Attempt {
    Connected(PacketSocket),
    /// There is no socket, or nobody listens on it.
    Absent,
    /// There is a socket, kept open by a child of a process that was killed: nobody will ever accept.
    Orphaned,
    /// Somebody listens, with no room for another newcomer just now.
    Busy,
}

enum Place {
    Taken(PacketSocket),
    Ours(Box<Seat>),
}

impl Instance {
    /// The instance of that name where the environment says: `$ONECOPY_RUNTIME_DIR`, else
    /// `$XDG_RUNTIME_DIR/onecopy`, else `/tmp/onecopy-$UID`.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Name`], [`InstanceError::PathTooLong`], and what is wrong with the instance's configuration.
    pub fn from_env(name: &str) -> Result<Self, InstanceError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable(RUNTIME_DIRECTORY_VARIABLE)
            .or_else(|| variable("XDG_RUNTIME_DIR").map(|directory| directory.join("onecopy")))
            .unwrap_or_else(|| {
                PathBuf::from(format!("/tmp/onecopy-{}", rustix::process::geteuid().as_raw()))
            });
        Self::in_directory(directory, name)
    }

    /// The instance of that name in that directory, which is created when a broker needs it.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Name`], [`InstanceError::PathTooLong`], and what is wrong with the instance's configuration.
    pub fn in_directory(directory: impl Into<PathBuf>, name: &str) -> Result<Self, InstanceError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length_allowed = (1..=MAX_INSTANCE_NAME_BYTES).contains(&name.len());
        if !length_allowed || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(InstanceError::Name { name: name.chars().take(MAX_INSTANCE_NAME_BYTES).collect() });
        }
        let uid = rustix::process::geteuid().as_raw();
        let config = Arc::new(Config::of_instance(name)?);
        let instance = Self { directory: directory.into(), name: name.to_owned(), uid, config };
        let path = instance.socket_path();
        let bytes = path.as_os_str().len();
        if bytes > MAX_SOCKET_PATH_BYTES {
            return Err(InstanceError::PathTooLong { path, bytes });
        }
        Ok(instance)
    }

    /// Its configuration, as it was when this was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that it lives in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its broker listens.
    pub fn socket_path(&self) -> PathBuf {
        self.directory.join(self.socket_name())
    }

    /// What its broker holds locked.
    pub fn lock_path(&self) -> PathBuf {
        self.directory.join(self.lock_name())
    }

    fn socket_name(&self) -> String {
        format!("{}.sock", self.name)
    }

    fn lock_name(&self) -> String {
        format!("{}.lock", self.name)
    }

    /// A connection to the broker, or `None` if there is none. Nothing is created.
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

    /// A connection to the broker; where there is none, this process becomes it.
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

    /// The same, except that a guest waits some time for the owner's next broker.
    fn connect_or_wait_or_serve(&self) -> Result<Found, InstanceError> {
        let deadline = Instant::now() + SUCCESSION_TIMEOUT;
        loop {
            match self.connect_or_serve() {
                Err(InstanceError::NoBroker { .. }) if Instant::now() < deadline => {
                    self.pause()?;
                }
                found => return found,
            }
        }
    }

    /// Becomes the broker: one that runs on its own, and keeps regions. A broker inside a program makes room for it.
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
    /// # Errors
    ///
    /// As for [`connect_or_serve`](Self::connect_or_serve).
    pub fn replace(&self) -> Result<Server, InstanceError> {
        self.serve_instead(true)
    }

    /// Becomes the broker on a socket that somebody else listens on already (systemd, say) and keeps afterwards. It must be
    /// of type `SOCK_SEQPACKET`, at [`Self::socket_path`].
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

    /// Finds the broker or becomes it (on a thread of its own), and introduces a node to it.
    ///
    /// # Errors
    ///
    /// As for [`connect_or_serve`](Self::connect_or_serve), and what the broker has against the node.
    pub fn join(&self, node: NodeId, name: &str) -> Result<Joined, InstanceError> {
        self.join_from(node, name, None, None)
    }

    /// The same for a node that knew another broker before. What it has open must be announced next.
    pub(crate) fn join_from(
        &self,
        node: NodeId,
        name: &str,
        returns_from: Option<BrokerId>,
        interruption: Option<Interruption<'_>>,
    ) -> Result<Joined, InstanceError> {
        let mut attempts_left = HANDSHAKE_ATTEMPTS;
        // Before anybody can take over who would have to know of it. A guest can't open the file, and is given it.
        let mut presence = match self.is_guest()? {
            true => None,
            false => Some(Presence::take(self, node)?),
        };
        loop {
            attempts_left -= 1;
            let Found { socket, server } = match returns_from {
                // Others wait for the last one who comes back. The broker's thread, which may follow, has its own preference.
                Some(_) => {
                    let _preference = Preference::by_nice(GATHERING_NICE);
                    self.connect_or_serve()?
                }
                None => self.connect_or_wait_or_serve()?,
            };
            let server =
                server.map(Server::spawn).transpose().map_err(|source| self.failed("serve", source))?;
            let hello = Request::Hello { node, name: name.to_owned(), returns_from };
            match self.introduce_within(&socket, &hello, HANDSHAKE_TIMEOUT, interruption) {
                // It was just ending when we came; look again, and take its place if need be.
                Err(InstanceError::BrokerEnded { .. }) if attempts_left > 0 => {}
                Err(error) => return Err(error),
                Ok((welcome, roll)) => {
                    let presence = match presence.take() {
                        // Whoever takes over looks at the file that is there then, which a broker keeps in place.
                        Some(presence) if presence.is_in_place(self)? => presence,
                        Some(_) => Presence::take(self, node)?,
                        None => Presence::given(self, node, roll)?,
                    };
                    let broker_pid = welcome.broker_pid;
                    return Ok(Joined { socket, broker_pid, welcome, server, presence });
                }
            }
        }
    }

    /// Says Hello on a new connection, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Refused`], [`InstanceError::NoAnswer`] after [`HANDSHAKE_TIMEOUT`], and
    /// [`InstanceError::BrokerEnded`].
    pub fn introduce(
        &self,
        socket: &PacketSocket,
        node: NodeId,
        name: &str,
    ) -> Result<Welcome, InstanceError> {
        let hello = Request::Hello { node, name: name.to_owned(), returns_from: None };
        self.introduce_within(socket, &hello, HANDSHAKE_TIMEOUT, None).map(|(welcome, _)| welcome)
    }

    fn introduce_within(
        &self,
        socket: &PacketSocket,
        hello: &Request,
        timeout: Duration,
        interruption: Option<Interruption<'_>>,
    ) -> Result<(Welcome, Option<OwnedFd>), InstanceError> {
        let failed = |source: Errno| self.failed("wait for an answer of", source);
        let broker = broker_behind(socket);
        socket.set_timeout(Some(timeout)).map_err(|source| self.failed("set a timeout on", source))?;
        match socket.send_request(hello, None) {
            // A broker that refused us at once has left its reason behind.
            Ok(()) | Err(TransportError::Closed) => {}
            Err(error) => return Err(self.handshake_error(socket, error)),
        }
        await_answer(socket, &broker, timeout, interruption).map_err(failed)?;
        let (mut heard, mut roll) = (socket.try_receive_event(), None);
        if let Ok((Event::Roll, file)) = heard {
            // What follows was sent at once.
            (heard, roll) = (socket.receive_event(), file);
        }
        match heard {
            Ok((Event::Welcome { broker_pid, broker, pid_namespace, limited }, _)) => {
                socket.set_timeout(None).map_err(|source| self.failed("set a timeout on", source))?;
                Ok((Welcome { broker_pid, broker, pid_namespace, limited }, roll))
            }
            Ok((Event::Refused { reason }, _)) => Err(InstanceError::Refused(reason)),
            Ok(_) => Err(InstanceError::NotABroker { path: self.socket_path() }),
            // A child of its process has inherited its end of the socket, and will not answer in its place.
            Err(TransportError::NotReady) if broker.has_ended() => {
                Err(InstanceError::BrokerEnded { path: self.socket_path() })
            }
            Err(error) => Err(self.handshake_error(socket, error)),
        }
    }

    fn handshake_error(&self, socket: &PacketSocket, error: TransportError) -> InstanceError {
        let path = self.socket_path();
        match error {
            TransportError::NotReady => {
                let pid = socket.peer_credentials().map(|peer| format!(" (process {})", peer.pid));
                InstanceError::NoAnswer { path, process: pid.unwrap_or_default() }
            }
            TransportError::Closed => InstanceError::BrokerEnded { path },
            error => InstanceError::Transport(error),
        }
    }

    fn find_place(&self) -> Result<Place, InstanceError> {
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

    fn address(&self) -> Result<SocketAddrUnix, InstanceError> {
        SocketAddrUnix::new(self.socket_path()).map_err(|source| self.failed("name the socket of", source))
    }

    fn attempt(&self, flags: SocketFlags, owner: u32) -> Result<Attempt, InstanceError> {
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

    fn server(&self, mut seat: Seat) -> Result<Server, InstanceError> {
        let files = seat.replaced_lock().into_iter().chain([presence::open(self)?]).collect();
        let roll = Roll::call(files).map_err(|source| self.failed("see who is in", source))?;
        let config = seat.config();
        let mut server = Server::new(seat.into_place()).map_err(|source| self.failed("serve", source))?;
        server.govern(config);
        server.gather(roll);
        Ok(server)
    }

    /// The configuration as it is now. A mistake that was made since this process began must not cost the instance its
    /// broker: then what was read at first goes on to hold.
    fn current_config(&self) -> Arc<Config> {
        match Config::of_instance(&self.name) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                tracing::error!(%error, "the configuration as it was before goes on to hold");
                Arc::clone(&self.config)
            }
        }
    }

    fn no_broker(&self) -> InstanceError {
        let owner = self.directory_owner().ok().flatten().or(self.config.owner()).unwrap_or_default();
        InstanceError::NoBroker { path: self.socket_path(), owner, uid: self.uid }
    }

    fn socket_removed(&self) -> InstanceError {
        InstanceError::SocketRemoved { socket: self.socket_path(), lock: self.lock_path() }
    }

    fn failed(&self, operation: &'static str, source: impl Into<std::io::Error>) -> InstanceError {
        InstanceError::Kernel { operation, path: self.socket_path(), source: source.into() }
    }
}

/// The broker's process. A newcomer that has no descriptor left for it makes do without: then it learns of a death while
/// it waits from the socket only, or not before its time is up.
fn broker_behind(socket: &PacketSocket) -> Process {
    Process::behind(socket).unwrap_or(Process::Unknown)
}

/// Returns when there is something to receive, when the broker's process has ended, when it is interrupted, or after
/// `timeout`.
fn await_answer(
    socket: &PacketSocket,
    broker: &Process,
    timeout: Duration,
    interruption: Option<Interruption<'_>>,
) -> rustix::io::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let mut polled = vec![PollFd::new(socket, PollFlags::IN)];
        polled.extend(broker.end().map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)));
        let answers = polled.len();
        polled.extend(interruption.map(|it| PollFd::from_borrowed_fd(it.bell, PollFlags::IN)));
        let left = deadline.saturating_duration_since(Instant::now());
        match rustix::event::poll(&mut polled, Timespec::try_from(left).ok().as_ref()) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        }
        let is_answered = polled.iter().take(answers).any(|polled| !polled.revents().is_empty());
        if is_answered || interruption.is_some_and(|interruption| (interruption.is_due)()) {
            return Ok(());
        }
    }
}
