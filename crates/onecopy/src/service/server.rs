//! The answering end of a service.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::link::{Link, SharedLink, lock};
use super::mail::Mail;
use super::request::Request;
use super::{geometry, outgoing, service_type};
use crate::broker::protocol::{PortId, Role};
use crate::content::Content;
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::feed::Feeds;
use crate::inbox::PeerNews;
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::Payload;
use crate::readiness::Readiness;
use crate::sleep;

/// How a server is to be set up; from [`crate::service::Service::server`].
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct ServerBuilder<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    service: String,
    budget_bytes: usize,
    payload: PhantomData<fn() -> (Box<Req>, Box<Res>)>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> ServerBuilder<Req, Res> {
    pub(super) fn new(node: Arc<NodeHandle>, service: String) -> Self {
        Self { node, service, budget_bytes: limits::BUDGET_BYTES_DEFAULT, payload: PhantomData }
    }

    /// Most bytes of memory for responses to one client that don't fit a slot. Default 1 GiB; used as responses need it,
    /// so a client that never takes its answers can make the server use that much, and no other client notices.
    pub fn budget_bytes(mut self, bytes: usize) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// Opens the server. Clients that are there learn of it a moment later.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: other types on this service, no memory or descriptors, no broker.
    pub fn open(self) -> Result<Server<Req, Res>, OpenError> {
        let port = self.node.new_port();
        let geometry = geometry::<Res, ResponseHeader>(self.budget_bytes);
        let payload = Some(service_type::<Req, Res>());
        let inbox = self.node.open_correspondent(port, Role::Server, self.service, payload, geometry)?;
        let mail = Mail::new(Feeds::new(Arc::clone(&self.node), port, inbox));
        let (links, last) = Default::default();
        let reception = Reception { node: self.node, mail, links, last, budget_bytes: self.budget_bytes };
        Ok(Server { reception: Mutex::new(reception), payload: PhantomData })
    }
}

/// Answers requests; see [`crate::Node::service`].
///
/// A [`Request`] can be answered from any thread, at any time and in any order. Threads may also share the server; then
/// one of them waits for the next request, and the others behind it.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = onecopy::Node::open()?;
/// let server = node.service::<u64, u64>("square")?.server().open()?;
/// while let Some(request) = server.wait(Duration::from_secs(60))? {
///     request.respond(&(*request * *request))?;
/// }
/// # Ok(()) }
/// ```
pub struct Server<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    reception: Mutex<Reception>,
    payload: PhantomData<fn() -> (Box<Req>, Box<Res>)>,
}

/// Where requests come in.
struct Reception {
    node: Arc<NodeHandle>,
    mail: Mail<RequestHeader>,
    links: HashMap<PortId, SharedLink>,
    /// The client of the last request: it is often that of the next.
    last: Option<(PortId, SharedLink)>,
    budget_bytes: usize,
}

/// A request as it came in, and to whom the answer goes.
struct Received {
    content: Content<RequestHeader>,
    interest: Option<onecopy_memory::board::PeerWord>,
    link: SharedLink,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Server<Req, Res> {
    /// The next request, if there is one. Never blocks. Requests that were cancelled, or whose deadline has passed, are
    /// passed over.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Publisher`] once for each client found to be broken or hostile; it is dropped, the others go on.
    pub fn receive(&self) -> Result<Option<Request<Req, Res>>, ReceiveError> {
        let received = lock(&self.reception).next::<Req>()?;
        Ok(received.map(|Received { content, interest, link }| Request::new(content, interest, link)))
    }

    /// The next request; sleeps until there is one. `None` if none came within `timeout`.
    ///
    /// # Errors
    ///
    /// As for [`Self::receive`].
    pub fn wait(&self, timeout: Duration) -> Result<Option<Request<Req, Res>>, WaitError> {
        let mut reception = lock(&self.reception);
        let mut received = reception.next::<Req>()?;
        if received.is_none() {
            let deadline = Instant::now().checked_add(timeout);
            let mut in_time = true;
            while received.is_none() && in_time {
                in_time = sleep::until_ready(&mut [&mut reception.mail.feeds], deadline)?;
                // Also after the deadline: a request may have come with it.
                received = reception.next::<Req>()?;
            }
        }
        Ok(received.map(|Received { content, interest, link }| Request::new(content, interest, link)))
    }

    /// Number of clients that may ask.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Evicted`] if the broker refused this node.
    pub fn clients(&self) -> Result<usize, ReceiveError> {
        let mut reception = lock(&self.reception);
        reception.take_news()?;
        Ok(reception.links.len())
    }

    /// A descriptor that is readable when there may be requests: then call [`Self::receive`] until it returns `None`.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn readiness(&self) -> Result<Readiness, WaitError> {
        lock(&self.reception).mail.feeds.readiness()
    }

