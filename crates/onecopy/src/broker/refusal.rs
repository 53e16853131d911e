//! What the broker says no to: openings that can't be ([`OpenError`], for the opener to handle), and breaches of the
//! protocol, which end the connection ([`Refusal`]).

use onecopy_memory::layout::SEGMENTS_MAX;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::delivery::Delivery;
use super::denied::Denied;
use super::exceeded::{Exceeded, QuotaExceeded};
use super::ids::{NodeId, PortId};
use super::resource::Resource;
use super::service_type::ServiceType;
use crate::payload_type::PayloadType;

/// Why a port could not be opened, for its opener to handle.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::OpenError;
/// use onecopy::broker::protocol::OpenError as Refused;
///
/// let _numbers = node.topic::<u64>("data")?.publisher().open()?;
/// match node.topic::<f64>("data")?.publisher().open() {
///     Err(OpenError::Refused(Refused::TypeMismatch { existing, .. })) => println!("it carries {existing}"),
///     _ => unreachable!("the topic carries something else"),
/// }
/// # Ok(()) }
/// ```
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
    /// The service has other requests or responses.
    #[error(
        "service {service:?} takes {} and answers {}, and this program asked for {} and {}; build both with the same types, or use another service",
        existing.request, existing.response, requested.request, requested.response
    )]
    ServiceMismatch {
        /// The service's name.
        service: String,
        /// What it exchanges.
        existing: Box<ServiceType>,
        /// What was asked for.
        requested: Box<ServiceType>,
    },
    /// The client or server to publish to has ended, or was never introduced.
    #[error("{peer} has ended, or is no counterpart of {port}; wait until another one comes")]
    NoSuchPeer {
        /// Who wanted to publish.
        port: PortId,
        /// To whom.
        peer: PortId,
    },
    /// The region has a writer already.
    #[error(
        "region {region:?} is written by process {pid} already; a region has one writer: let that one write, or open the region for several writers"
    )]
    HasWriter {
        /// The region's name.
        region: String,
        /// Its writer's process.
        pid: u32,
    },
    /// The region is open in the other mode.
    #[error(
        "region {region:?} is open {}, and this program asked for the other; open it everywhere in the same way",
        if *shared { "for several writers" } else { "for a single writer" }
    )]
    ModeMismatch {
        /// The region's name.
        region: String,
        /// How it is open: for several writers.
        shared: bool,
    },
    /// As many take part in the region as can.
    #[error("{most} take part in region {region:?} already, which is as many as can; close some")]
    NoSeat {
        /// The region's name.
        region: String,
        /// How many can.
        most: u32,
    },
    /// Nobody has published the dataset.
    #[error("there is no dataset {dataset:?}: publish it first, or wait until somebody does")]
    NoDataset {
        /// The dataset's name.
        dataset: String,
    },
    /// The node has used this number already.
    #[error("port {port} is open already; give every port of a node a number of its own")]
    DuplicatePort {
        /// The port.
        port: PortId,
    },
    /// The node, or all nodes of its user, have taken all that they may.
    #[error("a node may take {} and not more; close some of what it has open{}", resource.counted(*limit), advice(*resource))]
    OverQuota {
        /// Of what.
        resource: Resource,
        /// How much it may take.
        limit: u64,
    },
    /// The rules of the instance do not allow it.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// The node's user has taken all that the configuration allows it.
    #[error(transparent)]
    OverUserQuota(Box<QuotaExceeded>),
    /// The broker's process has hardly any open files left.
    #[error(
        "the broker's process has nearly all of the {limit} files open that it may: raise its limit (`ulimit -n`, LimitNOFILE= in a systemd unit, or onecopy::open_files::raise_limit() in the program that is the broker) before it starts, or run `onecopy serve`, which does so"
    )]
    OutOfDescriptors {
        /// How many it may have.
        limit: u64,
    },
}

/// Why the broker does not keep a region or a dataset.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::broker::protocol::KeepError;
/// use onecopy::dataset::DatasetError;
///
/// let _published = node.dataset("table")?.publish_bytes(b"bytes")?;
/// match node.keep_dataset("table", true) {
///     // This very program is the broker, and would take the dataset along when it ends.
///     Err(DatasetError::Keep { source: KeepError::Embedded, .. }) => println!("run `onecopy serve`"),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum KeepError {
    /// It runs inside a program, and would end with it.
    #[error(
        "the broker runs inside a program and ends with it: run `onecopy serve`, which keeps regions and datasets"
    )]
    Embedded,
    /// There is no such region or dataset.
    #[error("there is none of that name: create or publish it first")]
    NotFound,
    /// All that may be kept is kept.
    #[error("what is kept takes {} already; let go of some of it{}", resource.counted(*limit), advice(*resource))]
    OverQuota {
        /// Of what.
        resource: Resource,
        /// How much may be taken.
        limit: u64,
    },
    /// The rules of the instance do not allow it.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// The user has taken all that the configuration allows it.
    #[error(transparent)]
    OverUserQuota(Box<QuotaExceeded>),
}

