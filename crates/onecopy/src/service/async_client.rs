//! Asking on tokio. One task of the client's receives and sorts the answers; each call's task is woken for
//! its own answers only, and none depends on another being polled.

use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::Exchanges;
use super::async_server::{runtime_ended, watch};
use super::calls::Ending;
use super::client::{CallOptions, Client, send_copy};
use super::error::CallError;
use super::exchange::Exchange;
use super::header::ResponseHeader;
use super::letter::Letter;
use super::link::lock;
use super::pending::Response;
use super::request_draft::RequestDraft;
use crate::broker::protocol::ServiceType;
use crate::error::{ReceiveError, WaitError};
use crate::payload::{Payload, PlainData, slice_bytes};
use crate::readiness::Readiness;

/// A [`Client`] whose answers can be awaited; from [`Client::into_async`]. Any number of tasks may call side
/// by side, and clones are the same client.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::CallOptions;
/// let service = node.service::<[u8], u64>("length")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// assert!(client.servers()? == 1 && client.service_type().is_some());
/// client.notify(b"wants no answer")?;
/// let mut seven = client.call_with(b"started", CallOptions::new().retries(1))?;
/// let mut zeros = client.loan_slice_when_possible(1000).await?;
/// zeros.fill(0);
/// let mut thousand = zeros.call()?;
/// for _ in 0..3 {
///     let request = server.recv().await?;
///     if !request.is_one_way() {
///         request.respond(&(request.len() as u64)).await?;
///     }
/// }
/// let (seven, thousand) = tokio::try_join!(seven.recv(), thousand.recv())?;
/// assert_eq!(*seven + *thousand, 1007);
/// # Ok(()) }
/// ```
pub struct AsyncClient<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    pub(super) shared: Arc<Shared>,
    payload: Exchanges<Req, Res>,
}

/// What clones, calls and the receiving task share.
pub(super) struct Shared {
    pub(super) exchange: Mutex<Exchange>,
    readiness: AsyncFd<Readiness>,
    receiving: OnceLock<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = self.receiving.get() {
            task.abort();
        }
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Client<Req, Res> {
    /// Hands the client to the current tokio runtime (feature `tokio`), on which a task receives its answers
    /// from now on; see [`AsyncClient`] for an example.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver enabled. Deadlines need its time driver too.
    pub fn into_async(self) -> Result<AsyncClient<Req, Res>, WaitError> {
        let readiness = watch(self.readiness()?)?;
        let (exchange, receiving) = (self.exchange, OnceLock::new());
        let shared = Arc::new(Shared { exchange, readiness, receiving });
        let end = ReceivingEnd(Arc::downgrade(&shared));
        let task = tokio::spawn(async move { poll_fn(|context| end.poll(context)).await });
        let _ = shared.receiving.set(task.abort_handle());
        Ok(AsyncClient { shared, payload: PhantomData })
    }
}

/// The task that receives. It ends with the client, or with its runtime.
struct ReceivingEnd(Weak<Shared>);

impl ReceivingEnd {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            Some(shared) => shared.poll_receive(context),
            None => Poll::Ready(()),
        }
    }
}

impl Drop for ReceivingEnd {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            let mut exchange = lock(&shared.exchange);
            exchange.has_receiver = false;
            exchange.wake_all();
        }
    }
}

