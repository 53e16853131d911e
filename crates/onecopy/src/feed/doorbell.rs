//! A publisher's doorbell, at the subscriber that it wakes: handed out over the broker, taken back when nobody can ring it.

use std::os::fd::AsFd;

use onecopy_memory::wait::Doorbell;

use super::{Announced, Feed};
use crate::broker::protocol::{PortId, Route};
use crate::broker::transport::TransportError;
use crate::error::WaitError;
use crate::node::handle::NodeHandle;
use crate::readiness::Readiness;

/// Doorbells that one publisher is sent. One gets lost with a broker that ends, at most two in a row: the one that it was
/// about to pass on, and the one in its socket.
pub(super) const DOORBELLS_MAX: u8 = 3;

impl Feed {
    pub(super) fn wants_doorbell(&self) -> bool {
        !self.gone && matches!(self.announced, Announced::Nothing | Announced::Futex)
    }

    /// Sends the publisher a doorbell, unless it has one.
    pub(super) fn hand_out_doorbell(
        &mut self,
        node: &NodeHandle,
        port: PortId,
        readiness: &Readiness,
    ) -> Result<(), WaitError> {
        if !self.wants_doorbell() {
            return Ok(());
        }
        let (doorbell, ringer) = Doorbell::pair()?;
        let route = Route { publisher: self.publisher, subscriber: port };
        node.send_doorbell(route, ringer).map_err(|error| match error {
            TransportError::Closed => WaitError::NoDoorbell,
            error => error.into(),
        })?;
        readiness.add(doorbell.as_fd())?;
        self.doorbell = Some(doorbell);
        self.announced = Announced::Doorbell;
        self.has_rung = false;
        self.doorbells_left = self.doorbells_left.saturating_sub(1);
        Ok(())
    }

    /// Takes back what the publisher rang. A doorbell that nobody can ring any more stays readable for ever, and would
    /// keep everybody awake who waits for it.
    pub(super) fn listen(&mut self, readiness: &Readiness) {
        let Some(doorbell) = &self.doorbell else { return };
        let heard = doorbell.listen();
        self.has_rung |= heard.rung;
        if heard.is_broken {
            self.take_down_doorbell(readiness);
            // One that never rang got lost on its way. One that did was the publisher's to close.
            let is_lost = !self.has_rung && self.doorbells_left > 0;
            self.announced = if is_lost { Announced::Nothing } else { Announced::NoMore };
        }
    }

    pub(super) fn take_down_doorbell(&mut self, readiness: &Readiness) {
        if let Some(doorbell) = self.doorbell.take() {
            readiness.remove(doorbell.as_fd());
        }
    }
}
