//! What a client counts of its calls, for those who look from outside. To read a clock takes 20 to 30 ns,
//! which would show in calls that take less than a microsecond; so while they are quick, one in
//! [`TIMED_OF_QUICK`] is timed, and counts for as many.

use onecopy_memory::counters::{CallEvent, ClientTally};

use super::calls::{Call, Ending};
use super::header::now_ns;
use crate::broker::protocol::PortId;
use crate::node::handle::NodeHandle;

/// Calls quicker than this are too quick to be timed each: two looks at the clock would be more than half a percent.
const QUICK_NS: u64 = 10_000;

/// Of so many quick calls one is timed.
const TIMED_OF_QUICK: u64 = 16;

/// The counting side of a client.
#[derive(Debug)]
pub(super) struct CallTally {
    /// Absent if there was no room to count.
    shown: Option<ClientTally>,
    made: u64,
    /// The call timed last was quick.
    is_quick: bool,
}

/// When a call was sent, and for how many calls its time stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timed {
    sent_ns: u64,
    weight: u64,
}

impl CallTally {
    pub(super) fn new(node: &NodeHandle, client: PortId) -> Self {
        let shown = if node.is_forked() { None } else { node.client_tally(client) };
        Self { shown, made: 0, is_quick: false }
    }

    /// A call is about to be sent.
    #[inline]
    pub(super) fn made(&mut self) -> Option<Timed> {
        let shown = self.shown.as_mut()?;
        shown.count(CallEvent::Made);
        self.made = self.made.wrapping_add(1);
        let weight = if self.is_quick { TIMED_OF_QUICK } else { 1 };
        self.made.is_multiple_of(weight).then(|| Timed { sent_ns: now_ns(), weight })
    }

    pub(super) fn notified(&mut self) {
        if let Some(shown) = &mut self.shown {
            shown.count(CallEvent::Notified);
        }
    }

    /// The first answer to a call came.
    #[inline]
    pub(super) fn answered(&mut self, call: &mut Call) {
        if let (Some(Timed { sent_ns, weight }), Some(shown)) = (call.timed.take(), &mut self.shown) {
            let latency_ns = now_ns().saturating_sub(sent_ns);
            shown.record_latency(latency_ns, weight);
            self.is_quick = latency_ns < QUICK_NS;
        }
    }

    pub(super) fn ended(&mut self, ending: &Ending) {
        let event = match ending {
            Ending::Finished => CallEvent::Answered,
            Ending::Failed(_) | Ending::Unanswered => CallEvent::Failed,
            Ending::DeadlinePassed => CallEvent::Late,
            Ending::PeerDied { .. } | Ending::Broken(_) => CallEvent::ServerLost,
            Ending::Cancelled => CallEvent::Cancelled,
        };
        if let Some(shown) = &mut self.shown {
            shown.count(event);
        }
    }
}
