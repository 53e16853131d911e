//! A request at a server on tokio. What it sends waits for the client to take earlier answers, and for memory
//! that it holds: the task sleeps, no thread does.

use std::fmt;
use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::Duration;

use super::async_server::Shared;
use super::error::RespondError;
use super::header::Status;
use super::request::{Request, ResponseLoan, is_for_want_of_space};
use crate::payload::{Payload, PlainData};

/// A request to be answered, from [`crate::service::AsyncServer::recv`]: derefs to the payload. Dropped
/// without an answer, it tells the client so.
///
/// It may be answered in any task, for as long as its server is there. Answers wait where a [`Request`]'s
/// would say that there is no room, until the call's deadline at most; wrap them in `tokio::time::timeout` to
/// wait for a while only. All are cancel-safe: an answer whose future is dropped before it is done was not
/// sent.
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::RespondError;
/// let service = node.service::<u64, u64>("count")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let numbers = client.call(&0)?;
/// let request = server.recv().await?;
/// let counting = tokio::spawn(async move {
///     for number in *request.. {
///         // Waits: nobody reads the numbers. Then somebody gives them up.
///         request.send(&number).await?;
///     }
///     request.finish().await
/// });
/// tokio::task::yield_now().await;
/// drop(numbers);
/// assert!(matches!(counting.await?, Err(RespondError::Cancelled)));
/// # Ok(()) }
/// ```
///
/// What a server may want to know before it begins, or write down:
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::{CallError, CallOptions};
/// let service = node.service::<u64, u64>("square")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let soon = CallOptions::new().deadline(Duration::from_secs(60));
/// let mut call = client.call_with(&3, soon)?;
/// let request = server.recv().await?;
/// assert!(!request.is_one_way() && !request.is_cancelled());
/// assert!(request.time_left().is_some_and(|left| left <= Duration::from_secs(60)));
/// let (pid, bytes) = (request.client_pid(), request.as_bytes());
/// let reason = format!("process {pid} may not ask for {bytes:?}");
/// request.fail(&reason).await?;
/// assert!(matches!(call.recv().await, Err(CallError::Failed(told)) if told == reason));
/// # Ok(()) }
/// ```
pub struct AsyncRequest<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    request: Request<Req, Res>,
    server: Weak<Shared<Req, Res>>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncRequest<Req, Res> {
    pub(super) fn new(request: Request<Req, Res>, server: &std::sync::Arc<Shared<Req, Res>>) -> Self {
        Self { request, server: std::sync::Arc::downgrade(server) }
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.request.as_bytes()
    }

    /// Whether nobody waits for the answer any more; see [`Request::is_cancelled`].
    pub fn is_cancelled(&self) -> bool {
        self.request.is_cancelled()
    }

    /// Whether the client wants no answer.
    pub fn is_one_way(&self) -> bool {
        self.request.is_one_way()
    }

    /// How long the answer is of use; `None` without a deadline.
    pub fn time_left(&self) -> Option<Duration> {
        self.request.time_left()
    }

    /// The client's process.
    pub fn client_pid(&self) -> u32 {
        self.request.client_pid()
    }

    /// The request itself, to be answered without waiting.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, u64>("square")?;
    /// let server = service.server().open()?.into_async()?;
    /// let client = service.client().open()?.into_async()?;
    /// client.wait_for_server().await?;
    /// let mut nine = client.call(&3)?;
    /// let request = server.recv().await?;
    /// // It may take long, so it is done on a thread, which can't await anything.
    /// let computing = tokio::task::spawn_blocking(move || request.get_ref().respond(&(*request * *request)));
    /// assert_eq!(*nine.recv().await?, 9);
    /// computing.await??;
    /// # Ok(()) }
    /// ```
    pub fn get_ref(&self) -> &Request<Req, Res> {
        &self.request
    }

    /// Sends a copy of `response`: the answer, or the last of several. Waits while the client takes no
    /// answers at all and its ring, or all memory for its answers, is full. That nobody waits for it any more
    /// is no error. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Request::respond`]; [`RespondError::DeadlinePassed`] if that comes first;
    /// [`RespondError::ServerClosed`] or [`RespondError::Wait`] if it can't wait.
    ///
    /// # Panics
    ///
    /// If it has to wait, the call has a deadline, and the runtime has no time driver.
    pub async fn respond(&self, response: &Res) -> Result<(), RespondError> {
        self.when_possible(|| self.request.respond(response)).await
    }

    /// Sends a copy of `item`: one answer of several. [`Self::finish`] or [`Self::respond`] ends them. Waits
    /// while the client has not taken a few hundred earlier ones, or large ones that take their share of
    /// memory. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`RespondError::Cancelled`], [`RespondError::PeerDied`] and [`RespondError::Receive`] if nobody takes the
    /// rest, also when that happens while it waits; else as for [`Self::respond`].
    pub async fn send(&self, item: &Res) -> Result<(), RespondError> {
        self.when_possible(|| self.request.send(item)).await
    }

    /// Ends several answers, or says that there is none. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub async fn finish(&self) -> Result<(), RespondError> {
        self.when_possible(|| self.request.finish()).await
    }

    /// Answers that it could not be done, and why; see [`Request::fail`]. Cancel-safe.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub async fn fail(&self, reason: &str) -> Result<(), RespondError> {
        self.when_possible(|| self.request.fail(reason)).await
    }

    /// Tries `attempt` until it does not fail for want of room, or the call's deadline has passed.
    async fn when_possible<R>(
        &self,
        mut attempt: impl FnMut() -> Result<R, RespondError>,
    ) -> Result<R, RespondError> {
        let attempted = attempt();
        if !is_for_want_of_space(&attempted) {
            return attempted;
        }
        let mut place = Place { request: self, is_expecting: false, key: None };
        let attempts = poll_fn(|context| {
            if let Err(error) = place.wait(context) {
                return Poll::Ready(Err(error));
            }
            // After that: what has come before would wake nobody.
            let attempted = attempt();
            if is_for_want_of_space(&attempted) { Poll::Pending } else { Poll::Ready(attempted) }
        });
        match self.time_left() {
            None => attempts.await,
            Some(left) => {
                tokio::time::timeout(left, attempts).await.unwrap_or(Err(RespondError::DeadlinePassed))
            }
        }
    }

    async fn loan_with<'r>(
        &'r self,
        loan: impl Fn(&'r Request<Req, Res>) -> Result<ResponseLoan<'r, Req, Res>, RespondError>,
    ) -> Result<AsyncResponseLoan<'r, Req, Res>, RespondError> {
        let loan = self.when_possible(|| loan(&self.request)).await?;
        Ok(AsyncResponseLoan { request: self, loan })
    }
}

