//! Receiving on tokio's reactor. The runtime watches the subscriber's [`Readiness`]; no thread is blocked.

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::WaitError;
use crate::message::Message;
use crate::payload::{Payload, PlainData};
use crate::readiness::Readiness;
use crate::subscriber::Subscriber;

/// A [`Subscriber`] whose messages can be awaited; from [`Subscriber::into_async`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let (mut publisher, subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// let mut subscriber = subscriber.into_async()?;
/// publisher.publish_batch(&[7, 8, 9])?;
/// let mut sum = *subscriber.recv().await?;
/// // Whatever else is there, without waiting for more.
/// while let Some(number) = subscriber.get_mut().receive()? {
///     sum += *number;
/// }
/// assert_eq!(sum, 24);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AsyncSubscriber<P: Payload + ?Sized, H: PlainData = ()> {
    subscriber: Subscriber<P, H>,
    readiness: AsyncFd<Readiness>,
}

impl<P: Payload + ?Sized, H: PlainData> Subscriber<P, H> {
    /// Hands the subscriber to the current tokio runtime (feature `tokio`); see [`AsyncSubscriber`] for an example.
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with its I/O driver enabled.
    pub fn into_async(mut self) -> Result<AsyncSubscriber<P, H>, WaitError> {
        #[expect(
            deprecated,
            reason = "unsound only for types that may lose their descriptor while registered, and Readiness owns its \
                      own; the replacement is an unsafe function"
        )]
        let readiness = AsyncFd::with_interest(self.readiness()?, Interest::READABLE)?;
        Ok(AsyncSubscriber { subscriber: self, readiness })
    }
}

impl<P: Payload + ?Sized, H: PlainData> AsyncSubscriber<P, H> {
    /// The next message. Cancel-safe: a message is either returned or still there.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), onecopy::Error> {
    /// let node = onecopy::Node::open()?;
    /// let mut counter = node.topic::<u64>("counter")?.subscriber().open()?.into_async()?;
    /// println!("{}", *counter.recv().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// What [`Subscriber::receive`] says, as [`WaitError::Receive`].
    pub async fn recv(&mut self) -> Result<Message<'_, P, H>, WaitError> {
        while !self.subscriber.advance()? {
            // `advance` has armed the doorbells and looked once more, so what comes now makes the descriptor readable.
            let mut ready = self.readiness.readable().await?;
            ready.clear_ready();
        }
        Ok(self.subscriber.received())
    }

    /// The subscriber itself, for everything that does not wait.
    pub fn get_mut(&mut self) -> &mut Subscriber<P, H> {
        &mut self.subscriber
    }
}
