//! Clients and servers that were introduced to each other, at the control thread: each announces a ring to the other. And
//! what becomes of them when the broker is not there to tell that one of them ended.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use onecopy_memory::ring::RingWriter;
use onecopy_memory::wait::Doorbell;
use rustix::event::{PollFd, PollFlags};

use super::ports::{Opening, PublisherPort};
use super::session::Session;
use crate::broker::protocol::{Address, Delivery, PortId, Request, Role, Route, ServiceType};
use crate::inbox::{News, PeerNews};

/// Waits for the end of the broker's process (`true`) or of this node (`false`). The broker may have ended without its
/// process, and then those who share that process live on.
pub(super) fn wait_for_end(session: &Session, bell: &Doorbell, broker: &OwnedFd) -> bool {
    loop {
        if session.ports().closing {
            return false;
        }
        let mut polled =
            [PollFd::new(broker, PollFlags::IN), PollFd::from_borrowed_fd(bell.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Ok(_) if polled[0].revents().contains(PollFlags::IN) => return true,
            Ok(_) | Err(rustix::io::Errno::INTR) => drop(bell.was_rung()),
            Err(_) => return false,
        }
    }
}

/// A process ended, and there is no broker to tell what was in it. What is known of it is what clients and servers were
/// told when they met.
pub(super) fn lose_process(session: &Session, pid: u32) {
    let mut lost = Vec::new();
    {
        let mut ports = session.ports();
        for subscriber in ports.subscribers.values_mut() {
            let Some(correspondence) = &mut subscriber.correspondence else { continue };
            for (peer, _) in correspondence.peers.extract_if(|_, of| *of == pid) {
                subscriber.inbox.post(News::Peer(PeerNews::Parted { peer }));
                lost.push(peer.node);
            }
        }
        for shared in ports.shared.values_mut() {
            for (seat, _) in shared.living.extract_if(|_, of| *of == pid) {
                if let Some(region) = &shared.region {
                    region.seat_gone(seat);
                }
            }
        }
    }
    lost.sort_unstable();
    lost.dedup();
    for node in lost {
        session.tell_subscribers(|| News::NodeGone { node });
        let routes: Vec<Route> =
            session.ports().attached_routes().filter(|route| route.subscriber.node == node).collect();
        routes.into_iter().for_each(|route| session.lose_subscriber(route));
    }
}

/// A client's server, or a server's client: announce a ring to it. Its end at this side belongs to the user's thread.
pub(super) fn meet_peer(session: &Session, port: PortId, peer: PortId, pid: u32, payload: ServiceType) {
    let mut ports = session.ports();
    let publisher = PortId { node: session.node, serial: ports.next_serial() };
    let Some(subscriber) = ports.subscribers.get_mut(&port) else { return };
    let Some(correspondence) = &mut subscriber.correspondence else { return };
    correspondence.peers.insert(peer, pid);
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
    session.outbox.send_or_log(&announcement, Some(writer.descriptor()));
    let record = PublisherPort {
        readers: Arc::clone(writer.readers()),
        opening: Opening::Opened,
        announcement,
        ring: writer.share_descriptor(),
        segments: BTreeMap::new(),
        from: Some(port),
    };
    ports.publishers.insert(publisher, record);
    inbox.post(News::Peer(PeerNews::Met { peer, pid, payload, publisher, writer }));
}

pub(super) fn tell_peer_news(session: &Session, port: PortId, news: PeerNews) {
    if let Some(subscriber) = session.ports().subscribers.get(&port) {
        subscriber.inbox.post(News::Peer(news));
    }
}