    pub(crate) fn sleeper(&mut self) -> &mut dyn sleep::Sleeper {
        let reception = self.reception.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        &mut reception.mail.feeds
    }
}

impl Reception {
    fn next<Req: Payload + ?Sized>(&mut self) -> Result<Option<Received>, ReceiveError> {
        loop {
            self.take_news()?;
            let next = self.mail.next(|feed, content| {
                let header = content.header;
                let interest =
                    if header.flags & ONE_WAY == 0 { feed.reader.word(header.interest) } else { None };
                (header, interest, feed.from)
            })?;
            let Some((header, interest, from)) = next else { return Ok(None) };
            let Some(link) = from.and_then(|from| self.link_to(from)) else { continue };
            if interest.as_ref().is_some_and(|word| word.load() != header.id) {
                // Nobody waits any more.
                self.mail.content.held = None;
                continue;
            }
            if header.deadline != 0 && now_ns() >= header.deadline {
                self.mail.content.held = None;
                if header.flags & ONE_WAY == 0 {
                    let late = ResponseHeader { id: header.id, status: Status::TooLate as u64 };
                    // The client notices by itself that it is late.
                    let _ = outgoing::send::<[u8], _>(&mut lock(&link).sender, &late, &[]);
                }
                continue;
            }
            let bytes = self.mail.content.bytes();
            if Req::EXACT_BYTES.is_some_and(|exact| exact != bytes.len()) || Req::from_bytes(bytes).is_none()
            {
                self.mail.content.held = None;
                let peer = lock(&link).peer;
                return Err(self.mail.feeds.drop_peer(peer, "a request has not the size of the service's"));
            }
            return Ok(Some(Received { content: self.mail.content.take(), interest, link }));
        }
    }

    fn link_to(&mut self, client: PortId) -> Option<SharedLink> {
        if let Some((last, link)) = &self.last
            && *last == client
        {
            return Some(Arc::clone(link));
        }
        let link = self.links.get(&client)?;
        self.last = Some((client, Arc::clone(link)));
        Some(Arc::clone(link))
    }

    fn take_news(&mut self) -> Result<(), ReceiveError> {
        self.mail.feeds.refresh()?;
        while let Some(news) = self.mail.feeds.peer_news.pop_front() {
            match news {
                PeerNews::Met { peer, pid, publisher, writer, .. } => {
                    let link = Link::new(&self.node, peer, pid, publisher, *writer, self.budget_bytes);
                    self.links.insert(peer, Arc::new(Mutex::new(link)));
                }
                PeerNews::Hears { publisher } => {
                    let link = self.links.values().find(|link| lock(link).sender.port == publisher);
                    if let Some(link) = link {
                        lock(link).hears = true;
                    }
                }
                PeerNews::AllMet => {}
                PeerNews::Parted { peer } => {
                    self.last = None;
                    if let Some(link) = self.links.remove(&peer) {
                        lock(&link).parted = true;
                    }
                }
                PeerNews::OutOfReach { peer, reason } => {
                    tracing::warn!(%peer, %reason, "a client can't be answered, so it won't call");
                }
            }
        }
        Ok(())
    }
}
