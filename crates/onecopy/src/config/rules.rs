//! What may be done, to what, by whom: rules, and what they decide. A rule that denies outweighs every rule
//! that allows, so the order of rules in the file does not matter; what no rule allows is refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::pattern::NamePattern;

/// What somebody may do.
///
/// ```
/// use onecopy::config::{Kind, Right};
///
/// // As rules are written: `rights = ["publish", "subscribe"]`.
/// assert_eq!(Kind::Topic.rights().map(Right::name), ["publish", "subscribe"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Publish messages on a topic, or a version of a dataset. A dataset's publisher may have it kept.
    Publish,
    /// Receive the messages of a topic.
    Subscribe,
    /// Call a service.
    Call,
    /// Answer the calls of a service.
    Serve,
    /// Read a region, or open a dataset.
    Read,
    /// Write a region, and read it; have it kept. Of a region that several may write, this gives its memory writable.
    Write,
    /// End the broker, and see everything that there is. Concerns the instance and no name.
    Admin,
}

/// What has a name.
///
/// ```
/// use onecopy::config::{Kind, Right};
///
/// assert_eq!(Kind::Region.rights(), [Right::Read, Right::Write]);
/// assert_eq!(Kind::ALL.map(Kind::name), ["topic", "service", "region", "dataset"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Messages.
    Topic,
    /// Requests and responses.
    Service,
    /// A value that everyone sees.
    Region,
    /// Bytes that are loaded once.
    Dataset,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Topic, Self::Service, Self::Region, Self::Dataset];

    /// The rights that there are on something of this kind.
    pub fn rights(self) -> [Right; 2] {
        match self {
            Self::Topic => [Right::Publish, Right::Subscribe],
            Self::Service => [Right::Call, Right::Serve],
            Self::Region => [Right::Read, Right::Write],
            Self::Dataset => [Right::Publish, Right::Read],
        }
    }

    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Service => "service",
            Self::Region => "region",
            Self::Dataset => "dataset",
        }
    }
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Publish, Self::Subscribe, Self::Call, Self::Serve, Self::Read, Self::Write, Self::Admin];

    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Call => "call",
            Self::Serve => "serve",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Who asks: a user and all its groups.
///
/// See [`Decision`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Who {
    /// The user.
    pub uid: u32,
    /// The group that its process runs as, and its further groups.
    pub gids: Vec<u32>,
}

/// What is asked for.
///
/// ```
/// use onecopy::config::{Action, Kind, Right};
///
/// let action = Action::Named { right: Right::Publish, kind: Kind::Topic, name: "camera" };
/// assert_eq!(format!("user 1001 may not {action}"), "user 1001 may not publish on topic \"camera\"");
/// assert_eq!((action.right(), Action::Admin.right()), (Right::Publish, Right::Admin));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Something with a name.
    Named {
        /// What to do with it.
        right: Right,
        /// What it is.
        kind: Kind,
        /// Its name.
        name: &'a str,
    },
    /// [`Right::Admin`].
    Admin,
}

impl Action<'_> {
    /// The right that it takes.
    pub fn right(&self) -> Right {
        match self {
            Self::Named { right, .. } => *right,
            Self::Admin => Right::Admin,
        }
    }
}

impl fmt::Display for Action<'_> {
    /// As in "may not …".
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (right, kind, name) = match self {
            Self::Named { right, kind, name } => (right, kind, name),
            Self::Admin => return formatter.write_str("administer this instance"),
        };
        match (right, kind) {
            (Right::Publish, Kind::Topic) => write!(formatter, "publish on topic {name:?}"),
            (Right::Subscribe, _) => write!(formatter, "subscribe to {kind} {name:?}"),
            _ => write!(formatter, "{right} {kind} {name:?}"),
        }
    }
}

/// The answer of the rules.
///
/// ```
/// use onecopy::config::{Accounts, Action, Config, Decision, Kind, Right, Who};
///
/// let text = r#"
/// [admit]
/// users = [1001]
///
/// [[allow]]
/// rights = ["subscribe"]
/// names = ["**"]
///
/// [[deny]]
/// rights = ["subscribe"]
/// names = ["private/**"]
/// "#;
/// let config = Config::parse("lab.toml".as_ref(), text, &Accounts::default())?;
/// let decide = |uid, name| {
///     let action = Action::Named { right: Right::Subscribe, kind: Kind::Topic, name };
///     config.decide(&Who { uid, gids: vec![] }, action)
/// };
/// assert!(decide(1001, "camera").is_allowed());
/// assert_eq!(decide(1001, "private/diary"), Decision::Denied { line: 9 });
/// assert_eq!(decide(1002, "camera"), Decision::NotAdmitted);
/// # Ok::<(), onecopy::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "because")]
pub enum Decision {
    /// It may: a rule allows it, and none denies it.
    Allowed {
        /// Where the rule begins in the file.
        line: u32,
    },
    /// It may not: a rule denies it.
    Denied {
        /// Where the rule begins in the file.
        line: u32,
    },
    /// It may not: no rule allows it.
    NoRule,
    /// It may not so much as connect.
    NotAdmitted,
}

impl Decision {
    /// Whether it may.
    pub fn is_allowed(self) -> bool {
        matches!(self, Self::Allowed { .. })
    }
}

/// Users and groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subjects {
    pub(super) uids: Vec<u32>,
    pub(super) gids: Vec<u32>,
}

impl Subjects {
    pub(super) fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    pub(super) fn include(&self, who: &Who) -> bool {
        self.uids.contains(&who.uid) || who.gids.iter().any(|gid| self.gids.contains(gid))
    }
}

/// One rule of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// Where it begins.
    pub(super) line: u32,
    /// Whether it denies, and otherwise allows.
    pub(super) denies: bool,
    /// Nobody in particular: everybody who is admitted.
    pub(super) subjects: Subjects,
    pub(super) rights: Vec<Right>,
    pub(super) kinds: Vec<Kind>,
    pub(super) names: Vec<NamePattern>,
}

impl Rule {
    pub(super) fn applies(&self, who: &Who, action: Action<'_>) -> bool {
        (self.subjects.is_empty() || self.subjects.include(who)) && self.covers(action)
    }

    fn covers(&self, action: Action<'_>) -> bool {
        let Action::Named { right, kind, name } = action else { return self.rights.contains(&Right::Admin) };
        // Who may write a region may read it: the one who writes sees what it writes.
        let implied = !self.denies && right == Right::Read && kind == Kind::Region;
        let has_right = self.rights.contains(&right) || (implied && self.rights.contains(&Right::Write));
        has_right && self.kinds.contains(&kind) && self.names.iter().any(|pattern| pattern.matches(name))
    }
}
