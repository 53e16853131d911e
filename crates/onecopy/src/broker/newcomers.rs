//! Those who connect: who is let in, and who is turned away before it costs anything that others need.

use std::io;
use std::time::Instant;

use rustix::event::epoll::{self, EventFlags};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::{SocketFlags, accept_with};

use super::connection::{Connection, refuse};
use super::offenders::Verdict;
use super::peers::PeerId;
use super::process::Process;
use super::protocol::Refusal;
use super::server::Server;
use super::throttle::Resting;
use super::transport::{Credentials, PacketSocket};
use super::watch::Source;
use crate::limits::{NEWCOMERS_PER_TURN, REFUSALS_PER_NEWCOMER};

/// What came of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    In,
    /// It has gone, it may not, or there is no room.
    NotLetIn,
    /// It has tried too often.
    TurnedAway,
}

impl Server {
    /// Lets in those who wait, some at a time.
    pub(super) fn accept(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        let mut is_besieged = false;
        let mut left = NEWCOMERS_PER_TURN * REFUSALS_PER_NEWCOMER;
        while left > 0 {
            match self.accept_one() {
                Ok(socket) => match self.admit(socket) {
                    Admission::In => left = left.saturating_sub(REFUSALS_PER_NEWCOMER),
                    Admission::TurnedAway => is_besieged = true,
                    Admission::NotLetIn => {}
                },
                Err(Errno::AGAIN) if is_besieged => return self.rest(Resting::Door, begin),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => return self.turn_away(),
                Err(error) => {
                    tracing::error!(%error, "the broker can't accept");
                    return self.set_accepting(false);
                }
            }
            left = left.saturating_sub(1);
        }
        Ok(())
    }

    fn accept_one(&self) -> rustix::io::Result<PacketSocket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        accept_with(&self.place.listener, flags).map(PacketSocket::from)
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

    pub(super) fn set_accepting(&mut self, accepting: bool) -> io::Result<()> {
        let accepting = accepting && !self.throttle.is_resting(Resting::Door);
        if self.accepting != accepting {
            let flags = if accepting { EventFlags::IN } else { EventFlags::empty() };
            epoll::modify(&self.watch.epoll, &self.place.listener, Source::Listener.number(), flags)?;
            self.accepting = accepting;
        }
        Ok(())
    }

    /// Lets a newcomer in, or says why not.
    fn admit(&mut self, socket: PacketSocket) -> Admission {
        let credentials = match socket.peer_credentials() {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!(%error, "a newcomer without credentials");
                return Admission::NotLetIn;
            }
        };
        match self.offenders.judge(credentials.into(), Instant::now()) {
            Verdict::Welcome => {}
            Verdict::Refused => {
                dismiss(&socket, credentials, Refusal::TooManyAttempts);
                return Admission::TurnedAway;
            }
            Verdict::Ignored => return Admission::TurnedAway,
        }
        let (process, gids) = match self.look_at(&socket, credentials) {
            Ok(Some(found)) => found,
            Ok(None) => return Admission::NotLetIn,
            Err(reason) => {
                dismiss(&socket, credentials, reason);
                return Admission::NotLetIn;
            }
        };
        let peer = PeerId(self.next_peer);
        let mut connection = Connection::new(socket, process, credentials);
        if let Err(error) = self.watch.add_connection(peer, &mut connection) {
            refuse(&connection.socket, Refusal::OutOfDescriptors);
            tracing::warn!(%error, "a newcomer can't be watched; raise fs.epoll.max_user_watches");
            return Admission::NotLetIn;
        }
        self.next_peer += 1;
        self.connections.insert(peer, connection);
        self.broker.connect_as(peer, credentials, gids);
        self.perform_outputs(None);
        Admission::In
    }

    /// The process and groups of a newcomer; nothing if it is gone already.
    fn look_at(
        &self,
        socket: &PacketSocket,
        credentials: Credentials,
    ) -> Result<Option<(Process, Vec<u32>)>, Refusal> {
        // Those of the own user decide nothing.
        let gids = match self.broker.is_own_user(credentials.uid) {
            true => Ok(Vec::new()),
            false => socket.peer_groups(),
        };
        let gids = match gids {
            Ok(gids) => gids,
            Err(error) => {
                tracing::warn!(%error, "a newcomer without groups");
                return Ok(None);
            }
        };
        self.broker.check_newcomer(credentials, &gids)?;
        match Process::behind(socket) {
            // A child of it may have the socket and has no business with it.
            Ok(Process::Ended) => {
                tracing::debug!("a newcomer ended before it was accepted");
                Ok(None)
            }
            Ok(process) => Ok(Some((process, gids))),
            Err(error) => {
                tracing::warn!(%error, "a newcomer's process can't be watched");
                Err(Refusal::OutOfDescriptors)
            }
        }
    }
}

/// Tells a newcomer why it is not let in.
fn dismiss(socket: &PacketSocket, credentials: Credentials, reason: Refusal) {
    tracing::debug!(?credentials, %reason, "a newcomer is not let in");
    refuse(socket, reason);
    socket.end();
}
