//! Taking the place of a broker that is there, and ending it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::Instance;
use super::connection::broker_behind;
use super::error::InstanceError;
use super::introduction::await_answer;
use super::seat::Seat;
use crate::broker::Heirloom;
use crate::broker::protocol::{Event, Request};
use crate::broker::transport::{PacketSocket, TransportError};
use crate::limits::HANDSHAKE_TIMEOUT;

/// A broker that was ended.
///
/// ```
/// use onecopy::instance::Instance;
///
/// # let directory = tempfile::tempdir()?;
/// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
/// let server = instance.serve()?;
/// let running = std::thread::spawn(|| server.run());
/// let stopped = instance.stop()?.ok_or("it runs")?;
/// println!("process {} was the broker of {} nodes", stopped.broker_pid, stopped.nodes.len());
/// running.join().map_err(|_| "it panicked")??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Stopped {
    /// The process that it ran in.
    pub broker_pid: u32,
    /// The nodes that were connected. They go on, and one of them is the broker from now on.
    pub nodes: Vec<Survivor>,
}

/// A node that goes on without the broker that was ended.
///
/// See [`Stopped`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survivor {
    /// What people call it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

impl Instance {
    /// Ends the broker, if it is one that runs on its own; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Refused`] if it runs inside a program, else as for [`connect`](Self::connect).
    pub fn stop(&self) -> Result<Option<Stopped>, InstanceError> {
        let Some(socket) = self.connect_if_inhabited()? else { return Ok(None) };
        self.say(&socket, &Request::Stop)?;
        let mut nodes = Vec::new();
        let broker_pid = loop {
            match self.hear(&socket)? {
                (Event::NodeInfo { name, pid, uid, .. }, _) => nodes.push(Survivor { name, pid, uid }),
                (Event::Ended { broker_pid }, _) => break broker_pid,
                _ => return Err(InstanceError::NotABroker { path: self.socket_path() }),
            }
        };
        // Its end: whoever looks now finds it gone.
        while self.hear(&socket).is_ok() {}
        Ok(Some(Stopped { broker_pid, nodes }))
    }

    /// Takes the place of the broker at the other end, with the kept regions that nobody has open.
    pub(super) fn take_over(
        &self,
        socket: &PacketSocket,
        replaces: bool,
    ) -> Result<(Seat, Vec<Heirloom>), InstanceError> {
        self.say(socket, &Request::TakeOver { replaces })?;
        let ((Event::Place { is_ours }, Some(listener)), (Event::Lock, Some(lock))) =
            (self.hear(socket)?, self.hear(socket)?)
        else {
            return Err(InstanceError::NotABroker { path: self.socket_path() });
        };
        self.say(socket, &Request::Taken)?;
        let mut heirlooms = Vec::new();
        loop {
            match self.hear(socket)? {
                (Event::Heirloom { region, payload, shared }, Some(memory)) => {
                    heirlooms.push(Heirloom::Region { region, payload, shared, memory: Arc::new(memory) });
                }
                (Event::DatasetHeirloom { dataset, version }, Some(memory)) => {
                    heirlooms.push(Heirloom::Dataset { dataset, version, memory: Arc::new(memory) });
                }
                (Event::Yours, _) => break,
                _ => return Err(InstanceError::NotABroker { path: self.socket_path() }),
            }
        }
        // The other side ends when it finds this connection closed, which is after that.
        Ok((Seat::inherit(self, listener, lock, is_ours)?, heirlooms))
    }

    fn say(&self, socket: &PacketSocket, request: &Request) -> Result<(), InstanceError> {
        match socket.send_request(request, None) {
            // What it said before it ended is still to be heard.
            Ok(()) | Err(TransportError::Closed) => Ok(()),
            Err(error) => Err(self.handshake_error(socket, error)),
        }
    }

    fn hear(&self, socket: &PacketSocket) -> Result<(Event, Option<OwnedFd>), InstanceError> {
        let broker = broker_behind(socket);
        await_answer(socket, &broker, HANDSHAKE_TIMEOUT, None)
            .map_err(|source| self.failed("wait for an answer of", source))?;
        match socket.try_receive_event() {
            Ok((Event::Refused { reason }, _)) => Err(InstanceError::Refused(reason)),
            Ok(heard) => Ok(heard),
            Err(error) => Err(self.handshake_error(socket, error)),
        }
    }
}
