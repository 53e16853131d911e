//! What a node says to the broker. When it says what is told in `protocol.rs`.

use onecopy_memory::pool::SegmentSet;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::delivery::Delivery;
#[cfg(doc)]
use super::events::Event;
use super::ids::{BrokerId, NodeId, PortId, Route};
use super::role::Role;
use super::segment_bits;
use super::service_type::ServiceType;
use super::tie::Tie;
use crate::payload_type::PayloadType;

/// From a node to the broker.
///
/// ```
/// use onecopy::broker::protocol::{NodeId, Request};
///
/// let hello = Request::Hello { node: NodeId(7), name: "camera".to_owned(), returns_from: None };
/// assert!(!hello.carries_descriptor());
/// // What is cut off, or has something behind it, is no packet.
/// let packet = hello.encode();
/// assert!(Request::decode(&packet[..packet.len() - 1]).is_err());
/// assert_eq!(Request::decode(&packet), Ok(hello));
/// ```
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
        /// The segments that are no more.
        #[serde(with = "segment_bits")]
        replaced: SegmentSet,
    },
    /// A port of mine is about to need more memory than it was opened with, for [`Request::AddSegment`] or
    /// [`Request::OfferShared`]: count it, in place of what was reserved for the port before.
    Reserve {
        /// Comes back with the answer.
        request: u32,
        /// The port.
        port: PortId,
        /// How much memory.
        bytes: u64,
        /// The segments that it will take the place of, as in [`Request::AddSegment`].
        #[serde(with = "segment_bits")]
        replaced: SegmentSet,
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
        /// In an announcement: I am the one who brought it, so it counts as mine. Always so otherwise.
        brought: bool,
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
    /// I publish a version of a dataset. With its sealed memory as descriptor.
    PublishDataset {
        /// The new port.
        port: PortId,
        /// The dataset's name.
        dataset: String,
    },
    /// I open the newest version of a dataset.
    OpenDataset {
        /// The new port.
        port: PortId,
        /// The dataset's name.
        dataset: String,
        /// If there is none yet, tell me when there is.
        wait: bool,
    },
    /// In an announcement: I have a dataset open. With the version's memory as descriptor, if `memory` is set.
    ReopenDataset {
        /// The port.
        port: PortId,
        /// The dataset's name.
        dataset: String,
        /// It published the version; otherwise it looks at it.
        publishes: bool,
        /// Which version; 0 if it waits for the first.
        version: u64,
        /// The latest version that I was told of.
        latest: u64,
        /// The memory comes along. Publishers of older versions have let go of theirs.
        memory: bool,
    },
    /// Keep a dataset while nobody has it open, or don't any more. Only a broker that runs on its own does.
    KeepDataset {
        /// Comes back with the answer.
        request: u32,
        /// The dataset's name.
        dataset: String,
        /// Whether to keep it.
        keep: bool,
    },
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
        /// With what there is of memory as descriptors, for looking at.
        rings: bool,
    },
    /// For those who look at what there is: my reader state is there, with what I count. With that memory as
    /// descriptor. In place of what I showed before.
    ShowReaders,
}

impl Request {
    /// Whether a descriptor must come with this packet; otherwise none may.
    pub fn carries_descriptor(&self) -> bool {
        match self {
            Self::OpenPublisher { .. }
            | Self::AddSegment { .. }
            | Self::OfferShared { .. }
            | Self::Remembered { .. }
            | Self::PublishDataset { .. }
            | Self::Attach { .. }
            | Self::ShowReaders => true,
            Self::MaySleep { doorbell, .. } => *doorbell,
            Self::ReopenDataset { memory, .. } => *memory,
            _ => false,
        }
    }

    /// The port in whose name a request speaks.
    pub(super) fn own_port(&self) -> Option<PortId> {
        match self {
            Self::OpenPublisher { publisher: port, .. }
            | Self::AddSegment { publisher: port, .. }
            | Self::OpenSubscriber { subscriber: port, .. }
            | Self::OpenService { port, .. }
            | Self::OpenShared { port, .. }
            | Self::OfferShared { port, .. }
            | Self::Reserve { port, .. }
            | Self::PublishDataset { port, .. }
            | Self::OpenDataset { port, .. }
            | Self::ReopenDataset { port, .. }
            | Self::Close { port } => Some(*port),
            Self::Attached { route, .. } => Some(route.publisher),
            Self::Attach { route, .. } | Self::MaySleep { route, .. } | Self::Detach { route } => {
                Some(route.subscriber)
            }
            Self::Remembered { subscriber, .. } => Some(*subscriber),
            Self::Tied { tie, .. } => Some(tie.port()),
            Self::Hello { .. }
            | Self::TakeOver { .. }
            | Self::Taken
            | Self::Stop
            | Self::Announced
            | Self::Inspect { .. }
            | Self::Keep { .. }
            | Self::KeepDataset { .. }
            | Self::ShowReaders => None,
        }
    }
}
