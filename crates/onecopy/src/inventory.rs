//! Who is there: nodes, topics, services and regions of an instance, as its broker knows them, with what each
//! counts in its own memory. No process is asked but the broker.
//!
//! An entry goes on showing what its owner counts as of the moment it is asked, without a further word to anybody.

mod assembly;

use std::collections::HashMap;
use std::sync::Arc;

use onecopy_memory::dataset::Catalog;
use onecopy_memory::region::RegionObserver;
use onecopy_memory::ring::Observer;

use self::assembly::assemble;
use crate::Node;
use crate::broker::protocol::{Delivery, ServiceType};
use crate::error::OpenError;
use crate::observation::{ClientCounters, Feed, PublisherCounters, SubscriberCounters};
use crate::payload_type::PayloadType;

/// Everything in an instance at one moment; from [`Node::inventory`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let mut publisher = node.topic::<u64>("counter")?.publisher().open()?;
/// let inventory = node.inventory()?;
/// for topic in &inventory.topics {
///     println!("{}: {} publishing, {} subscribed", topic.name, topic.publishers.len(), topic.subscribers.len());
/// }
/// // An entry goes on showing what its owner counts.
/// publisher.publish(&1)?;
/// assert_eq!(inventory.topics[0].publishers[0].messages(), Some(1));
/// # Ok(()) }
/// ```
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
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let inventory = node.inventory()?;
/// let own = inventory.nodes.iter().find(|entry| entry.pid == std::process::id()).ok_or("we are there")?;
/// println!("{} ({}) runs {:?} and takes {} bytes", own.name, own.id, own.version, own.memory_bytes);
/// # Ok(()) }
/// ```
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
    /// Version of the library that it runs: major, minor, patch. `None` if its memory could not be looked at.
    pub version: Option<[u16; 3]>,
    /// Bytes of shared memory that it has made and touched, wherever they are used: what its publishers,
    /// servers, clients and regions take, and its own state. As of the moment of the inventory.
    pub memory_bytes: u64,
}

/// A topic, as others see it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let _publisher = node.topic::<u64>("counter")?.publisher().reliable().open()?;
/// let entry = node.topic_entry("counter")?.ok_or("we have it open")?;
/// let payload = entry.payload.ok_or("its publisher said so")?;
/// assert_eq!(payload.to_string(), "u64 (8 bytes, aligned to 8)");
/// assert_eq!(entry.delivery, Some(onecopy::Delivery::Reliable));
/// # Ok(()) }
/// ```
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
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let (mut publisher, _subscriber) = (topic.publisher().reliable().depth(4).open()?, topic.subscriber().open()?);
/// let entry = node.topic_entry("counter")?.ok_or("we have it open")?;
/// let seen = &entry.publishers[0];
/// while publisher.publish(&7).is_ok() {}
/// // Its only subscriber receives nothing, so a reliable publisher is as far as it gets.
/// assert_eq!(seen.messages(), seen.depth());
/// assert_eq!(seen.bytes(), Some(4 * 8));
/// assert!(seen.counters().is_some_and(|counters| counters.full > 0));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PublisherEntry {
    /// Number that no other publisher has.
    pub id: String,
    /// What people call its node.
    pub node: String,
    /// How many messages back a late joiner may start.
    pub history: u64,
    /// Bytes of shared memory that it has made and touched, as of the moment of the inventory.
    pub memory_bytes: u64,
    ring: Option<Arc<Observer>>,
}

impl PublisherEntry {
    /// Messages published so far, as of now. `None` if the publisher's ring could not be mapped.
    pub fn messages(&self) -> Option<u64> {
        self.ring.as_ref().map(|ring| ring.messages())
    }

    /// Payload bytes published so far, as of now.
    pub fn bytes(&self) -> Option<u64> {
        self.counters().map(|counters| counters.bytes)
    }

    /// Everything that it counts, as of now. `None` if the publisher's ring could not be mapped.
    pub fn counters(&self) -> Option<PublisherCounters> {
        self.ring.as_ref().map(|ring| ring.counters())
    }

    /// How many messages a subscriber may lag behind.
    pub fn depth(&self) -> Option<u64> {
        self.ring.as_ref().map(|ring| ring.geometry().capacity())
    }
}

/// A subscriber, as others see it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let (mut publisher, _subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// for number in 1..=3 {
///     publisher.publish(&number)?;
/// }
/// let inventory = node.inventory()?;
/// let counters = inventory.topics[0].subscribers[0].counters();
/// assert_eq!((counters.received, counters.lag, counters.lost), (0, 3, 0));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SubscriberEntry {
    /// Number that no other subscriber has.
    pub id: String,
    /// What people call its node.
    pub node: String,
    /// The publishers that it hears, with what it counts of each. Empty in [`Node::topic_entry`], which does
    /// not look at nodes.
    pub feeds: Vec<Feed>,
}

