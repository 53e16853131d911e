//! The configuration of an instance: which other users are let in, what they may do, and how much they may
//! take. Without a file everything is as simple as can be: only processes of one user, who may do everything.
//! `docs/access.md` describes the file; `onecopy config check` reads one.
//!
//! | file | one concept |
//! |---|---|
//! | `file.rs` | where the file is, and whether it may be believed |
//! | `schema.rs` | its text, read and checked |
//! | `accounts.rs` | names of users and groups |
//! | `rules.rs`, `pattern.rs` | what may be done by whom, and to which names |
//! | `quotas.rs` | how much anybody may take |
//! | `advice.rs` | what is no mistake, and hardly meant |
//!
//! What comes out is plain data, which the broker's logic asks without any input or output. Every node reads
//! the file when it joins, because every node may become the broker.

mod accounts;
mod advice;
mod error;
mod file;
mod pattern;
mod quotas;
mod rules;
mod schema;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use accounts::Accounts;
pub use advice::Advice;
pub use error::ConfigError;
pub use file::{CONFIG_VARIABLE, SYSTEM_DIRECTORY};
pub use pattern::{NamePattern, PatternError};
pub use quotas::Allowance;
pub use rules::{Action, Decision, Kind, Right, Who};

use quotas::UserQuota;
use rules::{Rule, Subjects};

/// What the configuration of an instance says.
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
/// names = ["robot/**"]
/// "#;
/// let config = Config::parse("lab.toml".as_ref(), text, &Accounts::of_system())?;
/// let who = Who { uid: 1001, gids: vec![] };
/// let subscribe = Action::Named { right: Right::Subscribe, kind: Kind::Topic, name: "robot/arm" };
/// assert_eq!(config.decide(&who, subscribe), Decision::Allowed { line: 5 });
/// # Ok::<(), onecopy::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    file: Option<PathBuf>,
    owner: Option<u32>,
    admit: Subjects,
    rules: Vec<Rule>,
    quotas: Vec<UserQuota>,
}

impl Config {
    /// Reads the file of an instance, wherever it is; what holds without any, if there is none.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong with the file, and where.
    pub fn of_instance(instance: &str) -> Result<Self, ConfigError> {
        for path in file::candidates(instance) {
            if let Some(text) = file::read(&path)? {
                return Self::parse(&path, &text, &Accounts::of_system());
            }
            if file::is_named() {
                let source = rustix::io::Errno::NOENT.into();
                return Err(ConfigError::Unreadable { path, source });
            }
        }
        Ok(Self::default())
    }

    /// Reads this file.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] says what is wrong with the file, and where.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let missing =
            || ConfigError::Unreadable { path: path.to_owned(), source: rustix::io::Errno::NOENT.into() };
        let text = file::read(path)?.ok_or_else(missing)?;
        Self::parse(path, &text, &Accounts::of_system())
    }

    /// Reads the text of a file that is, or would be, at `path`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Content`].
    pub fn parse(path: &Path, text: &str, accounts: &Accounts) -> Result<Self, ConfigError> {
        schema::parse(path, text, accounts)
    }

    /// Where the file of an instance may be, the first that counts first.
    pub fn candidates(instance: &str) -> Vec<PathBuf> {
        file::candidates(instance)
    }

    /// The file that this was read from; none if there is none.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The user whose instance it is, if the file names one: whose socket and directory are trusted, and who
    /// alone may be the broker.
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// How many quotas there are.
    pub fn quotas(&self) -> usize {
        self.quotas.len()
    }

    /// Users and groups that are admitted.
    pub fn admitted(&self) -> (&[u32], &[u32]) {
        (&self.admit.uids, &self.admit.gids)
    }

    /// Whether anybody but the broker's own user is let in.
    pub fn admits_others(&self) -> bool {
        !self.admit.is_empty()
    }

    /// Whether somebody, who is not the broker's own user, is let in.
    pub fn admits(&self, who: &Who) -> bool {
        self.admit.include(who)
    }

    /// Whether somebody may do something. The broker's own user is not asked about: it may do everything.
    pub fn decide(&self, who: &Who, action: Action<'_>) -> Decision {
        if !self.admits(who) {
            return Decision::NotAdmitted;
        }
        let matching = |denies| {
            self.rules
                .iter()
                .find(|rule| rule.denies == denies && rule.applies(who, action))
                .map(|rule| rule.line)
        };
        match (matching(true), matching(false)) {
            (Some(line), _) => Decision::Denied { line },
            (None, Some(line)) => Decision::Allowed { line },
            (None, None) => Decision::NoRule,
        }
    }

    /// What somebody may take, by the first quota about them. With `is_own` it is the broker's own user.
    pub fn allowance(&self, who: &Who, is_own: bool) -> Allowance {
        self.quota_of(who, is_own).map(|quota| quota.allowance).unwrap_or_default()
    }

    /// The line of that quota in the file.
    pub fn allowance_line(&self, who: &Who, is_own: bool) -> Option<u32> {
        self.quota_of(who, is_own).map(|quota| quota.line)
    }

    fn quota_of(&self, who: &Who, is_own: bool) -> Option<&UserQuota> {
        self.quotas.iter().find(|quota| quota.concerns(who, is_own))
    }
}
