//! The publishing end of a topic: one ring, and a pool for messages too large for its slots.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

use onecopy_memory::layout::INLINE_BYTES_MAX;
use onecopy_memory::ring::{Geometry, RingWriter};
use zerocopy::IntoBytes;

use crate::broker::protocol::{Address, Delivery, Request};
use crate::draft::{Draft, chunk_header_bytes};
use crate::error::{Error, LoanError, OpenError};
use crate::limits;
use crate::loan::{Batch, Loan};
use crate::node::handle::NodeHandle;
use crate::payload::{Carries, Payload, PlainData, describe, slice_bytes};
use crate::sender::Sender;

/// How a publisher is to be set up; from [`crate::Topic::publisher`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<[u8]>("log")?;
/// let publisher = topic.publisher().reliable().history(100).depth(4096).budget_bytes(64 << 20).open()?;
/// assert_eq!(publisher.subscribers(), 0);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens until open()"]
pub struct PublisherBuilder<P: Payload + ?Sized, H: PlainData = ()> {
    pub(crate) node: Arc<NodeHandle>,
    pub(crate) topic: String,
    pub(crate) history: u64,
    pub(crate) depth: u64,
    pub(crate) budget_bytes: usize,
    pub(crate) delivery: Delivery,
    pub(crate) evict_after: Option<Duration>,
    payload: Carries<P, H>,
}

impl<P: Payload + ?Sized, H: PlainData> PublisherBuilder<P, H> {
    pub(crate) fn new(node: Arc<NodeHandle>, topic: String) -> Self {
        Self {
            node,
            topic,
            history: 0,
            depth: limits::DEPTH_DEFAULT,
            budget_bytes: limits::BUDGET_BYTES_DEFAULT,
            delivery: Delivery::Overwrite,
            evict_after: None,
            payload: PhantomData,
        }
    }

    /// Subscribers that come later start up to so many messages back. Default 0.
    pub fn history(mut self, messages: u64) -> Self {
        self.history = messages;
        self
    }

    /// How many messages a subscriber may lag behind before it loses some, or before a reliable publisher has to wait.
    /// Rounded up to a power of two, and down to 2²⁰ (1,048,576), the longest ring; default 1024. A slot is 64 to 256
    /// bytes, whatever the size of the messages.
    pub fn depth(mut self, messages: u64) -> Self {
        self.depth = messages;
        self
    }

    /// Most bytes of memory for messages that don't fit a slot. Memory is used as messages need it; this bounds what
    /// subscribers that hold or lag can make it grow to. Default 1 GiB.
    ///
    /// A message may be as large as the whole budget, header included: it fits if nothing else is held. The memory that
    /// was laid out behind the slots at first (1 MiB, or eight messages of a known size) then comes on top.
    pub fn budget_bytes(mut self, bytes: usize) -> Self {
        self.budget_bytes = bytes;
        self
    }

    /// Nothing is lost: if a subscriber lags by the whole ring, [`Publisher::loan`] says [`LoanError::Full`]. All
    /// publishers of a topic must agree on this. The default is to overwrite: who lags loses the oldest
    /// messages, and is told how many.
    pub fn reliable(mut self) -> Self {
        self.delivery = Delivery::Reliable;
        self
    }

    /// Goes on without a subscriber that keeps this publisher from publishing for so long and does not move meanwhile,
    /// because it is stopped, stuck or far too slow. Makes the publisher [reliable](Self::reliable); the default
    /// for that is to wait for as long as it takes.
    ///
    /// The time counts from when a message finds no room, or no memory. A subscriber that goes on before anything was
    /// overwritten that it has not received loses nothing, and is waited for again. Otherwise its next
    /// [`receive`](crate::Subscriber::receive) says [`ReceiveError::EvictedByPublisher`](crate::ReceiveError), with the
    /// number of messages that it missed. Messages that it *holds* stay as they are until it drops them or its process
    /// ends; so a publisher whose whole budget a stopped subscriber holds still has to wait.
    ///
    /// A subscriber tells how far it is once in up to 64 messages: choose a time in which it receives more.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<u64>("orders")?;
    /// let mut publisher = topic.publisher().depth(2).evict_after(Duration::from_millis(5)).open()?;
    /// let mut stuck = topic.subscriber().open()?;
    /// for number in 0..3 {
    ///     let mut order = publisher.loan_within(Duration::from_secs(10))?;
    ///     *order = number;
    ///     order.publish()?;
    /// }
    /// assert!(matches!(stuck.receive(), Err(onecopy::ReceiveError::EvictedByPublisher { missed: 3, .. })));
    /// # Ok(()) }
    /// ```
    pub fn evict_after(mut self, time: Duration) -> Self {
        self.evict_after = Some(time);
        self.reliable()
    }

