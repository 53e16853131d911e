//! What is open: topics, their publishers and subscribers, and how far each pair has come. A topic is found by its
//! name; what is sent to one client or server, and regions, are topics as well, with rules of their own ([`Key`]).
//!
//! How far each pair has come is told in `links.rs`. What happens is told to whom it concerns through the [`Outbox`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::descriptor::{Descriptor, version_of};
use super::links::Link;
use super::protocol::{Delivery, Event, NodeId, OpenError, PortId, Refusal, Route};
use crate::payload_type::PayloadType;

/// What is to be told to nodes, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox(pub(super) Vec<(NodeId, Event, Option<Descriptor>)>);

impl Outbox {
    pub(super) fn tell(&mut self, node: NodeId, event: Event) {
        self.0.push((node, event, None));
    }

    pub(super) fn tell_with(&mut self, node: NodeId, event: Event, descriptor: &Descriptor) {
        self.0.push((node, event, Some(Arc::clone(descriptor))));
    }
}

/// What a topic is found by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A topic that users know by name.
    Topic(Arc<str>),
    /// What is sent to one client or server, which alone subscribes.
    Direct(PortId),
    /// A region. Its one publisher is its writer; when that ends, what it published stays for as long as anybody reads
    /// it.
    Region(Arc<str>),
}

impl Key {
    /// The length of its name.
    pub(super) fn name_bytes(&self) -> usize {
        match self {
            Self::Topic(name) | Self::Region(name) => name.len(),
            Self::Direct(_) => 0,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) | Self::Region(name) => formatter.write_str(name),
            Self::Direct(port) => write!(formatter, "direct/{port}"),
        }
    }
}

/// Publishers and subscribers that were there when a port opened, and that it still has to meet.
type Awaited = BTreeSet<PortId>;

/// Tells the process of a port's node.
pub(super) type PidOf<'a> = &'a dyn Fn(PortId) -> u32;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) history: u64,
    pub(super) ring: Descriptor,
    pub(super) from: Option<PortId>,
    pub(super) segments: BTreeMap<u32, Descriptor>,
    pub(super) awaited: Awaited,
}

#[derive(Debug, Default)]
pub(super) struct Subscriber {
    pub(super) links: BTreeMap<PortId, Link>,
    pub(super) awaited: Awaited,
}

/// What is agreed on for a topic, for as long as anybody has it open, and who has.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) payload: Option<PayloadType>,
    pub(super) delivery: Option<Delivery>,
    pub(super) publishers: BTreeMap<PortId, Publisher>,
    pub(super) subscribers: BTreeMap<PortId, Subscriber>,
    /// What the last writer of a region left.
    pub(super) remains: Option<Descriptor>,
    /// What a reader has of a region, with its version, until it is known whether the writer comes back.
    pub(super) remembered: Option<(u64, Descriptor)>,
    /// Writers of a region that may come back, as somebody knew who read it. Until then nobody else writes
    /// it, and nobody is left what they may be writing: readers that they don't know would not be safe there.
    pub(super) absent_writers: BTreeSet<PortId>,
    /// A region that stays while nobody has it open.
    pub(super) kept: bool,
}

/// The wish to publish.
#[derive(Debug)]
pub(super) struct NewPublisher {
    pub(super) port: PortId,
    pub(super) key: Key,
    /// The client or server that it is, if it publishes to one directly.
    pub(super) from: Option<PortId>,
    pub(super) payload: PayloadType,
    pub(super) delivery: Delivery,
    pub(super) history: u64,
    pub(super) ring: Descriptor,
}

/// All topics, found by their key or by one of their ports.
#[derive(Debug, Default)]
pub(super) struct Topics {
    pub(super) by_key: BTreeMap<Key, Topic>,
    pub(super) by_port: BTreeMap<PortId, Key>,
}

