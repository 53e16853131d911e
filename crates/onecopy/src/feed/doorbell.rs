//! A publisher's doorbell, at the subscriber that it wakes: handed out over the broker, taken back when
//! nobody can ring it.

use std::os::fd::AsFd;

use onecopy_memory::wait::Doorbell;

use crate::broker::protocol::Route;
use crate::broker::transport::TransportError;
use crate::error::WaitError;
use crate::node::handle::NodeHandle;
use crate::readiness::Readiness;

/// Doorbells that one publisher is sent. One gets lost with a broker that ends, at most two in a row: the one
/// that it was about to pass on, and the one in its socket.
const DOORBELLS_MAX: u8 = 3;

/// How one publisher wakes its subscriber.
#[derive(Debug)]
pub(crate) struct PublisherBell {
    announced: Announced,
    doorbell: Option<Doorbell>,
    /// The doorbell was rung once, as every publisher does when it gets one: so it got there.
    has_rung: bool,
    /// How many more doorbells it may have.
    doorbells_left: u8,
}

/// What the publisher knows of how this reader sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Announced {
    Nothing,
    Futex,
    /// It was sent the other half of the doorbell, which may have got lost on its way.
    Doorbell,
    /// It has closed its doorbells, because it ends or is broken. It is looked at whenever somebody looks.
    NoMore,
}

impl Default for PublisherBell {
    fn default() -> Self {
        Self { announced: Announced::Nothing, doorbell: None, has_rung: false, doorbells_left: DOORBELLS_MAX }
    }
}

impl PublisherBell {
    /// Whether the publisher has no doorbell, and could be sent one.
    #[inline]
    pub(super) fn is_wanted(&self) -> bool {
        matches!(self.announced, Announced::Nothing | Announced::Futex)
    }

    /// Sends the publisher a doorbell.
    pub(super) fn hand_out(
        &mut self,
        node: &NodeHandle,
        route: Route,
        readiness: &Readiness,
    ) -> Result<(), WaitError> {
        let (doorbell, ringer) = Doorbell::pair()?;
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

    /// Tells the publisher that its subscriber may sleep on a futex, unless it knows of some sleep already.
    pub(super) fn announce_futex(&mut self, node: &NodeHandle, route: Route) -> Result<(), WaitError> {
        if self.announced == Announced::Nothing {
            node.may_sleep(route, None)?;
            self.announced = Announced::Futex;
        }
        Ok(())
    }

    /// Takes back what the publisher rang. A doorbell that nobody can ring any more stays readable for ever, and would
    /// keep everybody awake who waits for it.
    pub(crate) fn listen(&mut self, readiness: &Readiness) {
        let Some(doorbell) = &self.doorbell else { return };
        let heard = doorbell.listen();
        self.has_rung |= heard.rung;
        if heard.is_broken {
            self.take_down(readiness);
            // One that never rang got lost on its way. One that did was the publisher's to close.
            let is_lost = !self.has_rung && self.doorbells_left > 0;
            self.announced = if is_lost { Announced::Nothing } else { Announced::NoMore };
        }
    }

    pub(crate) fn take_down(&mut self, readiness: &Readiness) {
        if let Some(doorbell) = self.doorbell.take() {
            readiness.remove(doorbell.as_fd());
        }
    }
}
