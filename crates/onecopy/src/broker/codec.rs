//! Packets as bytes.
//!
//! ```text
//! 0  magic    "1c"
//! 2  version  PROTOCOL_VERSION, little-endian
//! 4  body     a Request or an Event in postcard's encoding
//! ```
//!
//! The version is in every packet, so that two sides of different releases find out from the first one. Decoding
//! checks everything that can be checked without knowing who sent the packet: what comes out obeys every limit.

use onecopy_memory::counted::counted;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::address::Address;
use super::denied::Denied;
use super::events::Event;
use super::refusal::{KeepError, OpenError, Refusal};
use super::requests::Request;
use super::service_type::ServiceType;
use crate::limits::{MAX_DETAIL_BYTES, MAX_NODE_NAME_BYTES, MAX_PACKET_BYTES};
use crate::payload_type::{PayloadType, TypeDescriptionError};
use crate::topic_name::{self, TopicNameError};

/// The first two bytes of every packet.
pub const MAGIC: u16 = u16::from_le_bytes(*b"1c");
/// The version of the protocol; both sides must agree on it.
pub const PROTOCOL_VERSION: u16 = 7;

/// Why bytes are no packet.
///
/// ```
/// use onecopy::broker::protocol::{DecodeError, PROTOCOL_VERSION, Request};
///
/// assert_eq!(Request::decode(b"GET / HTTP/1.1\r\n"), Err(DecodeError::Magic { found: 0x4547 }));
/// let mut packet = Request::Announced.encode();
/// packet[2] += 1;
/// let found = PROTOCOL_VERSION + 1;
/// assert_eq!(Request::decode(&packet), Err(DecodeError::Version { found }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not even the start is there.
    #[error("a packet of {} is too short; every packet starts with 4 bytes of magic and version", counted(*bytes, "byte"))]
    TooShort {
        /// Its length.
        bytes: usize,
    },
    /// Longer than any packet may be.
    #[error("a packet of more than {MAX_PACKET_BYTES} bytes is too long; send one message a packet")]
    TooLong,
    /// Not our protocol.
    #[error(
        "a packet starts with {found:#06x} instead of {MAGIC:#06x}; only onecopy may talk to this socket"
    )]
    Magic {
        /// What it starts with.
        found: u16,
    },
    /// Another release's protocol.
    #[error(
        "the other side speaks version {found} of the broker's protocol and this side speaks version {PROTOCOL_VERSION}; run the same release of onecopy on both sides"
    )]
    Version {
        /// The other side's version.
        found: u16,
    },
    /// The body is none of the messages.
    #[error("the body of a packet is garbled ({0}); run the same release of onecopy on both sides")]
    Body(#[from] postcard::Error),
    /// There is more behind the message.
    #[error("the message in a packet is followed by {}; send one message a packet", counted(*bytes, "byte"))]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// A topic's name breaks the rules.
    #[error(transparent)]
    TopicName(#[from] TopicNameError),
    /// A type that can't be.
    #[error(transparent)]
    TypeDescription(#[from] TypeDescriptionError),
    /// A node's name breaks the rules.
    #[error(
        "the name of a node must have 1 to {MAX_NODE_NAME_BYTES} bytes and no control characters, and has {}",
        counted(*bytes, "byte")
    )]
    NodeName {
        /// Its length in bytes.
        bytes: usize,
    },
    /// A text is too long.
    #[error("the detail of a refusal has {bytes} bytes; at most {MAX_DETAIL_BYTES} are allowed")]
    Detail {
        /// Its length in bytes.
        bytes: usize,
    },
    /// Descriptors were cut off because more came than any packet may carry.
    #[error("a packet came with more descriptors than one; send one with each packet that needs it")]
    SurplusDescriptors,
}