impl Topics {
    pub(super) fn open_publisher(
        &mut self,
        new: NewPublisher,
        pids: PidOf<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        let (port, key) = (new.port, new.key.clone());
        self.insert_publisher(new)?;
        let Some(topic) = self.by_key.get_mut(&key) else { return Ok(()) };
        topic.tell_opened(port, outbox);
        let subscribers: Vec<PortId> = topic.subscribers.keys().copied().collect();
        for subscriber in subscribers {
            topic.offer(Route { publisher: port, subscriber }, pids, outbox);
            if let Some(record) = topic.subscribers.get_mut(&subscriber) {
                // Only who comes waits for those who are there.
                record.awaited.remove(&port);
            }
        }
        self.tell_settled(port, outbox);
        Ok(())
    }

    /// Adds a publisher, and tells nobody.
    pub(super) fn insert_publisher(&mut self, new: NewPublisher) -> Result<(), OpenError> {
        self.check_open(new.port, &new.key, Some(&new.payload), Some(new.delivery))?;
        let topic = Self::join(&mut self.by_key, &mut self.by_port, new.port, new.key);
        (topic.remains, topic.remembered) = (None, None);
        topic.payload.get_or_insert(new.payload);
        topic.delivery.get_or_insert(new.delivery);
        let (segments, awaited) = Default::default();
        let NewPublisher { port, from, history, ring, .. } = new;
        topic.publishers.insert(port, Publisher { history, ring, from, segments, awaited });
        Ok(())
    }

    pub(super) fn open_subscriber(
        &mut self,
        port: PortId,
        key: Key,
        payload: Option<PayloadType>,
        pids: PidOf<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.insert_subscriber(port, key.clone(), payload)?;
        let Some(topic) = self.by_key.get_mut(&key) else { return Ok(()) };
        topic.tell_opened(port, outbox);
        let publishers: Vec<PortId> = topic.publishers.keys().copied().collect();
        for publisher in publishers {
            topic.offer(Route { publisher, subscriber: port }, pids, outbox);
            if let Some(record) = topic.publishers.get_mut(&publisher) {
                record.awaited.remove(&port);
            }
        }
        topic.tell_remains(port, outbox);
        if topic.kept {
            outbox.tell(port.node, Event::KeepChanged { port, kept: true });
        }
        self.tell_settled(port, outbox);
        Ok(())
    }

    /// Adds a subscriber, and tells nobody.
    pub(super) fn insert_subscriber(
        &mut self,
        port: PortId,
        key: Key,
        payload: Option<PayloadType>,
    ) -> Result<(), OpenError> {
        self.check_open(port, &key, payload.as_ref(), None)?;
        let topic = Self::join(&mut self.by_key, &mut self.by_port, port, key);
        topic.payload = topic.payload.take().or(payload);
        topic.subscribers.insert(port, Subscriber::default());
        Ok(())
    }

    fn check_open(
        &self,
        port: PortId,
        key: &Key,
        payload: Option<&PayloadType>,
        delivery: Option<Delivery>,
    ) -> Result<(), OpenError> {
        if self.by_port.contains_key(&port) {
            return Err(OpenError::DuplicatePort { port });
        }
        let Some(topic) = self.by_key.get(key) else { return Ok(()) };
        if let (Some(existing), Some(requested)) = (&topic.payload, payload)
            && existing != requested
        {
            let (existing, requested) = (Box::new(existing.clone()), Box::new(requested.clone()));
            return Err(OpenError::TypeMismatch { topic: key.to_string(), existing, requested });
        }
        if let (Some(existing), Some(requested)) = (topic.delivery, delivery)
            && existing != requested
        {
            return Err(OpenError::DeliveryMismatch { topic: key.to_string(), existing, requested });
        }
        Ok(())
    }

