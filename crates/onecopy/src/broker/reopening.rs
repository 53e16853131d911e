//! The ports of a node that comes back, opened once more: nobody is told, and what does not fit any more
//! costs the node.

use std::sync::Arc;

use super::account::Charge;
use super::datasets::Part;
use super::descriptor::Descriptor;
use super::peers::PeerId;
use super::protocol::{Address, OpenError, PortId, Refusal, Request, Role, SegmentSet};
use super::quota::Kept;
use super::state::Broker;
use super::topics::{Key, NewPublisher};
use crate::payload_type::PayloadType;

impl Broker {
    /// Opens one port of a returning node. What has to wait for the others is put into `later`.
    pub(super) fn reopen(
        &mut self,
        peer: PeerId,
        request: Request,
        descriptor: Option<Descriptor>,
        later: &mut Vec<(Request, Option<Descriptor>)>,
    ) -> Result<(), Refusal> {
        // Of what is kept every node that has it open was told, also those who may not ask for it.
        let is_kept = matches!(request, Request::Keep { .. } | Request::KeepDataset { .. });
        match self.check_request(peer, &request) {
            Err(_) if is_kept => return Ok(()),
            // The rules may be others than when it was opened.
            checked => checked?,
        }
        let topic = self.charge_named(peer, &request)?;
        match (request, descriptor) {
            (Request::OpenPublisher { publisher: port, address, payload, delivery, history }, Some(ring)) => {
                let (key, from) = match address {
                    Address::Topic(name) => (Key::Topic(name.into()), None),
                    Address::Direct { to, from } => (Key::Direct(to), Some(from)),
                    Address::Region { name, .. } => (Key::Region(name.into()), None),
                };
                let is_foreign = from.is_some_and(|from| from.node != port.node);
                let has_writer = matches!(key, Key::Region(_))
                    && self.topics.writer_of(&key).is_some_and(|writer| writer.node != port.node);
                if is_foreign || has_writer || self.check_mode(&key).is_err() {
                    return Err(superseded(&key.to_string()));
                }
                let charge = self.charge_publisher(peer, port.node, &key, &ring).map_err(refusal)?;
                let new = NewPublisher { port, key, from, payload, delivery, history, ring };
                self.topics.insert_publisher(new).map_err(refusal)?;
                self.quota.keep(peer, port, charge, topic);
            }
            (Request::AddSegment { publisher, index, .. }, Some(segment)) => {
                let charge = self.charge_segment(peer, publisher, SegmentSet::EMPTY, &segment)?;
                self.topics.insert_segment(publisher, index, segment)?;
                self.quota.keep_segment(peer, publisher, (index, SegmentSet::EMPTY), charge);
            }
            (Request::OpenSubscriber { subscriber: port, address, payload }, _) => {
                let key = match address {
                    Address::Topic(name) => Key::Topic(name.into()),
                    Address::Region { name, .. } => Key::Region(name.into()),
                    Address::Direct { .. } => return Err(Refusal::WrongRole { port }),
                };
                self.check_mode(&key).map_err(refusal)?;
                let charge = self.charge_subscriber(peer, port.node, &key).map_err(refusal)?;
                self.topics.insert_subscriber(port, key, payload).map_err(refusal)?;
                self.quota.keep(peer, port, charge, topic);
            }
            (Request::OpenService { port, role, service, payload }, _) => {
                if role == Role::Server && payload.is_none() {
                    return Err(Refusal::WrongRole { port });
                }
                let charge = self.charge_correspondent(peer, port.node, &service).map_err(refusal)?;
                self.services.check_open(port, &service, payload.as_ref()).map_err(refusal)?;
                let incoming = payload.as_ref().map(|payload| payload.sent_to(role).clone());
                self.topics.insert_subscriber(port, Key::Direct(port), incoming).map_err(refusal)?;
                self.services.insert(port, role, service, payload);
                self.quota.keep(peer, port, charge, topic);
            }
            (Request::OpenShared { port, region, payload, seat: Some(seat) }, _) => {
                self.rejoin_shared(peer, port, (&region, payload, seat), topic)?;
            }
            // Whoever says so has it counted. Who does not is believed as well: others have it open just so.
            (request @ Request::OfferShared { port, brought: true, .. }, Some(memory)) => {
                let charge = self.charge_offered(peer, port, &memory)?;
                self.quota.keep_offered(peer, port, charge);
                later.push((request, Some(memory)));
            }
            (request @ Request::ReopenDataset { .. }, memory) => {
                self.rejoin_dataset(peer, &request, memory.as_ref(), topic)?;
                later.push((request, memory));
            }
            (
                request @ (Request::Keep { keep: true, .. } | Request::KeepDataset { keep: true, .. }),
                None,
            ) => {
                later.extend(self.may_keep_on(peer, &request).then_some((request, None)));
            }
            (request, descriptor) => later.push((request, descriptor)),
        }
        Ok(())
    }

