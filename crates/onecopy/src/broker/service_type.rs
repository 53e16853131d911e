//! What travels between the two sides of a service.

use serde::{Deserialize, Serialize};

use super::role::Role;
use crate::payload_type::PayloadType;

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