    fn join<'a>(
        by_key: &'a mut BTreeMap<Key, Topic>,
        by_port: &mut BTreeMap<PortId, Key>,
        port: PortId,
        key: Key,
    ) -> &'a mut Topic {
        // Of two equal keys the one that is kept already, so that there is one copy of the name.
        let key = by_key.get_key_value(&key).map_or(key, |(kept, _)| kept.clone());
        by_port.insert(port, key.clone());
        by_key.entry(key).or_default()
    }

    /// The name of the region that a port reads or writes.
    pub(super) fn region_of(&self, port: PortId) -> Option<&str> {
        match self.by_port.get(&port)? {
            Key::Region(name) => Some(name),
            _ => None,
        }
    }

    /// The writer of a region.
    pub(super) fn writer_of(&self, region: &Key) -> Option<PortId> {
        self.by_key.get(region)?.publishers.keys().next_back().copied()
    }

    /// A writer of a region that may come back.
    pub(super) fn absent_writer_of(&self, region: &Key) -> Option<PortId> {
        self.by_key.get(region)?.absent_writers.last().copied()
    }

    /// Keeps a region, or lets go of it; `false` if there is none.
    pub(super) fn keep(&mut self, region: &Key, keep: bool, outbox: &mut Outbox) -> bool {
        let Some(topic) = self.by_key.get_mut(region) else { return false };
        topic.kept = keep;
        for port in topic.publishers.keys().chain(topic.subscribers.keys()) {
            outbox.tell(port.node, Event::KeepChanged { port: *port, kept: keep });
        }
        if topic.is_over() {
            self.by_key.remove(region);
        }
        true
    }

    /// Keeps a region that another broker kept.
    pub(super) fn inherit(&mut self, key: Key, payload: Option<PayloadType>, memory: Descriptor) {
        let topic = self.by_key.entry(key).or_default();
        (topic.payload, topic.remains, topic.kept) = (payload, Some(memory), true);
        topic.delivery = Some(Delivery::Overwrite);
    }

    /// Whether a region without a writer has a value that comes after version `seen`, or any, if that is 0. It is on
    /// its way to those who read it, or will be as soon as it is known that its writer does not come back.
    pub(super) fn has_value_after(&self, region: &Key, seen: u64) -> bool {
        let Some(topic) = self.by_key.get(region) else { return false };
        let remembered = topic.remembered.as_ref().map(|(_, memory)| memory);
        let mut left = topic.remains.iter().chain(remembered);
        let is_newer =
            |memory: &Descriptor| seen == 0 || version_of(memory).is_none_or(|version| version > seen);
        topic.publishers.is_empty() && topic.payload.is_some() && left.any(is_newer)
    }

    /// Whether anybody has it open.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// Adds a segment to a publisher that comes back, and tells nobody.
    pub(super) fn insert_segment(
        &mut self,
        port: PortId,
        index: u32,
        segment: Descriptor,
    ) -> Result<(), Refusal> {
        let publisher = self.topic_of(port).and_then(|topic| topic.publishers.get_mut(&port));
        let publisher = publisher.ok_or(Refusal::WrongRole { port })?;
        if index >= onecopy_memory::layout::SEGMENTS_MAX {
            return Err(Refusal::SegmentOutOfRange { publisher: port, index });
        }
        publisher.segments.insert(index, segment);
        Ok(())
    }

    /// Every way between a port of `node` and another one that is there.
    pub(super) fn routes_of(&self, node: NodeId) -> Vec<Route> {
        let mut routes = Vec::new();
        for (port, key) in self.by_port.range(node.ports()) {
            let Some(topic) = self.by_key.get(key) else { continue };
            if topic.publishers.contains_key(port) {
                let subscribers = topic.subscribers.keys();
                routes.extend(
                    subscribers.map(|subscriber| Route { publisher: *port, subscriber: *subscriber }),
                );
            }
            if topic.subscribers.contains_key(port) {
                let publishers = topic.publishers.keys();
                routes.extend(publishers.map(|publisher| Route { publisher: *publisher, subscriber: *port }));
            }
        }
        routes
    }

    /// Whether a publisher and a subscriber have to do with each other; those that publish directly, only if they are
    /// counterparts.
    pub(super) fn is_possible(&self, route: Route, counterparts: impl Fn(PortId, PortId) -> bool) -> bool {
        let Some(key) = self.by_port.get(&route.publisher) else { return false };
        let Some(topic) = self.by_key.get(key) else { return false };
        let Some(publisher) = topic.publishers.get(&route.publisher) else { return false };
        topic.subscribers.contains_key(&route.subscriber)
            && publisher.from.is_none_or(|from| counterparts(from, route.subscriber))
    }

    /// What a reader has of a region whose writer may not come back: the latest counts.
    pub(super) fn remember(&mut self, subscriber: PortId, version: u64, memory: Descriptor) {
        let Some(topic) = self.topic_of(subscriber) else { return };
        let is_latest = topic.remembered.as_ref().is_none_or(|(known, _)| version > *known);
        if is_latest && topic.publishers.is_empty() && topic.subscribers.contains_key(&subscriber) {
            topic.remembered = Some((version, memory));
        }
    }

    /// Somebody reads a region whose writer has not come back.
    pub(super) fn await_writer(&mut self, route: Route) {
        if let Some(Key::Region(_)) = self.by_port.get(&route.subscriber)
            && let Some(topic) = self.topic_of(route.subscriber)
        {
            topic.absent_writers.insert(route.publisher);
        }
    }

    /// No writer on this node is waited for any more. Returns those who need not wait for any then.
    pub(super) fn await_no_writer(&mut self, node: NodeId) -> Vec<PortId> {
        let mut met = Vec::new();
        for topic in self.by_key.values_mut() {
            let awaited = topic.absent_writers.extract_if(node.ports(), |_| true).count();
            if awaited > 0 && topic.absent_writers.is_empty() {
                met.extend(topic.subscribers.keys().copied());
            }
        }
        met
    }

    /// Whether a region that somebody reads may have a writer on this node, which has not come back.
    pub(super) fn awaits_writer_on(&self, node: NodeId) -> bool {
        self.by_key.values().any(|topic| topic.absent_writers.range(node.ports()).next().is_some())
    }

    /// How many publishers and subscribers a topic has.
    pub(super) fn count(&self, key: &Key) -> (usize, usize) {
        self.by_key.get(key).map_or((0, 0), |topic| (topic.publishers.len(), topic.subscribers.len()))
    }

    /// How many publishers and subscribers of a topic a node has.
    pub(super) fn ports_on(&self, key: &Key, node: NodeId) -> usize {
        let all = node.ports();
        self.by_key.get(key).map_or(0, |topic| {
            topic.publishers.range(all.clone()).count() + topic.subscribers.range(all).count()
        })
    }

    /// Ends a port like [`close`](Self::close), but tells no publisher that knows it: returns the routes to those.
    pub(super) fn evict(&mut self, port: PortId, outbox: &mut Outbox) -> Vec<Route> {
        let topic = self.topic_of(port);
        let subscriber = topic.and_then(|topic| topic.subscribers.get_mut(&port));
        let links = subscriber.map(|subscriber| &mut subscriber.links).into_iter();
        let known = links.flat_map(|links| links.extract_if(.., |_, link| *link != Link::Offered));
        let routes = known.map(|(publisher, _)| Route { publisher, subscriber: port }).collect();
        self.close(port, outbox);
        routes
    }

    /// Ends a port, and its topic with the last one; a port that is not open stays so.
    pub(super) fn close(&mut self, port: PortId, outbox: &mut Outbox) {
        let Some(key) = self.by_port.remove(&port) else { return };
        let Some(topic) = self.by_key.get_mut(&key) else { return };
        if let Some(publisher) = topic.publishers.remove(&port) {
            if matches!(key, Key::Region(_)) && topic.publishers.is_empty() {
                // Before they hear of the end, which may be all that they wait for.
                topic.leave_remains(port, publisher.ring, outbox);
            }
            topic.publisher_ended(port, outbox);
        }
        if let Some(subscriber) = topic.subscribers.remove(&port) {
            for (publisher, link) in subscriber.links {
                topic.subscriber_left(Route { publisher, subscriber: port }, link, outbox);
            }
        }
        if topic.is_over() {
            self.by_key.remove(&key);
        }
    }

    /// Every port that a node has open.
    pub(super) fn ports_of(&self, node: NodeId) -> Vec<PortId> {
        self.by_port.range(node.ports()).map(|(port, _)| *port).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Topic)> {
        self.by_key.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty() && self.by_port.is_empty()
    }

    pub(super) fn topic_of(&mut self, port: PortId) -> Option<&mut Topic> {
        self.by_key.get_mut(self.by_port.get(&port)?)
    }

    pub(super) fn check_invariants(&self) {
        let mut ports = 0;
        for (key, topic) in &self.by_key {
            topic.check_invariants();
            if let (Key::Region(_), Some((writer, _))) = (key, topic.publishers.first_key_value()) {
                // A writer that takes over from itself has two publishers for a moment.
                let one_node = topic.publishers.keys().all(|port| port.node == writer.node);
                assert!(one_node, "region {key} has two writers");
            }
            if let Key::Direct(owner) = key {
                assert!(topic.subscribers.keys().all(|port| port == owner), "somebody reads {key}");
            }
            for port in topic.publishers.keys().chain(topic.subscribers.keys()) {
                assert_eq!(self.by_port.get(port), Some(key), "port {port} leads to another topic");
                ports += 1;
            }
        }
        assert_eq!(ports, self.by_port.len(), "a port without its topic");
    }
}

