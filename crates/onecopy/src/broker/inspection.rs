//! The broker's answer to [`Request::Inspect`](super::protocol::Request::Inspect): everything it knows, one
//! item a packet.

use std::sync::Arc;

use super::datasets::Dataset;
use super::peers::PeerId;
use super::protocol::{Event, NodeId, PortId, Role};
use super::services::Service;
use super::state::Broker;
use super::topics::{Key, Outbox, Topic};
use super::transport::Credentials;
use crate::config::{Kind, Right};

/// What is the same for every item of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) peer: PeerId,
    pub(super) asker: NodeId,
    pub(super) request: u32,
    pub(super) rings: bool,
}

impl Broker {
    /// Answers with everything that the asker may see, or with the topic, service and region of one name.
    pub(super) fn inspect(&self, question: Question, name: Option<&str>, outbox: &mut Outbox) {
        let Question { peer, asker, request, .. } = question;
        let sees_all = self.may_see_all(peer);
        let own_uid = self.peers.who(peer).map(|who| who.uid);
        if name.is_none() {
            for (node, Credentials { pid, uid }) in self.peers.nodes() {
                let (id, name) = (node.id, node.name.clone());
                let is_shown = question.rings && (sees_all || own_uid == Some(uid));
                let shown = node.readers.as_ref().filter(|_| is_shown).map(Arc::clone);
                let readers = shown.is_some();
                outbox.0.push((asker, Event::NodeInfo { request, node: id, name, pid, uid, readers }, shown));
            }
        }
        let is_meant =
            |kind, found: &str| name.is_none_or(|name| name == found) && self.may_see(peer, kind, found);
        for (key, topic) in self.topics.iter() {
            match key {
                Key::Topic(name) if is_meant(Kind::Topic, name) => {
                    let question = self.limited(question, Right::Subscribe, Kind::Topic, name);
                    self.describe_topic(question, name, topic, outbox)
                }
                Key::Region(name) if is_meant(Kind::Region, name) => {
                    let question = self.limited(question, Right::Read, Kind::Region, name);
                    self.describe_region(question, name, topic, outbox)
                }
                // Of a question about everything, the memory between clients and servers is part of the answer.
                Key::Direct(_) if name.is_none() && sees_all => {
                    describe_memory(question, topic, true, outbox);
                }
                _ => {}
            }
        }
        for (name, region) in self.shared.iter().filter(|(name, _)| is_meant(Kind::Region, name)) {
            // Of such a region, whoever has the memory can write it.
            let Question { rings, .. } = self.limited(question, Right::Write, Kind::Region, name);
            let memory = region.memory.as_ref().filter(|_| rings);
            let event = Event::RegionInfo {
                request,
                name: name.to_owned(),
                payload: region.payload.clone(),
                shared: true,
                writer: None,
                readers: count(region.seats.len()),
                kept: region.kept,
                memory: memory.is_some(),
            };
            outbox.0.push((asker, event, memory.map(Arc::clone)));
            for (port, seat) in &region.seats {
                let (seat, pid) = (seat.to_bits(), self.pid_of(port.node));
                outbox.tell(asker, Event::SeatInfo { request, region: name.to_owned(), seat, pid });
            }
        }
        for (name, dataset) in self.datasets.iter().filter(|(name, _)| is_meant(Kind::Dataset, name)) {
            let question = self.limited(question, Right::Read, Kind::Dataset, name);
            self.describe_dataset(question, name, dataset, outbox);
        }
        for (name, service) in self.services.iter().filter(|(name, _)| is_meant(Kind::Service, name)) {
            self.describe_service(question, name, service, outbox);
        }
        outbox.tell(asker, Event::InspectEnd { request });
    }

    /// The same question, about something of which the asker gets the memory only with this right.
    fn limited(&self, question: Question, right: Right, kind: Kind, name: &str) -> Question {
        Question { rings: question.rings && self.may(question.peer, right, kind, name), ..question }
    }