    /// Opens the publisher. When it returns, every subscriber that was there hears it (one that is stopped or stuck is
    /// waited for a second, and joins when it runs again).
    ///
    /// # Errors
    ///
    /// [`OpenError`]: another payload type or delivery on this topic, a history beyond the longest ring, no memory or
    /// descriptors, no broker.
    pub fn open(self) -> Result<Publisher<P, H>, OpenError> {
        if self.history > limits::HISTORY_MAX {
            return Err(OpenError::HistoryTooLong { requested: self.history, most: limits::HISTORY_MAX });
        }
        let payload = describe::<P, H>();
        let reliable = self.delivery == Delivery::Reliable;
        let largest = chunk_header_bytes::<H>().saturating_add(P::EXACT_BYTES.unwrap_or(0));
        let arena_bytes = limits::arena_bytes(largest, self.budget_bytes);
        let geometry =
            Geometry::new(self.depth, self.history, inline_bytes::<P, H>(), reliable).with_arena(arena_bytes);
        let geometry = self.evict_after.map_or(geometry, |time| geometry.with_evict_after(time));
        let writer = RingWriter::create(geometry, payload.layout_hash())?;
        let port = self.node.new_port();
        let request = Request::OpenPublisher {
            publisher: port,
            address: Address::Topic(self.topic),
            payload,
            delivery: self.delivery,
            history: geometry.history(),
        };
        self.node.open_publisher(port, &writer, request)?;
        Ok(Publisher {
            slot_payload_bytes: geometry.inline_bytes_max().checked_sub(size_of::<H>().next_multiple_of(8)),
            sender: Sender::new(self.node, port, writer, self.budget_bytes),
            draft: Draft::new(),
            payload: PhantomData,
        })
    }
}

/// What a slot would have to take of each message.
const fn inline_bytes<P: Payload + ?Sized, H>() -> usize {
    size_of::<H>().next_multiple_of(8).saturating_add(P::INLINE_BYTES)
}

/// Publishes messages on a topic; see [`crate::Topic::publisher`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<[u8]>("frames")?;
/// let (mut publisher, _subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// assert_eq!(publisher.subscribers(), 1);
/// publisher.publish(b"small ones are copied into a slot")?;
/// let before = publisher.committed_bytes();
/// publisher.publish(&vec![0; 32 << 20])?;
/// assert!(publisher.committed_bytes() >= before + (32 << 20));
/// # Ok(()) }
/// ```
pub struct Publisher<P: Payload + ?Sized, H: PlainData = ()> {
    pub(crate) sender: Sender,
    /// What is lent to the user.
    pub(crate) draft: Draft<H>,
    /// Payload bytes that a slot takes beside the header; `None` if not even the header fits.
    slot_payload_bytes: Option<usize>,
    payload: PhantomData<fn() -> Box<P>>,
}

