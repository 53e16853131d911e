//! Where messages and values go.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::events::Event;
use super::ids::PortId;

/// What a publisher publishes to, or a subscriber subscribes to.
///
/// ```
/// use onecopy::broker::protocol::Address;
///
/// // A writer of that region, which knows of no value that it has already.
/// let region = Address::Region { name: "settings".to_owned(), succeeds: None, follows: 0 };
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
        /// Of a writer: the version that its first value comes after, as it has seen that; 0 if it knows of none.
        follows: u64,
    },
}
