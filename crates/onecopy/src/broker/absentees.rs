//! Nodes that have not come back from the last broker, as the kernel knows them: each is there for as long as
//! it is counted among the living (see `instance/presence.rs`), and its process tells of its end.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::Pid;

use super::ids::NodeId;
use super::process::Process;
use super::roll::Roll;
use super::state::Broker;
use crate::limits::{GATHERING_LOOK, GATHERING_TIMEOUT};

/// Who is waited for.
#[derive(Debug, Default)]
pub(super) struct Absentees {
    roll: Option<Roll>,
    /// When nobody is waited for any more before others are let in.
    gathered_by: Option<Instant>,
    watched: BTreeMap<NodeId, (u64, Process)>,
    /// Numbers of those who were watched so far.
    last_number: u64,
    /// When it was last looked who of all that are waited for has ended.
    looked: Option<Instant>,
    /// Something has happened since that may have to do with it.
    is_due: bool,
}

impl Absentees {
    /// Waits for those on the roll.
    pub(super) fn gather(&mut self, roll: Roll, broker: &mut Broker) {
        broker.expect(roll.nodes());
        self.roll = Some(roll);
        self.gathered_by = Instant::now().checked_add(GATHERING_TIMEOUT);
    }

    /// How long the server may sleep.
    pub(super) fn look_within(&self, broker: &Broker) -> Option<Duration> {
        (broker.is_gathering() || self.is_due).then_some(GATHERING_LOOK)
    }

    /// Looks who has ended. To be called whenever something has happened, and after [`Self::look_within`]:
    /// then nothing has, `is_quiet`.
    pub(super) fn look(&mut self, broker: &mut Broker, epoll: &OwnedFd, is_quiet: bool) {
        // Each look takes a system call for each of them, and they come one after the other.
        let looks = self.looked.is_none_or(|looked| looked.elapsed() >= GATHERING_LOOK);
        if looks {
            self.looked = Some(Instant::now());
        }
        self.is_due = !looks && broker.absent().next().is_some();
        if broker.is_gathering() {
            if looks {
                self.look_for_expected(broker, is_quiet);
            }
            if broker.is_gathering() && self.gathered_by.is_some_and(|by| Instant::now() >= by) {
                let missing = broker.expected().count();
                tracing::warn!(
                    missing,
                    "nodes have not come back: they are stopped or stuck, and may come later"
                );
                broker.end_gathering();
            }
        }
        self.watch_over(broker, epoll, looks);
    }

    /// Those who come back make others wait for their packets only, so processes, which take longer to look
    /// for, are looked for when nobody comes.
    fn look_for_expected(&mut self, broker: &mut Broker, is_quiet: bool) {
        let Some(roll) = &mut self.roll else { return };
        let expected: Vec<NodeId> = broker.expected().collect();
        for node in expected {
            if roll.has_ended(node) || is_quiet && roll.process_has_ended(node) {
                broker.handle_absent_ended(node);
            }
        }
    }

    fn watch_over(&mut self, broker: &mut Broker, epoll: &OwnedFd, looks: bool) {
        let absent: BTreeMap<NodeId, u32> = broker.absent().collect();
        let returned = self.watched.extract_if(.., |node, _| !absent.contains_key(node));
        returned.for_each(|(_, (_, process))| ignore(epoll, &process));
        for (node, pid) in absent {
            let is_gone = looks && self.roll.as_mut().is_some_and(|roll| roll.has_ended(node));
            if is_gone || self.watch(node, pid, epoll).is_some_and(Process::has_ended) {
                broker.handle_absent_ended(node);
                if let Some((_, process)) = self.watched.remove(&node) {
                    ignore(epoll, &process);
                }
            }
        }
    }

    fn watch(&mut self, node: NodeId, pid: u32, epoll: &OwnedFd) -> Option<&Process> {
        if !self.watched.contains_key(&node) {
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
            // Out of descriptors: tried again when something happens.
            let process = Process::numbered(pid).ok()?;
            self.last_number += 1;
            if let Some(end) = process.end() {
                epoll::add(epoll, end, EventData::new_u64(FIRST_NUMBER + self.last_number), EventFlags::IN)
                    .ok()?;
            }
            self.watched.insert(node, (self.last_number, process));
        }
        self.watched.get(&node).map(|(_, process)| process)
    }
}

/// Numbers of events from here on concern the absent: [`Absentees::look`] finds out whom.
pub(super) const FIRST_NUMBER: u64 = 1 << 63;

fn ignore(epoll: &OwnedFd, process: &Process) {
    if let Some(end) = process.end()
        && let Err(error) = epoll::delete(epoll, end)
    {
        tracing::error!(%error, "a process was not watched");
    }
}
