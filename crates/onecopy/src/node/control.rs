//! The node's control thread: takes the broker's events and hands them to whoever they concern. It sleeps in the
//! kernel until there is one, and no message ever passes through it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use onecopy_memory::hold::PeerReader;
use onecopy_memory::layout::SegmentKind;
use onecopy_memory::region::{RegionReader, Seat};
use onecopy_memory::ring::RingReader;
use onecopy_memory::scheduling;
use onecopy_memory::segment::View;
use onecopy_memory::wait::{Doorbell, Ringer};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::datasets::{note_version, take_dataset};
use super::inspection::Answer;
use super::introductions::{meet_peer, tell_out_of_reach, tell_peer_news};
use super::lease::DetachToken;
use super::ledger::{Ledger, Shown};
use super::outbox::Waiting;
use super::ports::{Attaching, Connection, Opening, Reader, Seated, reader_key};
use super::regions::{lose_seat, map_region, remember_region, take_remains, take_seat, take_shared_memory};
use super::rejoining::Membership;
use super::session::Session;
use crate::broker::Process;
use crate::broker::protocol::{Event, PortId, Request, Route, SegmentSet};
use crate::broker::transport::{PacketSocket, TransportError};
use crate::error::{OpenError, ReceiveError};
use crate::feed::evicted;
use crate::inbox::{NewFeed, News, PeerNews, RegionNews};
use crate::limits::{CONTROL_SLICE, IN_FLIGHT_RETRY};
use crate::payload_type::PayloadType;

/// Runs until the node ends or is refused, with one broker after the other. `outbox_bell` rings when requests
/// wait for room in the socket, and when the node ends.
pub(super) fn run(session: &Arc<Session>, outbox_bell: &Doorbell, mut membership: Membership) {
    if let Err(error) = scheduling::shorten(CONTROL_SLICE) {
        tracing::debug!(%error, "on a busy machine, whoever this node meets waits for longer");
    }
    loop {
        let ended = loop {
            if let Err(error) = wait_and_handle(session, outbox_bell, &membership.socket, &membership.broker)
            {
                break error;
            }
        };
        tracing::debug!(node = %session.node, reason = %ended, "connection to the broker ended");
        if session.is_over() || !membership.resume(session, outbox_bell) {
            break;
        }
    }
    session.connection_ended(Connection::Gone);
}

