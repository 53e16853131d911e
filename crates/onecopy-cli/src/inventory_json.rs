//! What `--json` prints of topics, and of types: the field names here are part of the command's interface,
//! and told in its help.

use onecopy::payload_type::{PayloadKind, PayloadType, TypeDescription};
use onecopy::{NodeEntry, PublisherEntry, SubscriberEntry, TopicEntry};
use serde::Serialize;

/// A node.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) uid: u32,
    /// Of the library that it runs; `null` if its memory could not be looked at.
    pub(crate) version: Option<String>,
    /// Shared memory that it has made and touched.
    pub(crate) memory_bytes: u64,
}

/// All of them but those of this process, which only looks.
pub(crate) fn others(nodes: &[NodeEntry]) -> Vec<Node> {
    let others = nodes.iter().filter(|node| node.pid != std::process::id());
    let mut others: Vec<_> = others.map(Node::from).collect();
    others.sort_by(|one, other| (&one.name, one.pid, &one.id).cmp(&(&other.name, other.pid, &other.id)));
    others
}

impl From<&NodeEntry> for Node {
    fn from(node: &NodeEntry) -> Self {
        Self {
            id: node.id.clone(),
            name: node.name.clone(),
            pid: node.pid,
            uid: node.uid,
            version: node.version.map(|[major, minor, patch]| format!("{major}.{minor}.{patch}")),
            memory_bytes: node.memory_bytes,
        }
    }
}

/// A topic in a list.
#[derive(Debug, Serialize)]
pub(crate) struct TopicSummary {
    pub(crate) name: String,
    /// What it carries, in words; `null` if nobody has said so yet.
    pub(crate) payload: Option<String>,
    /// `overwrite` or `reliable`; `null` if there has been no publisher yet.
    pub(crate) delivery: Option<String>,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Messages published so far by the publishers that are there.
    pub(crate) messages: u64,
    /// Payload bytes of those.
    pub(crate) bytes: u64,
    /// Messages that its subscribers lost, together.
    pub(crate) lost: u64,
    /// The largest lag of its subscribers, in messages.
    pub(crate) lag: u64,
    /// Messages that found the ring full, or no memory, at first.
    pub(crate) full: u64,
    /// Shared memory of its publishers.
    pub(crate) memory_bytes: u64,
}

/// A topic in full.
#[derive(Debug, Serialize)]
pub(crate) struct TopicDetails {
    pub(crate) name: String,
    pub(crate) payload: Option<Payload>,
    pub(crate) delivery: Option<String>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) subscribers: Vec<Subscriber>,
}

/// What a topic carries.
#[derive(Debug, Serialize)]
pub(crate) struct Payload {
    /// `value`: one element a message. `slice`: any number.
    pub(crate) kind: &'static str,
    pub(crate) element: Element,
    /// The user header of each message; `null` if there is none.
    pub(crate) header: Option<Element>,
    /// The same in words.
    pub(crate) description: String,
}

/// A type.
#[derive(Debug, Serialize)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) size_bytes: u64,
    pub(crate) align_bytes: u64,
}

/// A publisher. Counters are `null` if its memory could not be looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Publisher {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) history: u64,
    pub(crate) depth: Option<u64>,
    pub(crate) messages: Option<u64>,
    pub(crate) bytes: Option<u64>,
    /// Messages that found the ring full at first.
    pub(crate) full: Option<u64>,
    /// Messages that found no memory at first.
    pub(crate) exhausted: Option<u64>,
    /// How often it slept until subscribers made space.
    pub(crate) waits: Option<u64>,
    /// How often it woke subscribers, modulo 2³².
    pub(crate) wakes: Option<u32>,
    /// Shared memory that it has touched.
    pub(crate) memory_bytes: u64,
    /// Memory set aside for messages that don't fit a slot, of at most `budget_bytes`.
    pub(crate) pool_bytes: Option<u64>,
    pub(crate) budget_bytes: Option<u64>,
    /// Messages in that memory that were not given back when it looked last.
    pub(crate) chunks_out: Option<u64>,
}

/// A subscriber, over all publishers that it hears.
#[derive(Debug, Serialize)]
pub(crate) struct Subscriber {
    pub(crate) id: String,
    pub(crate) node: String,
    /// Publishers that it hears.
    pub(crate) publishers: usize,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    /// Messages published that it has not received.
    pub(crate) lag: u64,
    /// The lag as a part of the publisher's ring; where that is most, from 1 on messages get lost or publishers wait.
    pub(crate) lag_of_ring: f64,
    /// How often it went to sleep, modulo 2³¹.
    pub(crate) sleeps: u64,
    pub(crate) asleep: bool,
    /// Messages that it holds in their publisher's memory.
    pub(crate) held: u64,
}

