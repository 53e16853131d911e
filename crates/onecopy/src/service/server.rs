//! The answering end of a service.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::header::ResponseHeader;
use super::link::lock;
use super::reception::Reception;
use super::request::Request;
use super::{Exchanges, geometry, service_type};
use crate::broker::protocol::Role;
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::feeds::Feeds;
use crate::limits::{self, CALLS_MAX};
use crate::node::handle::NodeHandle;
use crate::payload::Payload;
use crate::readiness::Readiness;
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
        let feeds = Feeds::new(Arc::clone(&self.node), port, inbox);
        let reception = Reception::new(self.node, feeds, self.budget_bytes);
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
        Ok(reception.clients())
    }

    /// A descriptor that is readable when there may be requests: then call [`Self::receive`] until it returns `None`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let readiness = server.readiness()?;
    /// let nine = client.call(&3)?;
    /// let request = loop {
    ///     poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
    ///     if let Some(request) = server.receive()? {
    ///         break request;
    ///     }
    /// };
    /// request.respond(&(*request * *request))?;
    /// assert_eq!(*nine.wait(Duration::from_secs(1))?, 9);
    /// # Ok(()) }
    /// ```
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
