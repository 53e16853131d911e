//! The broker's answer to [`Request::Inspect`](super::protocol::Request::Inspect): everything it knows, one item a packet.

use std::sync::Arc;

use super::datasets::Dataset;
use super::protocol::{Event, NodeId, PortId, Role};
use super::services::Service;
use super::state::Broker;
use super::topics::{Key, Outbox, Topic};
use super::transport::Credentials;

/// What is the same for every item of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub(super) request: u32,
    pub(super) rings: bool,
}

impl Broker {
    /// Answers with everything, or with the topic, service and region of one name.
    pub(super) fn inspect(&self, asker: NodeId, question: Question, name: Option<&str>, outbox: &mut Outbox) {
        let request = question.request;
        if name.is_none() {
            for (node, Credentials { pid, uid }) in self.peers.nodes() {
                let event = Event::NodeInfo { request, node: node.id, name: node.name.clone(), pid, uid };
                outbox.tell(asker, event);
            }
        }
        let is_meant = |found: &str| name.is_none_or(|name| name == found);
        for (key, topic) in self.topics.iter() {
            match key {
                Key::Topic(name) if is_meant(name) => {
                    self.describe_topic(asker, question, name, topic, outbox)
                }
                Key::Region(name) if is_meant(name) => {
                    self.describe_region(asker, question, name, topic, outbox)
                }
                _ => {}
            }
        }
        for (name, region) in self.shared.iter().filter(|(name, _)| is_meant(name)) {
            let memory = region.memory.as_ref().filter(|_| question.rings);
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
        }
        for (name, dataset) in self.datasets.iter().filter(|(name, _)| is_meant(name)) {
            self.describe_dataset(asker, question, name, dataset, outbox);
        }
        for (name, service) in self.services.iter().filter(|(name, _)| is_meant(name)) {
            self.describe_service(asker, question, name, service, outbox);
        }
        outbox.tell(asker, Event::InspectEnd { request });
    }

    fn describe_topic(
        &self,
        asker: NodeId,
        Question { request, rings }: Question,
        name: &str,
        topic: &Topic,
        outbox: &mut Outbox,
    ) {
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
        for port in topic.subscribers.keys() {
            let (topic, node_name) = (name.to_owned(), self.node_name(*port));
            outbox.tell(asker, Event::SubscriberInfo { request, topic, subscriber: *port, node_name });
        }
    }

    fn describe_region(
        &self,
        asker: NodeId,
        Question { request, rings }: Question,
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
        asker: NodeId,
        Question { request, rings }: Question,
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
        asker: NodeId,
        Question { request, .. }: Question,
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

fn count(ports: usize) -> u32 {
    u32::try_from(ports).unwrap_or(u32::MAX)
}
