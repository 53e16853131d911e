//! What nodes open: whether they may, what it costs them, and the answer if they may not.

use super::descriptor::Descriptor;
use super::peers::PeerId;
use super::protocol::{Address, Event, OpenError, PortId, Request, Role, ServiceType};
use super::state::Broker;
use super::topics::{Key, NewPublisher, Outbox};
use crate::payload_type::PayloadType;

impl Broker {
    /// Opens a port, or tells why not.
    pub(super) fn open_or_tell(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) {
        let Some(port) = request.own_port() else { return };
        if let Err(error) = self.open(peer, request, descriptor, outbox) {
            outbox.tell(port.node, Event::OpenFailed { port, error });
        }
    }

    /// Opens a port, and charges its peer for it.
    fn open(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.check_request(peer, &request)?;
        let topic = self.charge_named(peer, &request)?;
        let (port, charge) = match (request, descriptor) {
            (Request::OpenPublisher { publisher: port, address, payload, delivery, history }, Some(ring)) => {
                let (key, from) = self.place(port, address)?;
                let charge = self.charge_publisher(peer, port.node, &key, &ring)?;
                let new = NewPublisher { port, key, from, payload, delivery, history, ring };
                let pids = |port: PortId| self.peers.pid_of(port.node);
                self.topics.open_publisher(new, &pids, outbox)?;
                (port, charge)
            }
            (Request::OpenSubscriber { subscriber: port, address, payload }, _) => {
                let key = match address {
                    Address::Topic(name) => Key::Topic(name.into()),
                    Address::Region { name, .. } => Key::Region(name.into()),
                    Address::Direct { to, .. } => return Err(OpenError::NoSuchPeer { port, peer: to }),
                };
                self.check_mode(&key)?;
                let charge = self.charge_subscriber(peer, port.node, &key)?;
                let pids = |port: PortId| self.peers.pid_of(port.node);
                self.topics.open_subscriber(port, key, payload, &pids, outbox)?;
                (port, charge)
            }
            (Request::OpenService { port, role, service, payload }, _) => {
                let charge = self.charge_correspondent(peer, port.node, &service)?;
                self.open_service(port, role, service, payload, outbox)?;
                (port, charge)
            }
            (Request::OpenShared { port, region, payload, .. }, _) => {
                let charge = self.charge_participant(peer, &region, None)?;
                self.open_shared(port, region, payload, outbox)?;
                (port, charge)
            }
            (Request::PublishDataset { port, dataset }, Some(memory)) => {
                let charge = self.charge_participant(peer, &dataset, Some(&memory))?;
                self.datasets.publish(port, dataset, memory, outbox)?;
                (port, charge)
            }
            (Request::OpenDataset { port, dataset, wait }, _) => {
                let charge = self.charge_participant(peer, &dataset, None)?;
                self.datasets.open(port, dataset, wait, outbox)?;
                (port, charge)
            }
            // Nothing else is opened, and a ring comes with its publisher.
            _ => return Ok(()),
        };
        self.quota.keep(peer, port, charge, topic);
        Ok(())
    }

    /// What a publisher would publish to, and as whom.
    fn place(&self, port: PortId, address: Address) -> Result<(Key, Option<PortId>), OpenError> {
        match address {
            Address::Topic(name) => Ok((Key::Topic(name.into()), None)),
            Address::Direct { to, from } => {
                if from.node == port.node && self.services.are_counterparts(from, to) {
                    Ok((Key::Direct(to), Some(from)))
                } else {
                    Err(OpenError::NoSuchPeer { port, peer: to })
                }
            }
            Address::Region { name, succeeds, follows } => {
                let key = Key::Region(name.into());
                self.check_mode(&key)?;
                let has_writer = |pid| OpenError::HasWriter { region: key.to_string(), pid };
                // What it goes on from may not be the last value any more, and what is there must not go back.
                if self.topics.has_value_after(&key, follows) {
                    return Err(has_writer(0));
                }
                let is_own = |writer: &PortId| succeeds == Some(*writer) && writer.node == port.node;
                let present = self.topics.writer_of(&key).filter(|writer| !is_own(writer));
                match self.topics.absent_writer_of(&key).or(present) {
                    Some(other) => Err(has_writer(self.pid_of(other.node))),
                    None => Ok((key, None)),
                }
            }
        }
    }

    fn open_service(
        &mut self,
        port: PortId,
        role: Role,
        service: String,
        payload: Option<ServiceType>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.services.check_open(port, &service, payload.as_ref())?;
        let incoming = payload.as_ref().map(|payload| payload.sent_to(role).clone());
        let pids = |port: PortId| self.peers.pid_of(port.node);
        self.topics.open_subscriber(port, Key::Direct(port), incoming, &pids, outbox)?;
        self.services.open(port, role, service, payload, &pids, outbox);
        Ok(())
    }

    /// Refuses a region with a single writer where there is one of that name for several.
    pub(super) fn check_mode(&self, key: &Key) -> Result<(), OpenError> {
        match key {
            Key::Region(name) if self.shared.has(name) => {
                Err(OpenError::ModeMismatch { region: name.to_string(), shared: true })
            }
            _ => Ok(()),
        }
    }

    fn open_shared(
        &mut self,
        port: PortId,
        region: String,
        payload: Option<PayloadType>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        if self.topics.has(&Key::Region(region.as_str().into())) {
            return Err(OpenError::ModeMismatch { region, shared: false });
        }
        let Self { peers, returning, shared, .. } = self;
        let pids = |port: PortId| returning.pid_of(port.node).unwrap_or_else(|| peers.pid_of(port.node));
        shared.open(port, region, payload, &pids, outbox)
    }
}