impl SubscriberEntry {
    /// What it counts of all publishers that it hears, as of now. A publisher that ended is not counted any more.
    pub fn counters(&self) -> SubscriberCounters {
        self.feeds
            .iter()
            .filter_map(Feed::counters)
            .fold(SubscriberCounters::default(), |sum, feed| sum + feed)
    }
}

/// A service, as others see it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, u64>("square")?;
/// let (_server, _client) = (service.server().open()?, service.client().open()?);
/// let entry = node.service_entry("square")?.ok_or("we have it open")?;
/// assert_eq!((entry.servers.len(), entry.clients.len()), (1, 1));
/// assert_eq!(entry.servers[0].pid, std::process::id());
/// # Ok(()) }
/// ```
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
///
/// See [`ClientCounters`] for what a client's entry shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePortEntry {
    /// Number that no other client or server has.
    pub id: String,
    /// What people call its node.
    pub node: String,
    /// Its process.
    pub pid: u32,
    /// Of a client: what it had counted at the moment of the inventory. `None` for a server, and if the client's memory
    /// could not be looked at, as in [`Node::service_entry`], which does not look at nodes.
    pub calls: Option<ClientCounters>,
    /// Of a server: the requests that it had received at the moment of the inventory, from clients that are
    /// still there. `None` for a client, and as for `calls`.
    pub requests: Option<u64>,
}

/// A region, as others see it.
///
/// See [`Node::region_entry`] for an example.
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
    /// Bytes of shared memory that it has touched, as of the moment of the inventory.
    pub memory_bytes: u64,
    /// The processes of those who take part in a shared region, by their seats.
    seats: HashMap<u32, u32>,
    observer: Option<RegionObserver>,
}

impl RegionEntry {
    /// Version of its value, as of now: how often it was written, and 1. `None` if it has no memory yet.
    pub fn version(&self) -> Option<u64> {
        self.observer.as_ref().map(RegionObserver::version)
    }

    /// How often writers of a shared region slept until its lock was free, as of now, since it has this memory; see
    /// [`Self::lock_holder_pid`] for an example.
    pub fn lock_waits(&self) -> Option<u64> {
        self.observer.as_ref().filter(|_| self.is_shared).map(RegionObserver::lock_waits)
    }

    /// The process that has the lock of a shared region while others may be asleep for it, as of now; 0 if it
    /// has ended.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut total = node.region::<u64>("total")?.shared().open_or_create(&0)?;
    /// let mut other = node.region::<u64>("total")?.shared().open()?;
    /// let entry = node.region_entry("total")?.ok_or("we have it open")?;
    /// let next = total.lock(Duration::from_secs(5))?;
    /// let waiting = std::thread::spawn(move || other.lock(Duration::from_secs(60))?.commit());
    /// // Whom to ask why it takes so long.
    /// let holder = loop {
    ///     match entry.lock_holder_pid() {
    ///         Some(pid) => break pid,
    ///         None => std::thread::yield_now(),
    ///     }
    /// };
    /// assert_eq!(holder, std::process::id());
    /// next.commit()?;
    /// waiting.join().map_err(|_| "it panicked")??;
    /// assert!(entry.lock_waits() >= Some(1));
    /// # Ok(()) }
    /// ```
    pub fn lock_holder_pid(&self) -> Option<u32> {
        self.contended_lock().map(|(_, pid)| pid)
    }

    /// The seat and the process that others wait for.
    pub(crate) fn contended_lock(&self) -> Option<(u32, u32)> {
        let holder = self.observer.as_ref().filter(|_| self.is_shared)?.contended_lock()?.to_bits();
        Some((holder, self.seats.get(&holder).copied().unwrap_or(0)))
    }

    /// Most bytes that its value can have without being resized.
    pub fn capacity_bytes(&self) -> Option<usize> {
        self.observer.as_ref().map(|observer| observer.geometry().capacity_bytes())
    }
}

/// A dataset, as others see it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let _published = node.dataset("table")?.publish_bytes(b"bytes")?;
/// let entry = node.dataset_entry("table")?.ok_or("we have published it")?;
/// assert_eq!((entry.version, entry.viewers), (Some(1), 0));
/// assert_eq!(entry.catalog.map(|catalog| catalog.content_bytes), Some(5));
/// # Ok(()) }
/// ```
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

    /// One service, or `None` if nobody has it open; see [`ServiceEntry`] for an example.
    ///
    /// # Errors
    ///
    /// If the broker does not answer.
    pub fn service_entry(&self, name: &str) -> Result<Option<ServiceEntry>, OpenError> {
        Ok(assemble(self.ask(Some(name), false)?).services.pop())
    }

    /// One dataset, or `None` if nobody has it open; see [`DatasetEntry`] for an example.
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
