//! What is open: topics, their publishers and subscribers, and how far each pair has come. A topic is found by its
//! name; what is sent to one client or server, and regions, are topics as well, with rules of their own ([`Key`]).
//!
//! The tie between a publisher and a subscriber (a *link*) is kept in one place, at the subscriber, so the two sides can't
//! disagree. What happens to a link is told to whom it concerns through the [`Outbox`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use onecopy_memory::layout::SEGMENTS_MAX;

use super::protocol::{Delivery, Event, NodeId, OpenError, PortId, Refusal, Route};
use crate::payload_type::PayloadType;

/// A descriptor that the broker keeps for those who join later, or that waits to be sent.
pub type Descriptor = Arc<OwnedFd>;

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

/// How far a publisher and a subscriber have come with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// The subscriber was shown the publisher.
    Offered,
    /// The publisher was told where the subscriber's reader state is.
    Requested,
    /// The subscriber was told where to start.
    Attached,
}

/// Publishers and subscribers that were there when a port opened, and that it still has to meet.
type Awaited = BTreeSet<PortId>;

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) history: u64,
    pub(super) ring: Descriptor,
    pub(super) from: Option<PortId>,
    pub(super) segments: BTreeMap<u32, Descriptor>,
    awaited: Awaited,
}

#[derive(Debug)]
pub(super) struct Subscriber {
    links: BTreeMap<PortId, Link>,
    awaited: Awaited,
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
    by_key: BTreeMap<Key, Topic>,
    by_port: BTreeMap<PortId, Key>,
}

impl Topics {
    pub(super) fn open_publisher(&mut self, new: NewPublisher, outbox: &mut Outbox) -> Result<(), OpenError> {
        self.check_open(new.port, &new.key, Some(&new.payload), Some(new.delivery))?;
        let topic = Self::join(&mut self.by_key, &mut self.by_port, new.port, new.key);
        topic.remains = None;
        let payload = topic.payload.get_or_insert(new.payload).clone();
        let delivery = *topic.delivery.get_or_insert(new.delivery);
        topic.tell_opened(new.port, outbox);
        for (subscriber, record) in &mut topic.subscribers {
            record.links.insert(new.port, Link::Offered);
            let route = Route { publisher: new.port, subscriber: *subscriber };
            outbox.tell_with(
                subscriber.node,
                Event::Publisher { route, payload: payload.clone(), delivery, from: new.from },
                &new.ring,
            );
        }
        let awaited: Awaited = topic.subscribers.keys().copied().collect();
        tell_if_settled(new.port, &awaited, outbox);
        let (segments, from) = (BTreeMap::new(), new.from);
        let publisher = Publisher { history: new.history, ring: new.ring, from, segments, awaited };
        topic.publishers.insert(new.port, publisher);
        Ok(())
    }

    pub(super) fn open_subscriber(
        &mut self,
        port: PortId,
        key: Key,
        payload: Option<PayloadType>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.check_open(port, &key, payload.as_ref(), None)?;
        let topic = Self::join(&mut self.by_key, &mut self.by_port, port, key);
        topic.payload = topic.payload.take().or(payload);
        topic.tell_opened(port, outbox);
        if let (Some(payload), Some(delivery)) = (&topic.payload, topic.delivery) {
            for (publisher, record) in &topic.publishers {
                let route = Route { publisher: *publisher, subscriber: port };
                let from = record.from;
                let event = Event::Publisher { route, payload: payload.clone(), delivery, from };
                outbox.tell_with(port.node, event, &record.ring);
                for (index, segment) in &record.segments {
                    outbox.tell_with(
                        port.node,
                        Event::Segment { route, index: *index, replaced: 0 },
                        segment,
                    );
                }
            }
        }
        if let (Some(payload), Some(remains)) = (&topic.payload, &topic.remains) {
            let event = Event::Remains { subscriber: port, payload: payload.clone() };
            outbox.tell_with(port.node, event, remains);
        }
        let awaited: Awaited = topic.publishers.keys().copied().collect();
        tell_if_settled(port, &awaited, outbox);
        let links = awaited.iter().map(|publisher| (*publisher, Link::Offered)).collect();
        topic.subscribers.insert(port, Subscriber { links, awaited });
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

    /// The writer of a region.
    pub(super) fn writer_of(&self, region: &Key) -> Option<PortId> {
        self.by_key.get(region)?.publishers.keys().next_back().copied()
    }

    /// Keeps a region, or lets go of it; `false` if there is none.
    pub(super) fn keep(&mut self, region: &Key, keep: bool) -> bool {
        let Some(topic) = self.by_key.get_mut(region) else { return false };
        topic.kept = keep;
        if topic.is_over() {
            self.by_key.remove(region);
        }
        true
    }

    /// Whether anybody has it open.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    pub(super) fn add_segment(
        &mut self,
        port: PortId,
        index: u32,
        replaced: u64,
        segment: &Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(port) else { return Ok(()) };
        let publisher = topic.publishers.get_mut(&port).ok_or(Refusal::WrongRole { port })?;
        if index >= SEGMENTS_MAX {
            return Err(Refusal::SegmentOutOfRange { publisher: port, index });
        }
        if publisher.segments.contains_key(&index) {
            return Err(Refusal::DuplicateSegment { publisher: port, index });
        }
        publisher.segments.retain(|index, _| replaced.checked_shr(*index).unwrap_or(0) & 1 == 0);
        publisher.segments.insert(index, Arc::clone(segment));
        for (subscriber, record) in &topic.subscribers {
            if record.links.contains_key(&port) {
                let route = Route { publisher: port, subscriber: *subscriber };
                outbox.tell_with(subscriber.node, Event::Segment { route, index, replaced }, segment);
            }
        }
        Ok(())
    }

