//! Services by name: who asks and who answers, and what they exchange. Each client is introduced to each server; what
//! they then send each other directly are topics (see `topics.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::protocol::{Event, NodeId, OpenError, PortId, Role, ServiceType};
use super::topics::{Outbox, PidOf};

/// What is agreed on for a service, for as long as anybody has it open, and who has.
#[derive(Debug, Default)]
pub(super) struct Service {
    pub(super) payload: Option<ServiceType>,
    pub(super) clients: BTreeSet<PortId>,
    pub(super) servers: BTreeSet<PortId>,
}

impl Service {
    fn of_role(&mut self, role: Role) -> &mut BTreeSet<PortId> {
        match role {
            Role::Client => &mut self.clients,
            Role::Server => &mut self.servers,
        }
    }

    fn counterparts(&self, role: Role) -> &BTreeSet<PortId> {
        match role {
            Role::Client => &self.servers,
            Role::Server => &self.clients,
        }
    }
}

/// All services, found by name or by one of their ports.
#[derive(Debug, Default)]
pub(super) struct Services {
    by_name: BTreeMap<Arc<str>, Service>,
    by_port: BTreeMap<PortId, (Arc<str>, Role)>,
}

impl Services {
    /// Checks whether a client or server may come.
    pub(super) fn check_open(
        &self,
        port: PortId,
        name: &str,
        payload: Option<&ServiceType>,
    ) -> Result<(), OpenError> {
        if self.by_port.contains_key(&port) {
            return Err(OpenError::DuplicatePort { port });
        }
        let existing = self.by_name.get(name).and_then(|service| service.payload.as_ref());
        match (existing, payload) {
            (Some(existing), Some(requested)) if existing != requested => Err(OpenError::ServiceMismatch {
                service: name.to_owned(),
                existing: Box::new(existing.clone()),
                requested: Box::new(requested.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// Adds a client or server that [`Self::check_open`] found nothing against, and introduces it to its counterparts.
    pub(super) fn open(
        &mut self,
        port: PortId,
        role: Role,
        name: String,
        payload: Option<ServiceType>,
        pids: PidOf<'_>,
        outbox: &mut Outbox,
    ) {
        self.insert(port, role, name, payload);
        self.introduce(port, pids, |_, _| false, outbox);
    }

    /// Adds a client or server, and tells nobody.
    pub(super) fn insert(&mut self, port: PortId, role: Role, name: String, payload: Option<ServiceType>) {
        let name =
            self.by_name.get_key_value(&*name).map_or_else(|| Arc::from(name), |(kept, _)| Arc::clone(kept));
        let service = self.by_name.entry(Arc::clone(&name)).or_default();
        service.payload = service.payload.take().or(payload);
        service.of_role(role).insert(port);
        self.by_port.insert(port, (name, role));
    }

    /// Introduces a client or server and its counterparts to each other, except for those who say that they know.
    pub(super) fn introduce(
        &self,
        port: PortId,
        pids: PidOf<'_>,
        knows: impl Fn(PortId, PortId) -> bool,
        outbox: &mut Outbox,
    ) {
        let Some((name, role)) = self.by_port.get(&port) else { return };
        let Some(service) = self.by_name.get(name) else { return };
        // A server has types, so where there are two sides they are known.
        if let Some(payload) = &service.payload {
            for peer in service.counterparts(*role) {
                for (port, peer) in [(port, *peer), (*peer, port)] {
                    if !knows(port, peer) {
                        let event = Event::Met { port, peer, pid: pids(peer), payload: payload.clone() };
                        outbox.tell(port.node, event);
                    }
                }
            }
        }
        outbox.tell(port.node, Event::AllMet { port });
    }

    /// How many clients and servers of a service a node has.
    pub(super) fn ports_of_node(&self, name: &str, node: NodeId) -> usize {
        self.by_name.get(name).map_or(0, |service| {
            let sides = [&service.clients, &service.servers];
            sides.into_iter().map(|ports| ports.range(node.ports()).count()).sum()
        })
    }

    /// Whether the two were introduced, and both are still there.
    pub(super) fn are_counterparts(&self, one: PortId, other: PortId) -> bool {
        let service =
            |port| self.by_port.get(port).and_then(|(name, role)| Some((self.by_name.get(name)?, *role)));
        service(&one).is_some_and(|(service, role)| service.counterparts(role).contains(&other))
    }

    /// Ends a port, and its service with the last one; a port that is neither client nor server is none of ours.
    pub(super) fn close(&mut self, port: PortId, outbox: &mut Outbox) {
        let Some((name, role)) = self.by_port.remove(&port) else { return };
        let Some(service) = self.by_name.get_mut(&name) else { return };
        service.of_role(role).remove(&port);
        for peer in service.counterparts(role) {
            outbox.tell(peer.node, Event::Parted { port: *peer, peer: port });
        }
        if service.clients.is_empty() && service.servers.is_empty() {
            self.by_name.remove(&name);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Service)> {
        self.by_name.iter().map(|(name, service)| (&**name, service))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.by_port.is_empty()
    }

    pub(super) fn check_invariants(&self) {
        let mut ports = 0;
        for (name, service) in &self.by_name {
            let clients = service.clients.iter().map(|port| (port, Role::Client));
            let servers = service.servers.iter().map(|port| (port, Role::Server));
            for (port, role) in clients.chain(servers) {
                assert_eq!(self.by_port.get(port), Some(&(Arc::clone(name), role)), "{port} leads elsewhere");
                ports += 1;
            }
            assert!(ports > 0, "a service that nobody has open");
            assert!(service.servers.is_empty() || service.payload.is_some(), "servers of an unknown type");
        }
        assert_eq!(ports, self.by_port.len(), "a port without its service");
    }
}
