//! Regions that several may write: the memory, and who takes part. A lock in that memory names the *seat* of its holder, so
//! all who take part are told of every seat that is taken or given up; what to do about it they decide themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use onecopy_memory::region::Seat;

use super::protocol::{Event, NodeId, OpenError, PortId};
use super::topics::{Descriptor, Outbox};
use crate::payload_type::PayloadType;

/// One region, for as long as anybody takes part in it.
#[derive(Debug, Default)]
pub(super) struct SharedRegion {
    pub(super) payload: Option<PayloadType>,
    pub(super) memory: Option<Descriptor>,
    pub(super) seats: BTreeMap<PortId, Seat>,
    /// It stays while nobody takes part in it.
    pub(super) kept: bool,
    /// How often each line of seats was given away: its next occupant must not be taken for the last.
    incarnations: BTreeMap<u32, u32>,
}

/// All of them, found by name or by one of their ports.
#[derive(Debug, Default)]
pub(super) struct SharedRegions {
    by_name: BTreeMap<Arc<str>, SharedRegion>,
    by_port: BTreeMap<PortId, Arc<str>>,
}

impl SharedRegion {
    /// Whether nobody takes part in it, and it is not kept.
    fn is_over(&self) -> bool {
        self.seats.is_empty() && !(self.kept && self.memory.is_some())
    }

    fn take_seat(&mut self, port: PortId) -> Option<Seat> {
        let taken: Vec<u32> = self.seats.values().map(|seat| seat.line()).collect();
        let line = (1..=Seat::SEATS_MAX).find(|line| !taken.contains(line))?;
        let incarnation = self.incarnations.entry(line).or_default();
        *incarnation = incarnation.wrapping_add(1);
        let seat = Seat::new(line, *incarnation)?;
        self.seats.insert(port, seat);
        Some(seat)
    }

    fn tell_memory(&self, port: PortId, outbox: &mut Outbox) {
        if let Some(memory) = &self.memory {
            outbox.tell_with(port.node, Event::SharedMemory { port }, memory);
        }
    }
}

impl SharedRegions {
    pub(super) fn open(
        &mut self,
        port: PortId,
        name: String,
        payload: Option<PayloadType>,
        pid_of: impl Fn(PortId) -> u32,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        if self.by_port.contains_key(&port) {
            return Err(OpenError::DuplicatePort { port });
        }
        let existing = self.by_name.get(name.as_str()).and_then(|region| region.payload.as_ref());
        if let (Some(existing), Some(requested)) = (existing, &payload)
            && existing != requested
        {
            let (existing, requested) = (Box::new(existing.clone()), Box::new(requested.clone()));
            return Err(OpenError::TypeMismatch { topic: name, existing, requested });
        }
        let name: Arc<str> = self
            .by_name
            .get_key_value(name.as_str())
            .map_or_else(|| name.into(), |(kept, _)| Arc::clone(kept));
        let region = self.by_name.entry(Arc::clone(&name)).or_default();
        let others: Vec<(PortId, Seat)> = region.seats.iter().map(|(port, seat)| (*port, *seat)).collect();
        let Some(seat) = region.take_seat(port) else {
            return Err(OpenError::NoSeat { region: name.to_string(), most: Seat::SEATS_MAX });
        };
        region.payload = region.payload.take().or(payload);
        for (other, their_seat) in others {
            let news = Event::SeatTaken { port: other, seat: seat.to_bits(), pid: pid_of(port) };
            outbox.tell(other.node, news);
            let news = Event::SeatTaken { port, seat: their_seat.to_bits(), pid: pid_of(other) };
            outbox.tell(port.node, news);
        }
        let (payload, has_memory) = (region.payload.clone(), region.memory.is_some());
        outbox.tell(port.node, Event::Seated { port, seat: seat.to_bits(), payload, has_memory });
        region.tell_memory(port, outbox);
        self.by_port.insert(port, name);
        Ok(())
    }

    /// Gives a region memory. Who comes too late is told of the memory that there is, like all others.
    pub(super) fn offer(&mut self, port: PortId, succeeds: bool, memory: Descriptor, outbox: &mut Outbox) {
        let Some(name) = self.by_port.get(&port) else { return };
        let Some(region) = self.by_name.get_mut(name) else { return };
        if region.memory.is_some() && !succeeds {
            return region.tell_memory(port, outbox);
        }
        region.memory = Some(memory);
        for port in region.seats.keys() {
            region.tell_memory(*port, outbox);
        }
    }

    /// Ends a port, and its region with the last one; a port that takes part in none is none of ours.
    pub(super) fn close(&mut self, port: PortId, outbox: &mut Outbox) {
        let Some(name) = self.by_port.remove(&port) else { return };
        let Some(region) = self.by_name.get_mut(&name) else { return };
        if let Some(seat) = region.seats.remove(&port) {
            for other in region.seats.keys() {
                outbox.tell(other.node, Event::SeatGone { port: *other, seat: seat.to_bits() });
            }
        }
        if region.is_over() {
            self.by_name.remove(&name);
        }
    }

    /// Keeps a region, or lets go of it; `false` if there is none.
    pub(super) fn keep(&mut self, name: &str, keep: bool) -> bool {
        let Some(region) = self.by_name.get_mut(name) else { return false };
        region.kept = keep;
        if region.is_over() {
            self.by_name.remove(name);
        }
        true
    }

    /// Every port that a node has open.
    pub(super) fn ports_of(&self, node: NodeId) -> Vec<PortId> {
        let all = PortId { node, serial: 0 }..=PortId { node, serial: u32::MAX };
        self.by_port.range(all).map(|(port, _)| *port).collect()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &SharedRegion)> {
        self.by_name.iter().map(|(name, region)| (&**name, region))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.by_port.is_empty()
    }

    pub(super) fn check_invariants(&self) {
        let mut ports = 0;
        for (name, region) in &self.by_name {
            assert!(!region.is_over(), "a region that nobody takes part in");
            let mut lines: Vec<u32> = region.seats.values().map(|seat| seat.line()).collect();
            lines.sort_unstable();
            assert!(lines.is_sorted_by(|one, next| one < next), "two on one seat of {name}");
            for port in region.seats.keys() {
                assert_eq!(self.by_port.get(port), Some(name), "port {port} leads to another region");
                ports += 1;
            }
        }
        assert_eq!(ports, self.by_port.len(), "a port without its region");
    }
}
