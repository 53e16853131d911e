//! Clients and servers that were introduced to each other, at the control thread: each announces a ring to the other.

use std::sync::Arc;

use onecopy_memory::ring::RingWriter;

use super::ledger::Ledger;
use super::ports::{Opening, PublisherPort};
use super::session::Session;
use crate::broker::protocol::{Address, Delivery, OpenError, PortId, Request, Role, ServiceType};
use crate::inbox::{News, PeerNews};

/// A client's server, or a server's client: announce a ring to it. Its end at this side belongs to the user's thread.
pub(super) fn meet_peer(session: &Session, port: PortId, peer: PortId, pid: u32, payload: ServiceType) {
    if session.conversation.ledger().meet(port, peer, pid) {
        return tracing::warn!(%port, %peer, "introduced twice");
    }
    let mut ports = session.ports();
    let publisher = PortId { node: session.node, serial: ports.next_serial() };
    let Some(subscriber) = ports.subscribers.get(&port) else { return };
    let Some(correspondence) = &subscriber.correspondence else { return };
    let outgoing = match correspondence.role {
        Role::Client => payload.request.clone(),
        Role::Server => payload.response.clone(),
    };
    let inbox = Arc::clone(&subscriber.inbox);
    let writer = match RingWriter::create(correspondence.geometry, outgoing.layout_hash()) {
        Ok(writer) => Box::new(writer),
        Err(error) => {
            let reason = error.to_string();
            return inbox.post(News::Peer(PeerNews::OutOfReach { peer, reason }));
        }
    };
    let announcement = Request::OpenPublisher {
        publisher,
        address: Address::Direct { to: peer, from: port },
        payload: outgoing,
        delivery: Delivery::Reliable,
        history: 0,
    };
    let ring = writer.share_descriptor();
    let note = |ledger: &mut Ledger| {
        ledger.open_publisher(publisher, announcement.clone(), ring);
        // Nobody waits for the answer, and the next broker is not to ask who has met whom.
        ledger.opened(publisher);
    };
    session.conversation.say_or_log(note, &announcement, Some(writer.descriptor()));
    let (readers, opening) = (Arc::clone(writer.readers()), Opening::Opened);
    let record = PublisherPort { readers, opening, from: Some(port), to: Some(peer) };
    ports.publishers.insert(publisher, record);
    inbox.post(News::Peer(PeerNews::Met { peer, pid, payload, publisher, writer }));
}

pub(super) fn tell_peer_news(session: &Session, port: PortId, news: PeerNews) {
    if let Some(subscriber) = session.ports().subscribers.get(&port) {
        subscriber.inbox.post(News::Peer(news));
    }
}

/// The broker does not open the way to a counterpart: whoever wanted it learns why.
pub(super) fn tell_out_of_reach(session: &Session, publisher: PortId, error: &OpenError) {
    let way = session.ports().publishers.get(&publisher).and_then(|port| port.from.zip(port.to));
    if let Some((from, peer)) = way {
        tell_peer_news(session, from, PeerNews::OutOfReach { peer, reason: error.to_string() });
    }
}
