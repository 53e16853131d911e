//! A call under way, and what comes back.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::calls::Ending;
use super::error::CallError;
use super::exchange::Exchange;
use super::header::{ResponseHeader, Status};
use super::letter::Letter;
use super::link::lock;
use crate::payload::Payload;
use crate::sleep;

/// A call under way; from [`crate::service::Client::call`]. Dropped, the call is cancelled: its server sees that nobody
/// waits any more.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::CallError;
/// let service = node.service::<u64, u64>("square")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let call = client.call(&3)?;
/// assert!(call.receive()?.is_none(), "nobody has answered yet");
/// match call.wait(Duration::from_millis(1)) {
///     Ok(answer) => println!("{}", *answer),
///     Err(CallError::Timeout) => println!("not yet; it can be waited for again"),
///     Err(CallError::PeerDied { .. }) => println!("the server died with it"),
///     Err(error) => return Err(error.into()),
/// }
/// # drop(server);
/// # Ok(()) }
/// ```
#[must_use = "dropping it cancels the call; to want no answer, use notify()"]
pub struct Pending<'c, Res: Payload + ?Sized> {
    exchange: &'c Mutex<Exchange>,
    id: u64,
    payload: PhantomData<fn() -> Box<Res>>,
    /// See [`crate::service::Client`].
    one_thread: PhantomData<*const ()>,
}

impl<'c, Res: Payload + ?Sized> Pending<'c, Res> {
    pub(super) fn new(exchange: &'c Mutex<Exchange>, id: u64) -> Self {
        Self { exchange, id, payload: PhantomData, one_thread: PhantomData }
    }

    /// The answer, or the next of several, if it is there. Never blocks.
    ///
    /// # Errors
    ///
    /// [`CallError`]: how the call ended, if it has; [`CallError::Finished`] after the last answer.
    pub fn receive(&self) -> Result<Option<Response<Res>>, CallError> {
        Ok(lock(self.exchange).take(self.id)?.map(Response::new))
    }

    /// The answer, or the next of several; sleeps until it is there.
    ///
    /// # Errors
    ///
    /// [`CallError::Timeout`] after `timeout` (the call goes on, and can be waited for again), else as for
    /// [`Self::receive`].
    pub fn wait(&self, timeout: Duration) -> Result<Response<Res>, CallError> {
        let mut exchange = lock(self.exchange);
        if let Some(content) = exchange.take(self.id)? {
            return Ok(Response::new(content));
        }
        let deadline = exchange.deadline_of(self.id, timeout);
        loop {
            let woken = sleep::until_ready(&mut [&mut exchange.mail.feeds], deadline)?;
            let in_time = woken && deadline.is_none_or(|deadline| Instant::now() < deadline);
            // Also after the deadline: the answer may have come with it.
            if let Some(content) = exchange.take(self.id)? {
                return Ok(Response::new(content));
            }
            if !in_time {
                return Err(CallError::Timeout);
            }
        }
    }

    /// The next of several answers; `None` after the last. Sleeps until there is one.
    ///
    /// ```no_run
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let node = onecopy::Node::open()?;
    /// let client = node.service::<[u8], [u8]>("search")?.client().open()?;
    /// let matches = client.call(b"needle")?;
    /// while let Some(found) = matches.next(Duration::from_secs(1))? {
    ///     println!("{}", String::from_utf8_lossy(&found));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::wait`].
    pub fn next(&self, timeout: Duration) -> Result<Option<Response<Res>>, CallError> {
        match self.wait(timeout) {
            Ok(response) => Ok(Some(response)),
            Err(CallError::Finished) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Gives the call up: its server sees that nobody waits, and what it still answers is dropped. Waiting for it then
    /// says [`CallError::Cancelled`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::CallError;
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let call = client.call(&3)?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// call.cancel();
    /// // Its server may leave off.
    /// assert!(request.is_cancelled());
    /// assert!(matches!(call.wait(Duration::from_secs(1)), Err(CallError::Cancelled)));
    /// # Ok(()) }
    /// ```
    pub fn cancel(&self) {
        lock(self.exchange).end(self.id, Ending::Cancelled);
    }
}

impl<Res: Payload + ?Sized> Drop for Pending<'_, Res> {
    fn drop(&mut self) {
        lock(self.exchange).forget(self.id);
    }
}

impl<Res: Payload + ?Sized> fmt::Debug for Pending<'_, Res> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pending").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An answer: derefs to the payload. Large ones stay in the server's memory, and are held there until this is dropped.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, [f32]>("wave")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let wave = client.call(&48_000)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// request.respond(&vec![0.5; *request as usize])?;
/// let wave = wave.wait(Duration::from_secs(1))?;
/// assert!(wave.is_last() && wave.iter().all(|sample| *sample == 0.5));
/// // The server has these bytes in its memory for as long as the answer is here.
/// assert!(wave.is_held());
/// assert_eq!(wave.as_bytes().len(), 48_000 * size_of::<f32>());
/// # Ok(()) }
/// ```
pub struct Response<Res: Payload + ?Sized> {
    content: Letter<ResponseHeader>,
    payload: PhantomData<fn() -> Box<Res>>,
}

impl<Res: Payload + ?Sized> Response<Res> {
    /// Of content that the exchange has found to be a response.
    pub(super) fn new(content: Letter<ResponseHeader>) -> Self {
        Self { content, payload: PhantomData }
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Whether it is the last answer to its call.
    pub fn is_last(&self) -> bool {
        self.content.header.status() == Some(Status::Last)
    }

    /// Whether the payload is held in the server's memory, rather than copied out of a slot.
    pub fn is_held(&self) -> bool {
        self.content.held.is_some()
    }
}

impl<Res: Payload + ?Sized> Deref for Response<Res> {
    type Target = Res;

    #[inline]
    fn deref(&self) -> &Res {
        self.content.payload()
    }
}

impl<Res: Payload + ?Sized + fmt::Debug> fmt::Debug for Response<Res> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Response").field(&&**self).finish()
    }
}
