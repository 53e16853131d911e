//! A node's connection to its broker, whichever that is, and what hangs on it. Shared between the user's threads, which
//! open and close ports, and the control thread, which learns what others do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use onecopy_memory::hold::ReaderTable;
use onecopy_memory::scheduling::Preference;

use super::conversation::Conversation;
use super::datasets::end_news;
use super::inspection::Inspections;
use super::ledger::Ledger;
use super::outbox::Outbox;
use super::ports::{
    Connection, Opening, Ports, PublisherPort, Seated, SharedPort, SubscriberPort, reader_key,
};
use crate::broker::protocol::{NodeId, PortId, Request, Route};
use crate::broker::server::ServerThread;
use crate::broker::transport::TransportError;
use crate::error::OpenError;
use crate::inbox::News;
use crate::instance::Welcome;
use crate::limits;

#[derive(Debug)]
pub(crate) struct Session {
    pub(super) node: NodeId,
    pub(super) conversation: Arc<Conversation>,
    /// State of all readers of this process.
    pub(super) table: Arc<ReaderTable>,
    pub(super) inspections: Inspections,
    ports: Mutex<Ports>,
    /// The opening of some port has moved on.
    opening_moved: Condvar,
    /// The broker, if this node runs it.
    server: Mutex<Option<ServerThread>>,
}

impl Session {
    pub(super) fn new(node: NodeId, outbox: Outbox, welcome: Welcome, table: Arc<ReaderTable>) -> Self {
        let (inspections, ports, opening_moved, server) = Default::default();
        let conversation = Arc::new(Conversation::new(outbox, welcome));
        Self { node, conversation, table, inspections, ports, opening_moved, server }
    }

    /// Shows the broker the node's reader state, for those who look from outside. That one which is gone does
    /// not take it is no reason not to be a node: the next one is shown it as well.
    pub(super) fn show_readers(&self) {
        self.conversation.say_or_log(|_| (), &Request::ShowReaders, Some(self.table.descriptor()));
    }

    /// This process has become the broker.
    pub(super) fn keep_server(&self, server: Option<ServerThread>) {
        let before = std::mem::replace(&mut *self.server(), server);
        // Not while it is locked: it may take a moment to end.
        drop(before);
    }

    pub(super) fn server(&self) -> MutexGuard<'_, Option<ServerThread>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node is ending, or was refused: it does not look for another broker.
    pub(super) fn is_over(&self) -> bool {
        let ports = self.ports();
        ports.closing || !matches!(ports.connection, Connection::Up)
    }

    pub(super) fn detach(&self, route: Route) {
        self.conversation.say_or_log(|ledger| ledger.detach(route), &Request::Detach { route }, None);
    }

