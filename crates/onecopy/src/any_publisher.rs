//! Publishing bytes as messages of a type that is known at run time only: for what was recorded, or comes from another
//! machine. Subscribers that know the type can't tell the difference.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::layout::{INLINE_BYTES_MAX, LINE_BYTES};
use onecopy_memory::ring::{Geometry, RingWriter};

use crate::broker::protocol::{Address, Delivery, Request};
use crate::error::{Error, OpenError};
use crate::limits;
use crate::node::handle::NodeHandle;
use crate::payload::SLICE_INLINE_BYTES;
use crate::payload_type::{PayloadKind, PayloadType, TypeDescription};
use crate::publisher::PublisherBuilder;
use crate::sender::Sender;

/// How an untyped publisher is to be set up; from [`crate::AnyTopic::publisher`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use std::time::Duration;
///
/// use onecopy::Delivery;
/// use onecopy::payload_type::PayloadType;
///
/// // As the topic was when it was recorded, say.
/// let topic = node.any_topic("counter")?;
/// let builder = topic.publisher(PayloadType::value::<u64>()).delivery(Delivery::Reliable);
/// let mut publisher = builder.history(8).depth(64).budget_bytes(1 << 20).open()?;
/// publisher.publish(&7_u64.to_ne_bytes(), &[])?;
///
/// let mut late = node.topic::<u64>("counter")?.subscriber().open()?;
/// assert_eq!(*late.wait(Duration::from_secs(1))?, 7);
/// let entry = node.topic_entry("counter")?.ok_or("we have it open")?;
/// assert_eq!((entry.publishers[0].history, entry.publishers[0].depth()), (8, Some(64)));
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct AnyPublisherBuilder {
    builder: PublisherBuilder<[u8]>,
    payload: PayloadType,
}

impl AnyPublisherBuilder {
    pub(crate) fn new(node: Arc<NodeHandle>, topic: String, payload: PayloadType) -> Self {
        Self { builder: PublisherBuilder::new(node, topic), payload }
    }

    /// As [`PublisherBuilder::history`].
    pub fn history(mut self, messages: u64) -> Self {
        self.builder = self.builder.history(messages);
        self
    }

    /// As [`PublisherBuilder::depth`].
    pub fn depth(mut self, messages: u64) -> Self {
        self.builder = self.builder.depth(messages);
        self
    }

    /// As [`PublisherBuilder::budget_bytes`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use onecopy::payload_type::PayloadType;
    /// use onecopy::{Error, LoanError};
    ///
    /// let topic = node.any_topic("camera")?;
    /// let mut publisher = topic.publisher(PayloadType::slice::<u8>()).budget_bytes(1 << 20).open()?;
    /// let too_large = publisher.publish(&vec![0; 2 << 20], &[]);
    /// assert!(matches!(too_large, Err(Error::Loan(LoanError::Budget(_)))));
    /// # Ok(()) }
    /// ```
    pub fn budget_bytes(mut self, bytes: usize) -> Self {
        self.builder = self.builder.budget_bytes(bytes);
        self
    }

    /// How the topic delivers; all its publishers must agree. Default [`Delivery::Overwrite`].
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.builder.delivery = delivery;
        self
    }

    /// As [`PublisherBuilder::evict_after`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use onecopy::payload_type::PayloadType;
    ///
    /// let topic = node.any_topic("orders")?;
    /// let builder = topic.publisher(PayloadType::value::<u64>()).depth(2).evict_after(Duration::from_millis(5));
    /// let (mut publisher, mut stuck) = (builder.open()?, topic.subscriber().open()?);
    /// for number in 0..3_u64 {
    ///     publisher.publish_within(&number.to_ne_bytes(), &[], Duration::from_secs(10))?;
    /// }
    /// assert!(matches!(stuck.receive(), Err(onecopy::ReceiveError::EvictedByPublisher { missed: 3, .. })));
    /// # Ok(()) }
    /// ```
    pub fn evict_after(mut self, time: Duration) -> Self {
        self.builder = self.builder.evict_after(time);
        self
    }

    /// Opens the publisher; see [`PublisherBuilder::open`].
    ///
    /// # Errors
    ///
    /// As there; [`OpenError::NoSuchType`] for a description of a type that no subscriber can have.
    pub fn open(self) -> Result<AnyPublisher, OpenError> {
        let Self { builder, payload } = self;
        if builder.history > limits::HISTORY_MAX {
            return Err(OpenError::HistoryTooLong { requested: builder.history, most: limits::HISTORY_MAX });
        }
        let sizes = Sizes::of(&payload)?;
        let reliable = builder.delivery == Delivery::Reliable;
        let arena_bytes = limits::arena_bytes(sizes.largest(), builder.budget_bytes);
        let inline_bytes = sizes.slot_header_bytes().saturating_add(sizes.inline_bytes);
        let geometry =
            Geometry::new(builder.depth, builder.history, inline_bytes, reliable).with_arena(arena_bytes);
        let geometry = builder.evict_after.map_or(geometry, |time| geometry.with_evict_after(time));
        let writer = RingWriter::create(geometry, payload.layout_hash())?;
        let port = builder.node.new_port();
        let request = Request::OpenPublisher {
            publisher: port,
            address: Address::Topic(builder.topic),
            payload,
            delivery: builder.delivery,
            history: geometry.history(),
        };
        builder.node.open_publisher(port, &writer, request)?;
        let slot_payload_bytes = geometry.inline_bytes_max().checked_sub(sizes.slot_header_bytes());
        let slot_payload_bytes = slot_payload_bytes.filter(|_| sizes.inline_bytes <= INLINE_BYTES_MAX);
        let sender = Sender::new(builder.node, port, writer, builder.budget_bytes);
        Ok(AnyPublisher { sender, sizes, slot_payload_bytes })
    }
}