impl Shared {
    /// Receives and sorts what there is, until there is nothing more or it can't be held. Ends in a child
    /// made by `fork`.
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            {
                let mut exchange = lock(&self.exchange);
                let looked = exchange.look();
                let stuck = match looked {
                    Err(CallError::Receive(
                        fault @ (ReceiveError::TooManyHeld(_) | ReceiveError::Forked),
                    )) => {
                        exchange.tell_fault(&fault);
                        true
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a client can't receive");
                        continue;
                    }
                    Ok(()) => false,
                };
                if stuck {
                    exchange.parked = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
            // The look has armed the doorbells and looked once more, so what comes now makes the descriptor readable.
            match self.readiness.poll_read_ready(context) {
                Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_answer(
        &self,
        id: u64,
        context: &mut Context<'_>,
    ) -> Poll<Result<Letter<ResponseHeader>, CallError>> {
        let mut exchange = lock(&self.exchange);
        let taken = exchange.take_sorted(id);
        // What kept it from receiving may be over.
        exchange.unpark();
        match taken.transpose() {
            Some(ended) => Poll::Ready(ended),
            None => match exchange.take_fault(id) {
                Some(fault) => Poll::Ready(Err(fault.into())),
                None if !exchange.has_receiver => Poll::Ready(Err(runtime_ended("client").into())),
                None => {
                    exchange.note_waiting(id, context.waker());
                    Poll::Pending
                }
            },
        }
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncClient<Req, Res> {
    /// Sends a copy of `request`. Never waits.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub fn call(&self, request: &Req) -> Result<AsyncPending<Res>, CallError> {
        self.call_with(request, CallOptions::new())
    }

    /// Like [`Self::call`], with a deadline or retries.
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub fn call_with(&self, request: &Req, options: CallOptions) -> Result<AsyncPending<Res>, CallError> {
        let id = send_copy(&mut lock(&self.shared.exchange), request, options.order(false))?;
        Ok(AsyncPending::new(&self.shared, id))
    }

    /// Sends a copy of `request` and wants no answer.
    ///
    /// # Errors
    ///
    /// As for [`Client::notify`].
    pub fn notify(&self, request: &Req) -> Result<(), CallError> {
        send_copy(&mut lock(&self.shared.exchange), request, CallOptions::new().order(true)).map(drop)
    }

    /// Like [`Self::call_with`], but waits while the ring of the server that is to get it is full, or
    /// requests take all memory: until the call's deadline at most. Cancel-safe: a call whose future is
    /// dropped before it is done was not made.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::CallOptions;
    /// let service = node.service::<u64, u64>("square")?;
    /// let server = service.server().open()?.into_async()?;
    /// let client = service.client().open()?.into_async()?;
    /// client.wait_for_server().await?;
    /// let serving = tokio::spawn(async move { while server.recv().await.is_ok() {} });
    /// for number in 0..10_000 {
    ///     client.notify_when_possible(&number).await?;
    /// }
    /// let _last = client.call_when_possible(&0, CallOptions::new()).await?;
    /// # serving.abort();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Client::call`], save for want of room; [`CallError::DeadlinePassed`]; [`CallError::Wait`] if
    /// it can't wait.
    ///
    /// # Panics
    ///
    /// If it has to wait, there is a deadline, and the runtime has no time driver.
    pub async fn call_when_possible(
        &self,
        request: &Req,
        options: CallOptions,
    ) -> Result<AsyncPending<Res>, CallError> {
        let order = options.order(false);
        let send = || send_copy(&mut lock(&self.shared.exchange), request, order);
        let id = self.shared.when_possible(None, order, send).await?;
        Ok(AsyncPending::new(&self.shared, id))
    }

    /// Like [`Self::notify`], but waits for room; see [`Self::call_when_possible`].
    ///
    /// # Errors
    ///
    /// As for [`Self::call_when_possible`].
    pub async fn notify_when_possible(&self, request: &Req) -> Result<(), CallError> {
        let order = CallOptions::new().order(true);
        let send = || send_copy(&mut lock(&self.shared.exchange), request, order);
        self.shared.when_possible(None, order, send).await.map(drop)
    }

    /// Number of servers that can be called right now.
    ///
    /// # Errors
    ///
    /// As for [`Client::servers`].
    pub fn servers(&self) -> Result<usize, CallError> {
        let mut exchange = lock(&self.shared.exchange);
        exchange.look()?;
        Ok(exchange.servers())
    }

    /// Waits until there is a server to call.
    ///
    /// # Errors
    ///
    /// [`CallError::Wait`] if the runtime has ended.
    pub async fn wait_for_server(&self) -> Result<(), CallError> {
        poll_fn(|context| {
            let mut exchange = lock(&self.shared.exchange);
            if exchange.servers() > 0 {
                return Poll::Ready(Ok(()));
            }
            if !exchange.has_receiver {
                return Poll::Ready(Err(runtime_ended("client").into()));
            }
            exchange.note_waiting_for_server(context.waker());
            Poll::Pending
        })
        .await
    }

    /// What the service takes and answers, as its servers say; `None` before the first of them came.
    pub fn service_type(&self) -> Option<ServiceType> {
        lock(&self.shared.exchange).payload.clone()
    }

    fn take_loan(&self, bytes: usize) -> Result<AsyncRequestLoan<'_, Req, Res>, CallError> {
        let draft = RequestDraft::take(&self.shared.exchange, bytes)?;
        Ok(AsyncRequestLoan { draft, shared: &self.shared, payload: PhantomData })
    }

    async fn take_loan_when_possible(
        &self,
        bytes: usize,
    ) -> Result<AsyncRequestLoan<'_, Req, Res>, CallError> {
        self.shared.when_possible(None, CallOptions::new().order(false), || self.take_loan(bytes)).await
    }
}

impl<Req: PlainData, Res: Payload + ?Sized> AsyncClient<Req, Res> {
    /// Memory for one request; see [`Client::loan`].
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub fn loan(&self) -> Result<AsyncRequestLoan<'_, Req, Res>, CallError> {
        self.take_loan(size_of::<Req>())
    }

    /// Like [`Self::loan`], but waits for room; see [`Self::call_when_possible`].
    ///
    /// # Errors
    ///
    /// As for [`Self::call_when_possible`].
    pub async fn loan_when_possible(&self) -> Result<AsyncRequestLoan<'_, Req, Res>, CallError> {
        self.take_loan_when_possible(size_of::<Req>()).await
    }
}

