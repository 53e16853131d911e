//! What the broker says to a node. When it says what is told in `protocol.rs`.

use onecopy_memory::pool::SegmentSet;
use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::ids::{BrokerId, NodeId, PortId, Route};
use super::refusal::{KeepError, OpenError, Refusal};
#[cfg(doc)]
use super::requests::Request;
use super::role::Role;
use super::segment_bits;
use super::service_type::ServiceType;
use crate::payload_type::PayloadType;

/// From the broker to a node.
///
/// ```
/// use onecopy::broker::protocol::{BrokerId, Event};
///
/// let welcome = Event::Welcome { broker_pid: 1, broker: BrokerId(7), pid_namespace: 0, limited: false };
/// assert!(!welcome.carries_descriptor() && Event::Roll.carries_descriptor());
/// assert_eq!(Event::decode(&welcome.encode()), Ok(welcome));
/// ```
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
        /// The configuration bounds how much your user may have: [`Request::Reserve`] memory before you show it, also
        /// memory that takes the place of other.
        limited: bool,
    },
    /// To a node of another user, before [`Event::Welcome`]: the file in which nodes are counted, opened for
    /// you alone, as descriptor. Lock your byte of it.
    Roll,
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
    /// To the one who takes over: a dataset that is kept. With the memory of its newest version as descriptor.
    DatasetHeirloom {
        /// The dataset's name.
        dataset: String,
        /// Its newest version.
        version: u64,
    },
    /// To the one who takes over: I have ended.
    Yours,
    /// To the one who ends me ([`Request::Stop`]), behind an [`Event::NodeInfo`] for each node that
    /// goes on: I end now.
    Ended {
        /// The process that I run in. The kernel names another one where the socket was made for me.
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
    /// A version of a dataset is yours. With its sealed memory as descriptor.
    Dataset {
        /// Your port.
        port: PortId,
        /// Which version: the first is 1.
        version: u64,
    },
    /// To everybody who has a dataset open: this version is the newest now. To its publisher: it is yours.
    DatasetVersion {
        /// Your port.
        port: PortId,
        /// Which version; 0 if there is none yet.
        version: u64,
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
        /// The segments that are no more.
        #[serde(with = "segment_bits")]
        replaced: SegmentSet,
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
        /// The memory of its reader state comes along.
        readers: bool,
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
    /// Part of the answer to [`Request::Inspect`]: who takes part in a region that several may write.
    SeatInfo {
        /// The number of the question.
        request: u32,
        /// The region's name.
        region: String,
        /// The seat, as a number.
        seat: u32,
        /// Its process.
        pid: u32,
    },
    /// To everyone who has a region or a dataset open: the broker keeps it, or does not any more. To be told
    /// to the next broker.
    KeepChanged {
        /// Your port.
        port: PortId,
        /// It keeps it.
        kept: bool,
    },
    /// Part of the answer to [`Request::Inspect`]: memory of a publisher's beside the ring that came with it,
    /// or the ring from a client to a server, or back. With that memory as descriptor.
    MemoryInfo {
        /// The number of the question.
        request: u32,
        /// The publisher, client or server.
        owner: PortId,
    },
    /// Part of the answer to [`Request::Inspect`]. With the memory of the newest version as descriptor, if
    /// `memory` is set.
    DatasetInfo {
        /// The number of the question.
        request: u32,
        /// The dataset's name.
        name: String,
        /// Its newest version; 0 if there is none yet.
        version: u64,
        /// Who published that, if they still have it open, with their process.
        publisher: Option<(PortId, u32)>,
        /// How many have it open to look at it.
        viewers: u32,
        /// It stays while nobody has it open.
        kept: bool,
        /// The memory comes along.
        memory: bool,
    },
    /// Answers [`Request::Keep`] and [`Request::KeepDataset`].
    Kept {
        /// The number of the request.
        request: u32,
        /// Why not, if not.
        refused: Option<KeepError>,
    },
    /// Answers [`Request::Reserve`].
    Reserved {
        /// The number of the request.
        request: u32,
        /// Why not, if not.
        refused: Option<OpenError>,
    },
    /// The answer to [`Request::Inspect`] is complete.
    InspectEnd {
        /// The number of the question.
        request: u32,
    },
}

impl Event {
    /// Whether a descriptor must come with this packet; otherwise none may.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::Publisher { .. }
            | Self::Segment { .. }
            | Self::Attach { .. }
            | Self::Remains { .. }
            | Self::Dataset { .. }
            | Self::DatasetHeirloom { .. }
            | Self::SharedMemory { .. }
            | Self::MemoryInfo { .. }
            | Self::Place { .. }
            | Self::Lock
            | Self::Roll
            | Self::Heirloom { .. } => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            Self::PublisherInfo { ring, .. } => *ring,
            Self::RegionInfo { memory, .. } | Self::DatasetInfo { memory, .. } => *memory,
            Self::NodeInfo { readers, .. } => *readers,
            _ => false,
        }
    }
}
