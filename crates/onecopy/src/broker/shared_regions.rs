//! Regions that several may write: the memory, and who takes part. A lock in that memory names the *seat* of
//! its holder, so all who take part are told of every seat that is taken or given up; what to do about it
//! they decide themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use onecopy_memory::region::Seat;

use super::descriptor::{Descriptor, is_same_file};
use super::protocol::{Event, NodeId, OpenError, PortId};
use super::topics::{Outbox, PidOf};
use crate::limits::INCARNATIONS_SKIPPED;
use crate::payload_type::PayloadType;

/// One region, for as long as anybody takes part in it.
#[derive(Debug, Default)]
pub(super) struct SharedRegion {
    pub(super) payload: Option<PayloadType>,
    pub(super) memory: Option<Descriptor>,
    pub(super) seats: BTreeMap<PortId, Seat>,
    /// It stays while nobody takes part in it.
    pub(super) kept: bool,
    /// How often a seat was given away: the next occupant of a line must not be taken for the last.
    incarnation: u32,
    /// The version of the memory's value as somebody came back with it; the latest of all, if it was offered since.
    memory_version: u64,
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
        self.incarnation = self.incarnation.wrapping_add(1);
        let seat = Seat::new(line, self.incarnation)?;
        self.seats.insert(port, seat);
        Some(seat)
    }

    fn take_memory(&mut self, memory: Descriptor, version: u64, outbox: &mut Outbox) {
        (self.memory, self.memory_version) = (Some(memory), version);
        self.seats.keys().for_each(|port| self.tell_memory(*port, outbox));
    }

    fn tell_seat(&self, to: PortId, of: PortId, pids: PidOf<'_>, outbox: &mut Outbox) {
        if let Some(seat) = self.seats.get(&of) {
            let event = Event::SeatTaken { port: to, other: of, seat: seat.to_bits(), pid: pids(of) };
            outbox.tell(to.node, event);
        }
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
        pids: PidOf<'_>,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        self.check_open(port, &name, payload.as_ref())?;
        let name = self.kept_name(&name);
        let region = self.by_name.entry(Arc::clone(&name)).or_default();
        let others: Vec<PortId> = region.seats.keys().copied().collect();
        let Some(seat) = region.take_seat(port) else {
            return Err(OpenError::NoSeat { region: name.to_string(), most: Seat::SEATS_MAX });
        };
        region.payload = region.payload.take().or(payload);
        for other in others {
            region.tell_seat(other, port, pids, outbox);
            region.tell_seat(port, other, pids, outbox);
        }
        let (payload, has_memory) = (region.payload.clone(), region.memory.is_some());
        outbox.tell(port.node, Event::Seated { port, seat: seat.to_bits(), payload, has_memory });
        region.tell_memory(port, outbox);
        if region.kept {
            outbox.tell(port.node, Event::KeepChanged { port, kept: true });
        }
        self.by_port.insert(port, name);
        Ok(())
    }

    /// Checks whether somebody may take part.
    pub(super) fn check_open(
        &self,
        port: PortId,
        name: &str,
        payload: Option<&PayloadType>,
    ) -> Result<(), OpenError> {
        if self.by_port.contains_key(&port) {
            return Err(OpenError::DuplicatePort { port });
        }
        let existing = self.by_name.get(name).and_then(|region| region.payload.as_ref());
        match (existing, payload) {
            (Some(existing), Some(requested)) if existing != requested => Err(OpenError::TypeMismatch {
                topic: name.to_owned(),
                existing: Box::new(existing.clone()),
                requested: Box::new(requested.clone()),
            }),
            _ => Ok(()),
        }
    }

    /// Whether a region's value is something else.
    pub(super) fn has_other_payload(&self, name: &str, payload: Option<&PayloadType>) -> bool {
        let existing = self.by_name.get(name).and_then(|region| region.payload.as_ref());
        matches!((existing, payload), (Some(existing), Some(requested)) if existing != requested)
    }

    fn kept_name(&self, name: &str) -> Arc<str> {
        self.by_name.get_key_value(name).map_or_else(|| name.into(), |(kept, _)| Arc::clone(kept))
    }

    /// Somebody comes back to the seat it had, which others may have said is taken; `false` if that can't be. Nobody is
    /// told.
    pub(super) fn reseat(
        &mut self,
        port: PortId,
        name: &str,
        payload: Option<PayloadType>,
        seat: Seat,
    ) -> bool {
        match self.by_port.get(&port) {
            Some(reserved) if **reserved != *name => return false,
            _ => {}
        }
        let name = self.kept_name(name);
        let region = self.by_name.entry(Arc::clone(&name)).or_default();
        let is_others =
            |(occupant, other): (&PortId, &Seat)| *occupant != port && other.line() == seat.line();
        if region.seats.iter().any(is_others) || region.seats.get(&port).is_some_and(|had| *had != seat) {
            return false;
        }
        region.payload = region.payload.take().or(payload);
        region.seats.insert(port, seat);
        // What comes later can't be taken for what the last broker had seated, and nobody here has heard of.
        region.incarnation = region.incarnation.max(seat.incarnation().wrapping_add(INCARNATIONS_SKIPPED));
        self.by_port.insert(port, name);
        true
    }

    /// Somebody says that `other` has a seat in the region of `port`: it is kept until `other` has come or ended.
    pub(super) fn reserve(&mut self, port: PortId, other: PortId, seat: Seat) {
        let Some(name) = self.by_port.get(&port).cloned() else { return };
        self.reseat(other, &name, None, seat);
    }

    /// Tells all who take part in the region of `port` of each other, as far as `port` is concerned, and of the memory.
    pub(super) fn tell_returned(&self, port: PortId, pids: PidOf<'_>, outbox: &mut Outbox) {
        let Some(region) = self.by_port.get(&port).and_then(|name| self.by_name.get(name)) else { return };
        for other in region.seats.keys().filter(|other| **other != port) {
            region.tell_seat(*other, port, pids, outbox);
            region.tell_seat(port, *other, pids, outbox);
        }
        region.tell_memory(port, outbox);
    }

    /// The seat of a port.
    pub(super) fn seat_of(&self, port: PortId) -> Option<Seat> {
        self.by_name.get(self.by_port.get(&port)?)?.seats.get(&port).copied()
    }

    /// Whether memory that is offered would become the region's.
    pub(super) fn takes_memory(&self, port: PortId, succeeds: bool) -> bool {
        let region = self.by_port.get(&port).and_then(|name| self.by_name.get(name));
        region.is_some_and(|region| region.memory.is_none() || succeeds)
    }

    /// Gives a region memory. Who comes too late is told of the memory that there is, like all others.
    pub(super) fn offer(&mut self, port: PortId, succeeds: bool, memory: Descriptor, outbox: &mut Outbox) {
        let Some(name) = self.by_port.get(&port) else { return };
        let Some(region) = self.by_name.get_mut(name) else { return };
        if region.memory.is_some() && !succeeds {
            return region.tell_memory(port, outbox);
        }
        region.take_memory(memory, u64::MAX, outbox);
    }

    /// A memory that somebody comes back with: it goes on if its value is the latest that there is. Whether it
    /// is the region's now.
    pub(super) fn offer_again(
        &mut self,
        port: PortId,
        version: u64,
        memory: Descriptor,
        outbox: &mut Outbox,
    ) -> bool {
        let Some(name) = self.by_port.get(&port) else { return false };
        let Some(region) = self.by_name.get_mut(name) else { return false };
        if region.memory.is_none() || version > region.memory_version {
            region.take_memory(memory, version, outbox);
            return true;
        }
        region.memory.as_ref().is_some_and(|known| is_same_file(known, &memory))
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

    /// Keeps a region that another broker kept.
    pub(super) fn inherit(&mut self, name: &str, payload: Option<PayloadType>, memory: Descriptor) {
        let region = self.by_name.entry(name.into()).or_default();
        (region.payload, region.memory, region.kept) = (payload, Some(memory), true);
        region.incarnation = INCARNATIONS_SKIPPED;
    }

    /// Keeps a region, or lets go of it; `false` if there is none.
    pub(super) fn keep(&mut self, name: &str, keep: bool, outbox: &mut Outbox) -> bool {
        let Some(region) = self.by_name.get_mut(name) else { return false };
        region.kept = keep;
        for port in region.seats.keys() {
            outbox.tell(port.node, Event::KeepChanged { port: *port, kept: keep });
        }
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