/// What the description says about bytes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    kind: PayloadKind,
    element_bytes: usize,
    header_bytes: usize,
    /// Payload bytes up to which a message may travel inside a slot, as a typed publisher would have it.
    inline_bytes: usize,
}

impl Sizes {
    fn of(payload: &PayloadType) -> Result<Self, OpenError> {
        payload.validate()?;
        let bytes =
            |description: &TypeDescription| usize::try_from(description.size_bytes).unwrap_or(usize::MAX / 4);
        let (element_bytes, header_bytes) = (bytes(&payload.element), bytes(&payload.header));
        let fits_words = payload.element.align_bytes <= align_of::<u64>() as u64;
        let inline_bytes = match payload.kind {
            _ if !fits_words => INLINE_BYTES_MAX + 1,
            PayloadKind::Value => element_bytes,
            PayloadKind::Slice => SLICE_INLINE_BYTES,
        };
        Ok(Self { kind: payload.kind, element_bytes, header_bytes, inline_bytes })
    }

    fn slot_header_bytes(&self) -> usize {
        self.header_bytes.next_multiple_of(8)
    }

    fn chunk_header_bytes(&self) -> usize {
        self.header_bytes.next_multiple_of(LINE_BYTES)
    }

    /// Of a message whose size is known.
    fn largest(&self) -> usize {
        let payload = if self.kind == PayloadKind::Value { self.element_bytes } else { 0 };
        self.chunk_header_bytes().saturating_add(payload)
    }

    fn fits(&self, payload: &[u8], header: &[u8]) -> bool {
        let is_whole = match (self.kind, self.element_bytes) {
            (PayloadKind::Value, bytes) => payload.len() == bytes,
            (PayloadKind::Slice, 0) => payload.is_empty(),
            (PayloadKind::Slice, bytes) => payload.len().is_multiple_of(bytes),
        };
        is_whole && header.len() == self.header_bytes
    }
}

/// Publishes bytes on a topic of any type; see [`crate::AnyTopic::publisher`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::payload_type::PayloadType;
///
/// let topic = node.any_topic("counter")?;
/// let mut publisher = topic.publisher(PayloadType::value::<u64>()).open()?;
/// let mut subscriber = topic.subscriber().open()?;
/// // A replay begins when somebody listens.
/// assert_eq!(publisher.subscribers(), 1);
/// publisher.publish(&7_u64.to_ne_bytes(), &[])?;
/// assert!(subscriber.receive()?.is_some());
/// # Ok(()) }
/// ```
pub struct AnyPublisher {
    sender: Sender,
    sizes: Sizes,
    /// Payload bytes that a slot takes beside the header; `None` if no message travels in a slot.
    slot_payload_bytes: Option<usize>,
}

impl AnyPublisher {
    /// Publishes a copy of `payload`, with `header` as the user's header (empty where the type has none).
    ///
    /// # Errors
    ///
    /// [`Error::Misfit`] if the bytes have not the size of the type; else as for [`crate::Publisher::publish`].
    pub fn publish(&mut self, payload: &[u8], header: &[u8]) -> Result<(), Error> {
        if !self.sizes.fits(payload, header) {
            return Err(Error::Misfit { payload_bytes: payload.len(), header_bytes: header.len() });
        }
        self.sender.check_room(1)?;
        if self.fits_slot(payload.len()) {
            self.sender.writer.publish_inline(header, payload);
            return Ok(());
        }
        let offset = self.sizes.chunk_header_bytes();
        let mut chunk = self.sender.chunk(offset + payload.len())?;
        let bytes = chunk.bytes_mut();
        bytes[..header.len()].copy_from_slice(header);
        bytes[offset..offset + payload.len()].copy_from_slice(payload);
        self.sender.writer.publish_chunk(chunk, offset, payload.len(), 1);
        Ok(())
    }

    /// Like [`Self::publish`], but waits for subscribers to catch up or to let go.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// use onecopy::payload_type::PayloadType;
    /// use onecopy::{Delivery, Error, LoanError};
    ///
    /// let topic = node.any_topic("counter")?;
    /// let builder = topic.publisher(PayloadType::value::<u64>()).delivery(Delivery::Reliable).depth(2);
    /// let (mut publisher, _slow) = (builder.open()?, topic.subscriber().open()?);
    /// publisher.publish(&1_u64.to_ne_bytes(), &[])?;
    /// publisher.publish(&2_u64.to_ne_bytes(), &[])?;
    /// let third = publisher.publish_within(&3_u64.to_ne_bytes(), &[], Duration::from_millis(1));
    /// assert!(matches!(third, Err(Error::Loan(LoanError::Timeout))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::Timeout`](crate::LoanError::Timeout) after `timeout`; what [`Self::publish`] says at once
    /// if no subscriber can change it; else as for [`Self::publish`].
    pub fn publish_within(&mut self, payload: &[u8], header: &[u8], timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now().checked_add(timeout);
        let bytes = self.sizes.chunk_header_bytes() + payload.len();
        loop {
            let cause = match self.publish(payload, header) {
                Err(Error::Loan(cause)) => cause,
                other => return other,
            };
            let chunk_bytes = (!self.fits_slot(payload.len())).then_some(bytes);
            self.sender.wait_for_readers(cause, chunk_bytes, deadline)?;
        }
    }

    /// Number of subscribers attached right now: each of them hears whatever is published from now on.
    pub fn subscribers(&self) -> usize {
        self.sender.node.attached_to(self.sender.port)
    }

    fn fits_slot(&self, bytes: usize) -> bool {
        self.slot_payload_bytes.is_some_and(|most| bytes <= most)
    }
}

impl std::fmt::Debug for AnyPublisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AnyPublisher").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}
