//! Where an instance lives, and how a process finds its broker or becomes it.
//!
//! An instance is one broker's world, chosen by name. Its runtime directory holds two files for each:
//! `<instance>.sock`, where the broker listens, and `<instance>.lock`, of which the broker holds a byte locked for as
//! long as it lives. The kernel lets go of a lock when its process dies, so neither file can be stale in a way that
//! matters.
//!
//! Who starts up or shuts down holds the directory itself locked meanwhile. Under that lock there is either a
//! broker with its lock *and* its socket, or none; so nobody ever has to poll, or to guess.
//!
//! | file | one concept |
//! |---|---|
//! | `directory.rs` | the runtime directory: whose it is, and whether it may be trusted |
//! | `file_lock.rs`, `broker_lock.rs` | the lock of the directory; the byte that makes a broker the broker |
//! | `connection.rs` | a connection to the broker that is there |
//! | `introduction.rs` | a node says who it is, and the broker's answer |
//! | `presence.rs` | the byte that counts a node among the living |
//! | `seat.rs` | the broker's place, with its lock and its socket |
//! | `succession.rs` | that place taken from a broker that has it, or a broker ended |
//! | `serving.rs` | becoming the broker |
//! | `successor_watch.rs` | how a process that can't be the broker learns of the next one |
//! | `joining.rs`, `visiting.rs` | becoming a node, whether or not there is a broker; the same only to look |
//! | `error.rs` | what can go wrong on the way |

mod broker_lock;
mod connection;
mod directory;
mod error;
mod file_lock;
mod introduction;
mod joining;
mod presence;
mod seat;
mod serving;
mod succession;
mod successor_watch;
#[cfg(test)]
mod tests;
mod visiting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::InstanceError;
pub(crate) use introduction::Interruption;
pub use introduction::Welcome;
pub use joining::Joined;
pub use presence::Presence;
pub use seat::Seat;
pub use serving::Found;
pub use succession::{Stopped, Survivor};
pub(crate) use successor_watch::SuccessorWatch;

use crate::config::Config;
use crate::limits::{MAX_INSTANCE_NAME_BYTES, MAX_SOCKET_PATH_BYTES};

/// The instance that is meant when none is named.
pub const DEFAULT_INSTANCE: &str = "default";
/// The environment variable that says where instances live.
pub const RUNTIME_DIRECTORY_VARIABLE: &str = "ONECOPY_RUNTIME_DIR";

/// One broker's world: a name in a runtime directory.
///
/// ```
/// use onecopy::instance::Instance;
///
/// let instance = Instance::in_directory("/run/user/1000/onecopy", "lab")?;
/// assert_eq!(instance.socket_path().to_str(), Some("/run/user/1000/onecopy/lab.sock"));
/// # Ok::<(), onecopy::instance::InstanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    directory: PathBuf,
    name: String,
    /// The user of this process.
    uid: u32,
    /// As its file was when this was made.
    config: Arc<Config>,
}

impl Instance {
    /// The instance of that name where the environment says: `$ONECOPY_RUNTIME_DIR`, else
    /// `$XDG_RUNTIME_DIR/onecopy`, else `/tmp/onecopy-$UID`.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Name`], [`InstanceError::PathTooLong`], and what is wrong with the instance's configuration.
    pub fn from_env(name: &str) -> Result<Self, InstanceError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable(RUNTIME_DIRECTORY_VARIABLE)
            .or_else(|| variable("XDG_RUNTIME_DIR").map(|directory| directory.join("onecopy")))
            .unwrap_or_else(|| {
                PathBuf::from(format!("/tmp/onecopy-{}", rustix::process::geteuid().as_raw()))
            });
        Self::in_directory(directory, name)
    }

    /// The instance of that name in that directory, which is created when a broker needs it.
    ///
    /// # Errors
    ///
    /// [`InstanceError::Name`], [`InstanceError::PathTooLong`], and what is wrong with the instance's configuration.
    pub fn in_directory(directory: impl Into<PathBuf>, name: &str) -> Result<Self, InstanceError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length_allowed = (1..=MAX_INSTANCE_NAME_BYTES).contains(&name.len());
        if !length_allowed || name.starts_with('.') || !name.bytes().all(allowed) {
            return Err(InstanceError::Name { name: name.chars().take(MAX_INSTANCE_NAME_BYTES).collect() });
        }
        let uid = rustix::process::geteuid().as_raw();
        let config = Arc::new(Config::of_instance(name)?);
        let instance = Self { directory: directory.into(), name: name.to_owned(), uid, config };
        let path = instance.socket_path();
        let bytes = path.as_os_str().len();
        if bytes > MAX_SOCKET_PATH_BYTES {
            return Err(InstanceError::PathTooLong { path, bytes });
        }
        Ok(instance)
    }

    /// Its configuration, as it was when this was made.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory that it lives in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where its broker listens.
    pub fn socket_path(&self) -> PathBuf {
        self.directory.join(self.socket_name())
    }

    /// What its broker holds locked.
    pub fn lock_path(&self) -> PathBuf {
        self.directory.join(self.lock_name())
    }

    fn socket_name(&self) -> String {
        format!("{}.sock", self.name)
    }

    fn lock_name(&self) -> String {
        format!("{}.lock", self.name)
    }

    /// The configuration as it is now. A mistake that was made since this process began must not cost the instance its
    /// broker: then what was read at first goes on to hold.
    fn current_config(&self) -> Arc<Config> {
        match Config::of_instance(&self.name) {
            Ok(config) => Arc::new(config),
            Err(error) => {
                tracing::error!(%error, "the configuration as it was before goes on to hold");
                Arc::clone(&self.config)
            }
        }
    }

    /// For a process that can't be the broker, what tells it when there may be another one.
    pub(crate) fn watch_for_successor(&self) -> Option<SuccessorWatch> {
        let is_guest = self.is_guest().unwrap_or(false);
        is_guest.then(|| SuccessorWatch::new(self.socket_path()))
    }

    fn socket_removed(&self) -> InstanceError {
        InstanceError::SocketRemoved { socket: self.socket_path(), lock: self.lock_path() }
    }

    fn failed(&self, operation: &'static str, source: impl Into<std::io::Error>) -> InstanceError {
        InstanceError::Kernel { operation, path: self.socket_path(), source: source.into() }
    }
}
