//! Peers that were refused and have not gone yet. They are not listened to any more, and still they may look
//! at messages that they hold: a publisher that was told of their end would take that memory back under their
//! eyes. So what they subscribe to lasts until they let go of it, or their connection ends with the last who
//! holds something.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{NodeId, PortId, Route};
use super::peers::PeerId;
use super::protocol::{Event, Refusal, Request};
use super::state::{Broker, Output};
use super::topics::Outbox;

/// The routes on which publishers still know subscribers of refused peers.
#[derive(Debug, Default)]
pub(super) struct Evicted {
    routes: BTreeMap<PeerId, BTreeSet<Route>>,
}

impl Evicted {
    pub(super) fn insert(&mut self, peer: PeerId, routes: impl IntoIterator<Item = Route>) {
        self.routes.entry(peer).or_default().extend(routes);
    }

    pub(super) fn contains(&self, peer: PeerId) -> bool {
        self.routes.contains_key(&peer)
    }

    fn holds_nothing(&self, peer: PeerId) -> bool {
        self.routes.get(&peer).is_none_or(BTreeSet::is_empty)
    }

    /// A peer lets go of one publisher.
    pub(super) fn detach(&mut self, peer: PeerId, route: Route, outbox: &mut Outbox) {
        if self.routes.get_mut(&peer).is_some_and(|routes| routes.remove(&route)) {
            tell_gone(route, outbox);
        }
    }

    /// A peer lets go of all that one of its subscribers holds.
    pub(super) fn close(&mut self, peer: PeerId, subscriber: PortId, outbox: &mut Outbox) {
        let Some(routes) = self.routes.get_mut(&peer) else { return };
        for route in routes.extract_if(.., |route| route.subscriber == subscriber) {
            tell_gone(route, outbox);
        }
    }

    /// A publisher has closed, and need not be told of anybody any more.
    pub(super) fn publisher_ended(&mut self, publisher: PortId) {
        let first = PortId { node: NodeId(0), serial: 0 };
        let last = PortId { node: NodeId(u64::MAX), serial: u32::MAX };
        let all = Route { publisher, subscriber: first }..=Route { publisher, subscriber: last };
        for routes in self.routes.values_mut() {
            routes.extract_if(all.clone(), |_| true).for_each(drop);
        }
    }

    /// A peer has gone, and with it everybody who could look at something.
    pub(super) fn end(&mut self, peer: PeerId, outbox: &mut Outbox) {
        for route in self.routes.remove(&peer).into_iter().flatten() {
            tell_gone(route, outbox);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

impl Broker {
    /// Ends a connection for a reason that lies outside of the packets.
    ///
    /// ```
    /// use onecopy::broker::PeerId;
    /// use onecopy::broker::protocol::Refusal;
    /// use onecopy::broker::state::{Broker, Output};
    /// use onecopy::broker::transport::Credentials;
    ///
    /// let mut broker = Broker::new(Credentials { pid: 1, uid: 1000 });
    /// broker.connect(PeerId(1), Credentials { pid: 2, uid: 1000 });
    /// // It has sent nothing for too long, say.
    /// broker.refuse(PeerId(1), Refusal::HelloMissing);
    /// assert!(matches!(broker.poll_output(), Some(Output::Disconnect { reason: Refusal::HelloMissing, .. })));
    /// assert!(broker.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refuse(&mut self, peer: PeerId, reason: Refusal) {
        if !self.peers.contains(peer) || self.evicted.contains(peer) {
            return;
        }
        self.outputs.push_back(Output::Disconnect { peer, reason });
        let Ok(node) = self.peers.node_of(peer) else { return self.handle_gone(peer) };
        let mut outbox = Outbox::default();
        let held = self.break_off(peer, node);
        self.evicted.insert(peer, held);
        self.lose_absent(node, &mut outbox);
        // Its seats in regions it keeps: whoever is told that one is empty may break a lock that it holds.
        let seats = self.shared.ports_of(node);
        for port in self.topics.ports_of(node) {
            self.untie(port, None, &mut outbox);
            self.services.close(port, &mut outbox);
            let held = self.topics.evict(port, &mut outbox);
            self.evicted.publisher_ended(port);
            self.evicted.insert(peer, held);
            if !seats.contains(&port) {
                self.quota.release(peer, port);
            }
        }
        self.forget_unawaited();
        // What a dataset's readers look at never changes, so nobody waits for them to let go.
        for port in self.datasets.ports_of(node) {
            self.datasets.close(port);
            if !seats.contains(&port) {
                self.quota.release(peer, port);
            }
        }
        self.deliver(outbox);
        self.forget_if_empty(peer, node);
        self.no_longer_expected(node);
    }

    /// What a refused peer says: it is heard only as far as it lets go of something.
    pub(super) fn let_go(&mut self, peer: PeerId, request: &Request) {
        let Ok(node) = self.peers.node_of(peer) else { return };
        let mut outbox = Outbox::default();
        match request {
            Request::Detach { route } => self.evicted.detach(peer, *route, &mut outbox),
            Request::Close { port } if port.node == node => {
                self.evicted.close(peer, *port, &mut outbox);
                self.shared.close(*port, &mut outbox);
                self.quota.release(peer, *port);
            }
            _ => return,
        }
        self.deliver(outbox);
        self.forget_if_empty(peer, node);
    }

    fn forget_if_empty(&mut self, peer: PeerId, node: NodeId) {
        if self.evicted.holds_nothing(peer) && self.shared.ports_of(node).is_empty() {
            self.handle_gone(peer);
        }
    }
}

fn tell_gone(route: Route, outbox: &mut Outbox) {
    outbox.tell(route.publisher.node, Event::SubscriberGone { route });
}
