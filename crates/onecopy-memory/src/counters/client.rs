//! The counting side of a client.

use super::latency::bucket;
use crate::hold::ReaderTable;
use crate::layout::{CLIENT_EVENTS, ClientCounters};
use crate::sync::{Arc, AtomicU64, Ordering};

/// What happens to calls.
///
/// See [`ClientTally`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum CallEvent {
    /// One was made.
    Made = 0,
    /// A request was sent that wants no answer.
    Notified = 1,
    /// One was answered in full.
    Answered = 2,
    /// Its server said that it could not, or let the request go.
    Failed = 3,
    /// Its server ended, or broke the protocol.
    ServerLost = 4,
    /// Its deadline passed.
    Late = 5,
    /// It was given up before it was answered in full.
    Cancelled = 6,
}

const _: () = assert!(CallEvent::Cancelled as usize + 1 == CLIENT_EVENTS);

/// What one client counts: its own lines, which others look at. Gone from view when dropped.
///
/// ```
/// use onecopy_memory::counters::{CallEvent, ClientTally, NodeObserver};
/// use onecopy_memory::hold::ReaderTable;
///
/// let table = ReaderTable::create()?;
/// let observer = NodeObserver::open(table.descriptor().try_clone_to_owned()?)?;
/// let mut tally = ClientTally::new(&table, 7).expect("there are no 4096 clients yet");
/// tally.count(CallEvent::Made);
/// tally.record_latency(1_500, 1);
/// assert_eq!(observer.clients()[0].events(CallEvent::Made), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ClientTally {
    table: Arc<ReaderTable>,
    index: u32,
}

impl ClientTally {
    /// For the client with this number within its node, which is not 0; `None` if so many clients are counted already
    /// that there is no room.
    ///
    /// ```
    /// use onecopy_memory::layout::CLIENTS_MAX;
    /// use onecopy_memory::{counters::ClientTally, hold::ReaderTable};
    ///
    /// let table = ReaderTable::create()?;
    /// let mut tallies: Vec<_> = (1..).map_while(|client| ClientTally::new(&table, client)).collect();
    /// assert_eq!(tallies.len(), CLIENTS_MAX);
    /// // The room of one that has ended is another's.
    /// tallies.pop();
    /// assert!(ClientTally::new(&table, 1_000_000).is_some());
    /// # Ok::<(), onecopy_memory::segment::SegmentError>(())
    /// ```
    pub fn new(table: &Arc<ReaderTable>, client: u32) -> Option<Self> {
        let index = table.counters.take_client()?;
        let counters = table.counters.client(index);
        for word in counters.events.iter().chain(&counters.latencies) {
            word.store(0, Ordering::Relaxed);
        }
        // Release: who sees the number sees the zeros.
        counters.client.store(u64::from(client), Ordering::Release);
        Some(Self { table: Arc::clone(table), index })
    }

    fn counters(&self) -> &ClientCounters {
        self.table.counters.client(self.index)
    }

    /// Counts one event; not in a child made by `fork`, whose events are not the parent's.
    #[inline]
    pub fn count(&mut self, event: CallEvent) {
        if self.table.is_inherited() {
            return;
        }
        add(&self.counters().events[event as usize], 1);
    }

    /// Counts one latency, which stands for `weight` calls.
    pub fn record_latency(&mut self, nanoseconds: u64, weight: u64) {
        add(&self.counters().latencies[bucket(nanoseconds)], weight);
    }
}

/// Only the client writes its words, so no atomic addition is needed.
#[inline]
fn add(word: &AtomicU64, more: u64) {
    word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Drop for ClientTally {
    fn drop(&mut self) {
        // What a child made by `fork` drops is its parent's.
        if !self.table.is_inherited() {
            self.table.counters.return_client(self.index);
        }
    }
}