impl Request {
    /// The packet's bytes: at most [`MAX_PACKET_BYTES`], as long as every name in it obeys its limit.
    ///
    /// ```
    /// use onecopy::broker::protocol::{NodeId, Request};
    ///
    /// let hello = Request::Hello { node: NodeId(7), name: "camera".to_owned(), returns_from: None };
    /// assert_eq!(Request::decode(&hello.encode()), Ok(hello));
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a packet from a node.
    ///
    /// # Errors
    ///
    /// Whatever breaks the format or a limit.
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let request: Self = decode(packet)?;
        match &request {
            Self::Hello { name, .. } => check_node_name(name)?,
            Self::OpenPublisher { address, payload, .. } => {
                check_address(address)?;
                payload.validate()?;
            }
            Self::OpenSubscriber { address, payload, .. } => {
                check_address(address)?;
                check_payload(payload.as_ref())?;
            }
            Self::OpenService { service, payload, .. } => {
                topic_name::check(service)?;
                check_service_type(payload.as_ref())?;
            }
            Self::Inspect { topic: Some(topic), .. } => topic_name::check(topic)?,
            Self::OpenShared { region, payload, .. } => {
                topic_name::check(region)?;
                check_payload(payload.as_ref())?;
            }
            Self::Keep { region, .. } => topic_name::check(region)?,
            Self::PublishDataset { dataset, .. }
            | Self::OpenDataset { dataset, .. }
            | Self::ReopenDataset { dataset, .. }
            | Self::KeepDataset { dataset, .. } => topic_name::check(dataset)?,
            Self::AddSegment { .. }
            | Self::Reserve { .. }
            | Self::OfferShared { .. }
            | Self::Remembered { .. }
            | Self::Tied { .. }
            | Self::Announced
            | Self::TakeOver { .. }
            | Self::Taken
            | Self::Stop
            | Self::Attach { .. }
            | Self::Attached { .. }
            | Self::MaySleep { .. }
            | Self::Detach { .. }
            | Self::Close { .. }
            | Self::ShowReaders
            | Self::Inspect { topic: None, .. } => {}
        }
        Ok(request)
    }
}

impl Event {
    /// The packet's bytes: at most [`MAX_PACKET_BYTES`], as long as every name in it obeys its limit.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads a packet from the broker.
    ///
    /// # Errors
    ///
    /// Whatever breaks the format or a limit.
    pub fn decode(packet: &[u8]) -> Result<Self, DecodeError> {
        let event: Self = decode(packet)?;
        match &event {
            Self::Opened { payload, .. } | Self::Seated { payload, .. } => check_payload(payload.as_ref())?,
            Self::Publisher { payload, .. } | Self::Remains { payload, .. } => payload.validate()?,
            Self::Met { payload, .. } => check_service_type(Some(payload))?,
            Self::OpenFailed { error, .. } => check_open_error(error)?,
            Self::Refused { reason } => check_refusal(reason)?,
            Self::Kept { refused: Some(KeepError::Denied(denied)), .. } => check_denied(denied)?,
            Self::NodeInfo { name, .. } => check_node_name(name)?,
            Self::TopicInfo { name, payload, .. } => {
                topic_name::check(name)?;
                check_payload(payload.as_ref())?;
            }
            Self::PublisherInfo { topic, node_name, .. } | Self::SubscriberInfo { topic, node_name, .. } => {
                topic_name::check(topic)?;
                check_node_name(node_name)?;
            }
            Self::ServiceInfo { name, payload, .. } => {
                topic_name::check(name)?;
                check_service_type(payload.as_ref())?;
            }
            Self::ServicePortInfo { service, node_name, .. } => {
                topic_name::check(service)?;
                check_node_name(node_name)?;
            }
            Self::RegionInfo { name, payload, .. } | Self::Heirloom { region: name, payload, .. } => {
                topic_name::check(name)?;
                check_payload(payload.as_ref())?;
            }
            Self::DatasetInfo { name, .. }
            | Self::DatasetHeirloom { dataset: name, .. }
            | Self::SeatInfo { region: name, .. } => topic_name::check(name)?,
            Self::Reserved { refused, .. } => refused.as_ref().map_or(Ok(()), check_open_error)?,
            Self::Welcome { .. }
            | Self::Dataset { .. }
            | Self::DatasetVersion { .. }
            | Self::AllMet { .. }
            | Self::SharedMemory { .. }
            | Self::MemoryInfo { .. }
            | Self::Kept { .. }
            | Self::Place { .. }
            | Self::Lock
            | Self::Roll
            | Self::Yours
            | Self::Ended { .. }
            | Self::KeepChanged { .. }
            | Self::SeatTaken { .. }
            | Self::SeatGone { .. }
            | Self::Parted { .. }
            | Self::Settled { .. }
            | Self::Segment { .. }
            | Self::PublisherGone { .. }
            | Self::SubscriberGone { .. }
            | Self::Attach { .. }
            | Self::Attached { .. }
            | Self::MaySleep { .. }
            | Self::InspectEnd { .. } => {}
        }
        Ok(event)
    }
}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Version { found } => Self::Version { peer: found, broker: PROTOCOL_VERSION },
            DecodeError::SurplusDescriptors => Self::DescriptorSurplus,
            other => {
                let mut detail = other.to_string();
                detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
                Self::Malformed { detail }
            }
        }
    }
}

