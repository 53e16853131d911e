//! What nodes and the broker say to each other: one message a packet, at most one descriptor with it.
//!
//! A node sends [`Request`]s and the broker sends [`Event`]s; neither ever waits for the other, except for the first
//! exchange ([`Request::Hello`], [`Event::Welcome`]). A subscriber meets a publisher in three steps: the
//! broker shows it the publisher's ring ([`Event::Publisher`]), it tells where its reader state lies
//! ([`Request::Attach`]), and the publisher says from where to read ([`Request::Attached`]). From then on the
//! two need the broker for nothing but news of each other's end. How packets look as bytes is told in
//! `codec.rs`.
//!
//! A client meets a server in one step more: the broker introduces the two ([`Event::Met`]), and then each
//! publishes to the other directly ([`Address::Direct`]), in the same three steps.
//!
//! When a broker ends, nodes come back to the next one: each says in its first packet whom it knew, then announces all
//! that it has open in the same packets as at first, and with [`Request::Tied`] to whom each of its ports is tied.
//! [`Request::Announced`] ends that. Two ports are as they were once both sides have said so.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::payload_type::PayloadType;

pub use onecopy_memory::pool::SegmentSet;

pub use super::access::Denied;
pub use super::codec::{DecodeError, MAGIC, PROTOCOL_VERSION};
pub use super::events::Event;
pub use super::ids::{BrokerId, NodeId, PortId, Route};
pub use super::quota::{QuotaExceeded, Resource};
pub use super::refusal::{KeepError, OpenError, Refusal};
pub use super::requests::Request;
pub use super::tie::Tie;

/// What happens when a subscriber is slower than a publisher.
///
/// ```
/// use onecopy::Delivery;
///
/// // As `topic list` shows it.
/// assert_eq!(Delivery::Overwrite.to_string(), "overwrite");
/// assert_eq!(Delivery::Reliable.to_string(), "reliable");
/// ```
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
///
/// ```
/// use onecopy::broker::protocol::Address;
///
/// // A writer of that region, which knows of no value that it has already.
/// let region = Address::Region { name: "settings".to_owned(), succeeds: None, anew: true };
/// assert_ne!(region, Address::Topic("settings".to_owned()));
/// ```
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
        /// Of a writer: it begins with a value of its own, as it knows of no other.
        anew: bool,
    },
}

/// On which side of a service a port is.
///
/// ```
/// use onecopy::broker::protocol::{Event, PortId, Role};
///
/// /// Who answers, where the broker introduces `us` to a counterpart.
/// fn server(us: PortId, role: Role, peer: PortId) -> PortId {
///     match role {
///         Role::Client => peer,
///         Role::Server => us,
///     }
/// }
/// # let port = |serial| PortId { node: onecopy::broker::protocol::NodeId(7), serial };
/// # assert_eq!(server(port(1), Role::Client, port(2)), port(2));
/// # assert_eq!(server(port(1), Role::Server, port(2)), port(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Asks.
    Client,
    /// Answers.
    Server,
}

/// What a service's requests and responses are.
///
/// ```
/// use onecopy::broker::protocol::ServiceType;
/// use onecopy::payload_type::PayloadType;
///
/// // What `node.service::<u64, [u8]>(…)` announces.
/// let service =
///     ServiceType { request: PayloadType::value::<u64>(), response: PayloadType::slice::<u8>() };
/// assert_eq!(service.response.element.name, "u8");
/// ```
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