fn wait_and_handle(
    session: &Arc<Session>,
    outbox_bell: &Doorbell,
    socket: &PacketSocket,
    broker: &Process,
) -> Result<(), TransportError> {
    let has_ended = matches!(broker, Process::Ended);
    let (interest, timeout) = match session.conversation.outbox.flush() {
        // What the broker said before it ended is still to be heard.
        _ if has_ended => (PollFlags::IN, Some(Timespec::default())),
        Ok(Waiting::No) => (PollFlags::IN, None),
        Ok(Waiting::ForRoom) => (PollFlags::IN | PollFlags::OUT, None),
        Ok(Waiting::ForOthers) => (PollFlags::IN, Timespec::try_from(IN_FLIGHT_RETRY).ok()),
        Err(_) => (PollFlags::IN, Some(Timespec::default())),
    };
    let bell = outbox_bell.as_fd();
    let mut polled = vec![PollFd::new(socket, interest), PollFd::from_borrowed_fd(bell, PollFlags::IN)];
    // A child of the broker's process may keep the other end of the socket open for longer than there is a broker.
    polled.extend(broker.end().map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN)));
    let broker_ended = match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) => has_ended || polled.get(2).is_some_and(|end| end.revents().contains(PollFlags::IN)),
        Err(rustix::io::Errno::INTR) => false,
        Err(error) => return Err(TransportError::Kernel { operation: "wait", source: error.into() }),
    };
    outbox_bell.was_rung();
    loop {
        match socket.try_receive_event() {
            Ok((event, None)) if event.carries_descriptor() => {
                lose_memory(session, event, &TransportError::DescriptorLost);
            }
            Ok((event, descriptor)) => handle(session, event, descriptor),
            Err(TransportError::NotReady) if broker_ended => return Err(TransportError::Closed),
            Err(TransportError::NotReady) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

fn handle(session: &Arc<Session>, event: Event, descriptor: Option<OwnedFd>) {
    match (event, descriptor) {
        (Event::Opened { port, .. }, _) => {
            session.conversation.ledger().opened(port);
            session.set_opening(port, Opening::Opened);
        }
        (Event::Settled { port }, _) => session.set_opening(port, Opening::Settled),
        (Event::OpenFailed { port, error }, _) => {
            session.conversation.ledger().close(port);
            tracing::debug!(%port, %error, "not opened");
            tell_out_of_reach(session, port, &error);
            session.set_opening(port, Opening::Failed(OpenError::Refused(error)))
        }
        (Event::Publisher { route, payload, from, pid, .. }, Some(ring)) => {
            meet_publisher(session, Offer { route, payload, from, pid }, ring)
        }
        (Event::Met { port, peer, pid, payload }, _) => meet_peer(session, port, peer, pid, payload),
        (Event::Remains { subscriber, payload }, Some(memory)) => {
            take_remains(session, subscriber, &payload, memory)
        }
        (Event::Seated { port, seat, has_memory, .. }, _) => {
            let seated = Seat::from_bits(seat).map(|seat| Seated { seat, has_memory });
            take_seat(session, port, seated);
        }
        (Event::Dataset { port, version }, Some(memory)) => take_dataset(session, port, version, memory),
        (Event::DatasetVersion { port, version }, _) => note_version(session, port, version),
        (Event::SharedMemory { port }, Some(memory)) => {
            take_shared_memory(session, port, memory);
        }
        (Event::SeatTaken { port, other, seat, pid }, _) => {
            session.conversation.ledger().seat_taken(port, other, seat, pid);
            if let (Some(shared), Some(seat)) = (session.ports().shared.get_mut(&port), Seat::from_bits(seat))
            {
                shared.living.insert(seat, pid);
            }
        }
        (Event::SeatGone { port, seat }, _) => lose_seat(session, port, seat),
        (Event::AllMet { port }, _) => tell_peer_news(session, port, PeerNews::AllMet),
        (Event::Parted { port, peer }, _) => {
            session.conversation.ledger().part(port, peer);
            tell_peer_news(session, port, PeerNews::Parted { peer });
        }
        (Event::Segment { route, index, replaced }, Some(segment)) => {
            take_segment(session, route, index, replaced, segment)
        }
        (Event::Attached { route, start }, _) => take_attached(session, route, start),
        (Event::PublisherGone { route }, _) => lose_publisher(session, route),
        (Event::Attach { route, reader_segment, block, pid }, Some(memory)) => {
            attach_subscriber(session, route, ReaderPlace { reader_segment, block, pid }, memory);
        }
        (Event::KeepChanged { port, kept }, _) => session.conversation.ledger().keep(port, kept),
        (Event::SubscriberGone { route }, _) => session.lose_subscriber(route),
        (Event::MaySleep { route, .. }, doorbell) => note_sleeper(session, route, doorbell),
        (Event::Refused { reason }, _) => session.connection_ended(Connection::Refused(reason)),
        // The transport makes sure that a descriptor comes with exactly those events that have one.
        (
            Event::Publisher { .. }
            | Event::Remains { .. }
            | Event::Dataset { .. }
            | Event::SharedMemory { .. }
            | Event::Segment { .. }
            | Event::Attach { .. },
            _,
        ) => {}
        (answer, descriptor) => take_answer(session, answer, descriptor),
    }
}

/// Part of the answer to a question of this node's.
fn take_answer(session: &Session, event: Event, descriptor: Option<OwnedFd>) {
    match (event, descriptor) {
        (Event::NodeInfo { request, node, name, pid, uid, .. }, readers) => {
            session.inspections.add(request, Answer::Node { node, name, pid, uid, readers });
        }
        (Event::MemoryInfo { request, owner }, Some(memory)) => {
            session.inspections.add(request, Answer::Memory { owner, memory });
        }
        (Event::TopicInfo { request, name, payload, delivery, .. }, _) => {
            session.inspections.add(request, Answer::Topic { name, payload, delivery });
        }
        (Event::PublisherInfo { request, topic, publisher, node_name, history, .. }, ring) => {
            session
                .inspections
                .add(request, Answer::Publisher { topic, publisher, node_name, history, ring });
        }
        (Event::SubscriberInfo { request, topic, subscriber, node_name }, _) => {
            session.inspections.add(request, Answer::Subscriber { topic, subscriber, node_name });
        }
        (Event::ServiceInfo { request, name, payload }, _) => {
            session.inspections.add(request, Answer::Service { name, payload });
        }
        (Event::ServicePortInfo { request, service, port, role, node_name, pid }, _) => {
            session.inspections.add(request, Answer::ServicePort { service, port, role, node_name, pid });
        }
        (Event::RegionInfo { request, name, payload, shared, writer, readers, kept, .. }, memory) => {
            let answer = Answer::Region { name, payload, shared, writer, readers, kept, memory };
            session.inspections.add(request, answer);
        }
        (Event::SeatInfo { request, region, seat, pid }, _) => {
            session.inspections.add(request, Answer::Seat { region, seat, pid });
        }
        (Event::DatasetInfo { request, name, version, publisher, viewers, kept, .. }, memory) => {
            let answer = Answer::Dataset { name, version, publisher, viewers, kept, memory };
            session.inspections.add(request, answer);
        }
        (Event::Kept { request, refused }, _) => {
            session.inspections.add(request, Answer::Kept(refused));
            session.inspections.end(request);
        }
        (Event::Reserved { request, refused }, _) => {
            session.inspections.add(request, Answer::Reserved(refused));
            session.inspections.end(request);
        }
        (Event::InspectEnd { request }, _) => session.inspections.end(request),
        _ => {}
    }
}

/// A publisher that the broker shows.
struct Offer {
    route: Route,
    payload: PayloadType,
    from: Option<PortId>,
    pid: u32,
}

/// Where a subscriber's reader state is.
#[derive(Clone, Copy)]
struct ReaderPlace {
    reader_segment: u32,
    block: u32,
    pid: u32,
}

/// A publisher of one of our subscribers: map its ring, enter a reader, and tell it where that is.
fn meet_publisher(session: &Arc<Session>, offer: Offer, ring: OwnedFd) {
    let route = offer.route;
    let shown = session.conversation.ledger().shown(route);
    match shown {
        Shown::New => {}
        // The last broker ended before it was attached.
        Shown::Again { block } => return request_attach(session, route, block, offer.pid),
        Shown::Attached => return tracing::warn!(%route, "a publisher was shown that is read already"),
    }
    let known = session
        .ports()
        .subscribers
        .get(&route.subscriber)
        .map(|port| (Arc::clone(&port.lease), port.reads_region));
    let Some((lease, reads_region)) = known else {
        // It was closed and stays known for the messages that it holds: the publisher must not wait for it.
        return session.detach(route);
    };
    let token = DetachToken { lease, publisher: route.publisher };
    let opened = match reads_region {
        true => open_region(session, token, &offer, ring).map(Reader::Region),
        false => open_ring(session, token, &offer.payload, ring).map(Reader::Ring),
    };
    if let Ok(reader) = &opened {
        reader.state().identify(route.subscriber.serial, (route.publisher.node.0, route.publisher.serial));
    }
    let mut ports = session.ports();
    let Some(subscriber) = ports.subscribers.get_mut(&route.subscriber) else {
        // Outside the lock: the end of the reader may be the end of the node.
        drop(ports);
        return drop(opened);
    };
    match opened {
        Ok(reader) => {
            let block = reader.state().block();
            // Who comes after the subscriber opened has no history that is older. To have been offered before counts,
            // however long the publisher takes to attach us.
            let was_there = !matches!(subscriber.opening, Opening::Settled);
            let wanted_from = match &reader {
                Reader::Ring(reader) if subscriber.skip_history && was_there => reader.head(),
                _ => 0,
            };
            let Offer { payload, from, pid, .. } = offer;
            let attaching = Attaching { reader, payload, from, wanted_from };
            subscriber.attaching.insert(route.publisher, attaching);
            request_attach(session, route, block, pid);
        }
        Err(error) => {
            subscriber.inbox.post(News::Refused(refused(route.publisher, &error)));
            session.detach(route);
        }
    }
}

fn request_attach(session: &Session, route: Route, block: u32, pid: u32) {
    let request = Request::Attach { route, reader_segment: 0, block };
    let note = |ledger: &mut Ledger| ledger.attach(route, block, pid);
    session.conversation.say_or_log(note, &request, Some(session.table.descriptor()));
}

/// A region's memory, which is also kept for those who come when its writer has gone.
fn open_region(
    session: &Session,
    token: DetachToken,
    offer: &Offer,
    memory: OwnedFd,
) -> Result<RegionReader, Box<dyn std::error::Error>> {
    let memory = remember_region(session, offer.route.subscriber, memory)?;
    map_region(session, token, &offer.payload, memory)
}

fn open_ring(
    session: &Session,
    token: DetachToken,
    payload: &PayloadType,
    ring: OwnedFd,
) -> Result<RingReader, Box<dyn std::error::Error>> {
    let view = View::open(ring, SegmentKind::Ring)?;
    view.expect_layout(payload.layout_hash())?;
    Ok(RingReader::open(&view, &session.table, Box::new(token))?)
}

fn refused(publisher: PortId, error: &dyn std::fmt::Display) -> ReceiveError {
    ReceiveError::Publisher { publisher: publisher.to_string(), reason: error.to_string() }
}

fn take_segment(session: &Session, route: Route, index: u32, replaced: SegmentSet, segment: OwnedFd) {
    session.conversation.ledger().take_segment(route, index, replaced);
    let mut ports = session.ports();
    let Some(subscriber) = ports.subscribers.get_mut(&route.subscriber) else { return };
    match subscriber.attaching.get_mut(&route.publisher) {
        // A region is one segment.
        Some(Attaching { reader: Reader::Region(_), .. }) => {}
        Some(Attaching { reader: Reader::Ring(reader), .. }) => {
            reader.forget_segments(replaced);
            if let Err(error) = reader.add_segment(index, segment) {
                subscriber.inbox.post(News::Refused(refused(route.publisher, &error)));
                subscriber.attaching.remove(&route.publisher);
            }
        }
        None => {
            let publisher = route.publisher;
            subscriber.inbox.post(News::Segment { publisher, index, replaced, descriptor: segment });
        }
    }
}

/// An event came whose descriptor this process could not take in.
fn lose_memory(session: &Session, event: Event, error: &TransportError) {
    let reason = error.to_string();
    match &event {
        // Who looks sees less.
        Event::NodeInfo { .. }
        | Event::PublisherInfo { .. }
        | Event::RegionInfo { .. }
        | Event::DatasetInfo { .. }
        | Event::MemoryInfo { .. } => take_answer(session, event, None),
        Event::Publisher { route, .. } => {
            let ports = session.ports();
            if let Some(subscriber) = ports.subscribers.get(&route.subscriber) {
                subscriber.inbox.post(News::Refused(ReceiveError::MemoryLost(reason)));
            }
            drop(ports);
            session.detach(*route);
        }
        Event::Dataset { port, .. } => {
            let source = std::io::Error::other(reason);
            let error = OpenError::System { operation: "take in the memory of a dataset", source };
            session.set_opening(*port, Opening::Failed(error));
        }
        Event::Segment { route, .. } => {
            let publisher = route.publisher;
            let mut ports = session.ports();
            let Some(subscriber) = ports.subscribers.get_mut(&route.subscriber) else { return };
            // Outside the lock: the end of the reader may be the end of the node.
            let attaching = subscriber.attaching.remove(&publisher);
            subscriber.inbox.post(News::MemoryLost { publisher, reason });
            drop(ports);
            drop(attaching);
        }
        _ => session.tell_subscribers(|| News::Refused(ReceiveError::MemoryLost(reason.clone()))),
    }
}

/// The publisher knows our reader: it may start.
fn take_attached(session: &Session, route: Route, start: u64) {
    session.conversation.ledger().attached(route);
    let mut ports = session.ports();
    let Some(subscriber) = ports.subscribers.get_mut(&route.subscriber) else { return };
    let Some(Attaching { reader, payload, from, wanted_from }) =
        subscriber.attaching.remove(&route.publisher)
    else {
        return;
    };
    let publisher = route.publisher;
    let mut reader = match reader {
        Reader::Ring(reader) => reader,
        Reader::Region(reader) => {
            let news = RegionNews::Value { publisher: Some(publisher), reader };
            return subscriber.inbox.post(News::Region(news));
        }
    };
    reader.start(start.max(wanted_from));
    if reader.geometry().is_reliable() && reader.lost() > 0 {
        // It was stopped for longer than its publisher waits, before it had begun.
        let error = evicted(publisher, &reader, reader.lost());
        subscriber.inbox.post(News::Refused(error));
        // Outside the lock: the end of the reader may be the end of the node.
        drop(ports);
        return drop(reader);
    }
    let header_bytes = usize::try_from(payload.header.size_bytes).unwrap_or(usize::MAX);
    let accepts_any = subscriber.expected.is_none();
    subscriber.inbox.post(News::Attached(NewFeed { publisher, from, reader, header_bytes, accepts_any }));
}

fn lose_publisher(session: &Session, route: Route) {
    session.conversation.ledger().detach(route);
    let mut ports = session.ports();
    let Some(subscriber) = ports.subscribers.get_mut(&route.subscriber) else { return };
    subscriber.attaching.remove(&route.publisher);
    subscriber.inbox.post(News::Gone { publisher: route.publisher });
}

/// A subscriber of one of our publishers: look at its reader state from now on, and tell it where to start.
fn attach_subscriber(session: &Session, route: Route, place: ReaderPlace, memory: OwnedFd) {
    let ReaderPlace { reader_segment, block, pid } = place;
    // It asks again what the last broker did not answer: it has the place that it was given then.
    let known = session.conversation.ledger().start_of(route, block);
    if let Some(start) = known {
        let request = Request::Attached { route, start };
        return session.conversation.say_or_log(|_| {}, &request, None);
    }
    let has_other_block = session.conversation.ledger().has_reader(route);
    if has_other_block {
        session.lose_subscriber(route);
    }
    let mut ports = session.ports();
    let Some(publisher) = ports.publishers.get(&route.publisher) else { return };
    let readers = Arc::clone(&publisher.readers);
    let segment = (route.subscriber.node, reader_segment);
    let peer = match ports.view(segment, || View::open(memory, SegmentKind::Readers)) {
        Ok(view) => PeerReader::open(&view, block),
        Err(error) => {
            tracing::warn!(%route, %error, "reader state of a subscriber is unusable");
            None
        }
    };
    match peer {
        Some(peer) => {
            let start = readers.attach(reader_key(route), peer);
            ports.note_attached(route, segment);
            let note = |ledger: &mut Ledger| ledger.look_at(route, block, start, pid);
            session.conversation.say_or_log(note, &Request::Attached { route, start }, None);
            let from = ports.publishers.get(&route.publisher).and_then(|publisher| publisher.from);
            if let Some(correspondent) = from.and_then(|from| ports.subscribers.get(&from)) {
                correspondent.inbox.post(News::Peer(PeerNews::Hears { publisher: route.publisher }));
            }
        }
        None => ports.forget_routes(|_| false),
    }
}

fn note_sleeper(session: &Session, route: Route, doorbell: Option<OwnedFd>) {
    let ringer = match doorbell.map(Ringer::from_descriptor).transpose() {
        Ok(ringer) => ringer,
        Err(error) => {
            tracing::warn!(%route, %error, "doorbell of a subscriber is unusable");
            return;
        }
    };
    let ports = session.ports();
    if let Some(publisher) = ports.publishers.get(&route.publisher) {
        publisher.readers.may_sleep(reader_key(route), ringer);
    }
}