impl From<&TopicEntry> for TopicSummary {
    fn from(topic: &TopicEntry) -> Self {
        let subscribers: Vec<_> = topic.subscribers.iter().map(SubscriberEntry::counters).collect();
        let publishers = topic.publishers.iter().filter_map(PublisherEntry::counters);
        Self {
            name: topic.name.clone(),
            payload: topic.payload.as_ref().map(PayloadType::to_string),
            delivery: topic.delivery.map(|delivery| delivery.to_string()),
            publishers: topic.publishers.len(),
            subscribers: topic.subscribers.len(),
            messages: topic.publishers.iter().filter_map(PublisherEntry::messages).sum(),
            bytes: topic.publishers.iter().filter_map(PublisherEntry::bytes).sum(),
            lost: subscribers.iter().map(|counters| counters.lost).sum(),
            lag: subscribers.iter().map(|counters| counters.lag).max().unwrap_or(0),
            full: publishers.map(|counters| counters.full + counters.exhausted).sum(),
            memory_bytes: topic.publishers.iter().map(|publisher| publisher.memory_bytes).sum(),
        }
    }
}

impl From<&TopicEntry> for TopicDetails {
    fn from(topic: &TopicEntry) -> Self {
        Self {
            name: topic.name.clone(),
            payload: topic.payload.as_ref().map(Payload::from),
            delivery: topic.delivery.map(|delivery| delivery.to_string()),
            publishers: topic.publishers.iter().map(Publisher::from).collect(),
            subscribers: topic.subscribers.iter().map(Subscriber::from).collect(),
        }
    }
}

impl From<&PayloadType> for Payload {
    fn from(payload: &PayloadType) -> Self {
        let kind = match payload.kind {
            PayloadKind::Value => "value",
            PayloadKind::Slice => "slice",
        };
        let has_header = payload.header != TypeDescription::of::<()>();
        Self {
            kind,
            element: Element::from(&payload.element),
            header: has_header.then(|| Element::from(&payload.header)),
            description: payload.to_string(),
        }
    }
}

impl From<&TypeDescription> for Element {
    fn from(description: &TypeDescription) -> Self {
        let TypeDescription { name, size_bytes, align_bytes } = description.clone();
        Self { name, size_bytes, align_bytes }
    }
}

impl From<&PublisherEntry> for Publisher {
    fn from(publisher: &PublisherEntry) -> Self {
        let counters = publisher.counters();
        Self {
            id: publisher.id.clone(),
            node: publisher.node.clone(),
            history: publisher.history,
            depth: publisher.depth(),
            messages: counters.map(|counters| counters.messages),
            bytes: counters.map(|counters| counters.bytes),
            full: counters.map(|counters| counters.full),
            exhausted: counters.map(|counters| counters.exhausted),
            waits: counters.map(|counters| counters.waits),
            wakes: counters.map(|counters| counters.wakes),
            memory_bytes: publisher.memory_bytes,
            pool_bytes: counters.map(|counters| counters.pool_bytes),
            budget_bytes: counters.map(|counters| counters.budget_bytes),
            chunks_out: counters.map(|counters| counters.chunks_out),
        }
    }
}

impl From<&SubscriberEntry> for Subscriber {
    fn from(subscriber: &SubscriberEntry) -> Self {
        let counters = subscriber.counters();
        Self {
            id: subscriber.id.clone(),
            node: subscriber.node.clone(),
            publishers: subscriber.feeds.len(),
            received: counters.received,
            lost: counters.lost,
            lag: counters.lag,
            lag_of_ring: counters.lag_permille as f64 / 1000.0,
            sleeps: counters.sleeps,
            asleep: counters.is_asleep,
            held: counters.held,
        }
    }
}

impl TopicSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 8] =
        ["TOPIC", "DELIVERY", "PUBLISHERS", "SUBSCRIBERS", "MESSAGES", "LOST", "LAG", "PAYLOAD"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.delivery.clone().unwrap_or_else(unknown),
            self.publishers.to_string(),
            self.subscribers.to_string(),
            self.messages.to_string(),
            self.lost.to_string(),
            self.lag.to_string(),
            self.payload.clone().unwrap_or_else(unknown),
        ]
    }
}

/// What a cell shows where nothing is known.
pub(crate) fn unknown() -> String {
    "-".to_owned()
}
