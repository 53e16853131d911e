//! What nodes and the broker say to each other: one message a packet, at most one descriptor with it.
//!
//! A node sends [`Request`]s and the broker sends [`Event`]s; neither ever waits for the other, except for the first
//! exchange ([`Request::Hello`], [`Event::Welcome`]). A subscriber meets a publisher in three steps: the broker shows it the
//! publisher's ring ([`Event::Publisher`]), it tells where its reader state lies ([`Request::Attach`]), and the
//! publisher says from where to read ([`Request::Attached`]). From then on the two need the broker for nothing but
//! news of each other's end. How packets look as bytes is told in `codec.rs`.
//!
//! A client meets a server in one step more: the broker introduces the two ([`Event::Met`]), and then each publishes to the
//! other directly ([`Address::Direct`]), in the same three steps.
//!
//! When a broker ends, nodes come back to the next one: each says in its first packet whom it knew, then announces all
//! that it has open in the same packets as at first, and with [`Request::Tied`] to whom each of its ports is tied.
//! [`Request::Announced`] ends that. Two ports are as they were once both sides have said so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::payload_type::PayloadType;

pub use super::codec::{DecodeError, MAGIC, PROTOCOL_VERSION};
pub use super::ids::{BrokerId, NodeId, PortId, Route};
pub use super::quota::Resource;
pub use super::refusal::{KeepError, OpenError, Refusal};
pub use super::tie::Tie;

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

/// What a publisher publishes to, or a subscriber subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Address {
    /// The topic of this name.
    Topic(String),
    /// Straight to one client or server, which alone subscribes; those publish to it whom the broker has introduced
    /// ([`Event::Met`]).
    Direct {
        /// Who subscribes.
        to: PortId,
        /// The server or client that publishes.
        from: PortId,
    },
    /// A region with a single writer, which is its one publisher.
    Region {
        /// Its name.
        name: String,
        /// The publisher that this one takes over from: the same writer, with more room.
        succeeds: Option<PortId>,
    },
}

/// On which side of a service a port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Asks.
    Client,
    /// Answers.
    Server,
}

/// What a service's requests and responses are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServiceType {
    /// From clients to servers.
    pub request: PayloadType,
    /// From servers to clients.
    pub response: PayloadType,
}

