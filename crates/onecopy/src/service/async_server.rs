//! Answering on tokio. The runtime watches the server's [`Readiness`]; no thread is blocked.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::link::lock;
use super::request::Request;
use super::server::Server;
use crate::error::WaitError;
use crate::payload::Payload;
use crate::readiness::Readiness;

/// A [`Server`] whose requests can be awaited; from [`Server::into_async`].
///
/// A [`Request`] is answered as ever, in whatever task: nothing of that blocks but [`Request::send_within`], which waits for a
/// client that reads a stream slowly, and so belongs on a thread that may:
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, u64>("count")?;
/// let server = service.server().open()?.into_async()?;
/// let client = service.client().open()?.into_async()?;
/// client.wait_for_server().await?;
/// let mut numbers = client.call(&10_000)?;
/// let request = server.recv().await?;
/// let counting = tokio::task::spawn_blocking(move || {
///     for number in 0..*request {
///         request.send_within(&number, Duration::from_secs(60))?;
///     }
///     request.finish()
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
    server: Server<Req, Res>,
    readiness: AsyncFd<Readiness>,
    /// Tasks that wait for the descriptor.
    waiting: AtomicUsize,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Server<Req, Res> {
    /// Hands the server to the current tokio runtime (feature `tokio`).
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
        Ok(AsyncServer { server: self, readiness, waiting: AtomicUsize::new(0) })
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

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> AsyncServer<Req, Res> {
    /// The next request. Cancel-safe: a request is either returned or still there. Several tasks may wait; each request goes
    /// to one of them.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let server = node.service::<u64, u64>("square")?.server().open()?.into_async()?;
    /// loop {
    ///     let request = server.recv().await?;
    ///     tokio::spawn(async move { request.respond(&(*request * *request)) });
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Server::receive`] says, as [`WaitError::Receive`].
    pub async fn recv(&self) -> Result<Request<Req, Res>, WaitError> {
        loop {
            if let Some(request) = self.next()? {
                return Ok(request);
            }
            // The look has armed the doorbells and looked once more, so what comes now makes the descriptor readable.
            let _waiting = Waiting::new(&self.waiting);
            // A task that took a request before this one counted did not think of it.
            lock(&self.server.reception).mail.feeds.keep_armed(false)?;
            let mut ready = self.readiness.readable().await?;
            ready.clear_ready();
        }
    }

    fn next(&self) -> Result<Option<Request<Req, Res>>, WaitError> {
        let mut reception = lock(&self.server.reception);
        let received = reception.next::<Req>();
        if !matches!(received, Ok(None)) && self.waiting.load(Ordering::Relaxed) > 0 {
            // Whoever waits has to hear of the next request although nobody has looked whether it is there.
            reception.mail.feeds.keep_armed(false)?;
        }
        Ok(received?.map(Request::new))
    }

    /// The server itself, for everything that does not wait.
    pub fn get_ref(&self) -> &Server<Req, Res> {
        &self.server
    }
}

/// Counts a task while it waits.
struct Waiting<'s>(&'s AtomicUsize);

impl<'s> Waiting<'s> {
    fn new(count: &'s AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
