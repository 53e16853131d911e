//! The receiving end of a topic: one reader per publisher, in one value. Publishers come and go through a mailbox that
//! the node's control thread fills; a message never passes through anything but the publisher's ring.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::hold::HeldChunk;
use onecopy_memory::ring::{InlineParts, Received, RingFault};

use crate::broker::protocol::PortId;
use crate::error::{OpenError, ReceiveError, WaitError};
use crate::feed::Feeds;
use crate::message::{Body, InlineBytes, Message};
use crate::node::NodeHandle;
use crate::payload::{Carries, Payload, PlainData, describe};
use crate::payload_type::PayloadType;
use crate::publisher::chunk_header_bytes;
use crate::readiness::Readiness;
use crate::sleep::{self, Sleeper};

/// How a subscriber is to be set up; from [`crate::Topic::subscriber`].
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct SubscriberBuilder<P: Payload + ?Sized, H: PlainData = ()> {
    node: Arc<NodeHandle>,
    topic: String,
    /// `None` takes messages of any type as bytes.
    expected: Option<PayloadType>,
    payload: Carries<P, H>,
}

impl<P: Payload + ?Sized, H: PlainData> SubscriberBuilder<P, H> {
    pub(crate) fn new(node: Arc<NodeHandle>, topic: String) -> Self {
        Self { node, topic, expected: Some(describe::<P, H>()), payload: PhantomData }
    }

    pub(crate) fn accept_any(mut self) -> Self {
        self.expected = None;
        self
    }

    /// Opens the subscriber. When it returns, it hears every publisher that was there, beginning with their history (one
    /// that is stopped or stuck is waited for a second, and heard when it runs again).
    ///
    /// # Errors
    ///
    /// [`OpenError`]: another payload type on this topic, no memory or descriptors, no broker.
    pub fn open(self) -> Result<Subscriber<P, H>, OpenError> {
        let port = self.node.new_port();
        let mailbox = self.node.open_subscriber(port, self.topic, self.expected)?;
        Ok(Subscriber { feeds: Feeds::new(self.node, port, mailbox), batch: None, payload: PhantomData })
    }
}

/// Receives the messages of a topic; see [`crate::Topic::subscriber`].
///
/// Messages of one publisher come in order. Between publishers there is no order.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn main() -> Result<(), onecopy::Error> {
/// let node = onecopy::Node::open()?;
/// let mut subscriber = node.topic::<u64>("counter")?.subscriber().open()?;
/// let counter = subscriber.wait(Duration::from_secs(1))?;
/// println!("{}", *counter);
/// # Ok(()) }
/// ```
pub struct Subscriber<P: Payload + ?Sized, H: PlainData = ()> {
    feeds: Feeds,
    batch: Option<BatchRest<H>>,
    payload: PhantomData<fn() -> Box<P>>,
}

/// Messages of a held batch that were not given out yet.
struct BatchRest<H> {
    chunk: Arc<HeldChunk>,
    header: H,
    offset: usize,
    message_bytes: usize,
    left: u64,
}

impl<P: Payload + ?Sized, H: PlainData> Subscriber<P, H> {
    /// The next message, if there is one. Never blocks.
    ///
    /// # Errors
    ///
    /// [`ReceiveError::Publisher`] once for each publisher found to be broken or hostile; it is dropped, the others go
    /// on. [`ReceiveError::TooManyHeld`] if so many messages are held that no more can be noted.
    #[inline]
    pub fn receive(&mut self) -> Result<Option<Message<P, H>>, ReceiveError> {
        if self.batch.is_some() {
            return Ok(self.next_of_batch());
        }
        loop {
            self.feeds.refresh()?;
            for _ in 0..self.feeds.len() {
                if let Some(message) = self.receive_from_current()? {
                    return Ok(Some(message));
                }
                self.feeds.turn();
            }
            // True if something came between the look and the arming of the doorbells.
            if !self.feeds.arm()? {
                return Ok(None);
            }
        }
    }

