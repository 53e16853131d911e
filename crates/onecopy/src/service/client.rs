//! The asking end of a service.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onecopy_memory::ring::Geometry;
use zerocopy::IntoBytes;

use super::error::CallError;
use super::exchange::{Exchange, Order};
use super::header::{RequestHeader, now_ns};
use super::interest::InterestBoard;
use super::link::lock;
use super::outgoing::{Outgoing, fits_slot};
use super::pending::Pending;
use super::request_draft::RequestDraft;
use super::{Exchanges, geometry, service_type};
use crate::broker::protocol::{Role, ServiceType};
use crate::error::{OpenError, WaitError};
use crate::feeds::Feeds;
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::{Payload, PlainData, slice_bytes};
use crate::readiness::Readiness;

/// How a client is to be set up; from [`crate::service::Service::client`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let client = node.service::<[u8], [u8]>("shout")?.client().budget_bytes(1 << 20).open()?;
/// assert_eq!(client.servers()?, 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct ClientBuilder<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    service: String,
    expected: Option<ServiceType>,
    budget_bytes: usize,
    payload: Exchanges<Req, Res>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> ClientBuilder<Req, Res> {
    pub(super) fn new(node: Arc<NodeHandle>, service: String) -> Self {
        let (expected, budget_bytes) = (Some(service_type::<Req, Res>()), limits::BUDGET_BYTES_DEFAULT);
        Self { node, service, expected, budget_bytes, payload: PhantomData }
    }

    pub(super) fn accept_any(mut self) -> Self {
        self.expected = None;
        self
    }

    /// Most bytes of memory for requests to one server that don't fit a slot. Default 1 GiB; used as requests need it.
    pub fn budget_bytes(mut self, bytes: usize) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// Opens the client. When it returns, every server that was there can be called.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: other types on this service, no memory or descriptors, no broker.
    pub fn open(self) -> Result<Client<Req, Res>, OpenError> {
        let port = self.node.new_port();
        let budget_bytes = self.budget_bytes.max(InterestBoard::bytes());
        let geometry: Geometry = geometry::<Req, RequestHeader>(limits::CALLS_MAX, budget_bytes);
        let inbox =
            self.node.open_correspondent(port, Role::Client, self.service, self.expected, geometry)?;
        let feeds = Feeds::new(Arc::clone(&self.node), port, inbox);
        let mut exchange = Exchange::new::<Req, Res>(self.node, port, feeds, budget_bytes);
        if let Err(error) = exchange.settle(limits::SETTLE_TIMEOUT) {
            tracing::warn!(%error, "some server can't be called yet");
        }
        Ok(Client { exchange: Mutex::new(exchange), payload: PhantomData, one_thread: PhantomData })
    }
}

/// How a call is to be made, beyond what is asked.
///
/// ```
/// use std::time::Duration;
///
/// let options = onecopy::service::CallOptions::new().deadline(Duration::from_millis(20)).retries(2);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallOptions {
    deadline: Option<Duration>,
    retries: u32,
}

impl CallOptions {
    /// No deadline, no retries.
    pub fn new() -> Self {
        Self::default()
    }

    /// From so much later on the answer is of no use: the server sees that, and does not begin.
    pub fn deadline(mut self, from_now: Duration) -> Self {
        self.deadline = Some(from_now);
        self
    }

    /// The call may be made twice without harm (it is idempotent), so if its server dies it goes to another
    /// one, up to so many times. Keeps a copy of the request.
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    pub(super) fn order(self, one_way: bool) -> Order {
        let from_now = self.deadline.map(|deadline| u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX));
        // 0 is for none; a deadline at once is one nanosecond after the machine started.
        let deadline = from_now.map_or(0, |from_now| now_ns().saturating_add(from_now).max(1));
        Order { deadline, one_way, retries: self.retries }
    }
}