impl ServiceType {
    /// What a client or a server receives.
    pub(super) fn sent_to(&self, role: Role) -> &PayloadType {
        match role {
            Role::Client => &self.response,
            Role::Server => &self.request,
        }
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
        /// The broker that knew this node before. What it has open follows, up to [`Request::Announced`].
        returns_from: Option<BrokerId>,
    },
    /// Instead of [`Request::Hello`]: I run on my own, and take your place. Answered with [`Event::Place`] and
    /// [`Event::Lock`], or refused.
    TakeOver {
        /// Even if you run on your own as well.
        replaces: bool,
    },
    /// I have your place. You go on until you say [`Event::Yours`].
    Taken,
    /// Instead of [`Request::Hello`]: end. Answered with the nodes there are, or refused by a broker that runs inside a
    /// program and ends with it.
    Stop,
    /// I publish. With the memory of the ring, or of the region, as descriptor.
    OpenPublisher {
        /// The new port.
        publisher: PortId,
        /// What it publishes to.
        address: Address,
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
        /// The segments that are no more, as bits: those with these numbers.
        replaced: u64,
    },
    /// I subscribe.
    OpenSubscriber {
        /// The new port.
        subscriber: PortId,
        /// What it subscribes to; nothing direct, to which clients and servers subscribe by being there.
        address: Address,
        /// What I expect its messages to be; `None` takes whatever there is.
        payload: Option<PayloadType>,
    },
    /// I am a client or a server of a service, and subscribe to what is sent to me directly.
    OpenService {
        /// The new port.
        port: PortId,
        /// Which of the two.
        role: Role,
        /// The service's name.
        service: String,
        /// What I expect its requests and responses to be; `None` takes whatever there is.
        payload: Option<ServiceType>,
    },
    /// I take part in a region that several may write.
    OpenShared {
        /// The new port.
        port: PortId,
        /// The region's name.
        region: String,
        /// What I expect its value to be; `None` takes whatever there is.
        payload: Option<PayloadType>,
        /// The seat that I have already, in an announcement.
        seat: Option<u32>,
    },
    /// A region that several may write has no memory yet, or too little: here is some, with its value. With that memory
    /// as descriptor.
    OfferShared {
        /// The port that takes part in it.
        port: PortId,
        /// Take the place of what there is; otherwise only if there is none.
        succeeds: bool,
        /// In an announcement, the version of its value: of several memories the one with the latest goes on. 0 for one
        /// that no broker has confirmed.
        version: u64,
    },
    /// In an announcement: the memory that I read a region from, in case that its writer does not come back. With that
    /// memory as descriptor.
    Remembered {
        /// The reader.
        subscriber: PortId,
        /// The version of its value.
        version: u64,
    },
    /// In an announcement: what one of my ports is tied to.
    Tied {
        /// To what.
        tie: Tie,
        /// The process of the other side, or 0 if I don't know it.
        pid: u32,
        /// As far as I can see, the other side has not ended.
        is_there: bool,
    },
    /// All that I have open has been announced.
    Announced,
    /// Keep a region while nobody has it open, or don't any more. Only a broker that runs on its own does.
    Keep {
        /// Comes back with the answer.
        request: u32,
        /// The region's name.
        region: String,
        /// Whether to keep it.
        keep: bool,
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
        /// Which broker it is.
        broker: BrokerId,
        /// In which name space the processes that it tells of have their numbers.
        pid_namespace: u64,
    },
    /// To the one who takes over: the socket where I listen, as descriptor.
    Place {
        /// Whoever is the broker made it, and removes it in the end; otherwise it is there for longer (systemd's).
        is_ours: bool,
    },
    /// To the one who takes over: what I hold locked, as descriptor. The lock is never free in between.
    Lock,
    /// To the one who takes over: a region that is kept, and that nobody has open. With its memory as descriptor.
    Heirloom {
        /// The region's name.
        region: String,
        /// What its value is.
        payload: Option<PayloadType>,
        /// Several may write it.
        shared: bool,
    },
    /// To the one who takes over: I have ended.
    Yours,
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
    /// To a client or a server: there is a counterpart, to publish to directly.
    Met {
        /// Your port.
        port: PortId,
        /// The server or client.
        peer: PortId,
        /// Its process.
        pid: u32,
        /// What requests and responses are.
        payload: ServiceType,
    },
    /// To a client or a server: the counterparts that were there when you came have all been named.
    AllMet {
        /// Your port.
        port: PortId,
    },
    /// To a client or a server: a counterpart has ended.
    Parted {
        /// Your port.
        port: PortId,
        /// The server or client.
        peer: PortId,
    },
    /// To a reader of a region that has no writer: its last value. With the region's memory as descriptor.
    Remains {
        /// The reader.
        subscriber: PortId,
        /// What the value is.
        payload: PayloadType,
    },
    /// You take part in a region that several may write. Those who were there have been named before; its memory
    /// follows, if there is any.
    Seated {
        /// Your port.
        port: PortId,
        /// Your seat, which nobody else alive has.
        seat: u32,
        /// What its value is, if anybody has said so yet.
        payload: Option<PayloadType>,
        /// Its memory follows.
        has_memory: bool,
    },
    /// The memory of a region that you take part in. With that memory as descriptor, for reading and writing.
    SharedMemory {
        /// Your port.
        port: PortId,
    },
    /// Somebody else takes part in a region that you take part in.
    SeatTaken {
        /// Your port.
        port: PortId,
        /// Their port.
        other: PortId,
        /// Their seat.
        seat: u32,
        /// Their process.
        pid: u32,
    },
    /// Somebody else has ended.
    SeatGone {
        /// Your port.
        port: PortId,
        /// Their seat.
        seat: u32,
    },
    /// To a subscriber: a publisher of your topic. With the memory of its ring as descriptor.
    Publisher {
        /// The two.
        route: Route,
        /// What its messages are.
        payload: PayloadType,
        /// What happens if you are slow.
        delivery: Delivery,
        /// The client or server that it is, if it publishes to you directly.
        from: Option<PortId>,
        /// Its process.
        pid: u32,
    },
    /// To a subscriber: a segment of that publisher's pool. With that memory as descriptor.
    Segment {
        /// The two.
        route: Route,
        /// The segment's number in the publisher's pool.
        index: u32,
        /// The segments that are no more, as bits: those with these numbers.
        replaced: u64,
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
        /// The subscriber's process.
        pid: u32,
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
    /// Part of the answer to [`Request::Inspect`].
    ServiceInfo {
        /// The number of the question.
        request: u32,
        /// The service's name.
        name: String,
        /// What its requests and responses are, if anybody has said so yet.
        payload: Option<ServiceType>,
    },
    /// Part of the answer to [`Request::Inspect`].
    ServicePortInfo {
        /// The number of the question.
        request: u32,
        /// The service's name.
        service: String,
        /// The client or server.
        port: PortId,
        /// Which of the two.
        role: Role,
        /// What people call its node.
        node_name: String,
        /// Its process.
        pid: u32,
    },
    /// Part of the answer to [`Request::Inspect`]. With the region's memory as descriptor, if `memory` is set.
    RegionInfo {
        /// The number of the question.
        request: u32,
        /// The region's name.
        name: String,
        /// What its value is, if anybody has said so yet.
        payload: Option<PayloadType>,
        /// Several may write it.
        shared: bool,
        /// The single writer, if there is one, with its process.
        writer: Option<(PortId, u32)>,
        /// How many take part in it.
        readers: u32,
        /// It stays while nobody has it open.
        kept: bool,
        /// The memory comes along.
        memory: bool,
    },
    /// To everyone who has a region open: the broker keeps it, or does not any more. To be told to the next broker.
    RegionKept {
        /// Your port.
        port: PortId,
        /// It keeps it.
        kept: bool,
    },
    /// Answers [`Request::Keep`].
    Kept {
        /// The number of the request.
        request: u32,
        /// Why not, if not.
        refused: Option<KeepError>,
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
            Self::OpenPublisher { .. }
            | Self::AddSegment { .. }
            | Self::OfferShared { .. }
            | Self::Remembered { .. }
            | Self::Attach { .. } => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            _ => false,
        }
    }
}

impl Event {
    /// Whether a descriptor must come with this packet; otherwise none may.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::Publisher { .. }
            | Self::Segment { .. }
            | Self::Attach { .. }
            | Self::Remains { .. }
            | Self::SharedMemory { .. }
            | Self::Place { .. }
            | Self::Lock
            | Self::Heirloom { .. } => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            Self::PublisherInfo { ring, .. } => *ring,
            Self::RegionInfo { memory, .. } => *memory,
            _ => false,
        }
    }
}
