//! Processes that are alive and do not go on: stopped (`SIGSTOP`, a debugger), or in the way of others that wait for
//! them. Nobody sends heartbeats: whoever wants to know looks twice, at the kernel's word for a process's
//! state and at the counters in shared memory, and what has not changed in between for long enough is stuck.
//! So a node that is not looked at pays nothing, and one that is looked at neither.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::inventory::{Inventory, NodeEntry, PublisherEntry, TopicEntry};

/// Remembers what did not go on when it looked last.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::stuck::StuckWatch;
///
/// let mut watch = StuckWatch::new(Duration::from_secs(1));
/// for stuck in watch.look(&node.inventory()?) {
///     println!("{stuck}");
/// }
/// // If there is reason to look again after a second:
/// assert!(!watch.has_suspects());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct StuckWatch {
    after: Duration,
    /// By node's number and reason: since when.
    suspects: HashMap<(String, Reason), Instant>,
}

/// A node that has not gone on for long enough.
///
/// ```
/// use onecopy::stuck::{Blocked, StuckNode};
///
/// fn advice(stuck: &StuckNode) -> String {
///     match &stuck.blocks[..] {
///         _ if stuck.is_stopped => format!("kill -CONT {}", stuck.pid),
///         [Blocked::Lock { region }, ..] => format!("have it let go of {region}"),
///         [Blocked::Publisher { topic, .. }, ..] => format!("have it receive from {topic}, or end it"),
///         [] => "look what it does".to_owned(),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckNode {
    /// Its number, as in [`NodeEntry::id`].
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its process is stopped by a signal or a debugger.
    pub is_stopped: bool,
    /// For how long it has been seen so.
    pub seen_for: Duration,
    /// Who waits for it.
    pub blocks: Vec<Blocked>,
}

/// Somebody who can't go on because of a node.
///
/// See [`StuckNode`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// A publisher whose message finds no room or no memory, for which the node has not received or not let
    /// go of others.
    Publisher {
        /// The topic's name.
        topic: String,
        /// The publisher, as in [`PublisherEntry::id`].
        publisher: String,
        /// What people call its node.
        node: String,
    },
    /// Those who wait for the lock of a region, which the node has.
    Lock {
        /// The region's name.
        region: String,
    },
}

/// What a node is suspected for; another one as soon as anything has moved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reason {
    Stopped,
    Publisher { topic: String, publisher: String, node: String, messages: u64, received: u64, held: u64 },
    Lock { region: String, version: u64, holder: u32 },
}

impl StuckWatch {
    /// Tells of what has not gone on for `after`.
    pub fn new(after: Duration) -> Self {
        Self { after, suspects: HashMap::new() }
    }

    /// Those that are stuck: suspects since a look that is long enough ago.
    pub fn look(&mut self, inventory: &Inventory) -> Vec<StuckNode> {
        let now = Instant::now();
        let before = std::mem::take(&mut self.suspects);
        for node in &inventory.nodes {
            for reason in reasons(node, inventory) {
                let suspect = (node.id.clone(), reason);
                let since = before.get(&suspect).copied().unwrap_or(now);
                self.suspects.insert(suspect, since);
            }
        }
        inventory.nodes.iter().filter_map(|node| self.stuck(node, now)).collect()
    }

    /// Whether another look may find somebody stuck.
    pub fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    fn stuck(&self, node: &NodeEntry, now: Instant) -> Option<StuckNode> {
        let its = self.suspects.iter().filter(|((id, _), _)| *id == node.id);
        let lasting = its.map(|((_, reason), since)| (reason, now.saturating_duration_since(*since)));
        let lasting: Vec<_> = lasting.filter(|(_, time)| *time >= self.after).collect();
        let seen_for = lasting.iter().map(|(_, time)| *time).max()?;
        let mut blocks: Vec<_> = lasting.iter().filter_map(|(reason, _)| reason.blocked()).collect();
        blocks.sort_by_key(Blocked::to_string);
        Some(StuckNode {
            id: node.id.clone(),
            name: node.name.clone(),
            pid: node.pid,
            is_stopped: lasting.iter().any(|(reason, _)| **reason == Reason::Stopped),
            seen_for,
            blocks,
        })
    }
}

