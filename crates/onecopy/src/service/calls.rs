//! A client's calls under way. A call's number tells its place in the table (its lowest digits) from what was in that
//! place before, so that a late answer to a call that nobody remembers finds nobody.

use std::task::Waker;

use super::error::CallError;
use super::tally::Timed;
use super::unread::Unread;
use crate::broker::protocol::PortId;
use crate::error::ReceiveError;
use crate::limits::CALLS_MAX;

/// How a call ended.
#[derive(Debug, Clone)]
pub(super) enum Ending {
    Finished,
    Failed(String),
    Unanswered,
    DeadlinePassed,
    PeerDied {
        pid: u32,
    },
    /// The server broke the protocol.
    Broken(ReceiveError),
    Cancelled,
}

impl From<Ending> for CallError {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Finished => Self::Finished,
            Ending::Failed(text) => Self::Failed(text),
            Ending::Unanswered => Self::Unanswered,
            Ending::DeadlinePassed => Self::DeadlinePassed,
            Ending::PeerDied { pid } => Self::PeerDied { pid },
            Ending::Broken(error) => Self::Receive(error),
            Ending::Cancelled => Self::Cancelled,
        }
    }
}

/// What it takes to make a call again.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) payload: Vec<u8>,
    pub(super) left: u32,
}

/// A call under way, or ended with answers that were not taken.
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) server: PortId,
    /// [`super::header::RequestHeader::deadline`].
    pub(super) deadline: u64,
    pub(super) retry: Option<Retry>,
    pub(super) ending: Option<Ending>,
    pub(super) unread: Unread,
    /// Answers of a stream that were taken.
    pub(super) taken: u64,
    /// Of those, what its server was told.
    pub(super) told: u64,
    /// An answer came that may not be the only one: another server would begin again.
    pub(super) has_begun: bool,
    /// When it was sent, until its first answer comes.
    pub(super) timed: Option<Timed>,
    /// The task that waits for it.
    pub(super) waker: Option<Waker>,
    /// Why its answers can't be received, though it goes on.
    #[cfg(feature = "tokio")]
    pub(super) fault: Option<ReceiveError>,
}

impl Call {
    pub(super) fn new(id: u64, server: PortId, deadline: u64, retry: Option<Retry>) -> Self {
        let (ending, unread, taken, told, has_begun, timed, waker) = Default::default();
        Self {
            id,
            server,
            deadline,
            retry,
            ending,
            unread,
            taken,
            told,
            has_begun,
            timed,
            waker,
            #[cfg(feature = "tokio")]
            fault: None,
        }
    }

    /// Wakes the task that waits for it; `false` if none does.
    pub(super) fn wake(&mut self) -> bool {
        self.waker.take().map(Waker::wake).is_some()
    }
}

/// All calls of one client.
#[derive(Default)]
pub(super) struct Calls {
    places: Vec<Place>,
    free: Vec<usize>,
}

#[derive(Default)]
struct Place {
    generation: u64,
    call: Option<Call>,
}

impl Calls {
    /// A number for a new call, which [`Self::insert`] takes or nobody does.
    pub(super) fn next_id(&mut self) -> Result<u64, CallError> {
        if self.free.is_empty() {
            if self.places.len() == CALLS_MAX {
                return Err(CallError::TooManyCalls { most: CALLS_MAX });
            }
            self.free.push(self.places.len());
            self.places.push(Place::default());
        }
        let index = *self.free.last().expect("one was pushed if there was none");
        let place = &mut self.places[index];
        place.generation += 1;
        Ok(place.generation * CALLS_MAX as u64 + index as u64)
    }

    pub(super) fn insert(&mut self, call: Call) {
        let index = index_of(call.id);
        assert_eq!(self.free.pop(), Some(index), "the number is the one that was given out last");
        self.places[index].call = Some(call);
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Call> {
        self.places.get_mut(index_of(id))?.call.as_mut().filter(|call| call.id == id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Call> {
        self.get(id)?;
        self.free.push(index_of(id));
        self.places[index_of(id)].call.take()
    }

    #[cfg(feature = "tokio")]
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Call> {
        self.places.iter_mut().filter_map(|place| place.call.as_mut())
    }

    /// The calls that wait for an answer of `server`.
    pub(super) fn waiting_for(&self, server: PortId) -> Vec<u64> {
        let calls = self.places.iter().filter_map(|place| place.call.as_ref());
        let waiting = calls.filter(|call| call.server == server && call.ending.is_none());
        waiting.map(|call| call.id).collect()
    }
}

/// The place of a call, and of its word on the board.
pub(super) fn index_of(id: u64) -> usize {
    (id % CALLS_MAX as u64) as usize
}
