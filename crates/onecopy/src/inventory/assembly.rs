//! The broker's answer, which comes in pieces, as one [`Inventory`]: each piece finds its place by names, and
//! what processes count is found in their memory by the numbers of their ports.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::counters::{ClientReport, NodeObserver, ReaderProbe};
use onecopy_memory::dataset::SealedDataset;
use onecopy_memory::region::RegionObserver;
use onecopy_memory::ring::Observer;

use super::{
    DatasetEntry, Inventory, NodeEntry, PublisherEntry, RegionEntry, ServiceEntry, ServicePortEntry,
    SubscriberEntry, TopicEntry,
};
use crate::broker::protocol::{NodeId, PortId, Role};
use crate::node::Answer;
use crate::observation::{ClientCounters, Feed, SubscriberCounters};

/// What processes show of themselves.
#[derive(Default)]
struct Shown {
    versions: HashMap<NodeId, [u16; 3]>,
    /// By subscriber, server or region's reader: whom it reads, and what it counts.
    readers: HashMap<PortId, Vec<(PortId, ReaderProbe)>>,
    clients: HashMap<PortId, ClientReport>,
    rings: HashMap<PortId, Arc<Observer>>,
    /// Bytes that are really there, by who made them.
    port_bytes: HashMap<PortId, u64>,
    node_bytes: HashMap<NodeId, u64>,
}

pub(super) fn assemble(mut answers: Vec<Answer>) -> Inventory {
    let mut shown = Shown::default();
    answers.iter_mut().for_each(|answer| shown.look(answer));
    let mut inventory = Inventory::default();
    let mut topics: BTreeMap<String, TopicEntry> = BTreeMap::new();
    let mut services: BTreeMap<String, ServiceEntry> = BTreeMap::new();
    for answer in answers {
        match answer {
            Answer::Node { node, name, pid, uid, .. } => {
                let version = shown.versions.get(&node).copied();
                let memory_bytes = shown.node_bytes.get(&node).copied().unwrap_or(0);
                let id = node.to_string();
                inventory.nodes.push(NodeEntry { id, name, pid, uid, version, memory_bytes });
            }
            Answer::Topic { name, payload, delivery } => {
                let (publishers, subscribers) = Default::default();
                let entry = TopicEntry { name: name.clone(), payload, delivery, publishers, subscribers };
                topics.insert(name, entry);
            }
            // The broker names a topic before its publishers and subscribers, and a service before its
            // clients and servers.
            Answer::Publisher { topic, publisher, node_name, history, .. } => {
                let entry = shown.publisher(publisher, node_name, history);
                topics.entry(topic).and_modify(|topic| topic.publishers.push(entry));
            }
            Answer::Subscriber { topic, subscriber, node_name } => {
                let entry = shown.subscriber(subscriber, node_name);
                topics.entry(topic).and_modify(|topic| topic.subscribers.push(entry));
            }
            Answer::Service { name, payload } => {
                let (servers, clients) = Default::default();
                services.insert(name.clone(), ServiceEntry { name, payload, servers, clients });
            }
            Answer::ServicePort { service, port, role, node_name, pid } => {
                let entry = shown.service_port(port, role, node_name, pid);
                services.entry(service).and_modify(|service| match role {
                    Role::Client => service.clients.push(entry),
                    Role::Server => service.servers.push(entry),
                });
            }
            Answer::Region { name, payload, shared, writer, readers, kept, memory } => {
                let memory_bytes = memory.as_ref().map_or(0, resident_bytes);
                let observer = memory.and_then(|memory| RegionObserver::open(memory).ok());
                let writer_pid = writer.map(|(_, pid)| pid);
                let (is_shared, is_kept) = (shared, kept);
                inventory.regions.push(RegionEntry {
                    name,
                    payload,
                    is_shared,
                    writer_pid,
                    readers,
                    is_kept,
                    memory_bytes,
                    seats: HashMap::new(),
                    observer,
                });
            }
            Answer::Dataset { name, version, publisher, viewers, kept, memory } => {
                let sealed = memory.and_then(|memory| SealedDataset::open(memory).ok());
                inventory.datasets.push(DatasetEntry {
                    name,
                    version: (version > 0).then_some(version),
                    publisher_pid: publisher.map(|(_, pid)| pid),
                    viewers,
                    is_kept: kept,
                    catalog: sealed.map(|sealed| sealed.catalog().clone()),
                });
            }
            // The broker names a region before those who take part.
            Answer::Seat { region, seat, pid } => {
                let region = inventory.regions.iter_mut().rfind(|entry| entry.name == region);
                region.into_iter().for_each(|region| region.seats.extend([(seat, pid)]));
            }
            Answer::Memory { .. } | Answer::Kept(_) | Answer::Reserved(_) => {}
        }
    }
    inventory.topics = topics.into_values().collect();
    inventory.services = services.into_values().collect();
    inventory
}

