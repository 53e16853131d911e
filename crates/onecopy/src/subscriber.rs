//! The receiving end of a topic: one reader per publisher, in one value. Publishers come and go through a mailbox that
//! the node's control thread fills; a message never passes through anything but the publisher's ring.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::ring::{MessageParts, Received, RingFault};

use crate::batch_rest::BatchRest;
use crate::broker::protocol::Address;
use crate::content::Content;
use crate::draft::chunk_header_bytes;
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::feed::Feed;
use crate::feeds::Feeds;
use crate::message::Message;
use crate::node::handle::NodeHandle;
use crate::payload::{Carries, Payload, PlainData, describe};
use crate::payload_type::PayloadType;
use crate::readiness::Readiness;
use crate::sleep::{self, Sleeper};

/// How a subscriber is to be set up; from [`crate::Topic::subscriber`].
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let mut publisher = topic.publisher().history(8).open()?;
/// publisher.publish(&1)?;
/// let mut late = topic.subscriber().open()?;
/// assert_eq!(*late.wait(Duration::from_secs(1))?, 1);
/// let mut from_now_on = topic.subscriber().skip_history().open()?;
/// assert!(from_now_on.receive()?.is_none());
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct SubscriberBuilder<P: Payload + ?Sized, H: PlainData = ()> {
    node: Arc<NodeHandle>,
    topic: String,
    /// `None` takes messages of any type as bytes.
    expected: Option<PayloadType>,
    skip_history: bool,
    payload: Carries<P, H>,
}

impl<P: Payload + ?Sized, H: PlainData> SubscriberBuilder<P, H> {
    pub(crate) fn new(node: Arc<NodeHandle>, topic: String) -> Self {
        Self { node, topic, expected: Some(describe::<P, H>()), skip_history: false, payload: PhantomData }
    }

    pub(crate) fn accept_any(mut self) -> Self {
        self.expected = None;
        self
    }

    /// Begins with what is published after the subscriber opened, although publishers kept earlier messages.
    pub fn skip_history(mut self) -> Self {
        self.skip_history = true;
        self
    }

    /// Opens the subscriber. When it returns, it hears every publisher that was there, beginning with their
    /// history (one that is stopped or stuck is waited for a second, and heard when it runs again).
    ///
    /// # Errors
    ///
    /// [`OpenError`]: another payload type on this topic, no memory or descriptors, no broker.
    pub fn open(self) -> Result<Subscriber<P, H>, OpenError> {
        let port = self.node.new_port();
        let address = Address::Topic(self.topic);
        let mailbox = self.node.open_subscriber(port, address, self.expected, self.skip_history)?;
        Ok(Subscriber {
            feeds: Feeds::new(self.node, port, mailbox),
            content: Content::empty(),
            batch: None,
            payload: PhantomData,
        })
    }
}

/// Receives the messages of a topic; see [`crate::Topic::subscriber`].
///
/// Messages of one publisher come in order. Between publishers there is no order.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?;
/// let (mut one, mut other) = (topic.publisher().open()?, topic.publisher().open()?);
/// let mut subscriber = topic.subscriber().open()?;
/// one.publish(&3)?;
/// other.publish(&4)?;
/// let first = *subscriber.wait(Duration::from_secs(1))?;
/// assert_eq!(first + *subscriber.wait(Duration::from_secs(1))?, 7);
/// assert_eq!(subscriber.publishers(), 2);
/// # Ok(()) }
/// ```
pub struct Subscriber<P: Payload + ?Sized, H: PlainData = ()> {
    feeds: Feeds,
    /// Where a message is received; lent to the user as a [`Message`].
    content: Content<H>,
    batch: Option<BatchRest>,
    payload: PhantomData<fn() -> Box<P>>,
}