    /// The subscriber's first step. Like every word from one side to the other it may cross the other's end, so it is
    /// dropped without blame if the link isn't (or isn't any more) in a state to take it: the other side alone could have
    /// brought that about, by closing its port and opening it again.
    pub(super) fn attach(
        &mut self,
        route: Route,
        event: Event,
        readers: &Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        let Some(link) = topic.subscriber(route.subscriber)?.links.get_mut(&route.publisher) else {
            return Ok(());
        };
        if *link == Link::Offered {
            *link = Link::Requested;
            outbox.tell_with(route.publisher.node, event, readers);
            topic.publisher_met(route, outbox);
        }
        Ok(())
    }

    /// The publisher's answer to [`attach`](Self::attach).
    pub(super) fn attached(&mut self, route: Route, start: u64, outbox: &mut Outbox) -> Result<(), Refusal> {
        let port = route.publisher;
        let Some(topic) = self.topic_of(port) else { return Ok(()) };
        if !topic.publishers.contains_key(&port) {
            return Err(Refusal::WrongRole { port });
        }
        let Some(subscriber) = topic.subscribers.get_mut(&route.subscriber) else { return Ok(()) };
        if let Some(link @ Link::Requested) = subscriber.links.get_mut(&port) {
            *link = Link::Attached;
            outbox.tell(route.subscriber.node, Event::Attached { route, start });
            topic.subscriber_met(route, outbox);
        }
        Ok(())
    }

    pub(super) fn may_sleep(
        &mut self,
        route: Route,
        event: Event,
        doorbell: Option<&Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        let link = topic.subscriber(route.subscriber)?.links.get(&route.publisher);
        if let Some(Link::Requested | Link::Attached) = link {
            outbox.0.push((route.publisher.node, event, doorbell.map(Arc::clone)));
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, route: Route, outbox: &mut Outbox) -> Result<(), Refusal> {
        let Some(topic) = self.topic_of(route.subscriber) else { return Ok(()) };
        if let Some(link) = topic.subscriber(route.subscriber)?.links.remove(&route.publisher) {
            topic.subscriber_left(route, link, outbox);
            topic.subscriber_met(route, outbox);
        }
        Ok(())
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

    /// How many segments a publisher has added.
    pub(super) fn segments_of(&self, port: PortId) -> usize {
        let topic = self.by_port.get(&port).and_then(|key| self.by_key.get(key));
        topic.and_then(|topic| topic.publishers.get(&port)).map_or(0, |publisher| publisher.segments.len())
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

    fn topic_of(&mut self, port: PortId) -> Option<&mut Topic> {
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

    fn subscriber(&mut self, port: PortId) -> Result<&mut Subscriber, Refusal> {
        self.subscribers.get_mut(&port).ok_or(Refusal::WrongRole { port })
    }

    fn tell_opened(&self, port: PortId, outbox: &mut Outbox) {
        let (payload, delivery) = (self.payload.clone(), self.delivery);
        outbox.tell(port.node, Event::Opened { port, payload, delivery });
    }

    /// A region's last value, when its writer ends: also for the readers that it had not attached yet, which would have to
    /// do with an older value, or none.
    fn leave_remains(&mut self, writer: PortId, ring: Descriptor, outbox: &mut Outbox) {
        if let Some(payload) = &self.payload {
            for (subscriber, record) in &self.subscribers {
                if matches!(record.links.get(&writer), Some(Link::Offered | Link::Requested)) {
                    let event = Event::Remains { subscriber: *subscriber, payload: payload.clone() };
                    outbox.tell_with(subscriber.node, event, &ring);
                }
            }
        }
        self.remains = Some(ring);
    }

    fn publisher_ended(&mut self, publisher: PortId, outbox: &mut Outbox) {
        let subscribers: Vec<PortId> = self.subscribers.keys().copied().collect();
        for subscriber in subscribers {
            let route = Route { publisher, subscriber };
            let links = self.subscribers.get_mut(&subscriber).map(|record| &mut record.links);
            if links.is_some_and(|links| links.remove(&publisher).is_some()) {
                outbox.tell(subscriber.node, Event::PublisherGone { route });
                self.subscriber_met(route, outbox);
            }
        }
    }

    /// A subscriber's end as its publisher sees it, which knows of it only since it was asked to attach it.
    fn subscriber_left(&mut self, route: Route, link: Link, outbox: &mut Outbox) {
        if link != Link::Offered {
            outbox.tell(route.publisher.node, Event::SubscriberGone { route });
        }
        self.publisher_met(route, outbox);
    }

    /// The publisher need not wait for this subscriber any more.
    fn publisher_met(&mut self, route: Route, outbox: &mut Outbox) {
        let Some(publisher) = self.publishers.get_mut(&route.publisher) else { return };
        if publisher.awaited.remove(&route.subscriber) {
            tell_if_settled(route.publisher, &publisher.awaited, outbox);
        }
    }

    /// The subscriber need not wait for this publisher any more.
    fn subscriber_met(&mut self, route: Route, outbox: &mut Outbox) {
        let Some(subscriber) = self.subscribers.get_mut(&route.subscriber) else { return };
        if subscriber.awaited.remove(&route.publisher) {
            tell_if_settled(route.subscriber, &subscriber.awaited, outbox);
        }
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
                assert_eq!(link, Some(&Link::Offered), "{port} waits for {subscriber} in vain");
            }
        }
    }
}

fn tell_if_settled(port: PortId, awaited: &Awaited, outbox: &mut Outbox) {
    if awaited.is_empty() {
        outbox.tell(port.node, Event::Settled { port });
    }
}