/// Why the broker ends a connection. It costs that connection only, and nobody else notices.
///
/// ```
/// use onecopy::broker::protocol::Refusal;
///
/// let refusal = Refusal::Version { peer: 1, broker: 2 };
/// // What happened, and what to do.
/// assert!(refusal.to_string().ends_with("run the same release of onecopy on both sides"));
/// ```
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
    /// The configuration does not let that user in.
    #[error(
        "user {uid} is not admitted to this instance; add it to `users`, or one of its groups to `groups`, under [admit] in {file}, then run `onecopy serve --replace`"
    )]
    NotAdmitted {
        /// The node's user.
        uid: u32,
        /// The configuration file.
        file: String,
    },
    /// The rules of the instance do not allow it.
    #[error(transparent)]
    Denied(Box<Denied>),
    /// The node's user has taken all that the configuration allows it.
    #[error(transparent)]
    OverUserQuota(Box<QuotaExceeded>),
    /// Another user wants to be the broker.
    #[error(
        "only user {owner}, whose instance it is, may be its broker, and this process runs as user {uid}; run it as that user: `sudo -u '#{owner}' onecopy serve`"
    )]
    NotOwner {
        /// The broker's user.
        owner: u32,
        /// Who wanted to take its place.
        uid: u32,
    },
    /// A node has a number that another user's nodes have.
    #[error("node {node} has a number that nodes of user {uid} don't have; draw it with NodeId::of_user()")]
    ForeignNode {
        /// The number.
        node: NodeId,
        /// The node's user.
        uid: u32,
    },
    /// The process connects again and again, and never becomes a node.
    #[error(
        "this process has connected many times without becoming a node, and is turned away; it is let in again when it has stopped trying for some seconds"
    )]
    TooManyAttempts,
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
    /// Something was sent before [`Request::Hello`](super::protocol::Request::Hello).
    #[error("a node must introduce itself before it sends anything else; send Hello first")]
    HelloMissing,
    /// [`Request::Hello`](super::protocol::Request::Hello) was sent twice.
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
    /// A publisher announced a segment with a number that no pool has.
    #[error(
        "publisher {publisher} added segment {index}; number the segments of a pool below {SEGMENTS_MAX}"
    )]
    SegmentOutOfRange {
        /// The publisher.
        publisher: PortId,
        /// The segment.
        index: u32,
    },
    /// There is a broker that runs on its own already.
    #[error(
        "process {pid} serves this instance already; `onecopy serve --replace` takes its place, `onecopy stop` ends it"
    )]
    AlreadyServed {
        /// Its process.
        pid: u32,
    },
    /// The broker runs inside a program and ends with it.
    #[error("the broker runs inside process {pid}, and ends with it or when it goes on without")]
    Embedded {
        /// The process.
        pid: u32,
    },
    /// The node comes back to the very broker that it has left, which has told everyone of its end.
    #[error("the broker had let go of this node, and has told the others so; open a new node")]
    LetGo,
    /// The node was away while another broker took over, and others have opened otherwise what it had open.
    #[error(
        "while this node was stopped or stuck another broker took over, and {name:?} has been opened by others in a way that does not fit; open a new node"
    )]
    Superseded {
        /// The topic, service or region.
        name: String,
    },
    /// Something that belongs into an announcement was sent outside of one, or the other way around.
    #[error(
        "a packet does not belong where it was sent; announce what is open after Hello, and nothing else"
    )]
    OutOfPlace,
    /// A packet brought a descriptor of a kind that the protocol does not pass.
    #[error(
        "a packet came with a descriptor that is neither memory of memfd_create, sealed against resizing, nor a doorbell; send what is due"
    )]
    DescriptorKind,
    /// The node, or all nodes of its user, have taken all that they may.
    #[error("a node may take {} and not more{}", resource.counted(*limit), advice(*resource))]
    OverQuota {
        /// Of what.
        resource: Resource,
        /// How much it may take.
        limit: u64,
    },
}

fn advice(resource: Resource) -> &'static str {
    match resource {
        Resource::Descriptors | Resource::Nodes => {
            ", or raise the broker's limit of open files (`ulimit -n`, or LimitNOFILE= in a systemd unit)"
        }
        Resource::NodesOfOneProcess => {
            ": open one node, of which any thread may have a handle, or raise the broker's limit of open files"
        }
        Resource::Ports
        | Resource::Bytes
        | Resource::PortsOfOneName
        | Resource::Memory
        | Resource::Topics => "",
    }
}

/// Whoever meets a quota is told in whichever way it was about to be told.
macro_rules! from_exceeded {
    ($($refusal:ty),*) => {
        $(impl From<Exceeded> for $refusal {
            fn from(exceeded: Exceeded) -> Self {
                match exceeded {
                    Exceeded::General { resource, limit } => Self::OverQuota { resource, limit },
                    Exceeded::Configured(quota) => Self::OverUserQuota(quota),
                }
            }
        }

        impl From<Box<Denied>> for $refusal {
            fn from(denied: Box<Denied>) -> Self {
                Self::Denied(denied)
            }
        })*
    };
}

from_exceeded!(OpenError, KeepError, Refusal);
