//! The two sides of a service.

use serde::{Deserialize, Serialize};

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
