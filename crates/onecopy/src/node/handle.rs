//! What all handles, publishers and subscribers of a node share: the session, the control thread, and the
//! broker if this node runs it.

use std::any::Any;
use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use onecopy_memory::counters::ClientTally;
use onecopy_memory::fork::ForkGuard;
use onecopy_memory::hold::ReaderTable;
use onecopy_memory::region::{RegionWriter, Seat, SharedRegion};
use onecopy_memory::ring::{Geometry, RingWriter};
use onecopy_memory::segment::{Segment, SegmentError};
use onecopy_memory::wait::Ringer;

use super::control;
use super::inspection::Answer;
use super::lease::SubscriberLease;
use super::ledger::Ledger;
use super::outbox::Outbox;
pub(crate) use super::ports::Seated;
use super::ports::{self, Correspondence, PublisherPort, SharedPort, SubscriberPort};
use super::rejoining::Membership;
use super::session::Session;
use crate::broker::protocol::{
    Address, Delivery, KeepError, NodeId, PortId, Request, Role, Route, SegmentSet, ServiceType,
};
use crate::broker::server::ServerThread;
use crate::broker::transport::TransportError;
use crate::error::OpenError;
use crate::inbox::Inbox;
use crate::limits;
use crate::payload_type::PayloadType;

/// What all handles, publishers and subscribers of a node share.
#[derive(Debug)]
pub(crate) struct NodeHandle {
    session: Arc<Session>,
    control: Option<JoinHandle<()>>,
    fork: Arc<ForkGuard>,
    socket_path: PathBuf,
}

/// What a node has before it joins an instance.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) node: NodeId,
    fork: Arc<ForkGuard>,
    table: Arc<ReaderTable>,
}

impl Newcomer {
    pub(super) fn new() -> Result<Self, OpenError> {
        let fork = ForkGuard::new().map_err(OpenError::system("set up memory that notices fork"))?;
        let (fork, table) = (Arc::new(fork), ReaderTable::create()?);
        let node = NodeId::random().map_err(OpenError::system("draw a random number"))?;
        Ok(Self { node, fork, table })
    }
}

impl NodeHandle {
    /// A node that has joined an instance, perhaps as its broker.
    pub(super) fn open(
        newcomer: Newcomer,
        membership: Membership,
        server: Option<ServerThread>,
    ) -> Result<Self, OpenError> {
        let Newcomer { node, fork, table } = newcomer;
        let (outbox, outbox_bell) = Outbox::new(Arc::clone(&membership.socket), Arc::clone(&fork))
            .map_err(OpenError::system("make a socket pair"))?;
        let socket_path = membership.instance.socket_path();
        let session = Arc::new(Session::new(node, outbox, membership.welcome, table));
        session.keep_server(server);
        let control = {
            let session = Arc::clone(&session);
            std::thread::Builder::new()
                .name("onecopy-control".to_owned())
                .spawn(move || control::run(&session, &outbox_bell, membership))
                .map_err(OpenError::system("start the control thread"))?
        };
        session.show_readers();
        Ok(Self { session, control: Some(control), fork, socket_path })
    }

    /// Where the instance's broker listens.
    pub(crate) fn socket_path(&self) -> &Path {
        &self.socket_path
    }

    /// What a client counts with; `None` if so many are counted already that there is no room.
    pub(crate) fn client_tally(&self, client: PortId) -> Option<ClientTally> {
        ClientTally::new(&self.session.table, client.serial)
    }

    /// Asks the broker who is there.
    pub(super) fn ask(&self, topic: Option<&str>, rings: bool) -> Result<Vec<Answer>, OpenError> {
        self.request(|request| Request::Inspect { request, topic: topic.map(str::to_owned), rings })
    }

    /// Sends a request that has a number, and waits for the answer.
    pub(super) fn request(&self, make: impl FnOnce(u32) -> Request) -> Result<Vec<Answer>, OpenError> {
        self.request_within(limits::HANDSHAKE_TIMEOUT, make)
    }

