//! Who is there: nodes, topics, publishers and subscribers of an instance, as its broker knows them, with the counters
//! that publishers keep in their own memory. No process is asked but the broker.

use std::collections::BTreeMap;

use onecopy_memory::dataset::{Catalog, SealedDataset};
use onecopy_memory::region::RegionObserver;
use onecopy_memory::ring::Observer;

use crate::Node;
use crate::broker::protocol::{Delivery, Role, ServiceType};
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
    /// All services, by name.
    pub services: Vec<ServiceEntry>,
    /// All regions, by name.
    pub regions: Vec<RegionEntry>,
    /// All datasets, by name.
    pub datasets: Vec<DatasetEntry>,
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

/// A service, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// What it takes and answers, if anybody has said so yet.
    pub payload: Option<ServiceType>,
    /// Who answers.
    pub servers: Vec<ServicePortEntry>,
    /// Who asks.
    pub clients: Vec<ServicePortEntry>,
}

/// A client or a server, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePortEntry {
    /// Number that no other client or server has.
    pub id: String,
    /// What people call its node.
    pub node: String,
    /// Its process.
    pub pid: u32,
}

/// A region, as others see it.
#[derive(Debug)]
pub struct RegionEntry {
    /// Its name.
    pub name: String,
    /// What its value is, if anybody has said so yet.
    pub payload: Option<PayloadType>,
    /// Whether several may write it.
    pub is_shared: bool,
    /// The process that writes it, if there is a single one.
    pub writer_pid: Option<u32>,
    /// How many take part in it.
    pub readers: u32,
    /// Whether it stays while nobody has it open.
    pub is_kept: bool,
    observer: Option<RegionObserver>,
}

impl RegionEntry {
    /// Version of its value, as of now: how often it was written, and 1. `None` if it has no memory yet.
    pub fn version(&self) -> Option<u64> {
        self.observer.as_ref().map(RegionObserver::version)
    }

    /// Most bytes that its value can have without being resized.
    pub fn capacity_bytes(&self) -> Option<usize> {
        self.observer.as_ref().map(|observer| observer.geometry().capacity_bytes())
    }
}

/// A dataset, as others see it.
#[derive(Debug)]
pub struct DatasetEntry {
    /// Its name.
    pub name: String,
    /// Its newest version; `None` if somebody waits for the first one.
    pub version: Option<u64>,
    /// The process that published it; `None` if that has let go of it.
    pub publisher_pid: Option<u32>,
    /// How many have it open to look at it.
    pub viewers: u32,
    /// Whether it stays while nobody has it open.
    pub is_kept: bool,
    /// What its newest version says of itself; `None` if that could not be read.
    pub catalog: Option<Catalog>,
}

impl Node {
    /// Everything in the instance right now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let _publisher = node.topic::<[u8]>("frames")?.publisher().history(2).open()?;
    /// let inventory = node.inventory()?;
    /// assert_eq!(inventory.nodes[0].pid, std::process::id());
    /// let frames = &inventory.topics[0].publishers[0];
    /// assert_eq!((frames.history, frames.messages()), (2, Some(0)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn inventory(&self) -> Result<Inventory, OpenError> {
        Ok(assemble(self.ask(None, true)?))
    }

    /// One topic, or `None` if nobody has it open.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// assert!(node.topic_entry("nobody/has/it")?.is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn topic_entry(&self, name: &str) -> Result<Option<TopicEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), true)?).topics.pop())
    }

    /// One service, or `None` if nobody has it open.
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn service_entry(&self, name: &str) -> Result<Option<ServiceEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), false)?).services.pop())
    }

    /// One dataset, or `None` if nobody has it open.
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn dataset_entry(&self, name: &str) -> Result<Option<DatasetEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), true)?).datasets.pop())
    }

    /// One region, or `None` if nobody has it open.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let gain = node.region::<f64>("gain")?.open_or_create(&1.0)?;
    /// gain.write(&2.0)?;
    /// let entry = node.region_entry("gain")?.ok_or("we have it open")?;
    /// assert_eq!((entry.version(), entry.capacity_bytes()), (Some(2), Some(8)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn region_entry(&self, name: &str) -> Result<Option<RegionEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), true)?).regions.pop())
    }
}

fn assemble(answers: Vec<Answer>) -> Inventory {
    let mut nodes = Vec::new();
    let mut topics = BTreeMap::new();
    let mut publishers: BTreeMap<String, Vec<PublisherEntry>> = BTreeMap::new();
    let mut subscribers: BTreeMap<String, Vec<SubscriberEntry>> = BTreeMap::new();
    let mut services = BTreeMap::new();
    let mut regions = Vec::new();
    let mut datasets = Vec::new();
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
            Answer::Service { name, payload } => {
                let (servers, clients) = Default::default();
                services.insert(name.clone(), ServiceEntry { name, payload, servers, clients });
            }
            // The broker names a service before its clients and servers.
            Answer::ServicePort { service, port, role, node_name, pid } => {
                let entry = ServicePortEntry { id: port.to_string(), node: node_name, pid };
                if let Some(service) = services.get_mut(&service) {
                    match role {
                        Role::Client => service.clients.push(entry),
                        Role::Server => service.servers.push(entry),
                    }
                }
            }
            Answer::Kept(_) => {}
            Answer::Dataset { name, version, publisher, viewers, kept, memory } => {
                let sealed = memory.and_then(|memory| SealedDataset::open(memory).ok());
                datasets.push(DatasetEntry {
                    name,
                    version: (version > 0).then_some(version),
                    publisher_pid: publisher.map(|(_, pid)| pid),
                    viewers,
                    is_kept: kept,
                    catalog: sealed.map(|sealed| sealed.catalog().clone()),
                });
            }
            Answer::Region { name, payload, shared, writer, readers, kept, memory } => {
                let observer = memory.and_then(|memory| RegionObserver::open(memory).ok());
                let writer_pid = writer.map(|(_, pid)| pid);
                regions.push(RegionEntry {
                    name,
                    payload,
                    is_shared: shared,
                    writer_pid,
                    readers,
                    is_kept: kept,
                    observer,
                });
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
    Inventory { nodes, topics, services: services.into_values().collect(), regions, datasets }
}