impl Reason {
    fn blocked(&self) -> Option<Blocked> {
        match self.clone() {
            Self::Stopped => None,
            Self::Publisher { topic, publisher, node, .. } => {
                Some(Blocked::Publisher { topic, publisher, node })
            }
            Self::Lock { region, .. } => Some(Blocked::Lock { region }),
        }
    }
}

fn reasons(node: &NodeEntry, inventory: &Inventory) -> Vec<Reason> {
    let mut reasons: Vec<_> = is_stopped(node.pid).then_some(Reason::Stopped).into_iter().collect();
    for topic in &inventory.topics {
        for publisher in &topic.publishers {
            reasons.extend(in_the_way_of(publisher, topic, node));
        }
    }
    for region in &inventory.regions {
        if let Some((holder, pid)) = region.contended_lock().filter(|(_, pid)| *pid == node.pid)
            && pid != 0
        {
            let version = region.version().unwrap_or(0);
            reasons.push(Reason::Lock { region: region.name.clone(), version, holder });
        }
    }
    reasons
}

/// The node's subscribers that keep a publisher from going on.
fn in_the_way_of(publisher: &PublisherEntry, topic: &TopicEntry, node: &NodeEntry) -> Vec<Reason> {
    let Some(counters) = publisher.counters().filter(|counters| counters.is_blocked) else {
        return Vec::new();
    };
    let feeds = topic.subscribers.iter().flat_map(|subscriber| {
        let feeds = subscriber.feeds.iter().filter(|feed| feed.publisher == publisher.id);
        feeds.filter_map(move |feed| Some((subscriber, feed.counters()?)))
    });
    let feeds: Vec<_> = feeds.collect();
    let depth = publisher.depth().unwrap_or(u64::MAX);
    // If nobody takes all the room, what is short is memory, or room for a whole batch.
    let lacks_room = feeds.iter().any(|(_, feed)| feed.lag >= depth);
    let in_the_way = feeds.into_iter().filter(|(subscriber, feed)| {
        let is_late = if lacks_room { feed.lag >= depth } else { feed.lag > 0 || feed.held > 0 };
        is_late && is_of(&subscriber.id, node)
    });
    let reasons = in_the_way.map(|(_, feed)| Reason::Publisher {
        topic: topic.name.clone(),
        publisher: publisher.id.clone(),
        node: publisher.node.clone(),
        messages: counters.messages,
        received: feed.received,
        held: feed.held,
    });
    reasons.collect()
}

/// A port's number begins with that of its node.
fn is_of(port: &str, node: &NodeEntry) -> bool {
    port.split_once('/').is_some_and(|(owner, _)| owner == node.id)
}

/// Whether a process is stopped by a signal or a debugger, as the kernel says; `false` where it may not be looked at.
fn is_stopped(pid: u32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name stands in parentheses, and may have some itself.
    let behind_name = stat.iter().rposition(|byte| *byte == b')').map_or(0, |end| end + 2);
    matches!(stat.get(behind_name), Some(b'T' | b't'))
}

impl fmt::Display for StuckNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_stopped { "is stopped" } else { "does not go on" };
        write!(formatter, "node {} (process {}) {what}", self.name, self.pid)?;
        for (index, blocked) in self.blocks.iter().enumerate() {
            write!(formatter, "{} {blocked}", if index == 0 { ";" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publisher { topic, publisher, node } => {
                write!(formatter, "topic {topic}: publisher {publisher} of {node} waits for it")
            }
            Self::Lock { region } => write!(formatter, "region {region}: it has the lock, and others wait"),
        }
    }
}
