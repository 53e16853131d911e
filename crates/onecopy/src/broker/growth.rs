//! Memory of ports that are open already. Who asks first is told whether there is room; what comes without room costs
//! the node, for others may be looking at it already.

use super::descriptor::Descriptor;
use super::ids::{NodeId, PortId};
use super::peers::PeerId;
use super::protocol::{Event, Refusal, SegmentSet};
use super::state::Broker;
use super::topics::Outbox;

impl Broker {
    /// Counts what a port of `node` is about to grow by, or tells why not.
    pub(super) fn reserve_or_tell(
        &mut self,
        (peer, node): (PeerId, NodeId),
        request: u32,
        (port, bytes, replaced): (PortId, u64, SegmentSet),
        outbox: &mut Outbox,
    ) {
        let refused = self.quota.reserve(peer, port, bytes, replaced).err().map(Into::into);
        outbox.tell(node, Event::Reserved { request, refused });
    }

    /// A publisher's memory has grown by a segment, in place of others.
    pub(super) fn add_segment(
        &mut self,
        peer: PeerId,
        publisher: PortId,
        (index, replaced): (u32, SegmentSet),
        segment: &Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        let charge = self.charge_segment(peer, publisher, replaced, segment)?;
        self.topics.add_segment(publisher, index, replaced, segment, outbox)?;
        self.quota.keep_segment(peer, publisher, (index, replaced), charge);
        Ok(())
    }

    /// A participant brings memory for its region.
    pub(super) fn offer_shared(
        &mut self,
        peer: PeerId,
        port: PortId,
        succeeds: bool,
        memory: Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), Refusal> {
        if self.shared.takes_memory(port, succeeds) {
            let charge = self.charge_offered(peer, port, &memory)?;
            self.quota.keep_offered(peer, port, charge);
        }
        self.shared.offer(port, succeeds, memory, outbox);
        Ok(())
    }
}