impl<T: PlainData, H: PlainData> Publisher<T, H> {
    /// Memory for one message, to be written in place and then published. It has the value of an earlier message, or
    /// zeros: write every field.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<u64>("counter")?.publisher().open()?;
    /// let mut number = publisher.loan()?;
    /// *number = 7;
    /// number.publish()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::Full`] on a reliable topic with a subscriber that lags; [`LoanError::Budget`] if subscribers hold
    /// all memory; [`LoanError::Refused`] if that could only grow beyond what the configuration allows this user.
    #[inline]
    pub fn loan(&mut self) -> Result<Loan<'_, T, H>, LoanError> {
        self.reserve(size_of::<T>())?;
        Ok(Loan::new(self))
    }

    /// Like [`Self::loan`], but waits for subscribers to catch up or to let go.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::LoanError;
    /// let topic = node.topic::<u64>("counter")?;
    /// let mut publisher = topic.publisher().reliable().depth(2).open()?;
    /// let _slow = topic.subscriber().open()?;
    /// publisher.publish(&1)?;
    /// publisher.publish(&2)?;
    /// // The subscriber has read nothing, and nothing may be lost.
    /// assert!(matches!(publisher.loan_within(Duration::from_millis(1)), Err(LoanError::Timeout)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::Timeout`] after `timeout`; [`LoanError::Budget`] at once if no subscriber can change it.
    pub fn loan_within(&mut self, timeout: Duration) -> Result<Loan<'_, T, H>, LoanError> {
        self.reserve_within(size_of::<T>(), timeout)?;
        Ok(Loan::new(self))
    }

    /// Publishes a copy of `value`, with the header's last value.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<u64>("counter")?.publisher().open()?;
    /// publisher.publish(&7)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::loan`].
    #[inline]
    pub fn publish(&mut self, value: &T) -> Result<(), Error> {
        let mut loan = self.loan()?;
        loan.as_bytes_mut().copy_from_slice(value.as_bytes());
        loan.publish()
    }

    /// Memory for `count` messages that one call publishes: they share a slot, which is several times cheaper for small
    /// messages. Subscribers receive them one by one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<u64>("counter")?.publisher().open()?;
    /// let mut batch = publisher.loan_batch(3)?;
    /// batch.copy_from_slice(&[1, 2, 3]);
    /// batch.publish()?;
    /// let longest = publisher.batch_max();
    /// assert!(publisher.loan_batch(longest).is_ok() && publisher.loan_batch(longest + 1).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::BatchTooLong`] beyond [`Self::batch_max`]; else as for [`Self::loan`].
    ///
    /// # Panics
    ///
    /// If `count` is 0.
    pub fn loan_batch(&mut self, count: usize) -> Result<Batch<'_, T, H>, LoanError> {
        assert!(count > 0, "a batch has at least one message");
        if count > self.batch_max() {
            return Err(LoanError::BatchTooLong { requested: count, most: self.batch_max() });
        }
        self.sender.check_room(count as u64)?;
        self.draft.bytes = count * size_of::<T>();
        let length = chunk_header_bytes::<H>() + self.draft.bytes;
        self.sender.chunk_into(&mut self.draft.chunk, length)?;
        Ok(Batch::new(self))
    }

    /// Publishes copies of all `values`, in batches.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<u64>("counter")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
    /// publisher.publish_batch(&[1, 2, 3])?;
    /// let mut sum = 0;
    /// while let Some(number) = subscriber.receive()? {
    ///     sum += *number;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::loan_batch`]; then the first `published` of them are out and the rest are not, as
    /// [`LoanError::Partial`] says.
    pub fn publish_batch(&mut self, values: &[T]) -> Result<(), Error> {
        let most = self.batch_max();
        for (index, part) in values.chunks(most).enumerate() {
            let mut batch = self.loan_batch(part.len()).map_err(|cause| match index {
                0 => cause,
                _ => LoanError::Partial { published: index * most, cause: Box::new(cause) },
            })?;
            batch.as_mut_bytes().copy_from_slice(part.as_bytes());
            batch.publish()?;
        }
        Ok(())
    }

    /// Most messages in one batch; see [`Self::loan_batch`].
    pub fn batch_max(&self) -> usize {
        self.sender.writer.geometry().batch_max() as usize
    }
}

impl<T: PlainData, H: PlainData> Publisher<[T], H> {
    /// Memory for one message of `len` elements; see [`Publisher::loan`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<[f32]>("scan")?.publisher().open()?;
    /// let mut scan = publisher.loan_slice(360)?;
    /// scan.fill(1.5);
    /// scan.publish()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Publisher::loan`]; [`LoanError::Budget`] also for a message larger than the whole budget.
    #[inline]
    pub fn loan_slice(&mut self, len: usize) -> Result<Loan<'_, [T], H>, LoanError> {
        let bytes = slice_bytes::<T>(len)?;
        self.reserve(bytes)?;
        Ok(Loan::new(self))
    }

    /// Like [`Self::loan_slice`], but waits for subscribers to catch up or to let go.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<[u8]>("log")?;
    /// let mut publisher = topic.publisher().reliable().depth(2).open()?;
    /// let mut subscriber = topic.subscriber().open()?;
    /// let reading = std::thread::spawn(move || {
    ///     let mut bytes = 0;
    ///     while bytes < 700 {
    ///         bytes += subscriber.wait(Duration::from_secs(10))?.len();
    ///     }
    ///     Ok::<_, onecopy::WaitError>(bytes)
    /// });
    /// for _ in 0..100 {
    ///     let mut line = publisher.loan_slice_within(7, Duration::from_secs(10))?;
    ///     line.copy_from_slice(b"started");
    ///     line.publish()?;
    /// }
    /// assert_eq!(reading.join().map_err(|_| "it panicked")??, 700);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::Timeout`] after `timeout`; [`LoanError::Budget`] at once if no subscriber can change it.
    pub fn loan_slice_within(
        &mut self,
        len: usize,
        timeout: Duration,
    ) -> Result<Loan<'_, [T], H>, LoanError> {
        let bytes = slice_bytes::<T>(len)?;
        self.reserve_within(bytes, timeout)?;
        Ok(Loan::new(self))
    }

    /// Publishes a copy of `values`, with the header's last value.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let mut publisher = node.topic::<[u8]>("log")?.publisher().open()?;
    /// publisher.publish(b"started")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::loan_slice`].
    pub fn publish(&mut self, values: &[T]) -> Result<(), Error> {
        let mut loan = self.loan_slice(values.len())?;
        loan.as_bytes_mut().copy_from_slice(values.as_bytes());
        loan.publish()
    }
}

