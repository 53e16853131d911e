//! A topic: a name and a payload type, from which publishers and subscribers are opened.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::any_publisher::AnyPublisherBuilder;
use crate::node::handle::NodeHandle;
use crate::payload::{Carries, Payload, PlainData};
use crate::payload_type::PayloadType;
use crate::publisher::PublisherBuilder;
use crate::subscriber::SubscriberBuilder;

/// Messages of type `P` under one name, from any number of publishers to any number of subscribers; see
/// [`crate::Node::topic`].
///
/// `P` is plain data (`Pose`), or a slice of it with any length per message (`[f32]`, `[u8]`). Each message may carry
/// a header `H` besides.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let samples = node.topic::<[f32]>("microphone/left")?;
/// assert_eq!(samples.name(), "microphone/left");
/// let (mut publisher, mut subscriber) = (samples.publisher().open()?, samples.subscriber().open()?);
/// let mut loan = publisher.loan_slice(480)?;
/// loan.fill(0.0);
/// loan.publish()?;
/// assert_eq!(subscriber.wait(Duration::from_secs(1))?.len(), 480);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Topic<P: Payload + ?Sized, H: PlainData = ()> {
    node: Arc<NodeHandle>,
    name: String,
    payload: Carries<P, H>,
}

impl<P: Payload + ?Sized, H: PlainData> Topic<P, H> {
    pub(crate) fn new(node: Arc<NodeHandle>, name: String) -> Self {
        Self { node, name, payload: PhantomData }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The same topic with a header per message: a time stamp, a frame number. It is part of the topic's type, so
    /// publishers and subscribers must agree on it.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), onecopy::Error> {
    /// use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
    ///
    /// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
    /// #[repr(C)]
    /// struct Stamp { nanoseconds: u64 }
    ///
    /// let node = onecopy::Node::open()?;
    /// let mut publisher = node.topic::<[u8]>("camera")?.header::<Stamp>().publisher().open()?;
    /// let mut frame = publisher.loan_slice(640 * 480)?;
    /// frame.header_mut().nanoseconds = 1;
    /// frame.publish()?;
    /// # Ok(()) }
    /// ```
    pub fn header<G: PlainData>(self) -> Topic<P, G> {
        Topic::new(self.node, self.name)
    }

    /// Sets up a publisher.
    pub fn publisher(&self) -> PublisherBuilder<P, H> {
        PublisherBuilder::new(Arc::clone(&self.node), self.name.clone())
    }

    /// Sets up a subscriber.
    pub fn subscriber(&self) -> SubscriberBuilder<P, H> {
        SubscriberBuilder::new(Arc::clone(&self.node), self.name.clone())
    }
}

/// A topic of whatever type, used as bytes; see [`crate::Node::any_topic`].
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let mut publisher = node.topic::<u64>("counter")?.publisher().open()?;
/// let mut bytes = node.any_topic("counter")?.subscriber().open()?;
/// publisher.publish(&1)?;
/// assert_eq!(bytes.wait(Duration::from_secs(1))?.as_bytes(), 1_u64.to_ne_bytes());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AnyTopic {
    topic: Topic<[u8]>,
}

impl AnyTopic {
    pub(crate) fn new(node: Arc<NodeHandle>, name: String) -> Self {
        Self { topic: Topic::new(node, name) }
    }

    /// Sets up a subscriber that takes the payload's bytes as they are; the user's header is at
    /// [`crate::Subscriber::header_bytes`].
    pub fn subscriber(&self) -> SubscriberBuilder<[u8]> {
        self.topic.subscriber().accept_any()
    }

    /// Sets up a publisher of messages of this type, given as bytes.
    pub fn publisher(&self, payload: PayloadType) -> AnyPublisherBuilder {
        AnyPublisherBuilder::new(Arc::clone(&self.topic.node), self.topic.name.clone(), payload)
    }
}
