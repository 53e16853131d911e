//! Answering on tokio. One task of the server's listens to the doorbells of its clients, for requests and for
//! space in what is sent to them; it wakes the tasks that wait for either. No thread is blocked.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::{Context, Poll, Waker};

use onecopy_memory::ring::SpaceWait;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;

use super::async_request::AsyncRequest;
use super::error::RespondError;
use super::link::{ReplyLink, lock};
use super::reception::Reception;
use super::request::Request;
use super::server::Server;
use super::tasks::Tasks;
use crate::error::{LoanError, WaitError};
use crate::payload::Payload;
use crate::readiness::Readiness;

/// A [`Server`] whose requests can be awaited; from [`Server::into_async`].
///
/// Requests are answered in whatever task, and a task that sends to a client which reads slowly waits for it:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, u64>("count")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let mut numbers = client.call(&10_000)?;
/// let request = server.recv().await?;
/// assert_eq!(server.get_ref().clients()?, 1);
/// let counting = tokio::spawn(async move {
///     for number in 0..*request {
///         request.send(&number).await?;
///     }
///     request.finish().await
/// });
/// let mut sum = 0;
/// while let Some(number) = numbers.next().await? {
///     sum += *number;
/// }
/// counting.await??;
/// assert_eq!(sum, (0..10_000).sum());
/// # Ok(()) }
/// ```
pub struct AsyncServer<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    pub(super) shared: Arc<Shared<Req, Res>>,
}

/// What the server, its requests and the listening task share. Requests do not keep it: a server that is dropped ends.
pub(super) struct Shared<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    server: Server<Req, Res>,
    readiness: AsyncFd<Readiness>,
    /// Locked after the reception where both are.
    pub(super) waiting: Mutex<Waiting>,
    listening: OnceLock<AbortHandle>,
}

/// Who waits.
pub(super) struct Waiting {
    pub(super) for_requests: Tasks<()>,
    pub(super) for_space: Tasks<SpaceWait>,
    /// The listening task has not ended.
    has_listener: bool,
}

impl Waiting {
    /// Wakes those who wait for requests, if there may be some, and those whose client has made space.
    fn wake(&self, requests: bool) {
        if requests {
            self.for_requests.wake_all();
        }
        self.for_space.wake_for_space();
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Server<Req, Res> {
    /// Hands the server to the current tokio runtime (feature `tokio`), on which a task listens to its
    /// clients from now on; see [`AsyncServer`] for an example.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn into_async(self) -> Result<AsyncServer<Req, Res>, WaitError> {
        let readiness = watch(self.readiness()?)?;
        lock(&self.reception).is_listened_to = true;
        let (for_requests, for_space) = Default::default();
        let waiting = Mutex::new(Waiting { for_requests, for_space, has_listener: true });
        let shared = Arc::new(Shared { server: self, readiness, waiting, listening: OnceLock::new() });
        let end = ListeningEnd(Arc::downgrade(&shared));
        let task = tokio::spawn(async move { poll_fn(|context| end.poll(context)).await });
        let _ = shared.listening.set(task.abort_handle());
        Ok(AsyncServer { shared })
    }
}

/// Has the current runtime watch a descriptor.
pub(super) fn watch(readiness: Readiness) -> std::io::Result<AsyncFd<Readiness>> {
    #[expect(
        deprecated,
        reason = "unsound only for types that may lose their descriptor while registered, and Readiness owns its own; \
                  the replacement is an unsafe function"
    )]
    AsyncFd::with_interest(readiness, Interest::READABLE)
}

/// What is said to those who wait when nobody listens any more.
pub(super) fn runtime_ended(who: &str) -> WaitError {
    WaitError::System(std::io::Error::other(format!(
        "the tokio runtime that the {who} was handed to has ended"
    )))
}