    /// The next message; sleeps until there is one.
    ///
    /// # Errors
    ///
    /// [`WaitError::Timeout`] after `timeout`; else as for [`Self::receive`].
    #[inline]
    pub fn wait(&mut self, timeout: Duration) -> Result<Message<P, H>, WaitError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if let Some(message) = self.receive()? {
                return Ok(message);
            }
            if !sleep::until_ready(&mut [&mut self.feeds], deadline)? {
                // The deadline is past, but a message may have come with it.
                return self.receive()?.ok_or(WaitError::Timeout);
            }
        }
    }

    /// How many messages were overwritten before this subscriber got to them, over all publishers. Exact.
    pub fn lost(&self) -> u64 {
        self.feeds.lost()
    }

    /// Number of publishers that this subscriber hears right now.
    pub fn publishers(&self) -> usize {
        self.feeds.len()
    }

    /// A descriptor that is readable when there may be messages: for `poll`, `epoll` and event loops.
    ///
    /// After it became readable, call [`Self::receive`] until it returns `None`; then wait for the descriptor again.
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

    #[inline]
    fn receive_from_current(&mut self) -> Result<Option<Message<P, H>>, ReceiveError> {
        let Some(feed) = self.feeds.current() else { return Ok(None) };
        let mut header = H::new_zeroed();
        let mut inline = InlineBytes::new();
        let received = match P::EXACT_BYTES {
            // A size known at compile time lets the copy unroll. Types too large for a slot come in chunks only.
            Some(bytes) if !feed.accepts_any => feed.reader.receive(&mut InlineParts {
                header: header.as_mut_bytes(),
                payload: inline.buffer().get_mut(..bytes).unwrap_or_default(),
                exact: true,
            }),
            _ => feed.receive_any(header.as_mut_bytes(), inline.buffer()),
        };
        match received {
            Ok(Received::Empty) => Ok(None),
            Ok(Received::SegmentMissing { .. }) => {
                feed.starve();
                Ok(None)
            }
            Ok(Received::Inline { length }) => {
                let expected = P::EXACT_BYTES.is_none_or(|bytes| bytes == length);
                let message = if inline.set_length(length) && expected {
                    Message::new(header, Body::Inline(inline))
                } else {
                    None
                };
                self.or_misfit(message)
            }
            Ok(Received::Chunk { chunk, count, skip }) => self.open_chunk(chunk, count, skip),
            Err(RingFault::Hold(error)) => Err(ReceiveError::TooManyHeld(error)),
            Err(fault) => Err(self.feeds.drop_current(fault)),
        }
    }

    fn open_chunk(
        &mut self,
        chunk: HeldChunk,
        count: u64,
        skip: u64,
    ) -> Result<Option<Message<P, H>>, ReceiveError> {
        let accepts_any = self.feeds.current().is_some_and(|feed| feed.accepts_any);
        let header_bytes = self.feeds.current().map_or(0, |feed| feed.chunk_header_bytes());
        let offset = if accepts_any { header_bytes } else { chunk_header_bytes::<H>() };
        let header = H::read_from_prefix(chunk.bytes()).map(|(header, _)| header);
        let (Ok(header), Some(payload_bytes)) = (header, chunk.bytes().len().checked_sub(offset)) else {
            return self.or_misfit(None);
        };
        if count == 1 {
            return self.or_misfit(Message::new(header, Body::Held(chunk, offset)));
        }
        let Ok(messages) = usize::try_from(count) else { return self.or_misfit(None) };
        let message_bytes = payload_bytes / messages;
        let exact = P::EXACT_BYTES.is_none_or(|bytes| bytes == message_bytes);
        if !exact || message_bytes * messages != payload_bytes {
            return self.or_misfit(None);
        }
        let skipped = skip.min(count);
        self.batch = Some(BatchRest {
            chunk: Arc::new(chunk),
            header,
            offset: offset + skipped as usize * message_bytes,
            message_bytes,
            left: count - skipped,
        });
        Ok(self.next_of_batch())
    }

    #[inline]
    fn next_of_batch(&mut self) -> Option<Message<P, H>> {
        let batch = self.batch.as_mut()?;
        let header = H::read_from_bytes(batch.header.as_bytes()).ok()?;
        let (offset, length) = (batch.offset, batch.message_bytes);
        let body = match P::EXACT_BYTES {
            Some(bytes) if bytes == length && length <= P::INLINE_BYTES => {
                let mut inline = InlineBytes::new();
                let payload = batch.chunk.bytes().get(offset..offset + bytes)?;
                inline.buffer().get_mut(..bytes)?.copy_from_slice(payload);
                inline.set_length(bytes);
                Body::Inline(inline)
            }
            _ => Body::Shared { chunk: Arc::clone(&batch.chunk), offset, length },
        };
        batch.offset += length;
        batch.left -= 1;
        if batch.left == 0 {
            self.batch = None;
        }
        Message::new(header, body)
    }

    /// A message that is no `P` ends the connection to its publisher.
    #[inline]
    fn or_misfit(&mut self, message: Option<Message<P, H>>) -> Result<Option<Message<P, H>>, ReceiveError> {
        match message {
            Some(message) => Ok(Some(message)),
            None => Err(self.feeds.drop_misfit()),
        }
    }
}

impl<P: Payload + ?Sized, H: PlainData> std::fmt::Debug for Subscriber<P, H> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Subscriber").field("feeds", &self.feeds).finish_non_exhaustive()
    }
}

/// Names a publisher in errors.
pub(crate) fn publisher_name(port: PortId) -> String {
    port.to_string()
}