    fn describe_topic(&self, question: Question, name: &str, topic: &Topic, outbox: &mut Outbox) {
        let Question { asker, request, rings, .. } = question;
        outbox.tell(
            asker,
            Event::TopicInfo {
                request,
                name: name.to_owned(),
                payload: topic.payload.clone(),
                delivery: topic.delivery,
                publishers: count(topic.publishers.len()),
                subscribers: count(topic.subscribers.len()),
            },
        );
        for (port, publisher) in &topic.publishers {
            let event = Event::PublisherInfo {
                request,
                topic: name.to_owned(),
                publisher: *port,
                node_name: self.node_name(*port),
                history: publisher.history,
                ring: rings,
            };
            outbox.0.push((asker, event, rings.then(|| Arc::clone(&publisher.ring))));
        }
        describe_memory(question, topic, false, outbox);
        for port in topic.subscribers.keys() {
            let (topic, node_name) = (name.to_owned(), self.node_name(*port));
            outbox.tell(asker, Event::SubscriberInfo { request, topic, subscriber: *port, node_name });
        }
    }

    fn describe_region(
        &self,
        Question { asker, request, rings, .. }: Question,
        name: &str,
        region: &Topic,
        outbox: &mut Outbox,
    ) {
        let writer = region.publishers.iter().next();
        let memory =
            writer.map(|(_, publisher)| &publisher.ring).or(region.remains.as_ref()).filter(|_| rings);
        let event = Event::RegionInfo {
            request,
            name: name.to_owned(),
            payload: region.payload.clone(),
            shared: false,
            writer: writer.map(|(port, _)| (*port, self.peers.pid_of(port.node))),
            readers: count(region.subscribers.len()),
            kept: region.kept,
            memory: memory.is_some(),
        };
        outbox.0.push((asker, event, memory.map(Arc::clone)));
    }

    fn describe_dataset(
        &self,
        Question { asker, request, rings, .. }: Question,
        name: &str,
        dataset: &Dataset,
        outbox: &mut Outbox,
    ) {
        let memory = dataset.newest.as_ref().map(|(_, memory)| memory).filter(|_| rings);
        let event = Event::DatasetInfo {
            request,
            name: name.to_owned(),
            version: dataset.version(),
            publisher: dataset.publisher.map(|port| (port, self.peers.pid_of(port.node))),
            viewers: count(dataset.viewers()),
            kept: dataset.kept,
            memory: memory.is_some(),
        };
        outbox.0.push((asker, event, memory.map(Arc::clone)));
    }

    fn describe_service(
        &self,
        Question { asker, request, .. }: Question,
        name: &str,
        service: &Service,
        outbox: &mut Outbox,
    ) {
        let payload = service.payload.clone();
        outbox.tell(asker, Event::ServiceInfo { request, name: name.to_owned(), payload });
        let servers = service.servers.iter().map(|port| (port, Role::Server));
        let clients = service.clients.iter().map(|port| (port, Role::Client));
        for (port, role) in servers.chain(clients) {
            let event = Event::ServicePortInfo {
                request,
                service: name.to_owned(),
                port: *port,
                role,
                node_name: self.node_name(*port),
                pid: self.peers.pid_of(port.node),
            };
            outbox.tell(asker, event);
        }
    }

    fn node_name(&self, port: PortId) -> String {
        self.peers.name_of(port.node).unwrap_or("?").to_owned()
    }
}

/// The pools of a topic's publishers, and with `rings` the rings.
fn describe_memory(
    Question { asker, request, rings: wanted, .. }: Question,
    topic: &Topic,
    rings: bool,
    outbox: &mut Outbox,
) {
    if !wanted {
        return;
    }
    for (port, publisher) in &topic.publishers {
        let ring = rings.then_some(&publisher.ring);
        for memory in ring.into_iter().chain(publisher.segments.values()) {
            let owner = publisher.from.unwrap_or(*port);
            outbox.tell_with(asker, Event::MemoryInfo { request, owner }, memory);
        }
    }
}

fn count(ports: usize) -> u32 {
    u32::try_from(ports).unwrap_or(u32::MAX)
}
