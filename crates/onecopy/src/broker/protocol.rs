//! What nodes and the broker say to each other: one message a packet, at most one descriptor with it.
//!
//! A node sends [`Request`]s and the broker sends [`Event`]s; neither ever waits for the other, except for the first
//! exchange ([`Request::Hello`], [`Event::Welcome`]). A subscriber meets a publisher in three steps: the broker shows it the
//! publisher's ring ([`Event::Publisher`]), it tells where its reader state lies ([`Request::Attach`]), and the
//! publisher says from where to read ([`Request::Attached`]). From then on the two need the broker for nothing but
//! news of each other's end. How packets look as bytes is told in `codec.rs`.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::payload_type::PayloadType;

pub use super::codec::{DecodeError, MAGIC, PROTOCOL_VERSION};

/// A node, by a number that it drew at random: unique without anybody to ask, and still its own after a broker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Draws a new one.
    ///
    /// # Errors
    ///
    /// What the kernel's random number generator reports.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 8];
        let mut filled = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(filled..) {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut *rest, flags))?;
        }
        Ok(Self(u64::from_ne_bytes(bytes)))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// One publisher or subscriber. Its own node numbers it, so that it keeps its number when another broker takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortId {
    /// The node that has it open.
    pub node: NodeId,
    /// Its number within that node; used once only.
    pub serial: u32,
}

impl fmt::Display for PortId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.node, self.serial)
    }
}

/// The way from one publisher to one subscriber of the same topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// Where messages come from.
    pub publisher: PortId,
    /// Where they go to.
    pub subscriber: PortId,
}

impl fmt::Display for Route {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} → {}", self.publisher, self.subscriber)
    }
}

/// What happens when a subscriber is slower than a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// The oldest messages are overwritten, and the subscriber is told how many it lost.
    Overwrite,
    /// The publisher finds its ring full, and waits or gives up.
    Reliable,
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Overwrite => "overwrite",
            Self::Reliable => "reliable",
        })
    }
}

/// From a node to the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Who I am. The first packet, and never sent again.
    Hello {
        /// The node.
        node: NodeId,
        /// What people call it; need not be unique.
        name: String,
    },
    /// I publish. With the memory of the ring as descriptor.
    OpenPublisher {
        /// The new port.
        publisher: PortId,
        /// The topic's name.
        topic: String,
        /// What its messages are.
        payload: PayloadType,
        /// What happens to slow subscribers.
        delivery: Delivery,
        /// How many messages back a late joiner may start.
        history: u64,
    },
    /// My memory grew by a segment. With that segment as descriptor.
    AddSegment {
        /// The publisher.
        publisher: PortId,
        /// The segment's number in the publisher's pool.
        index: u32,
    },
    /// I subscribe.
    OpenSubscriber {
        /// The new port.
        subscriber: PortId,
        /// The topic's name.
        topic: String,
        /// What I expect its messages to be; `None` takes whatever there is.
        payload: Option<PayloadType>,
    },
    /// To a publisher: my reader state is there. With the memory it lies in as descriptor.
    Attach {
        /// The two.
        route: Route,
        /// The number of that memory within the subscriber's node.
        reader_segment: u32,
        /// The block in it.
        block: u32,
    },
    /// To a subscriber: I look at your reader state from now on.
    Attached {
        /// The two.
        route: Route,
        /// The position of the first message to read.
        start: u64,
    },
    /// To a publisher: I may sleep from now on. With a doorbell to ring as descriptor, if `doorbell` is set.
    MaySleep {
        /// The two.
        route: Route,
        /// A doorbell comes along.
        doorbell: bool,
    },
    /// To a publisher: I let go of you.
    Detach {
        /// The two.
        route: Route,
    },
    /// One of my ports ends.
    Close {
        /// The publisher or subscriber.
        port: PortId,
    },
    /// Tell me who is there.
    Inspect {
        /// Comes back with each item of the answer.
        request: u32,
        /// Only this topic, and no nodes.
        topic: Option<String>,
        /// With the rings of the publishers as descriptors.
        rings: bool,
    },
}

