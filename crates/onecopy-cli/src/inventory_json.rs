//! What `--json` prints of topics, and of types: the field names here are part of the command's interface, and told in its help.

use onecopy::payload_type::{PayloadKind, PayloadType, TypeDescription};
use onecopy::{PublisherEntry, SubscriberEntry, TopicEntry};
use serde::Serialize;

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
}

/// A subscriber.
#[derive(Debug, Serialize)]
pub(crate) struct Subscriber {
    pub(crate) id: String,
    pub(crate) node: String,
}

impl From<&TopicEntry> for TopicSummary {
    fn from(topic: &TopicEntry) -> Self {
        Self {
            name: topic.name.clone(),
            payload: topic.payload.as_ref().map(PayloadType::to_string),
            delivery: topic.delivery.map(|delivery| delivery.to_string()),
            publishers: topic.publishers.len(),
            subscribers: topic.subscribers.len(),
            messages: topic.publishers.iter().filter_map(PublisherEntry::messages).sum(),
            bytes: topic.publishers.iter().filter_map(PublisherEntry::bytes).sum(),
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
        Self {
            id: publisher.id.clone(),
            node: publisher.node.clone(),
            history: publisher.history,
            depth: publisher.depth(),
            messages: publisher.messages(),
            bytes: publisher.bytes(),
        }
    }
}

impl From<&SubscriberEntry> for Subscriber {
    fn from(subscriber: &SubscriberEntry) -> Self {
        Self { id: subscriber.id.clone(), node: subscriber.node.clone() }
    }
}

impl TopicSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 6] =
        ["TOPIC", "DELIVERY", "PUBLISHERS", "SUBSCRIBERS", "MESSAGES", "PAYLOAD"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.delivery.clone().unwrap_or_else(unknown),
            self.publishers.to_string(),
            self.subscribers.to_string(),
            self.messages.to_string(),
            self.payload.clone().unwrap_or_else(unknown),
        ]
    }
}

/// What a cell shows where nothing is known.
pub(crate) fn unknown() -> String {
    "-".to_owned()
}