    pub(super) fn ports(&self) -> MutexGuard<'_, Ports> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn new_port(&self) -> PortId {
        PortId { node: self.node, serial: self.ports().next_serial() }
    }

    /// Announces a publisher and waits until the subscribers that were there have attached.
    pub(super) fn open_publisher(
        &self,
        port: PortId,
        publisher: PublisherPort,
        request: &Request,
        ring: Arc<OwnedFd>,
    ) -> Result<(), OpenError> {
        self.ports().publishers.insert(port, publisher);
        let note = |ledger: &mut Ledger| ledger.open_publisher(port, request.clone(), Arc::clone(&ring));
        let opened = self.open(port, note, request, Some(ring.as_fd()));
        if opened.is_err() {
            self.ports().publishers.remove(&port);
        }
        opened.map(drop)
    }

    /// Announces a subscriber and waits until the publishers that were there have attached it; `false` if one
    /// of them takes too long.
    pub(super) fn open_subscriber(
        &self,
        port: PortId,
        subscriber: SubscriberPort,
        request: &Request,
    ) -> Result<bool, OpenError> {
        self.ports().subscribers.insert(port, subscriber);
        let note = |ledger: &mut Ledger| ledger.open_subscriber(port, request.clone());
        let opened = self.open(port, note, request, None);
        if opened.is_err() {
            self.close(port);
        }
        opened
    }

    /// Takes a seat in a region that several may write.
    pub(super) fn open_shared(
        &self,
        port: PortId,
        shared: SharedPort,
        request: &Request,
    ) -> Result<Seated, OpenError> {
        self.ports().shared.insert(port, shared);
        let note = |ledger: &mut Ledger| ledger.open_participant(port, request.clone());
        if let Err(error) = self.open(port, note, request, None) {
            self.close(port);
            return Err(error);
        }
        let seated = self.ports().shared.get_mut(&port).and_then(|shared| shared.seated.clone());
        // The port is settled by being seated.
        seated.ok_or(OpenError::BrokerSilent)
    }

    /// Asks the broker for a port and waits until it is open, and all counterparts that were there have
    /// answered; `false` if one of these takes too long.
    pub(super) fn open(
        &self,
        port: PortId,
        note: impl FnOnce(&mut Ledger),
        request: &Request,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<bool, OpenError> {
        let _soon = Preference::by_slice(limits::OPENING_SLICE);
        match self.conversation.say(note, request, descriptor) {
            // The control thread knows why.
            Ok(()) | Err(TransportError::Closed) => {}
            Err(error) => {
                self.conversation.ledger().close(port);
                return Err(error.into());
            }
        }
        let answered =
            self.wait_for(port, limits::HANDSHAKE_TIMEOUT, |opening| !matches!(opening, Opening::Asked));
        if !answered? {
            self.say_close(port);
            return Err(OpenError::BrokerSilent);
        }
        let settled = |opening: &Opening| matches!(opening, Opening::Settled | Opening::Failed(_));
        let has_settled = self.wait_for(port, limits::SETTLE_TIMEOUT, settled)?;
        if !has_settled {
            tracing::warn!(%port, "some counterpart did not attach in time: it is stopped or stuck, and joins when it runs again");
        }
        match self.ports().opening_mut(port).map(|opening| std::mem::replace(opening, Opening::Settled)) {
            Some(Opening::Failed(error)) => Err(error),
            _ => Ok(has_settled),
        }
    }

    /// Waits until `done` says so of the port's opening; `false` when `timeout` has passed.
    fn wait_for(
        &self,
        port: PortId,
        timeout: Duration,
        done: impl Fn(&Opening) -> bool,
    ) -> Result<bool, OpenError> {
        let deadline = Instant::now() + timeout;
        let mut ports = self.ports();
        loop {
            match ports.opening_mut(port) {
                Some(opening) if done(opening) => return Ok(true),
                _ => match std::mem::take(&mut ports.connection) {
                    Connection::Up => {}
                    Connection::Gone => {
                        ports.connection = Connection::Gone;
                        return Err(OpenError::BrokerGone);
                    }
                    Connection::Refused(reason) => {
                        ports.connection = Connection::Refused(reason.clone());
                        return Err(OpenError::Fault(reason));
                    }
                },
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            ports = self.opening_moved.wait_timeout(ports, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn set_opening(&self, port: PortId, moved_to: Opening) {
        if let Some(opening) = self.ports().opening_mut(port) {
            // A further broker says it once more.
            let is_old_news = matches!((&moved_to, &opening), (Opening::Opened, Opening::Settled));
            if !is_old_news {
                *opening = moved_to;
            }
        }
        self.opening_moved.notify_all();
    }

    /// Waits until the control thread has found out why the connection ended, which somebody else has noticed already.
    pub(super) fn was_refused(&self) -> bool {
        let deadline = Instant::now() + limits::HANDSHAKE_TIMEOUT;
        let mut ports = self.ports();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match ports.connection {
                Connection::Up if !left.is_zero() => {}
                Connection::Refused(_) => return true,
                Connection::Up | Connection::Gone => return false,
            }
            ports = self.opening_moved.wait_timeout(ports, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The node's last connection has ended: it ends itself, or is refused. A reason that it gave is not replaced by
    /// the end that follows it.
    pub(super) fn connection_ended(&self, how: Connection) {
        if let Connection::Refused(reason) = &how {
            self.tell_subscribers(|| News::Evicted(reason.clone()));
        }
        {
            let mut ports = self.ports();
            if matches!(ports.connection, Connection::Up) {
                ports.connection = how;
            }
        }
        self.inspections.abandon();
        end_news(self);
        self.opening_moved.notify_all();
    }

    /// Leaves the same news with every subscriber of this node.
    pub(super) fn tell_subscribers(&self, news: impl Fn() -> News) {
        for subscriber in self.ports().subscribers.values() {
            subscriber.inbox.post(news());
        }
    }

    /// The subscriber at the end of `route` is gone: what it held is free.
    pub(super) fn lose_subscriber(&self, route: Route) {
        let (readers, correspondent) = {
            self.conversation.ledger().lose_reader(route);
            let mut ports = self.ports();
            ports.forget_routes(|gone| *gone == route);
            let Some(publisher) = ports.publishers.get(&route.publisher) else { return };
            let correspondent = publisher.from.and_then(|from| ports.subscribers.get(&from));
            (Arc::clone(&publisher.readers), correspondent.map(|port| Arc::clone(&port.inbox)))
        };
        readers.detach(reader_key(route));
        // A task that waits for this reader to make space listens there.
        if let Some(inbox) = correspondent {
            inbox.ring();
        }
    }

    pub(super) fn close(&self, port: PortId) {
        let (publisher, subscriber, shared, dataset) = {
            let mut ports = self.ports();
            ports.forget_routes(|route| route.publisher == port);
            (
                ports.publishers.remove(&port),
                ports.subscribers.remove(&port),
                ports.shared.remove(&port),
                ports.datasets.remove(&port),
            )
        };
        if let Some(publisher) = &publisher {
            publisher.readers.wake_all();
        }
        // Readers on their way are dropped here, outside the lock. A subscriber is closed by the end of its lease.
        drop(subscriber);
        if publisher.is_some() || shared.is_some() || dataset.is_some() {
            self.say_close(port);
        }
    }

    fn say_close(&self, port: PortId) {
        self.conversation.say_or_log(|ledger| ledger.close(port), &Request::Close { port }, None);
    }
}