impl<P: Payload + ?Sized, H: PlainData> Subscriber<P, H> {
    /// The next message, if there is one. Never blocks.
    ///
    /// What was published before is there at once, with one exception: when a publisher had to add memory for a large
    /// message, that memory reaches its subscribers a few microseconds later.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<u64>("counter")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
    /// assert!(subscriber.receive()?.is_none());
    /// publisher.publish(&7)?;
    /// while let Some(number) = subscriber.receive()? {
    ///     println!("{}", *number);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Publisher`] once for each publisher found to be broken or hostile; it is dropped, the others go
    /// on. [`ReceiveError::TooManyHeld`] if so many messages are held that no more can be noted.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Message<'_, P, H>>, ReceiveError> {
        Ok(if self.advance()? { Some(Message::new(&mut self.content)) } else { None })
    }

    /// The next message; sleeps until there is one.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::WaitError;
    /// let mut subscriber = node.topic::<u64>("counter")?.subscriber().open()?;
    /// match subscriber.wait(Duration::from_millis(1)) {
    ///     Ok(number) => println!("{}", *number),
    ///     Err(WaitError::Timeout) => println!("nothing yet"),
    ///     Err(error) => return Err(error.into()),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] after `timeout`; else as for [`Self::receive`].
    #[inline]
    pub fn wait(&mut self, timeout: Duration) -> Result<Message<'_, P, H>, WaitError> {
        if !self.advance()? {
            self.sleep(timeout)?;
        }
        Ok(Message::new(&mut self.content))
    }

    /// What the last [`Self::advance`] received.
    #[cfg(feature = "tokio")]
    pub(crate) fn received(&mut self) -> Message<'_, P, H> {
        Message::new(&mut self.content)
    }

    /// Sleeps until a message was received into `content`.
    fn sleep(&mut self, timeout: Duration) -> Result<(), WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let in_time = sleep::until_ready(&mut [&mut self.feeds], deadline)?;
            // Also after the deadline: a message may have come with it.
            if self.advance()? {
                return Ok(());
            }
            if !in_time {
                return Err(WaitError::Timeout);
            }
        }
    }

    /// Receives the next message into `content`; `false` if there is none.
    #[inline]
    pub(crate) fn advance(&mut self) -> Result<bool, ReceiveError> {
        let mut tried = 0;
        loop {
            if let Some(batch) = &mut self.batch {
                // Also before anything is held on its own: that is written into memory which a child shares.
                if self.feeds.is_forked() {
                    return Err(ReceiveError::Forked);
                }
                batch.next_into::<P, H>(&mut self.content)?;
                if batch.is_empty() {
                    self.batch = None;
                }
                return Ok(true);
            }
            self.feeds.refresh()?;
            if let Some(feed) = self.feeds.current() {
                match receive_from::<P, H>(feed, &mut self.content) {
                    Ok(Received::Inline { length }) if self.content.inline.set_length::<P>(length) => {
                        // Still there if the last message was forgotten rather than dropped.
                        if self.content.held.is_some() {
                            self.content.let_go();
                        }
                        // Who takes any type takes bytes.
                        if P::EXACT_BYTES.is_none() {
                            self.feeds.keep_header();
                        }
                        self.feeds.received();
                        return Ok(true);
                    }
                    Ok(Received::Empty) => {}
                    Ok(Received::Chunk { count, skip }) => {
                        if self.open_chunk(count, skip)? {
                            return Ok(true);
                        }
                        continue;
                    }
                    unusual => self.feeds.stumble(unusual)?,
                }
                self.feeds.turn();
                tried += 1;
            }
            if tried >= self.feeds.len() {
                // True if something came between the look and the arming of the doorbells.
                if !self.feeds.arm()? {
                    return Ok(false);
                }
                tried = 0;
            }
        }
    }

    /// How many messages were overwritten before this subscriber got to them, over all publishers. Exact.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<u64>("counter")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().depth(4).open()?, topic.subscriber().open()?);
    /// for number in 1..=10 {
    ///     publisher.publish(&number)?;
    /// }
    /// let mut received = 0;
    /// while subscriber.receive()?.is_some() {
    ///     received += 1;
    /// }
    /// assert_eq!(received + subscriber.lost(), 10);
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> u64 {
        self.feeds.lost()
    }

    /// The bytes of the user's header of the message received last, for a subscriber that takes any type (see
    /// [`crate::AnyTopic`]); for others, nothing: their messages have it ([`Message::header`]).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<[u8]>("log")?.header::<u64>().publisher().open()?;
    /// let mut recorder = node.any_topic("log")?.subscriber().open()?;
    /// let mut line = publisher.loan_slice(7)?;
    /// line.copy_from_slice(b"started");
    /// *line.header_mut() = 42;
    /// line.publish()?;
    /// assert_eq!(recorder.wait(Duration::from_secs(1))?.as_bytes(), b"started");
    /// assert_eq!(recorder.header_bytes(), 42_u64.to_ne_bytes());
    /// # Ok(()) }
    /// ```
    pub fn header_bytes(&self) -> &[u8] {
        &self.feeds.last_header
    }

    /// Number of publishers that this subscriber hears, as of when it last looked for messages; none before that.
    pub fn publishers(&self) -> usize {
        self.feeds.len()
    }

    /// A descriptor that is readable when there may be messages: for `poll`, `epoll` and event loops.
    ///
    /// After it became readable, call [`Self::receive`] until it returns `None`; then wait for the descriptor again.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use rustix::event::{PollFd, PollFlags, poll};
    ///
    /// let topic = node.topic::<u64>("counter")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
    /// let readiness = subscriber.readiness()?;
    /// publisher.publish(&7)?;
    /// poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
    /// while let Some(number) = subscriber.receive()? {
    ///     assert_eq!(*number, 7);
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the process has no descriptor left.
    pub fn readiness(&mut self) -> Result<Readiness, WaitError> {
        self.feeds.readiness()
    }

    pub(crate) fn sleeper(&mut self) -> &mut dyn Sleeper {
        &mut self.feeds
    }

    pub(crate) fn has_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Checks that a chunk holds one `P`, and makes it the content; `false` if it holds several, which are
    /// given out one by one from now on.
    fn open_chunk(&mut self, count: u64, skip: u64) -> Result<bool, ReceiveError> {
        let Some(chunk) = &self.content.held else { return Ok(false) };
        let offset = match self.feeds.current() {
            Some(feed) if feed.accepts_any => feed.chunk_header_bytes(),
            _ => chunk_header_bytes::<H>(),
        };
        let messages = usize::try_from(count).unwrap_or(usize::MAX);
        let payload = chunk.bytes().get(offset..).filter(|_| chunk.bytes().len() >= size_of::<H>());
        let message_bytes = payload.map_or(0, |payload| payload.len() / messages);
        let is_whole = payload.is_some_and(|payload| payload.len() == message_bytes * messages);
        let fits = |bytes: &[u8]| {
            P::EXACT_BYTES.is_none_or(|exact| exact == bytes.len()) && P::from_bytes(bytes).is_some()
        };
        if !is_whole || !payload.and_then(|payload| payload.get(..message_bytes)).is_some_and(fits) {
            self.content.held = None;
            return Err(self.feeds.drop_misfit());
        }
        if let Some(feed) = self.feeds.current().filter(|feed| feed.accepts_any) {
            feed.take_header(chunk.bytes());
            self.feeds.keep_header();
        }
        self.feeds.received();
        if count > 1 {
            let left = skip as usize..messages;
            let chunk = self.content.held.take();
            self.batch = chunk.map(|chunk| BatchRest::new(chunk, offset, message_bytes, left));
            return Ok(false);
        }
        Ok(self.content.open_chunk(offset))
    }
}

#[inline]
fn receive_from<P: Payload + ?Sized, H: PlainData>(
    feed: &mut Feed,
    content: &mut Content<H>,
) -> Result<Received, RingFault> {
    match P::EXACT_BYTES {
        // A size known at compile time lets the copy unroll. Types too large for a slot come in chunks only.
        Some(bytes) => feed.reader.receive(&mut MessageParts {
            header: content.header.as_mut_bytes(),
            payload: content.inline.buffer().get_mut(..bytes).unwrap_or_default(),
            exact: true,
            chunk: &mut content.held,
        }),
        None => {
            let Content { header, inline, held, .. } = content;
            feed.receive_any(header.as_mut_bytes(), inline.buffer(), held)
        }
    }
}

impl<P: Payload + ?Sized, H: PlainData> std::fmt::Debug for Subscriber<P, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Subscriber").field("feeds", &self.feeds).finish_non_exhaustive()
    }
}
