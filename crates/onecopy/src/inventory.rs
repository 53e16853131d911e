//! Who is there: nodes, topics, publishers and subscribers of an instance, as its broker knows them, with the counters
//! that publishers keep in their own memory. No process is asked but the broker.

use std::collections::BTreeMap;

use onecopy_memory::ring::Observer;

use crate::Node;
use crate::broker::protocol::Delivery;
use crate::error::OpenError;
use crate::node::Answer;
use crate::payload_type::PayloadType;

/// Everything in an instance at one moment; from [`Node::inventory`].
#[derive(Debug, Default)]
pub struct Inventory {
    /// All nodes, in no particular order.
    pub nodes: Vec<NodeEntry>,
    /// All topics, by name.
    pub topics: Vec<TopicEntry>,
}

/// A node, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEntry {
    /// Number that no other node has.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
}

/// A topic, as others see it.
#[derive(Debug)]
pub struct TopicEntry {
    /// Its name.
    pub name: String,
    /// What it carries, if anybody has said so yet.
    pub payload: Option<PayloadType>,
    /// How it delivers, if there has been a publisher yet.
    pub delivery: Option<Delivery>,
    /// Its publishers.
    pub publishers: Vec<PublisherEntry>,
    /// Its subscribers.
    pub subscribers: Vec<SubscriberEntry>,
}

/// A publisher, as others see it.
#[derive(Debug)]
pub struct PublisherEntry {
    /// Number that no other publisher has.
    pub id: String,
    /// What people call its node.
    pub node: String,
    /// How many messages back a late joiner may start.
    pub history: u64,
    ring: Option<Observer>,
}

impl PublisherEntry {
    /// Messages published so far, as of now. `None` if the publisher's ring could not be mapped.
    pub fn messages(&self) -> Option<u64> {
        self.ring.as_ref().map(Observer::messages)
    }

    /// Payload bytes published so far, as of now.
    pub fn bytes(&self) -> Option<u64> {
        self.ring.as_ref().map(Observer::bytes)
    }

    /// How many messages a subscriber may lag behind.
    pub fn depth(&self) -> Option<u64> {
        self.ring.as_ref().map(|ring| ring.geometry().capacity())
    }
}

/// A subscriber, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriberEntry {
    /// Number that no other subscriber has.
    pub id: String,
    /// What people call its node.
    pub node: String,
}

impl Node {
    /// Everything in the instance right now.
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn inventory(&self) -> Result<Inventory, OpenError> {
        Ok(assemble(self.ask(None, true)?))
    }

    /// One topic, or `None` if nobody has it open.
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn topic_entry(&self, name: &str) -> Result<Option<TopicEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), true)?).topics.pop())
    }
}

fn assemble(answers: Vec<Answer>) -> Inventory {
    let mut nodes = Vec::new();
    let mut topics = BTreeMap::new();
    let mut publishers: BTreeMap<String, Vec<PublisherEntry>> = BTreeMap::new();
    let mut subscribers: BTreeMap<String, Vec<SubscriberEntry>> = BTreeMap::new();
    for answer in answers {
        match answer {
            Answer::Node { node, name, pid, uid } => {
                nodes.push(NodeEntry { id: node.to_string(), name, pid, uid });
            }
            Answer::Topic { name, payload, delivery } => drop(topics.insert(name, (payload, delivery))),
            Answer::Publisher { topic, publisher, node_name, history, ring } => {
                let ring = ring.and_then(|ring| Observer::open(ring).ok());
                let id = publisher.to_string();
                publishers.entry(topic).or_default().push(PublisherEntry {
                    id,
                    node: node_name,
                    history,
                    ring,
                });
            }
            Answer::Subscriber { topic, subscriber, node_name } => {
                let entry = SubscriberEntry { id: subscriber.to_string(), node: node_name };
                subscribers.entry(topic).or_default().push(entry);
            }
        }
    }
    let topics = topics
        .into_iter()
        .map(|(name, (payload, delivery))| TopicEntry {
            publishers: publishers.remove(&name).unwrap_or_default(),
            subscribers: subscribers.remove(&name).unwrap_or_default(),
            name,
            payload,
            delivery,
        })
        .collect();
    Inventory { nodes, topics }
}
