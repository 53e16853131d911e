//! Datasets at the node: versions that it has published or open, and the news of newer ones.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use onecopy_memory::dataset::SealedDataset;
use onecopy_memory::wait::{Doorbell, Ringer};

use super::handle::NodeHandle;
use super::inspection::Answer;
use super::ledger::Ledger;
use super::ports::{DatasetPort, Opening};
use super::session::Session;
use crate::broker::protocol::{KeepError, PortId, Request};
use crate::error::OpenError;
use crate::readiness::Readiness;

/// The newest version of a dataset, as far as this node was told.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    state: Mutex<NewestState>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct NewestState {
    version: u64,
    /// There will be no broker to tell of newer ones.
    ended: bool,
    /// Made when somebody with an event loop asks for it.
    bell: Option<(Doorbell, Ringer)>,
}

impl NewestState {
    fn ring(&self) {
        if let Some((_, ringer)) = &self.bell {
            ringer.ring();
        }
    }
}

/// How a wait for a version ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There is one.
    Newer,
    /// Not in time.
    Timeout,
    /// Nobody is left to tell.
    Ended,
}

impl Newest {
    fn state(&self) -> MutexGuard<'_, NewestState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn version(&self) -> u64 {
        self.state().version
    }

    fn set(&self, version: u64) {
        let mut state = self.state();
        if state.version < version {
            state.ring();
        }
        state.version = version;
        self.moved.notify_all();
    }

    fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.ring();
        self.moved.notify_all();
    }

    /// Readable once there is a version past this one, or nobody is left to tell; it stays so.
    pub(crate) fn readiness_past(&self, version: u64) -> io::Result<Readiness> {
        let mut state = self.state();
        let readiness = Readiness::new()?;
        if state.bell.is_none() {
            state.bell = Some(Doorbell::pair()?);
        }
        if let Some((doorbell, _)) = &state.bell {
            readiness.add(doorbell.as_fd())?;
        }
        if state.version > version || state.ended {
            state.ring();
        }
        Ok(readiness)
    }

    /// Sleeps until there is a version past this one.
    pub(crate) fn wait_past(&self, version: u64, deadline: Option<Instant>) -> Waited {
        let mut state = self.state();
        loop {
            if state.version > version {
                return Waited::Newer;
            }
            if state.ended {
                return Waited::Ended;
            }
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Waited::Timeout,
                Some(left) => self.moved.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.moved.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// What a port of a dataset has when it is open.
#[derive(Debug)]
pub(crate) struct OpenedDataset {
    pub(crate) port: PortId,
    /// Which version; 0 if there is none yet.
    pub(crate) version: u64,
    /// Its memory, as it was published or received.
    pub(crate) memory: Option<Arc<OwnedFd>>,
    pub(crate) newest: Arc<Newest>,
}

impl NodeHandle {
    /// Publishes sealed memory as a dataset's newest version.
    pub(crate) fn publish_dataset(
        &self,
        name: &str,
        sealed: SealedDataset,
        is_locked: bool,
    ) -> Result<OpenedDataset, OpenError> {
        let port = self.new_port();
        let request = Request::PublishDataset { port, dataset: name.to_owned() };
        let memory = sealed.share_descriptor();
        self.open_dataset_port(port, request, Some(memory), is_locked.then_some(sealed))
    }

    /// Opens a dataset's newest version, or waits for there to be one.
    pub(crate) fn open_dataset(&self, name: &str, wait: bool) -> Result<OpenedDataset, OpenError> {
        let port = self.new_port();
        let request = Request::OpenDataset { port, dataset: name.to_owned(), wait };
        self.open_dataset_port(port, request, None, None)
    }

    fn open_dataset_port(
        &self,
        port: PortId,
        request: Request,
        memory: Option<Arc<OwnedFd>>,
        locked: Option<SealedDataset>,
    ) -> Result<OpenedDataset, OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let newest = Arc::new(Newest::default());
        let dataset = DatasetPort {
            opening: Opening::default(),
            publishes: matches!(request, Request::PublishDataset { .. }),
            memory: None,
            locked,
            version: 0,
            newest: Arc::clone(&newest),
        };
        let (version, memory) = self.session().open_dataset(port, dataset, &request, memory)?;
        Ok(OpenedDataset { port, version, memory, newest })
    }

    /// Asks the broker to keep a dataset while nobody has it open, or not to.
    pub(crate) fn keep_dataset(&self, name: &str, keep: bool) -> Result<Option<KeepError>, OpenError> {
        let answers =
            self.request(|request| Request::KeepDataset { request, dataset: name.to_owned(), keep })?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            Answer::Kept(refused) => refused,
            _ => None,
        }))
    }
}

impl Session {
    fn open_dataset(
        &self,
        port: PortId,
        dataset: DatasetPort,
        request: &Request,
        memory: Option<Arc<OwnedFd>>,
    ) -> Result<(u64, Option<Arc<OwnedFd>>), OpenError> {
        self.ports().datasets.insert(port, dataset);
        let note = |ledger: &mut Ledger| ledger.open_dataset(port, request.clone(), memory.clone());
        if let Err(error) = self.open(port, note, request, memory.as_ref().map(AsFd::as_fd)) {
            self.close(port);
            return Err(error);
        }
        match self.ports().datasets.get_mut(&port) {
            Some(dataset) => Ok((dataset.version, dataset.memory.take())),
            None => Err(OpenError::BrokerSilent),
        }
    }
}

/// A version is ours.
pub(super) fn take_dataset(session: &Session, port: PortId, version: u64, memory: OwnedFd) {
    let memory = Arc::new(memory);
    session.conversation.ledger().dataset_opened(port, version, Arc::clone(&memory));
    if let Some(dataset) = session.ports().datasets.get_mut(&port) {
        (dataset.version, dataset.memory) = (version, Some(memory));
        dataset.newest.set(version);
    }
    session.set_opening(port, Opening::Settled);
}

/// There is a newer version, or the one that we published has its number.
pub(super) fn note_version(session: &Session, port: PortId, version: u64) {
    let superseded = session.conversation.ledger().dataset_moved(port, version);
    let unlocked = {
        let mut ports = session.ports();
        let Some(dataset) = ports.datasets.get_mut(&port) else { return };
        dataset.newest.set(version);
        if matches!(dataset.opening, Opening::Asked) {
            dataset.version = version;
            None
        } else if dataset.publishes && dataset.version < version {
            dataset.locked.take()
        } else {
            None
        }
    };
    // Outside the locks: it may be a lot of memory.
    drop((superseded, unlocked));
    session.set_opening(port, Opening::Settled);
}

/// The node's last connection has ended: nobody tells of newer versions any more.
pub(super) fn end_news(session: &Session) {
    for dataset in session.ports().datasets.values() {
        dataset.newest.end();
    }
}