impl Shown {
    /// Takes in what a piece of the answer has of memory; regions keep theirs.
    fn look(&mut self, answer: &mut Answer) {
        match answer {
            Answer::Node { node, readers, .. } => {
                if let Some(readers) = readers.take() {
                    self.look_at_node(*node, readers);
                }
            }
            Answer::Publisher { publisher, ring, .. } => {
                if let Some(ring) = ring.take() {
                    self.add_memory(*publisher, &ring);
                    self.rings.extend(Observer::open(ring).ok().map(|ring| (*publisher, Arc::new(ring))));
                }
            }
            Answer::Memory { owner, memory } => self.add_memory(*owner, memory),
            Answer::Dataset { publisher: Some((publisher, _)), memory: Some(memory), .. } => {
                self.add_memory(*publisher, memory);
            }
            Answer::Region { writer: Some((writer, _)), memory: Some(memory), .. } => {
                self.add_memory(*writer, memory);
            }
            _ => {}
        }
    }

    fn look_at_node(&mut self, node: NodeId, readers: OwnedFd) {
        *self.node_bytes.entry(node).or_default() += resident_bytes(&readers);
        let Ok(observer) = NodeObserver::open(readers) else { return };
        self.versions.insert(node, observer.library_version());
        for (serial, (writer_node, writer), probe) in observer.readers() {
            let writer = PortId { node: NodeId(writer_node), serial: writer };
            self.readers.entry(PortId { node, serial }).or_default().push((writer, probe));
        }
        let clients = observer.clients().into_iter();
        self.clients.extend(clients.map(|client| (PortId { node, serial: client.client }, client)));
    }

    fn add_memory(&mut self, owner: PortId, memory: &OwnedFd) {
        let bytes = resident_bytes(memory);
        *self.port_bytes.entry(owner).or_default() += bytes;
        *self.node_bytes.entry(owner.node).or_default() += bytes;
    }

    fn publisher(&self, publisher: PortId, node: String, history: u64) -> PublisherEntry {
        let memory_bytes = self.port_bytes.get(&publisher).copied().unwrap_or(0);
        let ring = self.rings.get(&publisher).map(Arc::clone);
        PublisherEntry { id: publisher.to_string(), node, history, memory_bytes, ring }
    }

    fn subscriber(&mut self, subscriber: PortId, node: String) -> SubscriberEntry {
        let readers = self.readers.remove(&subscriber).unwrap_or_default().into_iter();
        let feeds = readers.map(|(publisher, probe)| {
            Feed::new(publisher.to_string(), probe, self.rings.get(&publisher).map(Arc::clone))
        });
        SubscriberEntry { id: subscriber.to_string(), node, feeds: feeds.collect() }
    }

    fn service_port(&mut self, port: PortId, role: Role, node: String, pid: u32) -> ServicePortEntry {
        let (calls, requests) = match role {
            Role::Client => (self.clients.remove(&port).map(ClientCounters::from), None),
            Role::Server => {
                let is_shown = self.versions.contains_key(&port.node);
                let readers = self.readers.remove(&port).unwrap_or_default().into_iter();
                let reports = readers.filter_map(|(_, probe)| probe.look());
                let received = reports.map(|report| SubscriberCounters::of(&report, None).received);
                (None, is_shown.then(|| received.fold(0, u64::saturating_add)))
            }
        };
        ServicePortEntry { id: port.to_string(), node, pid, calls, requests }
    }
}

/// Memory that stands behind a descriptor, as the kernel counts it: what was touched, not what was reserved.
fn resident_bytes(memory: &OwnedFd) -> u64 {
    // In units of 512 bytes, whatever the block size.
    rustix::fs::fstat(memory).map_or(0, |stat| u64::try_from(stat.st_blocks).unwrap_or(0) * 512)
}