/// Checks the name of a node.
///
/// ```
/// use onecopy::broker::check_node_name;
///
/// assert!(check_node_name("front camera").is_ok());
/// assert!(check_node_name("").is_err());
/// assert!(check_node_name("garbles\nlists").is_err());
/// ```
///
/// # Errors
///
/// [`DecodeError::NodeName`] if it is empty, too long, or has control characters.
pub fn check_node_name(name: &str) -> Result<(), DecodeError> {
    let bytes = name.len();
    if bytes == 0 || bytes > MAX_NODE_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(DecodeError::NodeName { bytes });
    }
    Ok(())
}

fn check_payload(payload: Option<&PayloadType>) -> Result<(), TypeDescriptionError> {
    payload.map_or(Ok(()), PayloadType::validate)
}

fn check_service_type(payload: Option<&ServiceType>) -> Result<(), TypeDescriptionError> {
    let Some(ServiceType { request, response }) = payload else { return Ok(()) };
    request.validate()?;
    response.validate()
}

fn check_address(address: &Address) -> Result<(), TopicNameError> {
    match address {
        Address::Topic(name) | Address::Region { name, .. } => topic_name::check(name),
        Address::Direct { .. } => Ok(()),
    }
}

fn check_open_error(error: &OpenError) -> Result<(), DecodeError> {
    match error {
        OpenError::TypeMismatch { topic, existing, requested } => {
            topic_name::check(topic)?;
            existing.validate()?;
            requested.validate()?;
        }
        OpenError::DeliveryMismatch { topic: name, .. }
        | OpenError::HasWriter { region: name, .. }
        | OpenError::ModeMismatch { region: name, .. }
        | OpenError::NoDataset { dataset: name }
        | OpenError::NoSeat { region: name, .. } => {
            topic_name::check(name)?;
        }
        OpenError::ServiceMismatch { service, existing, requested } => {
            topic_name::check(service)?;
            check_service_type(Some(existing))?;
            check_service_type(Some(requested))?;
        }
        OpenError::Denied(denied) => check_denied(denied)?,
        OpenError::OverUserQuota(quota) => check_detail(&quota.file)?,
        OpenError::DuplicatePort { .. }
        | OpenError::NoSuchPeer { .. }
        | OpenError::OverQuota { .. }
        | OpenError::OutOfDescriptors { .. } => {}
    }
    Ok(())
}

fn check_refusal(reason: &Refusal) -> Result<(), DecodeError> {
    match reason {
        Refusal::Malformed { detail: text } | Refusal::NotAdmitted { file: text, .. } => check_detail(text),
        Refusal::Superseded { name } => Ok(topic_name::check(name)?),
        Refusal::Denied(denied) => check_denied(denied),
        Refusal::OverUserQuota(quota) => check_detail(&quota.file),
        _ => Ok(()),
    }
}

fn check_denied(denied: &Denied) -> Result<(), DecodeError> {
    if let Some((_, name)) = &denied.object {
        topic_name::check(name)?;
    }
    check_detail(&denied.file)
}

fn check_detail(text: &str) -> Result<(), DecodeError> {
    let bytes = text.len();
    if bytes > MAX_DETAIL_BYTES { Err(DecodeError::Detail { bytes }) } else { Ok(()) }
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    packet.extend_from_slice(&MAGIC.to_le_bytes());
    packet.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    postcard::to_extend(message, packet)
        .expect("a packet holds numbers, texts and enums only, which always encode")
}

fn decode<T: DeserializeOwned>(packet: &[u8]) -> Result<T, DecodeError> {
    if packet.len() > MAX_PACKET_BYTES {
        return Err(DecodeError::TooLong);
    }
    let ([magic_low, magic_high, version_low, version_high], body) =
        packet.split_first_chunk::<4>().ok_or(DecodeError::TooShort { bytes: packet.len() })?;
    let magic = u16::from_le_bytes([*magic_low, *magic_high]);
    if magic != MAGIC {
        return Err(DecodeError::Magic { found: magic });
    }
    let version = u16::from_le_bytes([*version_low, *version_high]);
    if version != PROTOCOL_VERSION {
        return Err(DecodeError::Version { found: version });
    }
    let (message, rest) = postcard::take_from_bytes(body)?;
    if !rest.is_empty() {
        return Err(DecodeError::TrailingBytes { bytes: rest.len() });
    }
    Ok(message)
}
