//! What can go wrong, apart by who has to act: each operation has its own small error, and all of them convert into
//! [`Error`] for callers that only pass them on.

use onecopy_memory::counted::counted;
use onecopy_memory::hold::HoldError;
use onecopy_memory::ring::BudgetExhausted;
use onecopy_memory::segment::SegmentError;

use crate::broker::protocol;
use crate::broker::transport::TransportError;
use crate::instance::InstanceError;
use crate::payload_type::TypeDescriptionError;
use crate::topic_name::TopicNameError;

/// Any error of this library.
///
/// ```
/// # use std::time::Duration;
/// /// Opening, and waiting, each with an error of its own.
/// fn newest(node: &onecopy::Node) -> Result<u64, onecopy::Error> {
///     let mut subscriber = node.topic::<u64>("counter")?.subscriber().open()?;
///     Ok(*subscriber.wait(Duration::from_secs(1))?)
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A node, publisher or subscriber could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No memory for a message.
    #[error(transparent)]
    Loan(#[from] LoanError),
    /// Receiving failed.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// Waiting ended without a message.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// Not a name for a topic.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// Bytes that are no message of the topic's type.
    #[error(
        "a payload of {} with a header of {header_bytes} is no message of the topic's type",
        counted(*payload_bytes, "byte")
    )]
    Misfit {
        /// Of the payload.
        payload_bytes: usize,
        /// Of the header.
        header_bytes: usize,
    },
    /// This process inherited the node by `fork`.
    #[error("this process is a fork of the one that opened the node: open a node of its own")]
    Forked,
}

/// Why a node, a publisher or a subscriber could not be opened.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::OpenError;
/// let _numbers = node.topic::<u64>("data")?.publisher().open()?;
/// match node.topic::<f64>("data")?.subscriber().open() {
///     Err(OpenError::Refused(error)) => println!("{error}"),
///     _ => unreachable!("the topic carries something else"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The instance's directory, socket or lock.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The topic carries another type, or is delivered otherwise.
    #[error(transparent)]
    Refused(#[from] protocol::OpenError),
    /// The broker ended the connection for a fault of this node.
    #[error("the broker refused this node: {0}")]
    Fault(protocol::Refusal),
    /// Memory for the ring, or for reader state.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The connection to the broker.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The broker has let go of this node, or the node is ending. Nothing new can be opened on it.
    #[error("the broker does not answer this node any more, which it has let go of: open a new node")]
    BrokerGone,
    /// The broker did not answer in time.
    #[error("the broker did not answer within {} s: its process is stopped or stuck (`onecopy status` names it)", crate::limits::HANDSHAKE_TIMEOUT.as_secs())]
    BrokerSilent,
    /// A description of a type that there can't be.
    #[error(transparent)]
    NoSuchType(#[from] TypeDescriptionError),
    /// More history than the longest ring can keep.
    #[error("a history of {requested} messages is more than a ring can keep: {most} at most")]
    HistoryTooLong {
        /// What was asked for.
        requested: u64,
        /// What is possible.
        most: u64,
    },
    /// This process inherited the node by `fork`.
    #[error("this process is a fork of the one that opened the node: open a node of its own")]
    Forked,
    /// The system refused a thread, a random number or a descriptor.
    #[error("the system refused to {operation}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
}

impl OpenError {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { operation, source }
    }
}

/// Why there is no memory for a message.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::LoanError;
/// let topic = node.topic::<[u8]>("frames")?;
/// let mut publisher = topic.publisher().budget_bytes(1 << 20).open()?;
/// assert!(matches!(publisher.loan_slice(4 << 20), Err(LoanError::Budget(_))));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoanError {
    /// Reliable delivery, and a subscriber has not read the oldest message of the ring yet.
    #[error(
        "whoever reads this lags by all that it may: wait for it with loan_within() or, in a service, send_within(), or try again later"
    )]
    Full,
    /// Subscribers hold, or have not read, all the memory that the publisher may use.
    #[error(transparent)]
    Budget(#[from] BudgetExhausted),
    /// The broker has let go of this node, so subscribers can't be given further memory, and what they have is not
    /// enough.
    #[error(
        "a message of {} does not fit into what is free of this publisher's {memory_bytes}, which cannot grow because the broker has let go of this node: open a new node and publisher",
        counted(*requested_bytes, "byte")
    )]
    BrokerGone {
        /// Size of the message.
        requested_bytes: usize,
        /// What the publisher has.
        memory_bytes: usize,
    },
    /// This node's user may have so much memory and not more, by the quota that the error names. What fits the memory
    /// that the publisher has goes on.
    #[error(transparent)]
    Refused(#[from] protocol::OpenError),
    /// Memory is limited for this node's user, and the broker did not say in time whether there may be more.
    /// What fits the memory that the publisher has goes on.
    #[error("the broker did not say within {} s whether this publisher may have more memory: its process is stopped or stuck (`onecopy status` names it); try again later", crate::limits::GROWTH_TIMEOUT.as_secs())]
    BrokerSilent,
    /// Nothing came free in time.
    #[error("subscribers did not catch up in time")]
    Timeout,
    /// More messages than one batch can have.
    #[error("a batch of {requested} messages is too long: {most} at most, or use publish_batch()")]
    BatchTooLong {
        /// What was asked for.
        requested: usize,
        /// What is possible.
        most: usize,
    },
    /// Only part of a list of messages could be published.
    #[error("published {}, then: {cause}", counted(*published, "message"))]
    Partial {
        /// How many are out.
        published: usize,
        /// Why not the rest.
        #[source]
        cause: Box<LoanError>,
    },
    /// More bytes than memory has addresses.
    #[error(
        "a message of {} of {} is larger than any memory",
        counted(*elements, "element"), counted(*element_bytes, "byte")
    )]
    TooLong {
        /// How many elements.
        elements: usize,
        /// Bytes of one.
        element_bytes: usize,
    },
    /// The pool could not grow.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The pool's growth could not be announced.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// This process inherited the node by `fork`.
    #[error("this process is a fork of the one that opened the node: open a node of its own")]
    Forked,
}