    fn request_within(
        &self,
        timeout: Duration,
        make: impl FnOnce(u32) -> Request,
    ) -> Result<Vec<Answer>, OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let Session { inspections, conversation, .. } = &*self.session;
        let (number, request) = inspections.begin(make);
        conversation.say_or_log(|_| {}, &request, None);
        inspections.wait(number, timeout)
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Asks the broker to keep a region while nobody has it open, or not to.
    pub(super) fn keep(&self, region: &str, keep: bool) -> Result<Option<KeepError>, OpenError> {
        let answers = self.request(|request| Request::Keep { request, region: region.to_owned(), keep })?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            Answer::Kept(refused) => refused,
            _ => None,
        }))
    }

    pub(super) fn broker_pid(&self) -> u32 {
        self.session.conversation.broker_pid()
    }

    pub(super) fn is_broker(&self) -> bool {
        !self.is_forked() && self.session.server().is_some()
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.fork.is_child()
    }

    /// Of a connection that is found closed: whether the broker had something against this node, of which all its ports
    /// have been told.
    pub(crate) fn was_refused(&self) -> bool {
        self.session.was_refused()
    }

    /// A number for a new port. To a forked child, which can open none, any number will do: it must not wait
    /// for locks that other threads of its parent may have held.
    pub(crate) fn new_port(&self) -> PortId {
        if self.is_forked() {
            return PortId { node: self.session.node, serial: 0 };
        }
        self.session.new_port()
    }

    pub(crate) fn open_publisher(
        &self,
        port: PortId,
        writer: &RingWriter,
        request: Request,
    ) -> Result<(), OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let publisher = PublisherPort {
            readers: Arc::clone(writer.readers()),
            opening: ports::Opening::default(),
            from: None,
            to: None,
        };
        self.session.open_publisher(port, publisher, &request, writer.share_descriptor())
    }

    /// Has the broker count memory that a port is about to show, in place of a publisher's segments in
    /// `replaced`. Only where this node's user is limited is there anything to wait for.
    ///
    /// # Errors
    ///
    /// [`OpenError::Refused`] says which rule has it that there is no room. [`OpenError::BrokerSilent`] if
    /// that could not be found out within `timeout`.
    pub(crate) fn reserve(
        &self,
        port: PortId,
        memory: BorrowedFd<'_>,
        replaced: SegmentSet,
        timeout: Duration,
    ) -> Result<(), OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        if !self.session.conversation.is_limited() {
            return Ok(());
        }
        let size = rustix::fs::fstat(memory)
            .map_err(|error| SegmentError::System { call: "fstat", source: error.into() })?;
        let bytes = u64::try_from(size.st_size).unwrap_or(u64::MAX);
        let make = |request| Request::Reserve { request, port, bytes, replaced };
        let answers = self.request_within(timeout, make)?;
        let refused = answers.into_iter().find_map(|answer| match answer {
            Answer::Reserved(refused) => refused,
            _ => None,
        });
        refused.map_or(Ok(()), |error| Err(OpenError::Refused(error)))
    }

    /// Announces a publisher's segment, in place of those in `replaced`.
    pub(crate) fn announce_segment(
        &self,
        port: PortId,
        index: u32,
        replaced: SegmentSet,
        segment: &Segment,
    ) -> Result<(), TransportError> {
        use std::os::fd::AsFd;
        let descriptor = segment.share_descriptor();
        let request = Request::AddSegment { publisher: port, index, replaced };
        let kept = Arc::clone(&descriptor);
        let note = |ledger: &mut Ledger| ledger.grow(port, index, replaced, kept);
        self.session.conversation.say(note, &request, Some(descriptor.as_fd()))
    }

    pub(crate) fn open_subscriber(
        self: &Arc<Self>,
        port: PortId,
        address: Address,
        expected: Option<PayloadType>,
        skip_history: bool,
    ) -> Result<Arc<Inbox>, OpenError> {
        let request = Request::OpenSubscriber { subscriber: port, address, payload: expected.clone() };
        let subscriber = self.subscriber(port, expected, skip_history, None)?;
        self.open_port(port, subscriber, &request)
    }

    /// Opens a client or a server, which publishes to each of its counterparts a ring of the given geometry.
    pub(crate) fn open_correspondent(
        self: &Arc<Self>,
        port: PortId,
        role: Role,
        service: String,
        payload: Option<ServiceType>,
        geometry: Geometry,
    ) -> Result<Arc<Inbox>, OpenError> {
        let expected = payload.as_ref().map(|payload| match role {
            Role::Client => payload.response.clone(),
            Role::Server => payload.request.clone(),
        });
        let request = Request::OpenService { port, role, service, payload };
        let correspondence = Correspondence { role, geometry };
        let subscriber = self.subscriber(port, expected, false, Some(correspondence))?;
        self.open_port(port, subscriber, &request)
    }

    /// Opens a reader of a region with a single writer. `false` if there is one that takes too long to answer.
    pub(crate) fn open_region_reader(
        self: &Arc<Self>,
        port: PortId,
        name: String,
        expected: Option<PayloadType>,
    ) -> Result<(Arc<Inbox>, bool), OpenError> {
        let address = Address::Region { name, succeeds: None, follows: 0 };
        let request = Request::OpenSubscriber { subscriber: port, address, payload: expected.clone() };
        let mut subscriber = self.subscriber(port, expected, false, None)?;
        subscriber.reads_region = true;
        let inbox = Arc::clone(&subscriber.inbox);
        let has_settled = self.session.open_subscriber(port, subscriber, &request)?;
        Ok((inbox, has_settled))
    }

    /// Announces the memory of a region's single writer.
    pub(crate) fn open_region_writer(
        &self,
        port: PortId,
        writer: &RegionWriter,
        name: String,
        (succeeds, follows): (Option<PortId>, u64),
        payload: PayloadType,
    ) -> Result<(), OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let publisher = PublisherPort {
            readers: Arc::clone(writer.readers()),
            opening: ports::Opening::default(),
            from: None,
            to: None,
        };
        let request = Request::OpenPublisher {
            publisher: port,
            address: Address::Region { name, succeeds, follows },
            payload,
            delivery: Delivery::Overwrite,
            history: 1,
        };
        self.session.open_publisher(port, publisher, &request, writer.share_descriptor())
    }

    /// Takes a seat in a region that several may write.
    pub(crate) fn open_shared(
        &self,
        port: PortId,
        region: String,
        payload: Option<PayloadType>,
    ) -> Result<(Seated, Arc<Inbox>), OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let inbox = Arc::new(Inbox::new(Arc::clone(&self.fork)));
        let shared = SharedPort {
            inbox: Arc::clone(&inbox),
            opening: ports::Opening::default(),
            seated: None,
            living: HashMap::new(),
            region: None,
        };
        let request = Request::OpenShared { port, region, payload, seat: None };
        let seated = self.session.open_shared(port, shared, &request)?;
        Ok((seated, inbox))
    }

    /// The process that writes a region, if there is a single one.
    pub(crate) fn region_writer(&self, name: &str) -> Option<u32> {
        let answers = self.ask(Some(name), false).ok()?;
        answers.into_iter().find_map(|answer| match answer {
            Answer::Region { writer, .. } => writer.map(|(_, pid)| pid),
            _ => None,
        })
    }

    /// Announces memory for a region that several may write.
    pub(crate) fn offer_shared(
        &self,
        port: PortId,
        region: &SharedRegion,
        succeeds: bool,
    ) -> Result<(), OpenError> {
        let request = Request::OfferShared { port, succeeds, version: 0, brought: true };
        let note = |ledger: &mut Ledger| ledger.offer_shared(port, region.share_descriptor(), succeeds);
        Ok(self.session.conversation.say(note, &request, Some(region.descriptor()))?)
    }

    /// From now on deaths are told to `region`, also those that nobody was there to notice.
    pub(crate) fn watch_over(&self, port: PortId, region: &Arc<SharedRegion>) -> Result<(), OpenError> {
        if let Some(shared) = self.session.ports().shared.get_mut(&port) {
            shared.region = Some(Arc::clone(region));
        }
        let seated = region.seated();
        // Once the broker has answered anything at all, everybody seated by then is among the living.
        self.sync()?;
        let ports = self.session.ports();
        let Some(shared) = ports.shared.get(&port) else { return Ok(()) };
        for seat in seated {
            if seat != region.seat() && !shared.living.contains_key(&seat) {
                region.seat_gone(seat);
            }
        }
        Ok(())
    }

    /// Returns when everything that the broker had to tell before has been taken in.
    pub(crate) fn sync(&self) -> Result<(), OpenError> {
        self.ask(Some("-"), false).map(drop)
    }

    /// The process that takes part under `seat`.
    pub(crate) fn pid_of_seat(&self, port: PortId, seat: Seat) -> Option<u32> {
        self.session.ports().shared.get(&port)?.living.get(&seat).copied()
    }

    fn subscriber(
        self: &Arc<Self>,
        port: PortId,
        expected: Option<PayloadType>,
        skip_history: bool,
        correspondence: Option<Correspondence>,
    ) -> Result<SubscriberPort, OpenError> {
        if self.is_forked() {
            return Err(OpenError::Forked);
        }
        let node: Arc<dyn Any + Send + Sync> = Arc::clone(self) as _;
        Ok(SubscriberPort {
            inbox: Arc::new(Inbox::new(Arc::clone(&self.fork))),
            lease: Arc::new(SubscriberLease::new(port, Arc::clone(&self.session.conversation), node)),
            expected,
            skip_history,
            opening: ports::Opening::default(),
            attaching: HashMap::new(),
            correspondence,
            reads_region: false,
        })
    }

    fn open_port(
        &self,
        port: PortId,
        subscriber: SubscriberPort,
        request: &Request,
    ) -> Result<Arc<Inbox>, OpenError> {
        let inbox = Arc::clone(&subscriber.inbox);
        self.session.open_subscriber(port, subscriber, request)?;
        Ok(inbox)
    }

    pub(crate) fn may_sleep(&self, route: Route, ringer: Option<Ringer>) -> Result<(), TransportError> {
        use std::os::fd::AsFd;
        let request = Request::MaySleep { route, doorbell: ringer.is_some() };
        match self.session.conversation.outbox.send(&request, ringer.as_ref().map(AsFd::as_fd)) {
            // To a node that was refused the publisher does not listen any more.
            Err(TransportError::Closed) => Ok(()),
            sent => sent,
        }
    }

    /// Sends the publisher a doorbell, to be rung while the subscriber sleeps.
    pub(crate) fn send_doorbell(&self, route: Route, ringer: Ringer) -> Result<(), TransportError> {
        use std::os::fd::AsFd;
        self.session
            .conversation
            .outbox
            .send(&Request::MaySleep { route, doorbell: true }, Some(ringer.as_fd()))
    }

    /// Ends a port; what a forked child lets go of is its parent's.
    pub(crate) fn close(&self, port: PortId) {
        if !self.is_forked() {
            self.session.close(port);
        }
    }

    /// Number of readers of a publisher that know where they start. The ring's own list has them a moment earlier.
    pub(crate) fn attached_to(&self, publisher: PortId) -> usize {
        if self.is_forked() {
            return 0;
        }
        self.session.ports().attached_routes().filter(|route| route.publisher == publisher).count()
    }
}

impl Drop for NodeHandle {
    fn drop(&mut self) {
        if self.is_forked() {
            // The threads exist in the parent only, and locks may be held there for ever.
            return;
        }
        let outbox = &self.session.conversation.outbox;
        // The control thread itself may let go last, of a reader whose subscriber was closed meanwhile. It
        // ends by itself.
        let control =
            self.control.take().filter(|control| control.thread().id() != std::thread::current().id());
        if control.is_some() && !self.session.is_over() {
            // Others hear of our end from a broker: between two of them, the next one has to know that we were there.
            outbox.wait_for_broker(limits::SETTLE_TIMEOUT);
        }
        self.session.ports().closing = true;
        outbox.close();
        outbox.wake_control();
        if control.is_some_and(|control| control.join().is_err()) {
            tracing::error!("the control thread panicked");
        }
        // Last: it may have to tell others of our end.
        self.session.keep_server(None);
    }
}
