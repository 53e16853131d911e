//! The asking end of a service.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use onecopy_memory::ring::Geometry;

use super::error::CallError;
use super::exchange::{Exchange, Order};
use super::header::{RequestHeader, now_ns};
use super::link::lock;
use super::outgoing::{self, Outgoing};
use super::pending::Pending;
use super::{geometry, service_type};
use crate::broker::protocol::{PortId, Role, ServiceType};
use crate::error::{OpenError, WaitError};
use crate::feed::Feeds;
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::{Payload, PlainData, slice_bytes};
use crate::readiness::Readiness;

/// How a client is to be set up; from [`crate::service::Service::client`].
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct ClientBuilder<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    node: Arc<NodeHandle>,
    service: String,
    expected: Option<ServiceType>,
    budget_bytes: usize,
    payload: PhantomData<fn() -> (Box<Req>, Box<Res>)>,
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
        let geometry: Geometry = geometry::<Req, RequestHeader>(self.budget_bytes);
        let inbox =
            self.node.open_correspondent(port, Role::Client, self.service, self.expected, geometry)?;
        let feeds = Feeds::new(Arc::clone(&self.node), port, inbox);
        let mut exchange = Exchange::new(self.node, feeds, self.budget_bytes);
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

    /// The call may be made twice without harm (it is idempotent), so if its server dies it goes to another one, up to so
    /// many times. Keeps a copy of the request.
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    fn order(self, one_way: bool) -> Order {
        let from_now = self.deadline.map(|deadline| u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX));
        // 0 is for none; a deadline at once is one nanosecond after the machine started.
        let deadline = from_now.map_or(0, |from_now| now_ns().saturating_add(from_now).max(1));
        Order { deadline, one_way, retries: self.retries }
    }
}

/// Asks the servers of a service; see [`crate::Node::service`].
///
/// A client belongs to one thread at a time; threads that call side by side open a client each, which costs little. Each
/// call goes to one server, the one with the fewest calls of this client under way.
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
    payload: PhantomData<fn() -> (Box<Req>, Box<Res>)>,
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
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn call_with(&self, request: &Req, options: CallOptions) -> Result<Pending<'_, Res>, CallError> {
        let id = send_copy(&mut lock(&self.exchange), request, options.order(false))?;
        Ok(Pending::new(&self.exchange, id))
    }

    /// Sends a copy of `request` and wants no answer. It arrives unless the server dies before it takes it.
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
        exchange.take_news()?;
        Ok(exchange.servers())
    }

    /// Sleeps until there is a server to call.
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
    pub fn service_type(&self) -> Option<ServiceType> {
        lock(&self.exchange).payload.clone()
    }

    /// A descriptor that is readable when there may be answers: then look with [`Pending::receive`].
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn readiness(&self) -> Result<Readiness, WaitError> {
        lock(&self.exchange).mail.feeds.readiness()
    }

    fn take_loan(&self, bytes: usize) -> Result<RequestLoan<'_, Req, Res>, CallError> {
        let mut exchange = lock(&self.exchange);
        exchange.take_news()?;
        let index = exchange.choose().ok_or(CallError::NoServer)?;
        let link = exchange.link(index);
        let outgoing = Outgoing::take::<Req, RequestHeader>(&mut link.sender, bytes)?;
        Ok(RequestLoan { client: self, server: link.peer, outgoing: Some(outgoing) })
    }
}

impl<Req: PlainData, Res: Payload + ?Sized> Client<Req, Res> {
    /// Memory for one request, to be written in place where the server will read it. It has the value of an earlier
    /// message, or zeros: write every field.
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
fn send_copy<Req: Payload + ?Sized>(
    exchange: &mut Exchange,
    request: &Req,
    order: Order,
) -> Result<u64, CallError> {
    exchange.take_news()?;
    let index = exchange.choose().ok_or(CallError::NoServer)?;
    let header = exchange.begin(index, order, request.to_bytes())?;
    let sent =
        outgoing::send::<Req, RequestHeader>(&mut exchange.link(index).sender, &header, request.to_bytes());
    if let Err(error) = sent {
        exchange.forget(header.id);
        return Err(error.into());
    }
    Ok(header.id)
}

/// A request being written: derefs to the payload. Dropped without [`RequestLoan::call`], it was never there.
pub struct RequestLoan<'c, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    client: &'c Client<Req, Res>,
    server: PortId,
    outgoing: Option<Outgoing>,
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
    pub fn call_with(self, options: CallOptions) -> Result<Pending<'c, Res>, CallError> {
        let exchange = &self.client.exchange;
        let id = self.send(options.order(false))?;
        Ok(Pending::new(exchange, id))
    }

    /// Hands the request to the server and wants no answer.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn notify(self) -> Result<(), CallError> {
        self.send(CallOptions::new().order(true)).map(drop)
    }

    fn send(mut self, order: Order) -> Result<u64, CallError> {
        let mut exchange = lock(&self.client.exchange);
        let index = exchange.link_to(self.server).ok_or(CallError::NoServer)?;
        let link = exchange.link(index);
        if link.parted {
            return Err(CallError::NoServer);
        }
        // Other loans of this client may have been sent since there was room for this one.
        link.sender.check_room(1)?;
        let payload = self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default();
        let header = exchange.begin(index, order, payload)?;
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.publish(&mut exchange.link(index).sender, &header);
        }
        Ok(header.id)
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for RequestLoan<'_, Req, Res> {
    type Target = Req;

    fn deref(&self) -> &Req {
        let bytes = self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default();
        Req::from_bytes(bytes).expect("a loan has the payload's length and alignment")
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> DerefMut for RequestLoan<'_, Req, Res> {
    fn deref_mut(&mut self) -> &mut Req {
        let bytes = self.outgoing.as_mut().map(Outgoing::payload_mut).unwrap_or_default();
        Req::from_bytes_mut(bytes).expect("a loan has the payload's length and alignment")
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for RequestLoan<'_, Req, Res> {
    fn drop(&mut self) {
        let Some(outgoing) = self.outgoing.take() else { return };
        let mut exchange = lock(&self.client.exchange);
        if let Some(index) = exchange.link_to(self.server) {
            outgoing.discard(&mut exchange.link(index).sender);
        }
    }
}