/// Asks the servers of a service; see [`crate::Node::service`].
///
/// A client belongs to one thread at a time; threads that call side by side open a client each, which costs
/// little. Each call goes to one server, the one with the fewest calls of this client under way.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = onecopy::Node::open()?;
/// let client = node.service::<u64, u64>("square")?.client().open()?;
/// let three = client.call(&3)?;
/// let four = client.call(&4)?;
/// println!("{} {}", *three.wait(Duration::from_secs(1))?, *four.wait(Duration::from_secs(1))?);
/// # Ok(()) }
/// ```
pub struct Client<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    pub(super) exchange: Mutex<Exchange>,
    payload: Exchanges<Req, Res>,
    /// A wait sleeps with the lock held, so two threads would wait for each other's answers.
    one_thread: PhantomData<std::cell::Cell<()>>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Client<Req, Res> {
    /// Sends a copy of `request`. Never blocks.
    ///
    /// # Errors
    ///
    /// [`CallError::NoServer`]; [`CallError::Loan`] if the server lags by its whole ring, or requests take all memory;
    /// [`CallError::TooManyCalls`].
    #[inline]
    pub fn call(&self, request: &Req) -> Result<Pending<'_, Res>, CallError> {
        self.call_with(request, CallOptions::new())
    }

    /// Like [`Self::call`], with a deadline or retries.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::{CallError, CallOptions};
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let late = client.call_with(&3, CallOptions::new().deadline(Duration::from_millis(1)))?;
    /// assert!(matches!(late.wait(Duration::from_secs(1)), Err(CallError::DeadlinePassed)));
    /// # drop(server);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn call_with(&self, request: &Req, options: CallOptions) -> Result<Pending<'_, Res>, CallError> {
        let id = send_copy(&mut lock(&self.exchange), request, options.order(false))?;
        Ok(Pending::new(&self.exchange, id))
    }

    /// Sends a copy of `request` and wants no answer. It arrives unless the server dies before it takes it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// client.notify(&3)?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// assert!(request.is_one_way() && *request == 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn notify(&self, request: &Req) -> Result<(), CallError> {
        send_copy(&mut lock(&self.exchange), request, CallOptions::new().order(true)).map(drop)
    }

    /// Number of servers that can be called right now.
    ///
    /// # Errors
    ///
    /// [`CallError::Receive`] if the broker refused this node.
    pub fn servers(&self) -> Result<usize, CallError> {
        let mut exchange = lock(&self.exchange);
        exchange.look()?;
        Ok(exchange.servers())
    }

    /// Sleeps until there is a server to call.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::CallError;
    /// let client = node.service::<u64, u64>("square")?.client().open()?;
    /// assert!(matches!(client.wait_for_server(Duration::from_millis(1)), Err(CallError::NoServer)));
    /// assert!(matches!(client.call(&3), Err(CallError::NoServer)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CallError::NoServer`] after `timeout`.
    pub fn wait_for_server(&self, timeout: Duration) -> Result<(), CallError> {
        match lock(&self.exchange).wait_for_server(timeout)? {
            true => Ok(()),
            false => Err(CallError::NoServer),
        }
    }

    /// What the service takes and answers, as its servers say; `None` before the first of them came.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// // Whoever calls with bytes has to know what they are to be.
    /// let client = node.any_service("square")?.client().open()?;
    /// assert!(client.service_type().is_none());
    /// let _server = node.service::<u64, u64>("square")?.server().open()?;
    /// client.wait_for_server(Duration::from_secs(10))?;
    /// let taken = client.service_type().ok_or("a server has said so")?.request;
    /// assert_eq!(taken.element.size_bytes, 8);
    /// # Ok(()) }
    /// ```
    pub fn service_type(&self) -> Option<ServiceType> {
        lock(&self.exchange).payload.clone()
    }

    /// A descriptor that is readable when there may be answers: then look with [`Pending::receive`].
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
    /// let nine = client.call(&3)?;
    /// let readiness = client.readiness()?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// request.respond(&(*request * *request))?;
    /// let answer = loop {
    ///     poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
    ///     if let Some(answer) = nine.receive()? {
    ///         break answer;
    ///     }
    /// };
    /// assert_eq!(*answer, 9);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn readiness(&self) -> Result<Readiness, WaitError> {
        lock(&self.exchange).mail.feeds.readiness()
    }

    fn take_loan(&self, bytes: usize) -> Result<RequestLoan<'_, Req, Res>, CallError> {
        let draft = RequestDraft::take(&self.exchange, bytes)?;
        Ok(RequestLoan { draft, payload: PhantomData, one_thread: PhantomData })
    }
}

