//! A node introduces itself to the broker at the other end of a connection, and is let in, or told why not.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::Pid;

use super::Instance;
use super::connection::broker_behind;
use super::error::InstanceError;
use crate::broker::protocol::{BrokerId, Event, NodeId, Request};
use crate::broker::transport::{PacketSocket, TransportError};
use crate::broker::{Process, pid_namespace};
use crate::limits::HANDSHAKE_TIMEOUT;

/// A broker's answer to a node that introduces itself.
///
/// See [`Joined`](super::Joined) for an example.
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

/// A broker that has let a node in.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) welcome: Welcome,
    /// For a guest: the file in which it is counted.
    pub(super) roll: Option<OwnedFd>,
    /// The process that it runs in.
    pub(super) broker: Process,
}

/// What ends the wait for a broker's answer early.
#[derive(Clone, Copy)]
pub(crate) struct Interruption<'a> {
    /// Readable when it is time to look whether [`Self::is_due`].
    pub(crate) bell: BorrowedFd<'a>,
    /// Whether nobody is interested in the answer any more; called when the bell has rung, which it ends.
    pub(crate) is_due: &'a dyn Fn() -> bool,
}

impl Instance {
    /// Says Hello on a new connection, and waits for the answer.
    ///
    /// ```
    /// use onecopy::broker::protocol::NodeId;
    /// use onecopy::instance::Instance;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
    /// let server = instance.serve()?.spawn()?;
    /// let socket = instance.connect()?.ok_or("there is a broker")?;
    /// let welcome = instance.introduce(&socket, NodeId::random()?, "probe")?;
    /// assert_eq!(welcome.broker_pid, std::process::id());
    /// server.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.introduce_within(socket, &hello, HANDSHAKE_TIMEOUT, None).map(|host| host.welcome)
    }

    pub(super) fn introduce_within(
        &self,
        socket: &PacketSocket,
        hello: &Request,
        timeout: Duration,
        interruption: Option<Interruption<'_>>,
    ) -> Result<Host, InstanceError> {
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
            await_answer(socket, &broker, timeout, interruption).map_err(failed)?;
            (heard, roll) = (socket.try_receive_event(), file);
        }
        match heard {
            Ok((Event::Welcome { broker_pid, broker: id, pid_namespace, limited }, _)) => {
                socket.set_timeout(None).map_err(|source| self.failed("set a timeout on", source))?;
                let welcome = Welcome { broker_pid, broker: id, pid_namespace, limited };
                Ok(Host { welcome, roll, broker: process_of(&welcome, socket, broker) })
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

    pub(super) fn handshake_error(&self, socket: &PacketSocket, error: TransportError) -> InstanceError {
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
}

/// The process that a broker runs in, which need not be the one `behind` the socket: systemd may have made that.
fn process_of(welcome: &Welcome, socket: &PacketSocket, behind: Process) -> Process {
    let name_space = pid_namespace();
    if name_space == 0 || welcome.pid_namespace != name_space {
        // The number that it has for itself means nothing here, and that of whoever made the socket does.
        return behind;
    }
    let made_socket = socket.peer_credentials().is_ok_and(|peer| peer.pid == welcome.broker_pid);
    match i32::try_from(welcome.broker_pid).ok().and_then(Pid::from_raw) {
        // It has just let us in: if it has ended since, no other process has its number yet.
        Some(pid) if !made_socket || matches!(behind, Process::Unknown) => {
            Process::numbered(pid).unwrap_or(Process::Unknown)
        }
        _ => behind,
    }
}

/// Returns when there is something to receive, when the broker's process has ended, when it is interrupted, or after
/// `timeout`.
pub(super) fn await_answer(
    socket: &PacketSocket,
    broker: &Process,
    timeout: Duration,
    interruption: Option<Interruption<'_>>,
) -> rustix::io::Result<()> {
    if matches!(broker, Process::Ended) {
        // A child of it may keep the socket open, and what it has said is there.
        return Ok(());
    }
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