/// The task that listens. It ends with the server, or with its runtime.
struct ListeningEnd<Req: Payload + ?Sized, Res: Payload + ?Sized>(Weak<Shared<Req, Res>>);

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> ListeningEnd<Req, Res> {
    fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        match self.0.upgrade() {
            Some(shared) => shared.poll_listen(context),
            None => Poll::Ready(()),
        }
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for ListeningEnd<Req, Res> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            let mut waiting = lock(&shared.waiting);
            waiting.has_listener = false;
            waiting.for_requests.wake_all();
            waiting.for_space.wake_all();
        }
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Shared<Req, Res> {
    /// Takes the rings of the doorbells, and wakes whoever they are for.
    fn poll_listen(&self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let is_ready = lock(&self.server.reception).listen();
            lock(&self.waiting).wake(is_ready);
            // The doorbells are rung for whatever has come since.
            match self.readiness.poll_read_ready(context) {
                Poll::Ready(Ok(mut ready)) => ready.clear_ready(),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_request(
        &self,
        place: &mut Place<'_, Req, Res>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Request<Req, Res>, WaitError>> {
        let mut reception = lock(&self.server.reception);
        let received = reception.next::<Req>();
        let mut waiting = lock(&self.waiting);
        if let Some(key) = place.key.take() {
            waiting.for_requests.leave(key);
        }
        // The look may have taken rings that were for others.
        waiting.for_space.wake_for_space();
        match received.transpose() {
            Some(received) => {
                // Whoever waits has to hear of the next request although nobody has looked whether it is there.
                if !waiting.for_requests.is_empty() && listen(&mut reception) {
                    waiting.for_requests.wake_all();
                }
                Poll::Ready(received.map(Request::new).map_err(WaitError::from))
            }
            None if !waiting.has_listener => Poll::Ready(Err(runtime_ended("server"))),
            None => {
                // The look has armed the doorbells and looked once more, and nobody has taken a ring since.
                place.key = Some(waiting.for_requests.enter((), context.waker()));
                Poll::Pending
            }
        }
    }

    /// Lists a task that waits for space, and makes sure that it is woken.
    ///
    /// # Errors
    ///
    /// What keeps it from being woken.
    pub(super) fn enter_for_space(
        &self,
        link: &ReplyLink,
        wait: SpaceWait,
        waker: &Waker,
    ) -> Result<u64, RespondError> {
        let mut reception = lock(&self.server.reception);
        if reception.mail.feeds.is_forked() {
            return Err(LoanError::Forked.into());
        }
        let is_ready = listen(&mut reception);
        reception.note_the_unheard();
        if link.has_parted() {
            return Err(link.ending());
        }
        if reception.mail.feeds.is_deaf_to(link.client) {
            return Err(WaitError::NoDoorbell.into());
        }
        let mut waiting = lock(&self.waiting);
        // The look may have taken rings that were for others.
        waiting.wake(is_ready);
        if !waiting.has_listener {
            return Err(runtime_ended("server").into());
        }
        Ok(waiting.for_space.enter_for_space(wait, waker))
    }

    pub(super) fn leave_for_space(&self, key: u64) {
        lock(&self.waiting).for_space.leave(key);
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for Shared<Req, Res> {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get() {
            task.abort();
        }
        // They find that it is gone.
        lock(&self.waiting).for_space.wake_all();
    }
}

/// Has the doorbells rung for what comes; says whether something is there.
fn listen(reception: &mut Reception) -> bool {
    !reception.mail.feeds.is_armed() && reception.listen()
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncServer<Req, Res> {
    /// The next request. Cancel-safe: a request is either returned or still there. Several tasks may wait;
    /// each request goes to one of them.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let server = node.service::<u64, u64>("square")?.server().open()?.into_async()?;
    /// loop {
    ///     let request = server.recv().await?;
    ///     tokio::spawn(async move { request.respond(&(*request * *request)).await });
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Server::receive`] says, as [`WaitError::Receive`].
    pub async fn recv(&self) -> Result<AsyncRequest<Req, Res>, WaitError> {
        let mut place = Place { shared: &self.shared, key: None };
        let request = poll_fn(|context| self.shared.poll_request(&mut place, context)).await?;
        Ok(AsyncRequest::new(request, &self.shared))
    }

    /// The server itself, for everything that does not wait.
    pub fn get_ref(&self) -> &Server<Req, Res> {
        &self.shared.server
    }
}

/// A task's place among those that wait for requests.
struct Place<'s, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    shared: &'s Shared<Req, Res>,
    key: Option<u64>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for Place<'_, Req, Res> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            lock(&self.shared.waiting).for_requests.leave(key);
        }
    }
}