impl<P: Payload + ?Sized, H: PlainData> Publisher<P, H> {
    /// Number of subscribers attached right now: each of them hears whatever is published from now on.
    pub fn subscribers(&self) -> usize {
        self.sender.node.attached_to(self.sender.port)
    }

    /// Bytes of memory set aside for messages that don't fit a slot (of which only what was touched is real).
    pub fn committed_bytes(&self) -> usize {
        self.sender.pool.committed_bytes()
    }

    #[inline]
    fn reserve(&mut self, bytes: usize) -> Result<(), LoanError> {
        self.sender.check_room(1)?;
        if !self.fits_slot(bytes) {
            return self.reserve_chunk(bytes);
        }
        if P::EXACT_BYTES.is_none() {
            self.draft.bytes = bytes;
        }
        Ok(())
    }

    fn reserve_chunk(&mut self, bytes: usize) -> Result<(), LoanError> {
        self.draft.bytes = bytes;
        self.sender.chunk_into(&mut self.draft.chunk, chunk_header_bytes::<H>() + bytes)
    }

    /// Publishes what was lent, as so many messages.
    #[inline]
    pub(crate) fn publish_draft(&mut self, count: u64) -> Result<(), Error> {
        if self.sender.node.is_forked() {
            return Err(Error::Forked);
        }
        match self.draft.staged::<P>() {
            Some((header, payload)) => self.sender.writer.publish_inline(header, payload),
            None => self.publish_chunk(count),
        }
        Ok(())
    }

    fn publish_chunk(&mut self, count: u64) {
        if let Some(chunk) = self.draft.take_chunk() {
            // Not what was set up last, where that can be told: a batch that was forgotten rather than dropped is
            // still in the draft, and then the next message goes out in its memory.
            let bytes = P::EXACT_BYTES.map_or(self.draft.bytes, |exact| exact * count as usize);
            let Sender { writer, pool, .. } = &mut self.sender;
            writer.publish_chunk(chunk, chunk_header_bytes::<H>(), bytes, count);
            pool.take_back_next(chunk_header_bytes::<H>() + bytes);
        }
    }

    /// Takes back what was lent and not published.
    #[inline]
    pub(crate) fn discard_draft(&mut self) {
        if let Some(chunk) = self.draft.chunk.take() {
            self.sender.pool.free(chunk);
        }
    }

    #[inline]
    fn fits_slot(&self, bytes: usize) -> bool {
        match P::EXACT_BYTES {
            // The slots were made for it, if it is one for slots: known to the compiler.
            Some(_) => inline_bytes::<P, H>() <= INLINE_BYTES_MAX,
            None => {
                P::INLINE_BYTES <= INLINE_BYTES_MAX
                    && self.slot_payload_bytes.is_some_and(|most| bytes <= most)
            }
        }
    }

    fn reserve_within(&mut self, bytes: usize, timeout: Duration) -> Result<(), LoanError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let Err(cause) = self.reserve(bytes) else { return Ok(()) };
            let chunk_bytes = (!self.fits_slot(bytes)).then(|| chunk_header_bytes::<H>() + bytes);
            self.sender.wait_for_readers(cause, chunk_bytes, deadline)?;
        }
    }
}
