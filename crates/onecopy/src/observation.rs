//! What publishers, subscribers and clients count, as their entries in an [`crate::Inventory`] show it.
//!
//! Each process counts in memory of its own, which whoever looks has mapped read-only: to be observed costs
//! nothing, and one that is stopped or stuck shows just as well. What follows from positions is not counted
//! at all: a message costs the same whether or not anybody looks.

use std::ops::Add;
use std::sync::Arc;

use onecopy_memory::counters::{CallEvent, ClientReport, ReaderProbe, ReaderReport};
use onecopy_memory::ring::Observer;

pub use onecopy_memory::counters::{Latencies, bucket_bounds_ns};
pub use onecopy_memory::ring::WriterCounters as PublisherCounters;

/// What a subscriber counts at one moment, of one publisher or of all that it hears.
///
/// See [`crate::SubscriberEntry`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscriberCounters {
    /// Messages received. A subscriber that works through many tells its place once in 64 of them (more often
    /// if its publisher's ring is short), so this and `lag` may be so much behind; when it has nothing more
    /// to receive they are exact.
    pub received: u64,
    /// Messages that were overwritten before it got to them.
    pub lost: u64,
    /// Messages that are published and that it has not received yet, those included that are overwritten meanwhile.
    pub lag: u64,
    /// The part of the ring that the lag takes, of the publisher where that is most; 1 and more means that
    /// the publisher waits or messages get lost.
    pub lag_permille: u64,
    /// How often it went to sleep for want of messages, modulo 2³¹.
    pub sleeps: u64,
    /// Whether it sleeps until there is a message.
    pub is_asleep: bool,
    /// Messages that it holds where they are, so that their publisher can't use the memory again.
    pub held: u64,
}

impl SubscriberCounters {
    pub(crate) fn of(report: &ReaderReport, ring: Option<&Observer>) -> Self {
        let start = report.start.unwrap_or(report.cursor);
        let place = report.cursor.max(start);
        // Without a place to start at it has not begun, so it lags by nothing.
        let lag =
            ring.filter(|_| report.start.is_some()).map_or(0, |ring| ring.messages().saturating_sub(place));
        let depth = ring.map_or(1, |ring| ring.geometry().capacity());
        Self {
            received: place.saturating_sub(start).saturating_sub(report.lost),
            lost: report.lost,
            lag,
            lag_permille: lag.saturating_mul(1000) / depth,
            sleeps: report.sleeps.into(),
            is_asleep: report.is_asleep,
            held: report.held,
        }
    }
}

impl Add for SubscriberCounters {
    type Output = Self;

    /// Of several publishers together.
    fn add(self, other: Self) -> Self {
        Self {
            received: self.received.saturating_add(other.received),
            lost: self.lost.saturating_add(other.lost),
            lag: self.lag.saturating_add(other.lag),
            lag_permille: self.lag_permille.max(other.lag_permille),
            // All of a subscriber's readers go to sleep together.
            sleeps: self.sleeps.max(other.sleeps),
            is_asleep: self.is_asleep || other.is_asleep,
            held: self.held.saturating_add(other.held),
        }
    }
}

/// A publisher as one subscriber hears it.
///
/// They are in [`crate::SubscriberEntry::feeds`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let (mut fast, _slow) = (topic.publisher().open()?, topic.publisher().open()?);
/// let _subscriber = topic.subscriber().open()?;
/// fast.publish(&1)?;
/// // Which publisher does a subscriber lag behind?
/// for feed in &node.inventory()?.topics[0].subscribers[0].feeds {
///     println!("{} is {} ahead", feed.publisher, feed.counters().map_or(0, |counters| counters.lag));
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Feed {
    /// The publisher's number, as in [`crate::PublisherEntry::id`].
    pub publisher: String,
    probe: ReaderProbe,
    ring: Option<Arc<Observer>>,
}

impl Feed {
    pub(crate) fn new(publisher: String, probe: ReaderProbe, ring: Option<Arc<Observer>>) -> Self {
        Self { publisher, probe, ring }
    }

    /// What the subscriber counts of it, as of now; `None` once either has ended.
    pub fn counters(&self) -> Option<SubscriberCounters> {
        Some(SubscriberCounters::of(&self.probe.look()?, self.ring.as_deref()))
    }
}

/// What a client counts at one moment. Calls that ended one way or the other, and those under way, add up to `calls`.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use std::time::Duration;
/// let service = node.service::<u64, u64>("square")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let nine = client.call(&3)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// request.respond(&(*request * *request))?;
/// nine.wait(Duration::from_secs(1))?;
/// let inventory = node.inventory()?;
/// let counters = inventory.services[0].clients[0].calls.as_ref().ok_or("our memory can be looked at")?;
/// assert_eq!((counters.calls, counters.answered, counters.errors()), (1, 1, 0));
/// println!("median {:?} ns", counters.latencies.quantile_ns(0.5));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientCounters {
    /// Calls made.
    pub calls: u64,
    /// Requests sent that wanted no answer.
    pub notifications: u64,
    /// Calls answered in full.
    pub answered: u64,
    /// Calls that their server could not do, or let go.
    pub failed: u64,
    /// Calls whose server ended, or broke the protocol, before it had answered.
    pub server_lost: u64,
    /// Calls whose deadline passed.
    pub late: u64,
    /// Calls given up before they were answered in full.
    pub cancelled: u64,
    /// Calls by the time from sending to the first answer, as the client saw it. While calls take less than
    /// 10 µs, one in 16 is timed and stands for all of them.
    pub latencies: Latencies,
}

impl ClientCounters {
    /// Calls that brought no answer, though somebody waited for it.
    pub fn errors(&self) -> u64 {
        self.failed.saturating_add(self.server_lost).saturating_add(self.late)
    }
}

impl From<ClientReport> for ClientCounters {
    fn from(report: ClientReport) -> Self {
        Self {
            calls: report.events(CallEvent::Made),
            notifications: report.events(CallEvent::Notified),
            answered: report.events(CallEvent::Answered),
            failed: report.events(CallEvent::Failed),
            server_lost: report.events(CallEvent::ServerLost),
            late: report.events(CallEvent::Late),
            cancelled: report.events(CallEvent::Cancelled),
            latencies: report.latencies,
        }
    }
}