impl LoanError {
    /// Why a publisher's memory could not grow.
    pub(crate) fn from_growth(error: OpenError) -> Self {
        match error {
            OpenError::Refused(refused) => Self::Refused(refused),
            OpenError::Segment(error) => Self::Segment(error),
            OpenError::Transport(error) => Self::Transport(error),
            OpenError::Forked => Self::Forked,
            OpenError::BrokerSilent => Self::BrokerSilent,
            _ => Self::Transport(TransportError::Closed),
        }
    }
}

/// Why no message was received, other than that there is none.
///
/// ```
/// use onecopy::{ReceiveError, Subscriber};
///
/// fn drain(subscriber: &mut Subscriber<u64>) -> Result<(), ReceiveError> {
///     loop {
///         match subscriber.receive() {
///             Ok(Some(number)) => println!("{}", *number),
///             Ok(None) => return Ok(()),
///             // One publisher less; the others go on.
///             Err(error @ (ReceiveError::Publisher { .. } | ReceiveError::EvictedByPublisher { .. })) => {
///                 eprintln!("{error}");
///             }
///             Err(error) => return Err(error),
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A publisher broke the protocol. It is not heard any more; the others are.
    #[error("publisher {publisher} is ignored from now on: {reason}")]
    Publisher {
        /// Which one, as `onecopy topic info` shows it.
        publisher: String,
        /// What it did.
        reason: String,
    },
    /// A reliable publisher has waited for this subscriber for as long as it may
    /// ([`evict_after`](crate::PublisherBuilder::evict_after)), and went on without it. The publisher is not
    /// heard any more; what is held stays as it is, and other publishers are heard.
    #[error(
        "publisher {publisher} waited {after:?} for this subscriber to receive a message and went on without it ({} missing so far): open another subscriber to hear it again, or let it wait for longer (evict_after)",
        counted(*missed, "message")
    )]
    EvictedByPublisher {
        /// Which one, as `onecopy topic info` shows it.
        publisher: String,
        /// How long it waits.
        after: std::time::Duration,
        /// Messages published and not received, when it was noticed.
        missed: u64,
    },
    /// More held messages than can be noted.
    #[error(transparent)]
    TooManyHeld(HoldError),
    /// The broker ended this node's connection, and told the publishers that its subscribers are gone.
    #[error("this subscriber was closed, because the broker refused its node: {0}")]
    Evicted(protocol::Refusal),
    /// A publisher's memory was on its way and could not be received.
    #[error(
        "a publisher is not heard any more, because its memory could not be received: {0}; then open the subscriber again"
    )]
    MemoryLost(String),
    /// A new publisher could not be given a doorbell, so it can't wake this subscriber's event loop.
    #[error("a publisher cannot wake this event loop: {0}")]
    NoDoorbell(String),
    /// This process inherited the node by `fork`.
    #[error("this process is a fork of the one that opened the node: open a node of its own")]
    Forked,
}

/// Why waiting ended without a message.
///
/// See [`crate::Subscriber::wait`] for an example.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Nothing came in time.
    #[error("no message came in time")]
    Timeout,
    /// Receiving failed.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A publisher has no doorbell to wake this subscriber with, and no broker is there to hand it one.
    #[error(
        "cannot sleep until a publisher wakes this subscriber, because the broker of this instance ended before it handed over a doorbell: receive() without waiting, or open a new node and subscriber"
    )]
    NoDoorbell,
    /// The publishers could not be told that this subscriber sleeps.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused a descriptor, or to wait.
    #[error("cannot wait")]
    System(#[from] std::io::Error),
}