impl<Req: Payload + ?Sized, Res: PlainData> AsyncRequest<Req, Res> {
    /// Memory for one response; see [`Request::loan`]. Waits while the client's answers take all of it, or those of this
    /// request their share, loans that are not sent included: a task that has one in hand may wait for itself. Cancel-safe.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, [f32; 480]>("wave")?;
    /// let server = service.server().open()?.into_async()?;
    /// let client = service.client().open()?.into_async()?;
    /// client.wait_for_server().await?;
    /// let mut parts = client.call(&3)?;
    /// let request = server.recv().await?;
    /// for _ in 0..*request {
    ///     let mut part = request.loan().await?;
    ///     part.fill(0.5);
    ///     part.send().await?;
    /// }
    /// request.finish().await?;
    /// let mut samples = 0;
    /// while let Some(part) = parts.next().await? {
    ///     samples += part.len();
    /// }
    /// assert_eq!(samples, 3 * 480);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub async fn loan(&self) -> Result<AsyncResponseLoan<'_, Req, Res>, RespondError> {
        self.loan_with(Request::loan).await
    }
}

impl<Req: Payload + ?Sized, T: PlainData> AsyncRequest<Req, [T]> {
    /// Memory for one response of `len` elements; see [`AsyncRequest::loan`].
    ///
    /// # Errors
    ///
    /// As for [`AsyncRequest::respond`].
    pub async fn loan_slice(&self, len: usize) -> Result<AsyncResponseLoan<'_, Req, [T]>, RespondError> {
        self.loan_with(|request| request.loan_slice(len)).await
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for AsyncRequest<Req, Res> {
    type Target = Req;

    fn deref(&self) -> &Req {
        &self.request
    }
}

impl<Req: Payload + ?Sized + fmt::Debug, Res: Payload + ?Sized> fmt::Debug for AsyncRequest<Req, Res> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("AsyncRequest").field(&&**self).finish()
    }
}

