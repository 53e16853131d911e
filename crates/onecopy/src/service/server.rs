//! The answering end of a service.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onecopy_memory::counted::counted;

use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::interest::Interest;
use super::letter::Letter;
use super::link::{ReplyLink, SharedLink, lock};
use super::mail::Mail;
use super::request::Request;
use super::{Exchanges, geometry, outgoing, service_type};
use crate::broker::protocol::{PortId, Role};
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::feeds::Feeds;
use crate::inbox::PeerNews;
use crate::limits::{self, CALLS_MAX};
use crate::node::handle::NodeHandle;
use crate::payload::Payload;
use crate::readiness::Readiness;
use crate::sender::Sender;
use crate::sleep;

/// How a server is to be set up; from [`crate::service::Service::server`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let server = node.service::<[u8], [u8]>("shout")?.server().budget_bytes(1 << 20).open()?;
/// assert_eq!(server.clients()?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct ServerBuilder<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    service: String,
    budget_bytes: usize,
    payload: Exchanges<Req, Res>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> ServerBuilder<Req, Res> {
    pub(super) fn new(node: Arc<NodeHandle>, service: String) -> Self {
        Self { node, service, budget_bytes: limits::BUDGET_BYTES_DEFAULT, payload: PhantomData }
    }

    /// Most bytes of memory for responses to one client that don't fit a slot. Default 1 GiB; used as
    /// responses need it, so a client that never takes its answers can make the server use that much, and no
    /// other client notices. Streams of answers leave half of it for the last answers to other calls.
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
        let geometry = geometry::<Res, ResponseHeader>(RESPONSES_MAX, self.budget_bytes);
        let payload = Some(service_type::<Req, Res>());
        let inbox = self.node.open_correspondent(port, Role::Server, self.service, payload, geometry)?;
        let mail = Mail::new(Feeds::new(Arc::clone(&self.node), port, inbox));
        let (links, leaving, last, unlinked, feed_changes, is_listened_to) = Default::default();
        let Self { node, budget_bytes, .. } = self;
        let reception = Reception {
            node,
            mail,
            links,
            leaving,
            last,
            budget_bytes,
            unlinked,
            feed_changes,
            is_listened_to,
        };
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
    pub(super) reception: Mutex<Reception>,
    payload: Exchanges<Req, Res>,
}

/// Slots of a ring of responses: half of them for streams, half for the last answers to all calls of a client.
const RESPONSES_MAX: usize = 2 * CALLS_MAX;

/// Requests that are passed over before the caller gets to look at its clock.
const PASSED_OVER_MAX: usize = 1024;

/// Where requests come in.
pub(super) struct Reception {
    node: Arc<NodeHandle>,
    pub(super) mail: Mail<RequestHeader>,
    links: HashMap<PortId, SharedLink>,
    /// Clients that have ended, and whose last requests are still to be received.
    leaving: Vec<PortId>,
    /// The client of the last request: it is often that of the next.
    last: Option<(PortId, SharedLink)>,
    budget_bytes: usize,
    /// Clients whose rings are not read yet, so that they could not be told how else to say that they have made space.
    unlinked: Vec<PortId>,
    /// [`Feeds::changes`] when that was tried last.
    feed_changes: u64,
    /// A task listens to the doorbells on behalf of others.
    pub(super) is_listened_to: bool,
}