impl Topic {
    /// Whether nobody has it open, and nothing of it is kept.
    fn is_over(&self) -> bool {
        let nobody = self.publishers.is_empty() && self.subscribers.is_empty();
        nobody && !(self.kept && self.remains.is_some())
    }

    pub(super) fn subscriber(&mut self, port: PortId) -> Result<&mut Subscriber, Refusal> {
        self.subscribers.get_mut(&port).ok_or(Refusal::WrongRole { port })
    }

    fn tell_opened(&self, port: PortId, outbox: &mut Outbox) {
        let (payload, delivery) = (self.payload.clone(), self.delivery);
        outbox.tell(port.node, Event::Opened { port, payload, delivery });
    }

    fn tell_remains(&self, subscriber: PortId, outbox: &mut Outbox) {
        if let (Some(payload), Some(remains)) = (&self.payload, &self.remains) {
            let event = Event::Remains { subscriber, payload: payload.clone() };
            outbox.tell_with(subscriber.node, event, remains);
        }
    }

    /// No writer of this region comes back: what a reader remembers of it is what remains.
    pub(super) fn leave_remembered(&mut self, outbox: &mut Outbox) {
        let Some((_, memory)) = self.remembered.take() else { return };
        if self.publishers.is_empty() && self.remains.is_none() {
            self.remains = Some(memory);
            self.subscribers.keys().for_each(|subscriber| self.tell_remains(*subscriber, outbox));
        }
    }