    /// A participant of a region that several write.
    fn rejoin_shared(
        &mut self,
        peer: PeerId,
        port: PortId,
        (region, payload, seat): (&str, Option<PayloadType>, u32),
        topic: Option<Arc<Charge>>,
    ) -> Result<(), Refusal> {
        let charge = self.charge_participant(peer, region, None).map_err(refusal)?;
        let seat = onecopy_memory::region::Seat::from_bits(seat);
        let is_single = self.topics.has(&Key::Region(region.into()));
        let is_other = self.shared.has_other_payload(region, payload.as_ref());
        if is_single || is_other || !seat.is_some_and(|seat| self.shared.reseat(port, region, payload, seat))
        {
            return Err(superseded(region));
        }
        self.quota.keep(peer, port, charge, topic);
        Ok(())
    }

    /// Whether this broker goes on keeping something, which counts to the user of the first who asks for it.
    fn may_keep_on(&mut self, peer: PeerId, request: &Request) -> bool {
        let kept = match request {
            Request::Keep { region, .. } => Kept::Region(region.clone()),
            Request::KeepDataset { dataset, .. } => Kept::Dataset(dataset.clone()),
            _ => return false,
        };
        self.keeps_regions && self.quota.keep_alive(peer, &kept).is_ok()
    }

    fn rejoin_dataset(
        &mut self,
        peer: PeerId,
        request: &Request,
        memory: Option<&Descriptor>,
        topic: Option<Arc<Charge>>,
    ) -> Result<(), Refusal> {
        let Request::ReopenDataset { port, dataset, publishes, .. } = request else { return Ok(()) };
        let charge =
            self.charge_participant(peer, dataset, memory.filter(|_| *publishes)).map_err(refusal)?;
        let part = if *publishes { Part::Publisher } else { Part::Viewer };
        self.datasets.join(*port, dataset, part).map_err(refusal)?;
        self.quota.keep(peer, *port, charge, topic);
        Ok(())
    }
}

fn superseded(name: &str) -> Refusal {
    Refusal::Superseded { name: name.to_owned() }
}

/// Why a node can't come back, where at first it would have been an error of one port.
fn refusal(error: OpenError) -> Refusal {
    match error {
        OpenError::TypeMismatch { topic: name, .. }
        | OpenError::DeliveryMismatch { topic: name, .. }
        | OpenError::ServiceMismatch { service: name, .. }
        | OpenError::HasWriter { region: name, .. }
        | OpenError::ModeMismatch { region: name, .. }
        | OpenError::NoSeat { region: name, .. } => superseded(&name),
        OpenError::OverQuota { resource, limit } => Refusal::OverQuota { resource, limit },
        OpenError::OverUserQuota(quota) => Refusal::OverUserQuota(quota),
        OpenError::Denied(denied) => Refusal::Denied(denied),
        OpenError::OutOfDescriptors { .. } => Refusal::OutOfDescriptors,
        OpenError::NoDataset { dataset: name } => superseded(&name),
        OpenError::NoSuchPeer { .. } | OpenError::DuplicatePort { .. } => superseded("?"),
    }
}
