//! What can be wrong with a configuration file, each with what mends it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::limits::CONFIG_BYTES_MAX;

/// Why a configuration file is not taken.
///
/// ```
/// use onecopy::config::{Accounts, Config};
///
/// let error = Config::parse("lab.toml".as_ref(), "owner = 1000\nadmit = 7\n", &Accounts::default()).unwrap_err();
/// // Editors jump to that place.
/// assert!(error.to_string().starts_with("lab.toml:2:"), "{error}");
/// ```
#[derive(Debug, Error)]
pub enum ConfigError {
    /// It can't be read.
    #[error(
        "cannot read the configuration file {} (`ls -l {}` shows who may, and ONECOPY_CONFIG names another): {source}",
        path.display(), path.display()
    )]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or the like.
    #[error("the configuration file {} is no regular file; replace it with one", path.display())]
    NotAFile {
        /// Where it is.
        path: PathBuf,
    },
    /// Somebody else could have written it.
    #[error(
        "the configuration file {} belongs to user {owner}, and only root or user {uid} may tell this process what others may do; run `sudo chown {uid} {}`",
        path.display(), path.display()
    )]
    ForeignOwner {
        /// Where it is.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        uid: u32,
    },
    /// Others can write it.
    #[error(
        "the configuration file {} can be written by others than its owner (mode {mode:o}); run `chmod go-w {}`",
        path.display(), path.display()
    )]
    Writable {
        /// Where it is.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is longer than any sensible one.
    #[error(
        "the configuration file {} has more than {CONFIG_BYTES_MAX} bytes; name groups instead of users, and patterns instead of names",
        path.display()
    )]
    TooLarge {
        /// Where it is.
        path: PathBuf,
    },
    /// What it says is not understood.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Content {
        /// Where it is.
        path: PathBuf,
        /// The line, from 1.
        line: u32,
        /// The character of that line, from 1.
        column: u32,
        /// What is wrong, and what to write instead.
        message: String,
    },
}
