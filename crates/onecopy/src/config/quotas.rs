//! How much a user may take, as the configuration file says it. What the broker makes of it is told in
//! `broker/quota.rs`.

use super::rules::{Subjects, Who};

/// What a quota allows; nothing of what it does not mention is limited by it.
///
/// ```
/// use onecopy::config::{Accounts, Config, Who};
///
/// let text = "[admit]\nusers = [1001]\n\n[[quota]]\nusers = [1001]\nmemory = \"64 MiB\"\n";
/// let config = Config::parse("lab.toml".as_ref(), text, &Accounts::default())?;
/// let allowance = config.allowance(&Who { uid: 1001, gids: vec![] }, false);
/// assert_eq!((allowance.memory_bytes, allowance.nodes), (Some(64 << 20), None));
/// # Ok::<(), onecopy::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allowance {
    /// Shared memory of the user's nodes, at its full size.
    pub memory_bytes: Option<u64>,
    /// Open files of the broker's process.
    pub descriptors: Option<u64>,
    /// Nodes at a time.
    pub nodes: Option<u64>,
    /// Topics, services, regions and datasets that the user's nodes have open, each counted once.
    pub topics: Option<u64>,
}

/// One quota of the file. It holds for each user by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserQuota {
    /// Where it begins.
    pub(super) line: u32,
    /// Nobody in particular: everybody but the broker's own user.
    pub(super) subjects: Subjects,
    pub(super) allowance: Allowance,
}

impl UserQuota {
    /// Whether it is about this user. The broker's own must be meant by name.
    pub(super) fn concerns(&self, who: &Who, is_own: bool) -> bool {
        let by_name = self.subjects.uids.contains(&who.uid);
        by_name || (!is_own && (self.subjects.is_empty() || self.subjects.include(who)))
    }
}
