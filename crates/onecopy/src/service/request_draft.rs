//! A request being written, in memory of the ring to the server that is going to get it.

use std::marker::PhantomData;
use std::sync::Mutex;

use super::error::CallError;
use super::exchange::{Exchange, Order};
use super::header::RequestHeader;
use super::link::lock;
use super::outgoing::Outgoing;
use crate::broker::protocol::PortId;
use crate::payload::Payload;

/// Dropped without [`RequestDraft::send`], it was never there.
pub(super) struct RequestDraft<'c, Req: Payload + ?Sized> {
    pub(super) exchange: &'c Mutex<Exchange>,
    pub(super) server: PortId,
    outgoing: Option<Outgoing>,
    payload: PhantomData<fn() -> Box<Req>>,
}

impl<'c, Req: Payload + ?Sized> RequestDraft<'c, Req> {
    pub(super) fn take(exchange: &'c Mutex<Exchange>, bytes: usize) -> Result<Self, CallError> {
        let mut opened = lock(exchange);
        opened.prepare_call()?;
        let index = opened.choose().ok_or(CallError::NoServer)?;
        let link = opened.link(index);
        let outgoing = Outgoing::take::<Req, RequestHeader>(&mut link.sender, bytes)?;
        Ok(Self { exchange, server: link.peer, outgoing: Some(outgoing), payload: PhantomData })
    }

    /// Hands it to the server, and returns the call's number. Leaves it as it is if there is no room.
    pub(super) fn send(&mut self, order: Order) -> Result<u64, CallError> {
        let mut exchange = lock(self.exchange);
        let index = exchange.link_to(self.server).ok_or(CallError::NoServer)?;
        let link = exchange.link(index);
        if link.parted {
            return Err(CallError::NoServer);
        }
        // Other loans of this client may have been sent since there was room for this one.
        link.sender.check_room(1)?;
        let payload = self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default();
        let header = exchange.begin(index, order, payload)?;
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.publish(&mut exchange.link(index).sender, &header);
        }
        Ok(header.id)
    }

    pub(super) fn payload(&self) -> &Req {
        let bytes = self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default();
        Req::from_bytes(bytes).expect("a loan has the payload's length and alignment")
    }

    pub(super) fn payload_mut(&mut self) -> &mut Req {
        let bytes = self.outgoing.as_mut().map(Outgoing::payload_mut).unwrap_or_default();
        Req::from_bytes_mut(bytes).expect("a loan has the payload's length and alignment")
    }
}

impl<Req: Payload + ?Sized> Drop for RequestDraft<'_, Req> {
    fn drop(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let mut exchange = lock(self.exchange);
        if let Some(index) = exchange.link_to(self.server) {
            outgoing.discard(&mut exchange.link(index).sender);
            // Its memory is free again, and no server tells of that.
            #[cfg(feature = "tokio")]
            exchange.for_space.wake_all();
        }
    }
}
