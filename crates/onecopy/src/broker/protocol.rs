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

pub use onecopy_memory::pool::SegmentSet;

pub use super::address::Address;
pub use super::codec::{DecodeError, MAGIC, PROTOCOL_VERSION};
pub use super::delivery::Delivery;
pub use super::denied::Denied;
pub use super::events::Event;
pub use super::exceeded::QuotaExceeded;
pub use super::ids::{BrokerId, NodeId, PortId, Route};
pub use super::refusal::{KeepError, OpenError, Refusal};
pub use super::requests::Request;
pub use super::resource::Resource;
pub use super::role::Role;
pub use super::service_type::ServiceType;
pub use super::tie::Tie;