/// From the broker to a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// You are known. Answers [`Request::Hello`].
    Welcome {
        /// The process that the broker runs in.
        broker_pid: u32,
    },
    /// You broke the rules; the connection is closed behind this packet.
    Refused {
        /// Which rule.
        reason: Refusal,
    },
    /// The port is open.
    Opened {
        /// The port.
        port: PortId,
        /// What the topic carries, if anybody has said so yet.
        payload: Option<PayloadType>,
        /// How it delivers, if there has been a publisher yet.
        delivery: Option<Delivery>,
    },
    /// The port is not open; the connection goes on.
    OpenFailed {
        /// The port.
        port: PortId,
        /// Why not.
        error: OpenError,
    },
    /// Every counterpart that was there when the port opened has attached, detached or ended. Once for each port that
    /// lives long enough.
    Settled {
        /// The port.
        port: PortId,
    },
    /// To a subscriber: a publisher of your topic. With the memory of its ring as descriptor.
    Publisher {
        /// The two.
        route: Route,
        /// What its messages are.
        payload: PayloadType,
        /// What happens if you are slow.
        delivery: Delivery,
    },
    /// To a subscriber: a segment of that publisher's pool. With that memory as descriptor.
    Segment {
        /// The two.
        route: Route,
        /// The segment's number in the publisher's pool.
        index: u32,
    },
    /// To a subscriber: that publisher ended.
    PublisherGone {
        /// The two.
        route: Route,
    },
    /// To a publisher: that subscriber ended or let go.
    SubscriberGone {
        /// The two.
        route: Route,
    },
    /// [`Request::Attach`], forwarded to the publisher. With the same descriptor.
    Attach {
        /// The two.
        route: Route,
        /// The number of the memory within the subscriber's node.
        reader_segment: u32,
        /// The block in it.
        block: u32,
    },
    /// [`Request::Attached`], forwarded to the subscriber.
    Attached {
        /// The two.
        route: Route,
        /// The position of the first message to read.
        start: u64,
    },
    /// [`Request::MaySleep`], forwarded to the publisher. With the doorbell as descriptor, if `doorbell` is set.
    MaySleep {
        /// The two.
        route: Route,
        /// A doorbell comes along.
        doorbell: bool,
    },
    /// Part of the answer to [`Request::Inspect`].
    NodeInfo {
        /// The number of the question.
        request: u32,
        /// The node.
        node: NodeId,
        /// What people call it.
        name: String,
        /// Its process.
        pid: u32,
        /// The user it runs as.
        uid: u32,
    },
    /// Part of the answer to [`Request::Inspect`].
    TopicInfo {
        /// The number of the question.
        request: u32,
        /// The topic's name.
        name: String,
        /// What it carries, if anybody has said so yet.
        payload: Option<PayloadType>,
        /// How it delivers, if there has been a publisher yet.
        delivery: Option<Delivery>,
        /// How many publishers it has.
        publishers: u32,
        /// How many subscribers it has.
        subscribers: u32,
    },
    /// Part of the answer to [`Request::Inspect`]. With the memory of the ring as descriptor, if `ring` is set.
    PublisherInfo {
        /// The number of the question.
        request: u32,
        /// The topic's name.
        topic: String,
        /// The publisher.
        publisher: PortId,
        /// What people call its node.
        node_name: String,
        /// How many messages back a late joiner may start.
        history: u64,
        /// The ring comes along.
        ring: bool,
    },
    /// Part of the answer to [`Request::Inspect`].
    SubscriberInfo {
        /// The number of the question.
        request: u32,
        /// The topic's name.
        topic: String,
        /// The subscriber.
        subscriber: PortId,
        /// What people call its node.
        node_name: String,
    },
    /// The answer to [`Request::Inspect`] is complete.
    InspectEnd {
        /// The number of the question.
        request: u32,
    },
}

impl Request {
    /// Whether a descriptor must come with this packet; otherwise none may.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::OpenPublisher { .. } | Self::AddSegment { .. } | Self::Attach { .. } => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            _ => false,
        }
    }
}

