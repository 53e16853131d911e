//! Quotas that are used up.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::resource::Resource;

/// A quota is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// One that everybody has.
    General { resource: Resource, limit: u64 },
    /// One of the configuration.
    Configured(Box<QuotaExceeded>),
}

/// A user has taken all that the configuration allows it.
///
/// ```
/// use onecopy::broker::protocol::{QuotaExceeded, Resource};
///
/// let file = "/etc/onecopy/lab.toml".to_owned();
/// let exceeded = QuotaExceeded { uid: 1001, resource: Resource::Topics, limit: 8, file, line: 20 };
/// // It says where to raise it.
/// assert!(exceeded.to_string().contains("by the quota in line 20 of /etc/onecopy/lab.toml"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error(
    "user {uid} may have {} and not more, by the quota in line {line} of {file}; close some, or raise it there and run `onecopy serve --replace`",
    resource.counted(*limit)
)]
pub struct QuotaExceeded {
    /// Who.
    pub uid: u32,
    /// Of what.
    pub resource: Resource,
    /// How much it may have.
    pub limit: u64,
    /// The configuration file.
    pub file: String,
    /// The line where the quota begins.
    pub line: u32,
}