impl<Req: PlainData, Res: Payload + ?Sized> Client<Req, Res> {
    /// Memory for one request, to be written in place where the server will read it. It has the value of an earlier
    /// message, or zeros: write every field.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::CallOptions;
    /// let service = node.service::<[f64; 100], f64>("mean")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let mut samples = client.loan()?;
    /// samples.fill(1.5);
    /// let mean = samples.call_with(CallOptions::new().retries(1))?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// request.respond(&(request.iter().sum::<f64>() / 100.0))?;
    /// assert_eq!(*mean.wait(Duration::from_secs(1))?, 1.5);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn loan(&self) -> Result<RequestLoan<'_, Req, Res>, CallError> {
        self.take_loan(size_of::<Req>())
    }
}

impl<T: PlainData, Res: Payload + ?Sized> Client<[T], Res> {
    /// Memory for one request of `len` elements; see [`Client::loan`].
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub fn loan_slice(&self, len: usize) -> Result<RequestLoan<'_, [T], Res>, CallError> {
        self.take_loan(slice_bytes::<T>(len)?)
    }
}

#[inline]
pub(super) fn send_copy<Req: Payload + ?Sized>(
    exchange: &mut Exchange,
    request: &Req,
    order: Order,
) -> Result<u64, CallError> {
    exchange.prepare_call()?;
    let index = exchange.choose().ok_or(CallError::NoServer)?;
    let bytes = request.to_bytes();
    let sender = &mut exchange.link(index).sender;
    if !fits_slot::<Req, RequestHeader>(sender, bytes.len()) {
        return send_large::<Req>(exchange, index, bytes, order);
    }
    // Before the call is noted: one that there was no room for was not made.
    sender.check_room(1)?;
    let header = exchange.begin(index, order, bytes)?;
    exchange.link(index).sender.writer.publish_inline(header.as_bytes(), bytes);
    Ok(header.id)
}

fn send_large<Req: Payload + ?Sized>(
    exchange: &mut Exchange,
    index: usize,
    bytes: &[u8],
    order: Order,
) -> Result<u64, CallError> {
    let copy = Outgoing::copy::<Req, RequestHeader>(&mut exchange.link(index).sender, bytes)?;
    let begun = exchange.begin(index, order, bytes);
    let sender = &mut exchange.link(index).sender;
    match begun {
        Ok(header) => {
            copy.publish(sender, &header);
            Ok(header.id)
        }
        Err(error) => {
            copy.discard(sender);
            Err(error)
        }
    }
}

/// A request being written: derefs to the payload. Dropped without [`RequestLoan::call`], it was never there.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<[u8], u64>("length")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let mut request = client.loan_slice(1000)?;
/// request.fill(7);
/// let length = request.call()?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// request.respond(&(request.len() as u64))?;
/// assert_eq!(*length.wait(Duration::from_secs(1))?, 1000);
/// // Of no interest, and not to be answered.
/// client.loan_slice(10)?.notify()?;
/// assert!(server.wait(Duration::from_secs(1))?.is_some_and(|request| request.is_one_way()));
/// # Ok(()) }
/// ```
pub struct RequestLoan<'c, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    draft: RequestDraft<'c, Req>,
    payload: PhantomData<fn() -> Box<Res>>,
    /// See [`Client`].
    one_thread: PhantomData<*const ()>,
}

impl<'c, Req: Payload + ?Sized, Res: Payload + ?Sized> RequestLoan<'c, Req, Res> {
    /// Hands the request to the server.
    ///
    /// # Errors
    ///
    /// [`CallError::NoServer`] if that server has ended meanwhile; [`CallError::TooManyCalls`].
    pub fn call(self) -> Result<Pending<'c, Res>, CallError> {
        self.call_with(CallOptions::new())
    }

    /// Like [`Self::call`], with a deadline or retries.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn call_with(mut self, options: CallOptions) -> Result<Pending<'c, Res>, CallError> {
        let exchange = self.draft.exchange;
        let id = self.draft.send(options.order(false))?;
        Ok(Pending::new(exchange, id))
    }

    /// Hands the request to the server and wants no answer.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn notify(mut self) -> Result<(), CallError> {
        self.draft.send(CallOptions::new().order(true)).map(drop)
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for RequestLoan<'_, Req, Res> {
    type Target = Req;

    fn deref(&self) -> &Req {
        self.draft.payload()
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> DerefMut for RequestLoan<'_, Req, Res> {
    fn deref_mut(&mut self) -> &mut Req {
        self.draft.payload_mut()
    }
}
