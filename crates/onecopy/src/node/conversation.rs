//! What a node says to whichever broker there is, and its ledger: what is said changes the ledger first, so
//! that nothing is lost when the broker ends.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ledger::{Knowledge, Ledger};
use super::outbox::Outbox;
use crate::broker::protocol::Request;
use crate::broker::transport::{PacketSocket, TransportError};
use crate::broker::version_of;
use crate::instance::{Presence, Welcome};

#[derive(Debug)]
pub(super) struct Conversation {
    ledger: Mutex<Ledger>,
    pub(super) outbox: Outbox,
    /// The broker of the moment bounds what this node's user may have.
    limited: AtomicBool,
    /// The process of that broker.
    broker_pid: AtomicU32,
}

impl Conversation {
    pub(super) fn new(outbox: Outbox, Welcome { limited, broker_pid, .. }: Welcome) -> Self {
        let (limited, broker_pid) = (AtomicBool::new(limited), AtomicU32::new(broker_pid));
        Self { ledger: Mutex::default(), outbox, limited, broker_pid }
    }

    pub(super) fn broker_pid(&self) -> u32 {
        // For people, who learn of it later than of anything else.
        self.broker_pid.load(Ordering::Relaxed)
    }

    /// Whether memory has to be reserved before it is shown.
    pub(super) fn is_limited(&self) -> bool {
        // Nothing hangs on when exactly a node learns of it: what it shows meanwhile, it shows as one that comes back.
        self.limited.load(Ordering::Relaxed)
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes something, and tells the broker. No other broker is told anything in between.
    pub(super) fn say(
        &self,
        note: impl FnOnce(&mut Ledger),
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), TransportError> {
        // A child made by `fork` has a copy of the ledger, locked for ever if somebody had it locked.
        if self.outbox.is_forked() {
            return Err(TransportError::Closed);
        }
        let mut ledger = self.ledger();
        note(&mut ledger);
        self.outbox.send(request, descriptor)
    }

    /// The same where nobody waits for a failure: the node is ending then, or was refused.
    pub(super) fn say_or_log(
        &self,
        note: impl FnOnce(&mut Ledger),
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) {
        if let Err(error) = self.say(note, request, descriptor) {
            tracing::debug!(?request, %error, "request not sent");
        }
    }

    /// Goes on with another broker: everything is announced to it. `false` if the node is ending.
    pub(super) fn go_on(
        &self,
        socket: &Arc<PacketSocket>,
        questions: Vec<Request>,
        (before, now): (Welcome, Welcome),
        presence: &Presence,
    ) -> bool {
        let mut ledger = self.ledger();
        self.limited.store(now.limited, Ordering::Relaxed);
        self.broker_pid.store(now.broker_pid, Ordering::Relaxed);
        let knowledge = Knowledge {
            is_there: &|node| presence.sees(node),
            version_of: &|memory| version_of(memory).unwrap_or(0),
            pids_hold: before.pid_namespace == now.pid_namespace && now.pid_namespace != 0,
        };
        self.outbox.go_up(socket, ledger.announcement(&knowledge), questions)
    }
}