/// A request as it came in, and to whom the answer goes.
pub(super) struct Received {
    pub(super) content: Letter<RequestHeader>,
    pub(super) interest: Option<Interest>,
    pub(super) link: SharedLink,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Server<Req, Res> {
    /// The next request, if there is one. Never blocks, unless another thread waits for this server's next request.
    ///
    /// Requests that were cancelled, or whose deadline has passed, are passed over; one of the wrong size is
    /// answered with [`crate::service::CallError::Failed`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// assert!(server.receive()?.is_none());
    /// # drop(client);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReceiveError::TooManyHeld`] if so many requests are held that no more can be noted;
    /// [`ReceiveError::Evicted`] if the broker refused this node. A client found to be broken or hostile is
    /// dropped with a warning; it is no error of the server's.
    pub fn receive(&self) -> Result<Option<Request<Req, Res>>, ReceiveError> {
        let mut reception = lock(&self.reception);
        let received = reception.next::<Req>();
        reception.pass_rings_on();
        Ok(received?.map(Request::new))
    }

    /// The next request; sleeps until there is one. `None` if none came within `timeout`. A thread that finds
    /// another one waiting gets its turn after that.
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
                let woken = sleep::until_ready(&mut [&mut reception.mail.feeds], deadline)?;
                in_time = woken && deadline.is_none_or(|deadline| Instant::now() < deadline);
                // Also after the deadline: a request may have come with it.
                received = reception.next::<Req>()?;
            }
        }
        Ok(received.map(Request::new))
    }

    /// Number of clients that may ask.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Evicted`] if the broker refused this node.
    pub fn clients(&self) -> Result<usize, ReceiveError> {
        let mut reception = lock(&self.reception);
        let looked = reception.take_news().and_then(|()| reception.mail.feeds.keep_armed(false));
        reception.pass_rings_on();
        looked?;
        Ok(reception.links.len() - reception.leaving.len())
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
    /// For those who look without being that task: what they were rung for may have been for others.
    fn pass_rings_on(&self) {
        if self.is_listened_to {
            self.mail.feeds.ring_own_bell();
        }
    }

    /// The next request that somebody waits for, and whose size is right.
    pub(super) fn next<Req: Payload + ?Sized>(&mut self) -> Result<Option<Received>, ReceiveError> {
        for _ in 0..PASSED_OVER_MAX {
            self.take_news()?;
            let next = self.mail.next(|feed, content| {
                let header = content.header;
                let interest = (header.flags & ONE_WAY == 0)
                    .then(|| Interest::find(&feed.reader, header.interest))
                    .flatten();
                (header, interest, feed.from)
            });
            let (header, interest, from) = match next {
                Ok(Some(received)) => received,
                Ok(None) => {
                    // Their feeds may have ended with this look.
                    self.note_the_unheard();
                    self.let_go_of_the_dead();
                    return Ok(None);
                }
                Err(error) => {
                    self.note_the_unheard();
                    give_up(error)?;
                    continue;
                }
            };
            // The client may have come in just now, with its request.
            self.sort_news();
            if let Some(link) = from.and_then(|from| self.link_to(from))
                && self.is_wanted::<Req>(&header, interest.as_ref(), &link)
            {
                return Ok(Some(Received { content: self.mail.content.take(), interest, link }));
            }
            self.mail.content.held = None;
        }
        // There is more, and the event loop is to know.
        self.mail.feeds.keep_armed(true)?;
        Ok(None)
    }

    /// Has the doorbells rung for what comes from now on, and takes in who went; says whether there is something to
    /// receive, or to be told.
    #[cfg(feature = "tokio")]
    pub(super) fn listen(&mut self) -> bool {
        if !self.mail.feeds.is_forked()
            && self.mail.feeds.has_news()
            && let Err(error) = self.take_news()
        {
            self.mail.feeds.tell_later(error);
        }
        self.mail.feeds.listen_again()
    }

    /// Whether the request received last is for the user to see; answers it if not.
    fn is_wanted<Req: Payload + ?Sized>(
        &self,
        header: &RequestHeader,
        interest: Option<&Interest>,
        link: &SharedLink,
    ) -> bool {
        let is_one_way = header.flags & ONE_WAY != 0;
        if !is_one_way && (link.has_parted() || interest.is_some_and(|interest| !interest.is_in(header.id))) {
            return false;
        }
        let refusal = if header.deadline != 0 && now_ns() >= header.deadline {
            Some((Status::TooLate, String::new()))
        } else {
            let content = &self.mail.content;
            (!content.is::<Req>()).then(|| (Status::Failed, misfit::<Req>(content.bytes().len())))
        };
        let Some((status, text)) = refusal else { return true };
        if !is_one_way {
            let refused = ResponseHeader { id: header.id, status: status as u64 };
            // A client that takes no answers need not have this one either.
            let _ = outgoing::send::<[u8], _>(&mut link.sender(), &refused, text.as_bytes());
        }
        false
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
        while let Err(error) = self.mail.feeds.refresh() {
            if let Err(error) = give_up(error) {
                self.note_the_unheard();
                return Err(error);
            }
        }
        self.sort_news();
        Ok(())
    }

    /// The part of [`Self::take_news`] after the news have come in.
    fn sort_news(&mut self) {
        let mut may_link = self.mail.feeds.changes() != self.feed_changes && !self.unlinked.is_empty();
        while let Some(news) = self.mail.feeds.peer_news.pop_front() {
            match news {
                PeerNews::Met { peer, pid, publisher, writer, .. } => {
                    let sender = Sender::new(Arc::clone(&self.node), publisher, *writer, self.budget_bytes);
                    self.links.insert(peer, Arc::new(ReplyLink::new(peer, pid, sender)));
                    self.unlinked.push(peer);
                    may_link = true;
                }
                // It asks only when it hears.
                PeerNews::Hears { .. } | PeerNews::AllMet => {}
                PeerNews::Parted { peer } => {
                    if let Some(link) = self.links.get(&peer) {
                        link.part();
                        self.leaving.push(peer);
                    }
                }
                PeerNews::OutOfReach { peer, reason } => {
                    tracing::warn!(%peer, %reason, "a client can't be answered, so it won't call");
                }
            }
        }
        if may_link {
            self.link();
        }
        self.note_the_unheard();
        self.let_go_of_the_dead();
    }

    /// Tells those who answer clients that are not heard any more.
    #[inline]
    pub(super) fn note_the_unheard(&mut self) {
        for (client, fault) in self.mail.feeds.unheard.drain(..) {
            let Some(link) = self.links.get(&client) else { continue };
            match fault {
                Some(fault) => link.give_up(fault),
                None => link.part(),
            }
        }
    }

    #[cold]
    fn link(&mut self) {
        let Self { mail, links, unlinked, feed_changes, .. } = self;
        *feed_changes = mail.feeds.changes();
        unlinked.retain(|client| {
            let link = links.get(client).filter(|link| !link.has_parted());
            link.is_some_and(|link| !mail.feeds.ring_on_space(*client, link.sender().writer.readers()))
        });
    }

    /// What a client sent without wanting an answer is received also after its end.
    #[inline]
    fn let_go_of_the_dead(&mut self) {
        if self.leaving.is_empty() {
            return;
        }
        let Self { mail, links, leaving, last, .. } = self;
        leaving.retain(|peer| {
            let has_more = mail.feeds.hears(*peer);
            if !has_more {
                links.remove(peer);
                last.take_if(|(client, _)| client == peer);
            }
            has_more
        });
    }
}

/// A client that breaks the protocol is not heard any more, and must not be able to end a server that passes errors on.
/// Errors that are no client's are returned.
#[cold]
fn give_up(error: ReceiveError) -> Result<(), ReceiveError> {
    if !matches!(error, ReceiveError::Publisher { .. }) {
        return Err(error);
    }
    tracing::warn!(%error, "a client is given up");
    Ok(())
}

fn misfit<Req: Payload + ?Sized>(bytes: usize) -> String {
    let element_bytes = Req::element().size_bytes;
    match Req::EXACT_BYTES {
        Some(exact) => {
            format!("a request to this service has {}, and this one {bytes}", counted(exact, "byte"))
        }
        None => {
            let step = counted(element_bytes, "byte");
            format!("a request to this service has a multiple of {step}, and this one {bytes}")
        }
    }
}
