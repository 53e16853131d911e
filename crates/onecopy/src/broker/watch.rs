//! What epoll reports, and in which order: every process gets its turn, however many connections it has.
//!
//! The kernel reports what is ready in turns. One process with thousands of connections on which it never
//! stops sending would have all but one of those turns. So a process has its first connection in the broker's
//! own set, and all others in a set of its own, which is ready as a whole and gets one turn like any other.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::retry_on_intr;

use super::absentees;
use super::connection::Connection;
use super::peers::PeerId;
use crate::limits::EVENTS_PER_WAIT;

/// What epoll reports on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Listener,
    Stop,
    /// The end of somebody's rest.
    Timer,
    /// Changes in the directory of the broker's socket.
    Place,
    Socket(PeerId),
    /// The end of a peer's process.
    Process(PeerId),
    /// Some of the further connections of this process.
    Group(u32),
    /// The end of the process of a node that has not come back.
    Absent,
}

impl Source {
    /// The numbers of the first four; those of peers follow from four on, two each.
    const LISTENER: u64 = 0;
    const STOP: u64 = 1;
    const TIMER: u64 = 2;
    const PLACE: u64 = 3;
    /// Numbers of groups lie between those of peers and those of the absent.
    const FIRST_GROUP: u64 = 1 << 62;

    pub(super) fn number(self) -> EventData {
        EventData::new_u64(match self {
            Self::Listener => Self::LISTENER,
            Self::Stop => Self::STOP,
            Self::Timer => Self::TIMER,
            Self::Place => Self::PLACE,
            Self::Socket(PeerId(peer)) => 2 * peer,
            Self::Process(PeerId(peer)) => 2 * peer + 1,
            Self::Group(pid) => Self::FIRST_GROUP + u64::from(pid),
            Self::Absent => absentees::FIRST_NUMBER,
        })
    }

    pub(super) fn of(event: &Event) -> Self {
        match event.data.u64() {
            Self::LISTENER => Self::Listener,
            Self::STOP => Self::Stop,
            Self::TIMER => Self::Timer,
            Self::PLACE => Self::Place,
            absentees::FIRST_NUMBER.. => Self::Absent,
            // What was added has the number of a process in its lower half.
            group @ Self::FIRST_GROUP.. => Self::Group((group - Self::FIRST_GROUP) as u32),
            even if even % 2 == 0 => Self::Socket(PeerId(even / 2)),
            odd => Self::Process(PeerId(odd / 2)),
        }
    }
}

/// The broker's set, and those of processes with several connections.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) epoll: OwnedFd,
    processes: BTreeMap<u32, Watched>,
}

/// The connections of one process.
#[derive(Debug, Default)]
struct Watched {
    connections: usize,
    /// The set of all but the first.
    group: Option<Arc<OwnedFd>>,
}

impl Watch {
    pub(super) fn new() -> rustix::io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, processes: BTreeMap::new() })
    }

    pub(super) fn add(&self, descriptor: impl AsFd, source: Source) -> rustix::io::Result<()> {
        let flags = match source {
            // It may have to stay unread for a while.
            Source::Place => EventFlags::IN | EventFlags::ET,
            _ => EventFlags::IN,
        };
        epoll::add(&self.epoll, descriptor, source.number(), flags)
    }

    /// Adds a connection.
    pub(super) fn add_connection(
        &mut self,
        peer: PeerId,
        connection: &mut Connection,
    ) -> rustix::io::Result<()> {
        let pid = connection.credentials.pid;
        let watched = self.processes.entry(pid).or_default();
        // Of processes whose number this one can't see, none is told from the others.
        if watched.connections > 0 && watched.group.is_none() && pid != 0 {
            let group = epoll::create(epoll::CreateFlags::CLOEXEC)?;
            epoll::add(&self.epoll, &group, Source::Group(pid).number(), EventFlags::IN)?;
            watched.group = Some(Arc::new(group));
        }
        connection.group = watched.group.clone();
        watched.connections += 1;
        let epoll = connection.group.as_deref().unwrap_or(&self.epoll);
        let mut added = Ok(());
        if let Some(end) = connection.end_of_process() {
            added = epoll::add(epoll, end, Source::Process(peer).number(), EventFlags::IN);
        }
        added = added.and_then(|()| {
            epoll::add(epoll, &connection.socket, Source::Socket(peer).number(), EventFlags::IN)
        });
        if added.is_err() {
            self.forget(pid);
        }
        added
    }

    /// Has it report something else of a connection.
    pub(super) fn modify(
        &self,
        peer: PeerId,
        connection: &Connection,
        flags: EventFlags,
    ) -> rustix::io::Result<()> {
        let epoll = connection.group.as_deref().unwrap_or(&self.epoll);
        epoll::modify(epoll, &connection.socket, Source::Socket(peer).number(), flags)
    }

    /// Has it report something else of a process's further connections.
    pub(super) fn modify_group(&self, pid: u32, flags: EventFlags) -> rustix::io::Result<()> {
        match self.processes.get(&pid).and_then(|watched| watched.group.as_ref()) {
            Some(group) => epoll::modify(&self.epoll, group, Source::Group(pid).number(), flags),
            None => Ok(()),
        }
    }

    /// Ends what [`add_connection`](Self::add_connection) began.
    pub(super) fn remove(&mut self, connection: &Connection) {
        let epoll = connection.group.as_deref().unwrap_or(&self.epoll);
        // Closing alone would leave them watched if the embedding process has forked meanwhile.
        let watched = [Some(connection.socket.as_fd()), connection.end_of_process()];
        for descriptor in watched.into_iter().flatten() {
            if let Err(error) = epoll::delete(epoll, descriptor) {
                tracing::error!(%error, "a peer was not watched");
            }
        }
        self.forget(connection.credentials.pid);
    }

    fn forget(&mut self, pid: u32) {
        let Some(watched) = self.processes.get_mut(&pid) else { return };
        watched.connections = watched.connections.saturating_sub(1);
        if watched.connections > 0 {
            return;
        }
        if let Some(group) = self.processes.remove(&pid).and_then(|watched| watched.group)
            && let Err(error) = epoll::delete(&self.epoll, &group)
        {
            tracing::error!(%error, "the connections of a process were not watched");
        }
    }

    /// Waits until something is ready.
    pub(super) fn wait(&self, ready: &mut Vec<Event>, timeout: Option<&Timespec>) -> rustix::io::Result<()> {
        wait(&self.epoll, ready, timeout)
    }

    /// What is ready of a process's further connections.
    pub(super) fn look_into(&self, pid: u32) -> rustix::io::Result<Vec<Event>> {
        let mut ready = Vec::with_capacity(EVENTS_PER_WAIT);
        if let Some(group) = self.processes.get(&pid).and_then(|watched| watched.group.as_ref()) {
            wait(group, &mut ready, Some(&Timespec::default()))?;
        }
        Ok(ready)
    }
}

fn wait(epoll: &OwnedFd, ready: &mut Vec<Event>, timeout: Option<&Timespec>) -> rustix::io::Result<()> {
    ready.clear();
    ready.reserve(EVENTS_PER_WAIT);
    retry_on_intr(|| epoll::wait(epoll, spare_capacity(ready), timeout)).map(drop)
}
