//! Joining to look: whoever does so makes nothing where nobody is, and between two brokers waits for the next one.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::fs::{Mode, OFlags, openat, stat};
use rustix::io::Errno;

use super::Instance;
use super::error::InstanceError;
use super::file_lock::FileLock;
use super::introduction::Host;
use super::joining::Joined;
use super::presence::Presence;
use crate::broker::Roll;
use crate::broker::protocol::{NodeId, Request};
use crate::broker::transport::PacketSocket;
use crate::limits::{HANDSHAKE_ATTEMPTS, HANDSHAKE_TIMEOUT, REJOIN_DELAY_MIN, SUCCESSION_TIMEOUT};

/// Who is there where no broker is.
enum Inhabitants {
    /// So many nodes.
    Nodes(usize),
    /// A guest can't see that.
    Unknown,
}

impl Instance {
    /// A connection to the broker, or `None` if nobody is there. If the last broker has ended, and nodes of
    /// it are there, this waits for the next one. Nothing is created.
    ///
    /// ```
    /// use onecopy::instance::Instance;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
    /// assert!(instance.connect_if_inhabited()?.is_none());
    /// assert!(!instance.directory().exists());
    /// let server = instance.serve()?.spawn()?;
    /// assert!(instance.connect_if_inhabited()?.is_some());
    /// server.stop()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InstanceError::NotSucceeded`] if nobody takes its place; else as for [`connect`](Self::connect).
    pub fn connect_if_inhabited(&self) -> Result<Option<PacketSocket>, InstanceError> {
        let deadline = Instant::now() + SUCCESSION_TIMEOUT;
        let mut has_told = false;
        loop {
            if let Some(socket) = self.connect()? {
                return Ok(Some(socket));
            }
            let inhabitants = self.inhabitants()?;
            if matches!(inhabitants, Inhabitants::Nodes(0)) && !self.is_moving_in()? {
                // Whoever was moving in a moment ago listens by now.
                return self.connect();
            }
            if Instant::now() >= deadline {
                return match inhabitants {
                    Inhabitants::Nodes(nodes @ 1..) => {
                        Err(InstanceError::NotSucceeded { path: self.socket_path(), nodes })
                    }
                    Inhabitants::Nodes(0) | Inhabitants::Unknown => Ok(None),
                };
            }
            if !std::mem::replace(&mut has_told, true) {
                tracing::debug!(instance = self.name(), "waits for the next broker");
            }
            self.pause(REJOIN_DELAY_MIN)?;
        }
    }

    /// Introduces a node to the broker, as [`join`](Self::join) does, and never becomes it. `None` if nobody is there.
    ///
    /// # Errors
    ///
    /// As for [`connect_if_inhabited`](Self::connect_if_inhabited), and what the broker has against the node.
    pub(crate) fn visit(&self, node: NodeId, name: &str) -> Result<Option<Joined>, InstanceError> {
        let hello = Request::Hello { node, name: name.to_owned(), returns_from: None };
        let mut attempts_left = HANDSHAKE_ATTEMPTS;
        loop {
            attempts_left -= 1;
            let Some(socket) = self.connect_if_inhabited()? else { return Ok(None) };
            // Not while it waits: two who look would take each other for inhabitants.
            let presence = if self.is_guest()? { None } else { Some(Presence::take(self, node)?) };
            match self.introduce_within(&socket, &hello, HANDSHAKE_TIMEOUT, None) {
                // It was just ending when we came.
                Err(InstanceError::BrokerEnded { .. }) if attempts_left > 0 => {}
                Err(error) => return Err(error),
                Ok(Host { welcome, roll, broker }) => {
                    let presence = presence.map_or_else(|| Presence::given(self, node, roll), Ok)?;
                    return Ok(Some(Joined { socket, welcome, broker, server: None, presence }));
                }
            }
        }
    }

    fn inhabitants(&self) -> Result<Inhabitants, InstanceError> {
        let failed = |source: std::io::Error| self.failed("see who is in", source);
        if self.is_guest()? {
            let has_lock = stat(self.lock_path()).is_ok();
            return Ok(if has_lock { Inhabitants::Unknown } else { Inhabitants::Nodes(0) });
        }
        let Some(directory) = self.open_directory()? else { return Ok(Inhabitants::Nodes(0)) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file: OwnedFd = match openat(directory, self.lock_name(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Inhabitants::Nodes(0)),
            Err(source) => return Err(failed(source.into())),
        };
        let roll = Roll::call(vec![file]).map_err(failed)?;
        let living = roll.nodes().filter(|node| !roll.process_has_ended(*node));
        Ok(Inhabitants::Nodes(living.count()))
    }

    /// Whether somebody is becoming the broker, or has just ceased to be it.
    fn is_moving_in(&self) -> Result<bool, InstanceError> {
        let failed = |source: Errno| self.failed("lock the directory of", source);
        match self.directory_for_owner()? {
            Some(directory) => Ok(FileLock::try_take(directory).map_err(failed)?.is_none()),
            None => Ok(false),
        }
    }

    fn directory_for_owner(&self) -> Result<Option<OwnedFd>, InstanceError> {
        if self.is_guest()? { Ok(None) } else { self.open_directory() }
    }
}
