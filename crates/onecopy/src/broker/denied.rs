//! What the rules do not allow, and what would.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Action, Kind, Right};

/// What the rules do not allow.
///
/// ```
/// use onecopy::broker::protocol::Denied;
/// use onecopy::config::{Kind, Right};
///
/// let denied = Denied {
///     uid: 1001,
///     right: Right::Publish,
///     object: Some((Kind::Topic, "camera".to_owned())),
///     file: "/etc/onecopy/lab.toml".to_owned(),
///     line: Some(12),
/// };
/// assert_eq!(
///     denied.to_string(),
///     "user 1001 may not publish on topic \"camera\": the rule in line 12 of /etc/onecopy/lab.toml denies it"
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub struct Denied {
    /// Who may not.
    pub uid: u32,
    /// The right that it takes.
    pub right: Right,
    /// What it is about, and its name; nothing for [`Right::Admin`].
    pub object: Option<(Kind, String)>,
    /// The configuration file that says so.
    pub file: String,
    /// The line where the rule begins that denies it; `None` if no rule allows it.
    pub line: Option<u32>,
}

impl fmt::Display for Denied {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid, right, object, file, line } = self;
        let action = match object {
            Some((kind, name)) => Action::Named { right: *right, kind: *kind, name },
            None => Action::Admin,
        };
        write!(formatter, "user {uid} may not {action}: ")?;
        match (line, object) {
            (Some(line), _) => write!(formatter, "the rule in line {line} of {file} denies it"),
            (None, Some((_, name))) => write!(
                formatter,
                "no rule of {file} allows it; add one with users = [{uid}], rights = [\"{right}\"], names = [{name:?}] under [[allow]], then run `onecopy serve --replace`"
            ),
            (None, None) => write!(
                formatter,
                "no rule of {file} allows it; add one with users = [{uid}], rights = [\"{right}\"] under [[allow]], then run `onecopy serve --replace`"
            ),
        }
    }
}
