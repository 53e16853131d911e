//! What must be true after every step, and once nothing moves any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::node::{Feed, Kind, Node, Port};
use super::world::World;
use crate::broker::protocol::{PortId, Route};

impl World {
    fn there(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.is_alive && !node.is_refused)
    }

    fn open_ports(&self) -> impl Iterator<Item = (PortId, &Port)> {
        self.there().flat_map(|node| node.ports.iter().map(|(port, record)| (*port, record)))
    }

    pub(super) fn port(&self, port: PortId) -> Option<&Port> {
        self.open_ports().find(|(found, _)| *found == port).map(|(_, record)| record)
    }

    pub(super) fn is_open(&self, port: PortId) -> bool {
        self.port(port).is_some()
    }

    /// A subscriber's reader of a publisher.
    pub(super) fn feed(&self, route: Route) -> Option<Feed> {
        self.port(route.subscriber)?.feeds.get(&route.publisher).copied()
    }

    /// Whether a participant has the memory that is current: nobody has a later one.
    pub(super) fn is_current(&self, port: PortId) -> bool {
        let version =
            |port: &Port| port.memory.as_ref().map_or(0, |memory| Self::version_of(&self.memories, memory));
        let Some(own) = self.port(port) else { return false };
        let others = self.open_ports().filter(|(_, other)| other.kind == own.kind);
        own.memory.is_some() && others.map(|(_, other)| version(other)).max() == Some(version(own))
    }

    /// Whatever a publisher looks at was told the same start.
    pub(super) fn check_step(&self) {
        for (subscriber, port) in self.open_ports() {
            for (publisher, feed) in port.feeds.iter().filter(|(_, feed)| !feed.gone) {
                let Some(start) = feed.start else { continue };
                let Some(record) = self.port(*publisher) else { continue };
                let seen = record.looks.get(&subscriber);
                assert_eq!(seen, Some(&(feed.block, start)), "{publisher} and {subscriber} disagree");
            }
        }
    }

    pub(super) fn check_rest(&self) {
        if self.there().next().is_none() {
            return;
        }
        let role = self.role.as_ref().expect("whoever is there has a broker");
        assert!(!role.broker.is_gathering(), "somebody is waited for");
        assert_eq!(role.broker.absent().count(), 0, "somebody is missed");
        for (port, record) in self.open_ports() {
            assert!(record.opened, "{port} ({:?}) is not open", record.kind);
            match &record.kind {
                Kind::Publisher(_) | Kind::Direct { .. } | Kind::Writer(_) => {
                    self.check_publisher(port, record)
                }
                Kind::Subscriber(_) | Kind::Reader(_) => self.check_subscriber(port, record),
                Kind::Client(name) => self.check_correspondent(port, record, &Kind::Server(name.clone())),
                Kind::Server(name) => self.check_correspondent(port, record, &Kind::Client(name.clone())),
                Kind::Participant(_) => self.check_participant(port, record),
            }
        }
    }

    fn hears(kind: &Kind, subscriber: PortId, listener: &Kind) -> bool {
        match (kind, listener) {
            (Kind::Publisher(name), Kind::Subscriber(other)) => name == other,
            (Kind::Writer(name), Kind::Reader(other)) => name == other,
            (Kind::Direct { to, .. }, _) => *to == subscriber,
            _ => false,
        }
    }

    fn check_publisher(&self, port: PortId, record: &Port) {
        assert!(record.settled, "{port} ({:?}) waits for somebody", record.kind);
        let listeners = self.open_ports().filter(|(subscriber, other)| {
            Self::hears(&record.kind, *subscriber, &other.kind) && !other.left.contains(&port)
        });
        let expected: BTreeSet<PortId> = listeners.map(|(subscriber, _)| subscriber).collect();
        let left =
            |subscriber: &PortId| self.port(*subscriber).is_some_and(|other| other.left.contains(&port));
        // One that has left may have been shown the publisher again by a broker that knew nothing of that.
        let seen: BTreeSet<PortId> = record.looks.keys().copied().filter(|seen| !left(seen)).collect();
        assert_eq!(seen, expected, "what {port} ({:?}) looks at", record.kind);
        for subscriber in &seen {
            let feed = self.port(*subscriber).and_then(|other| other.feeds.get(&port)).copied();
            assert!(
                feed.is_some_and(|feed| feed.start.is_some() && !feed.gone),
                "{subscriber} of {port}: {feed:?}"
            );
            let known = self.port(*subscriber).and_then(|other| other.known_segments.get(&port));
            let known = known.cloned().unwrap_or_default();
            assert!(record.segments.is_subset(&known), "{subscriber} lacks segments of {port}");
        }
        if let Kind::Writer(_) = record.kind {
            let writers = self.open_ports().filter(|(_, other)| other.kind == record.kind).count();
            assert_eq!(writers, 1, "two writers: {:?}", record.kind);
        }
    }

    fn check_subscriber(&self, port: PortId, record: &Port) {
        assert!(record.settled, "{port} ({:?}) waits for somebody", record.kind);
        for (publisher, feed) in &record.feeds {
            assert_eq!(feed.gone, !self.is_open(*publisher), "what {port} knows of {publisher}");
        }
        if let Kind::Reader(name) = &record.kind {
            let writer = self.open_ports().find(|(_, other)| other.kind == Kind::Writer(name.clone()));
            if let (Some((_, writer)), Some(memory)) = (writer, &record.memory) {
                let written = writer.memory.as_ref().expect("a writer has memory");
                assert!(Arc::ptr_eq(memory, written), "{port} reads an old memory of {name}");
            }
            let others = self.open_ports().filter(|(_, other)| other.kind == record.kind);
            let newest = others.filter_map(|(_, other)| other.memory.as_ref());
            let newest = newest.map(|memory| Self::version_of(&self.memories, memory)).max();
            let own = record.memory.as_ref().map(|memory| Self::version_of(&self.memories, memory));
            assert_eq!(own, newest, "{port} lacks the last value of {name}");
        }
    }

    fn check_correspondent(&self, port: PortId, record: &Port, counterpart: &Kind) {
        let expected: BTreeSet<PortId> =
            self.open_ports().filter(|(_, other)| other.kind == *counterpart).map(|(peer, _)| peer).collect();
        assert_eq!(record.met, expected, "whom {port} has met");
        for peer in expected {
            let ways =
                self.open_ports().filter(|(_, other)| other.kind == Kind::Direct { from: port, to: peer });
            assert_eq!(ways.count(), 1, "ways from {port} to {peer}");
        }
    }

    fn check_participant(&self, port: PortId, record: &Port) {
        let seat = record.seat.expect("who is open sits");
        let others = self.open_ports().filter(|(other, found)| *other != port && found.kind == record.kind);
        let others: BTreeSet<(u32, PortId)> =
            others.map(|(other, found)| (found.seat.expect("who is open sits"), other)).collect();
        assert!(others.iter().all(|(other, _)| *other != seat), "two on one seat");
        let known: BTreeSet<(u32, PortId)> =
            record.living.iter().map(|(seat, other)| (*seat, *other)).collect();
        assert_eq!(known, others, "whom {port} knows");
        assert!(self.is_current(port), "{port} writes an old memory");
        let brings = |port: PortId| self.there().any(|node| node.ledger.has_brought(port));
        if brings(port) {
            let twice = self
                .open_ports()
                .find(|(other, found)| *other != port && found.kind == record.kind && brings(*other));
            assert_eq!(twice.map(|(other, _)| other), None, "who brought the same memory as {port}");
            let role = self.role.as_ref().expect("whoever is there has a broker");
            assert!(role.broker.counts_offered(port), "what {port} brought counts for nobody");
        }
    }
}