impl<T: PlainData, Res: Payload + ?Sized> AsyncClient<[T], Res> {
    /// Memory for one request of `len` elements; see [`Client::loan`].
    ///
    /// # Errors
    ///
    /// As for [`Client::call`].
    pub fn loan_slice(&self, len: usize) -> Result<AsyncRequestLoan<'_, [T], Res>, CallError> {
        self.take_loan(slice_bytes::<T>(len)?)
    }

    /// Like [`Self::loan_slice`], but waits for room; see [`AsyncClient::call_when_possible`].
    ///
    /// # Errors
    ///
    /// As for [`AsyncClient::call_when_possible`].
    pub async fn loan_slice_when_possible(
        &self,
        len: usize,
    ) -> Result<AsyncRequestLoan<'_, [T], Res>, CallError> {
        self.take_loan_when_possible(slice_bytes::<T>(len)?).await
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Clone for AsyncClient<Req, Res> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), payload: PhantomData }
    }
}

/// A request being written: derefs to the payload. Dropped without [`AsyncRequestLoan::call`], it was never there.
///
/// ```
/// use onecopy::service::{AsyncClient, CallError, CallOptions};
///
/// async fn length(client: &AsyncClient<[u8], u64>) -> Result<u64, CallError> {
///     client.loan_slice(10)?.notify()?;
///     let mut request = client.loan_slice(1000)?;
///     request.fill(7);
///     let mut call = request.call_with(CallOptions::new().retries(1))?;
///     Ok(*call.recv().await?)
/// }
/// ```
pub struct AsyncRequestLoan<'c, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    pub(super) draft: RequestDraft<'c, Req>,
    shared: &'c Arc<Shared>,
    payload: PhantomData<fn() -> Box<Res>>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncRequestLoan<'_, Req, Res> {
    /// Hands the request to the server.
    ///
    /// # Errors
    ///
    /// As for [`crate::service::RequestLoan::call`].
    pub fn call(self) -> Result<AsyncPending<Res>, CallError> {
        self.call_with(CallOptions::new())
    }

    /// Like [`Self::call`], with a deadline or retries.
    ///
    /// # Errors
    ///
    /// As for [`Self::call`].
    pub fn call_with(mut self, options: CallOptions) -> Result<AsyncPending<Res>, CallError> {
        let id = self.draft.send(options.order(false))?;
        Ok(AsyncPending::new(self.shared, id))
    }

    /// Like [`Self::call_with`], but waits for room if other requests took it since this was lent; see
    /// [`AsyncClient::call_when_possible`]. Dropped before it is done, the request is gone unsent.
    ///
    /// # Errors
    ///
    /// As for [`AsyncClient::call_when_possible`].
    pub async fn call_when_possible(mut self, options: CallOptions) -> Result<AsyncPending<Res>, CallError> {
        let order = options.order(false);
        let server = Some(self.draft.server);
        let id = self.shared.when_possible(server, order, || self.draft.send(order)).await?;
        Ok(AsyncPending::new(self.shared, id))
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

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for AsyncRequestLoan<'_, Req, Res> {
    type Target = Req;

    fn deref(&self) -> &Req {
        self.draft.payload()
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> DerefMut for AsyncRequestLoan<'_, Req, Res> {
    fn deref_mut(&mut self) -> &mut Req {
        self.draft.payload_mut()
    }
}

/// A call under way; from [`AsyncClient::call`]. Dropped, the call is cancelled: its server sees that nobody waits any
/// more.
///
/// A stream of answers that is read only now and then holds its server up, once a few hundred of them lie
/// here, and no other call.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::{CallError, CallOptions};
/// let service = node.service::<u64, u64>("square")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let (mut three, mut four) = (client.loan()?, client.loan_when_possible().await?);
/// (*three, *four) = (3, 4);
/// let (mut nine, mut given_up) = (three.call()?, four.call_when_possible(CallOptions::new()).await?);
/// let request = server.recv().await?;
/// request.respond(&(*request * *request)).await?;
/// assert_eq!(*nine.recv().await?, 9);
/// assert!(nine.next().await?.is_none(), "there is one answer");
/// given_up.cancel();
/// assert!(matches!(given_up.recv().await, Err(CallError::Cancelled)));
/// # Ok(()) }
/// ```
#[must_use = "dropping it cancels the call; to want no answer, use notify()"]
pub struct AsyncPending<Res: Payload + ?Sized> {
    shared: Arc<Shared>,
    id: u64,
    payload: PhantomData<fn() -> Box<Res>>,
}

impl<Res: Payload + ?Sized> AsyncPending<Res> {
    fn new(shared: &Arc<Shared>, id: u64) -> Self {
        Self { shared: Arc::clone(shared), id, payload: PhantomData }
    }

    /// The answer, or the next of several. Cancel-safe: an answer is either returned or still there; wrap it in
    /// `tokio::time::timeout` to wait for a while.
    ///
    /// # Errors
    ///
    /// [`CallError`]: how the call ended, if it has; [`CallError::Finished`] after the last answer.
    pub async fn recv(&mut self) -> Result<Response<Res>, CallError> {
        let answer = poll_fn(|context| self.shared.poll_answer(self.id, context));
        let deadline = lock(&self.shared.exchange).deadline_of(self.id, Duration::MAX);
        let content = match deadline {
            None => answer.await?,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(ended) => ended?,
                Err(_) => {
                    let mut exchange = lock(&self.shared.exchange);
                    exchange.end(self.id, Ending::DeadlinePassed);
                    exchange.take_sorted(self.id)?.ok_or(CallError::DeadlinePassed)?
                }
            },
        };
        Ok(Response::new(content))
    }

    /// The next of several answers; `None` after the last. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Self::recv`].
    pub async fn next(&mut self) -> Result<Option<Response<Res>>, CallError> {
        match self.recv().await {
            Ok(response) => Ok(Some(response)),
            Err(CallError::Finished) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the call up; see [`crate::service::Pending::cancel`].
    pub fn cancel(&self) {
        lock(&self.shared.exchange).end(self.id, Ending::Cancelled);
    }
}

impl<Res: Payload + ?Sized> Drop for AsyncPending<Res> {
    fn drop(&mut self) {
        lock(&self.shared.exchange).forget(self.id);
    }
}