impl Event {
    /// Whether a descriptor must come with this packet; otherwise none may.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::Publisher { .. } | Self::Segment { .. } | Self::Attach { .. } => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            Self::PublisherInfo { ring, .. } => *ring,
            _ => false,
        }
    }
}

/// Why a port could not be opened, for its opener to handle.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum OpenError {
    /// The topic carries something else.
    #[error(
        "topic {topic:?} carries {existing}, and this program asked for {requested}; build both with the same type, or use another topic"
    )]
    TypeMismatch {
        /// The topic's name.
        topic: String,
        /// What it carries.
        existing: Box<PayloadType>,
        /// What was asked for.
        requested: Box<PayloadType>,
    },
    /// The topic delivers in another way.
    #[error(
        "topic {topic:?} has {existing} delivery, and this publisher asked for {requested} delivery; open every publisher of a topic with the same"
    )]
    DeliveryMismatch {
        /// The topic's name.
        topic: String,
        /// How it delivers.
        existing: Delivery,
        /// What was asked for.
        requested: Delivery,
    },
    /// The node has used this number already.
    #[error("port {port} is open already; give every port of a node a number of its own")]
    DuplicatePort {
        /// The port.
        port: PortId,
    },
}

/// Why the broker ends a connection. It costs that connection only, and nobody else notices.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    /// The node was built with another protocol.
    #[error(
        "this node speaks version {peer} of the broker's protocol and the broker speaks version {broker}; run the same release of onecopy on both sides"
    )]
    Version {
        /// The node's.
        peer: u16,
        /// The broker's.
        broker: u16,
    },
    /// The node runs as another user.
    #[error(
        "the broker of this instance serves user {broker_uid} only, and this process runs as user {peer_uid}; run both as one user, or choose another runtime directory with ONECOPY_RUNTIME_DIR"
    )]
    WrongUser {
        /// The node's.
        peer_uid: u32,
        /// The broker's.
        broker_uid: u32,
    },
    /// Another node has the same number.
    #[error(
        "node {node} is connected already; draw a new node id (a process that forked must open a node of its own)"
    )]
    DuplicateNode {
        /// The number.
        node: NodeId,
    },
    /// A packet could not be read.
    #[error("the broker could not read a packet: {detail}")]
    Malformed {
        /// What was wrong with it.
        detail: String,
    },
    /// Something was sent before [`Request::Hello`].
    #[error("a node must introduce itself before it sends anything else; send Hello first")]
    HelloMissing,
    /// [`Request::Hello`] was sent twice.
    #[error("a node must introduce itself exactly once; open a new connection for a new node")]
    HelloRepeated,
    /// A port of another node was used as one's own.
    #[error("port {port} belongs to another node than {node}; a node may speak for its own ports only")]
    ForeignPort {
        /// The port.
        port: PortId,
        /// The node that used it.
        node: NodeId,
    },
    /// A publisher was used as a subscriber, or the other way around.
    #[error("port {port} was used in the wrong role; publishers publish and subscribers subscribe")]
    WrongRole {
        /// The port.
        port: PortId,
    },
    /// A packet came without the descriptor that it needs.
    #[error(
        "a packet came without the descriptor that belongs to it; send it with SCM_RIGHTS in the same packet"
    )]
    DescriptorMissing,
    /// A packet came with a descriptor that nothing needs.
    #[error(
        "a packet came with a descriptor that does not belong to it; send descriptors only where one is due"
    )]
    DescriptorSurplus,
    /// A publisher announced the same segment twice.
    #[error("publisher {publisher} added segment {index} twice; number the segments of a pool apart")]
    DuplicateSegment {
        /// The publisher.
        publisher: PortId,
        /// The segment.
        index: u32,
    },
    /// The node does not read what it is sent.
    #[error("{queued} packets waited for this node to read them; read events from the broker without pause")]
    TooSlow {
        /// How many.
        queued: u64,
    },
    /// The broker's process, or the kernel on its behalf, has no room for another descriptor.
    #[error(
        "the broker is at its limit of open files; raise it (`ulimit -n`, or LimitNOFILE= in a systemd unit) where the broker was started"
    )]
    OutOfDescriptors,
}
