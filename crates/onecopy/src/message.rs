//! A received message, lent by its subscriber. Small ones were copied out of the ring's slot; large ones stay in the
//! publisher's memory and are held there until the value is dropped.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::content::Content;
use crate::payload::{Payload, PlainData};

/// A message, readable as the payload (`*message`, `message.field`, `message.len()`), with its header.
///
/// It borrows its subscriber, which receives the next message when this one is dropped: so a small message is never
/// moved through memory. To have several at a time, or to send one to another thread, [`Message::keep`] it.
///
/// A publisher that keeps the protocol never changes a message that is held. A broken or hostile one could change
/// *values* under your eyes (never sizes, never validity: any bytes are a valid payload); use [`Message::copy`] or
/// [`Message::to_vec`] before you check and use a value that comes from someone you don't trust.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<[f32]>("scan")?.header::<u64>();
/// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// let mut scan = publisher.loan_slice(360)?;
/// scan.fill(1.5);
/// *scan.header_mut() = 42;
/// scan.publish()?;
///
/// let scan = subscriber.wait(Duration::from_secs(1))?;
/// assert_eq!((*scan.header(), scan.len(), scan[0]), (42, 360, 1.5));
/// // Too large for a slot: these are the publisher's own bytes, which `to_vec` would copy.
/// assert!(scan.is_held());
/// assert_eq!(scan.as_bytes().len(), 360 * size_of::<f32>());
/// # Ok(()) }
/// ```
pub struct Message<'s, P: Payload + ?Sized, H: PlainData = ()> {
    content: &'s mut Content<H>,
    payload: PhantomData<fn() -> Box<P>>,
}

impl<'s, P: Payload + ?Sized, H: PlainData> Message<'s, P, H> {
    #[inline]
    pub(crate) fn new(content: &'s mut Content<H>) -> Self {
        Self { content, payload: PhantomData }
    }

    /// The user header that the publisher sent along.
    pub fn header(&self) -> &H {
        &self.content.header
    }

    /// The payload's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Whether the message is held in its publisher's memory, rather than copied out of a slot.
    pub fn is_held(&self) -> bool {
        self.content.held.is_some()
    }

    /// Makes the message independent of its subscriber. Nothing large is copied: it stays held in its
    /// publisher's memory, where it counts against the publisher's byte budget until the kept message is
    /// dropped.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), onecopy::Error> {
    /// let node = onecopy::Node::open()?;
    /// let mut frames = node.topic::<[u8]>("camera")?.subscriber().open()?;
    /// let mut recent = std::collections::VecDeque::new();
    /// while let Some(frame) = frames.receive()? {
    ///     recent.push_back(frame.keep());
    ///     if recent.len() > 10 {
    ///         recent.pop_front();
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn keep(self) -> KeptMessage<P, H> {
        KeptMessage { content: self.content.take(), payload: PhantomData }
    }
}

impl<T: PlainData + Copy, H: PlainData> Message<'_, T, H> {
    /// A copy of the payload that nobody else can touch.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<u64>("counter")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
    /// publisher.publish(&7)?;
    /// let number: u64 = subscriber.wait(Duration::from_secs(1))?.copy();
    /// assert_eq!(number, 7);
    /// # Ok(()) }
    /// ```
    pub fn copy(&self) -> T {
        **self
    }
}

impl<T: PlainData + Copy, H: PlainData> Message<'_, [T], H> {
    /// A copy of the payload that nobody else can touch.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let topic = node.topic::<[u8]>("log")?;
    /// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
    /// publisher.publish(b"started")?;
    /// let line = subscriber.wait(Duration::from_secs(1))?.to_vec();
    /// assert_eq!(String::from_utf8(line)?, "started");
    /// # Ok(()) }
    /// ```
    pub fn to_vec(&self) -> Vec<T> {
        self.deref().to_vec()
    }
}

impl<P: Payload + ?Sized, H: PlainData> Deref for Message<'_, P, H> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        self.content.payload()
    }
}

impl<P: Payload + ?Sized, H: PlainData> Drop for Message<'_, P, H> {
    #[inline]
    fn drop(&mut self) {
        if self.content.held.is_some() {
            self.content.let_go();
        }
    }
}

impl<P: Payload + ?Sized + fmt::Debug, H: PlainData> fmt::Debug for Message<'_, P, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Message").field(&&**self).finish()
    }
}

/// A message that no longer needs its subscriber; from [`Message::keep`]. Dropping it, from whichever thread, gives
/// large memory back to the publisher.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<[u8]>("camera")?.header::<u64>();
/// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// for number in 1..=2 {
///     let mut frame = publisher.loan_slice(640 * 480)?;
///     frame.fill(number as u8);
///     *frame.header_mut() = number;
///     frame.publish()?;
/// }
/// let first = subscriber.wait(Duration::from_secs(1))?.keep();
/// let second = subscriber.wait(Duration::from_secs(1))?.keep();
/// assert_eq!((*first.header(), *second.header()), (1, 2));
/// // Both are where they were published, and stay as they are.
/// assert!(first.is_held() && second.is_held());
/// assert!(first.as_bytes().iter().all(|byte| *byte == 1));
/// # Ok(()) }
/// ```
pub struct KeptMessage<P: Payload + ?Sized, H: PlainData = ()> {
    content: Content<H>,
    payload: PhantomData<fn() -> Box<P>>,
}

impl<P: Payload + ?Sized, H: PlainData> KeptMessage<P, H> {
    /// The user header that the publisher sent along.
    pub fn header(&self) -> &H {
        &self.content.header
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Whether the message is held in its publisher's memory, rather than copied out of a slot.
    pub fn is_held(&self) -> bool {
        self.content.held.is_some()
    }
}

impl<P: Payload + ?Sized, H: PlainData> Deref for KeptMessage<P, H> {
    type Target = P;

    fn deref(&self) -> &P {
        self.content.payload()
    }
}

impl<P: Payload + ?Sized + fmt::Debug, H: PlainData> fmt::Debug for KeptMessage<P, H> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("KeptMessage").field(&&**self).finish()
    }
}