/// A task's place among those that wait for space.
struct Place<'r, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    request: &'r AsyncRequest<Req, Res>,
    /// The client knows that somebody waits.
    is_expecting: bool,
    key: Option<u64>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Place<'_, Req, Res> {
    /// Has the task woken when the client has made space from now on, or is gone.
    fn wait(&mut self, context: &mut Context<'_>) -> Result<(), RespondError> {
        self.leave();
        let AsyncRequest { request, server } = self.request;
        let server = server.upgrade().ok_or(RespondError::ServerClosed)?;
        // Without readers the next attempt says so.
        let Some(wait) = request.link.sender().writer.expect_space() else { return Ok(()) };
        self.is_expecting = true;
        self.key = Some(server.enter_for_space(&request.link, wait, context.waker())?);
        Ok(())
    }

    fn leave(&mut self) {
        if let (Some(key), Some(server)) = (self.key.take(), self.request.server.upgrade()) {
            server.leave_for_space(key);
        }
        if std::mem::take(&mut self.is_expecting) {
            self.request.request.link.sender().writer.stop_expecting_space();
        }
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for Place<'_, Req, Res> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A response being written: derefs to the payload. Dropped without [`AsyncResponseLoan::respond`], it was never there.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, [u8]>("zeros")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let mut zeros = client.call(&1000)?;
/// let request = server.recv().await?;
/// let mut response = request.loan_slice(*request as usize).await?;
/// response.fill(0);
/// response.respond().await?;
/// assert_eq!(zeros.recv().await?.len(), 1000);
/// # Ok(()) }
/// ```
pub struct AsyncResponseLoan<'r, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    request: &'r AsyncRequest<Req, Res>,
    loan: ResponseLoan<'r, Req, Res>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncResponseLoan<'_, Req, Res> {
    /// Sends it: the answer, or the last of several. Waits as [`AsyncRequest::respond`]. Cancel-safe in that a response
    /// whose future is dropped was not sent; it is gone with it.
    ///
    /// # Errors
    ///
    /// As for [`AsyncRequest::respond`].
    pub async fn respond(mut self) -> Result<(), RespondError> {
        self.request.when_possible(|| self.loan.send_as(Status::Last)).await
    }

    /// Sends it: one answer of several. Waits as [`AsyncRequest::send`], for which it is copied, and its memory given
    /// back; and is as cancel-safe as [`Self::respond`].
    ///
    /// # Errors
    ///
    /// As for [`AsyncRequest::send`].
    pub async fn send(mut self) -> Result<(), RespondError> {
        let sent = self.loan.send_as(Status::Item);
        if !is_for_want_of_space(&sent) {
            return sent;
        }
        // The memory may be what a last answer would have found: an item must not have it while it waits.
        let item = self.loan.as_bytes().to_vec();
        self.loan.discard();
        let request = &self.request.request;
        self.request.when_possible(|| request.send_bytes(&item, Status::Item)).await
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for AsyncResponseLoan<'_, Req, Res> {
    type Target = Res;

    fn deref(&self) -> &Res {
        &self.loan
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> DerefMut for AsyncResponseLoan<'_, Req, Res> {
    fn deref_mut(&mut self) -> &mut Res {
        &mut self.loan
    }
}