    /// A region's last value, when its writer ends: also for the readers that it had not attached yet, which
    /// would have to do with an older value, or none.
    fn leave_remains(&mut self, writer: PortId, ring: Descriptor, outbox: &mut Outbox) {
        if let Some(payload) = &self.payload {
            for (subscriber, record) in &self.subscribers {
                if matches!(
                    record.links.get(&writer),
                    Some(Link::Offered | Link::OfferedAgain | Link::Requested)
                ) {
                    let event = Event::Remains { subscriber: *subscriber, payload: payload.clone() };
                    outbox.tell_with(subscriber.node, event, &ring);
                }
            }
        }
        self.remains = Some(ring);
    }

    fn check_invariants(&self) {
        assert!(!self.is_over(), "a topic that nobody has open");
        assert!(self.publishers.is_empty() || self.payload.is_some(), "publishers of an unknown type");
        assert!(self.publishers.is_empty() || self.delivery.is_some(), "publishers of an unknown delivery");
        for (port, subscriber) in &self.subscribers {
            for publisher in subscriber.links.keys() {
                assert!(self.publishers.contains_key(publisher), "{port} is linked to an ended publisher");
            }
            for publisher in &subscriber.awaited {
                let link = subscriber.links.get(publisher);
                assert!(
                    link.is_some_and(|link| *link != Link::Attached),
                    "{port} waits for {publisher} in vain"
                );
            }
        }
        for (port, publisher) in &self.publishers {
            for subscriber in &publisher.awaited {
                let link = self.subscribers.get(subscriber).and_then(|record| record.links.get(port));
                let is_offered = matches!(link, Some(Link::Offered | Link::OfferedAgain));
                assert!(is_offered, "{port} waits for {subscriber} in vain");
            }
        }
    }
}
