//! What ports cost: charges to the accounts of `quota.rs`, and who has to go when open files run out.

use rustix::fs::fstat;

use super::account::Charge;
use super::amounts::Amounts;
use super::descriptor::Descriptor;
use super::ids::{NodeId, PortId};
use super::peers::PeerId;
use super::protocol::{OpenError, Refusal, SegmentSet};
use super::resource::Resource;
use super::state::Broker;
use super::topics::Key;
use crate::limits;

impl Broker {
    pub(super) fn charge_publisher(
        &self,
        peer: PeerId,
        node: NodeId,
        key: &Key,
        ring: &Descriptor,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.topics.ports_on(key, node))?;
        let (_, subscribers) = self.topics.count(key);
        self.charge_port(peer, key.name_bytes(), subscribers, memory(ring))
    }

    pub(super) fn charge_subscriber(
        &self,
        peer: PeerId,
        node: NodeId,
        key: &Key,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.topics.ports_on(key, node))?;
        let (publishers, _) = self.topics.count(key);
        // What the last writer of a region leaves behind stays for its readers.
        let descriptors = u64::from(matches!(key, Key::Region(_)));
        self.charge_port(peer, key.name_bytes(), publishers, Amounts { descriptors, ..Amounts::default() })
    }

    /// A client or server.
    pub(super) fn charge_correspondent(
        &self,
        peer: PeerId,
        node: NodeId,
        service: &str,
    ) -> Result<Option<Charge>, OpenError> {
        check_name(self.services.ports_of_node(service, node))?;
        self.charge_port(peer, service.len(), 0, Amounts::default())
    }

    /// A participant of a region or a dataset, whose memory may be the one that it brings or outlives who brought it.
    pub(super) fn charge_participant(
        &self,
        peer: PeerId,
        region: &str,
        brought: Option<&Descriptor>,
    ) -> Result<Option<Charge>, OpenError> {
        let bytes = brought.map_or(0, |brought| memory(brought).memory);
        self.charge_port(
            peer,
            region.len(),
            0,
            Amounts { descriptors: 1, memory: bytes, ..Amounts::default() },
        )
    }

    /// A publisher's segment, in place of others. It is there already, so who did not reserve it and has no room for it
    /// can't stay.
    pub(super) fn charge_segment(
        &self,
        peer: PeerId,
        publisher: PortId,
        replaced: SegmentSet,
        segment: &Descriptor,
    ) -> Result<Option<Charge>, Refusal> {
        Ok(self.quota.charge_growth(peer, publisher, memory(segment), replaced)?)
    }

    /// Memory for a shared region, while that which the participant offered before is still there. Its
    /// descriptor was counted for the participant.
    pub(super) fn charge_offered(
        &self,
        peer: PeerId,
        port: PortId,
        offered: &Descriptor,
    ) -> Result<Option<Charge>, Refusal> {
        let amounts = Amounts { descriptors: 0, ..memory(offered) };
        Ok(self.quota.charge_growth(peer, port, amounts, SegmentSet::EMPTY)?)
    }

    /// Whether memory that this port gave to a region is counted.
    #[cfg(test)]
    pub(crate) fn counts_offered(&self, port: PortId) -> bool {
        self.quota.counts_offered(port)
    }

    /// One packet of an announcement, until it is complete.
    pub(super) fn charge_announcement(
        &self,
        peer: PeerId,
        has_descriptor: bool,
    ) -> Result<Option<Charge>, Refusal> {
        let (descriptors, bytes) = (u64::from(has_descriptor), limits::ROUTE_BYTES);
        Ok(self.quota.charge_port(peer, Amounts { descriptors, bytes, ..Amounts::default() })?)
    }

    fn charge_port(
        &self,
        peer: PeerId,
        name_bytes: usize,
        counterparts: usize,
        beside: Amounts,
    ) -> Result<Option<Charge>, OpenError> {
        let bytes = limits::PORT_BYTES + name_bytes as u64 + counterparts as u64 * limits::ROUTE_BYTES;
        Ok(self.quota.charge_port(peer, Amounts { ports: 1, bytes, ..beside })?)
    }

    /// Whether nobody has taken more of the broker's open files than this peer.
    pub fn is_largest_holder(&self, peer: PeerId) -> bool {
        self.quota.largest_holder().is_some_and(|(_, most)| self.quota.descriptors_of(peer) == most)
    }

    /// Lets go of the peer that has taken most of the broker's open files, when they have run out; `false` if none of
    /// them has taken much.
    ///
    /// ```
    /// use onecopy::broker::PeerId;
    /// use onecopy::broker::protocol::Refusal;
    /// use onecopy::broker::quota::Limits;
    /// use onecopy::broker::state::{Broker, Output};
    /// use onecopy::broker::transport::Credentials;
    ///
    /// let mut broker = Broker::with_limits(Credentials { pid: 1, uid: 1000 }, Limits::with_open_files(16));
    /// assert!(!broker.refuse_largest_holder(), "nobody is there");
    /// broker.connect(PeerId(1), Credentials { pid: 2, uid: 1000 });
    /// // Of so few files, one connection takes a lot.
    /// assert!(broker.is_largest_holder(PeerId(1)) && broker.refuse_largest_holder());
    /// let reason = Refusal::OutOfDescriptors;
    /// assert!(matches!(broker.poll_output(), Some(Output::Disconnect { reason: told, .. }) if told == reason));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refuse_largest_holder(&mut self) -> bool {
        match self.quota.largest_holder() {
            Some((peer, held)) if held >= self.quota.outsized_descriptors() => {
                self.refuse(peer, Refusal::OutOfDescriptors);
                true
            }
            _ => false,
        }
    }
}

fn check_name(ports: usize) -> Result<(), OpenError> {
    let limit = limits::PORTS_PER_PEER_AND_NAME_MAX;
    if (ports as u64) < limit {
        Ok(())
    } else {
        Err(OpenError::OverQuota { resource: Resource::PortsOfOneName, limit })
    }
}

/// A descriptor that the broker keeps, and the memory behind it at its full size, which is sealed: what its
/// owner says of it does not count. What is no memory, as in models of the broker, has none.
fn memory(descriptor: &Descriptor) -> Amounts {
    let bytes = fstat(descriptor).ok().and_then(|stat| u64::try_from(stat.st_size).ok());
    Amounts { descriptors: 1, memory: bytes.unwrap_or(0), ..Amounts::default() }
}
