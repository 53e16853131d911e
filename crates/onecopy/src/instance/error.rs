//! What can go wrong on the way to a broker, each with what to do about it.

use std::io;
use std::path::PathBuf;

use onecopy_memory::counted::counted;
use thiserror::Error;

use crate::broker::protocol::Refusal;
use crate::broker::transport::TransportError;
use crate::config::ConfigError;
use crate::limits::{DIRECTORY_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_INSTANCE_NAME_BYTES, MAX_SOCKET_PATH_BYTES};

/// Why there is no connection to a broker.
///
/// ```
/// use onecopy::instance::{Instance, InstanceError};
///
/// match Instance::in_directory("/run/user/1000/onecopy", "lab/one") {
///     // The message says what may stand in a name.
///     Err(error @ InstanceError::Name { .. }) => println!("{error}"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Error)]
pub enum InstanceError {
    /// The name of the instance breaks the rules.
    #[error(
        "{name:?} can't name an instance; write 1 to {MAX_INSTANCE_NAME_BYTES} letters, digits, '.', '_' or '-', the first of them no '.'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// The kernel has no room for the path of the socket.
    #[error(
        "the socket path {} has {bytes} bytes and the kernel takes {MAX_SOCKET_PATH_BYTES}; set ONECOPY_RUNTIME_DIR to a shorter directory",
        path.display()
    )]
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The runtime directory isn't there and can't be created.
    #[error(
        "cannot create the runtime directory {}: {source}; create its parent, or set ONECOPY_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The runtime directory is a file or a symbolic link.
    #[error(
        "the runtime directory {} is no directory (symbolic links are not followed); remove it, or set ONECOPY_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    NotADirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The runtime directory belongs to somebody else.
    #[error(
        "the runtime directory {} belongs to user {owner} and this process runs as user {uid}; set ONECOPY_RUNTIME_DIR to a directory of yours, or if you trust that user, write owner = {owner} into {}",
        path.display(), config.display()
    )]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The user of this process.
        uid: u32,
        /// The configuration file that could name the owner.
        config: PathBuf,
    },
    /// The runtime directory belongs to somebody else than the configuration says.
    #[error(
        "the runtime directory {} belongs to user {owner}, and the instance to user {expected} by {}; set ONECOPY_RUNTIME_DIR to the directory of that user, or correct `owner` there",
        path.display(), config.display()
    )]
    OtherOwner {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        expected: u32,
        /// The configuration file.
        config: PathBuf,
    },
    /// A process of another user than the instance's wants to be its broker.
    #[error(
        "instance {instance:?} belongs to user {owner}, who alone may run its broker, and this process runs as user {uid}; run it as that user: `sudo -u '#{owner}' onecopy serve`"
    )]
    NotOwner {
        /// The instance.
        instance: String,
        /// Whose it is.
        owner: u32,
        /// The user of this process.
        uid: u32,
    },
    /// No broker runs, and this process may not be it.
    #[error(
        "no broker listens at {}, and only user {owner} may run it, not user {uid}; start it as that user: `sudo -u '#{owner}' onecopy serve`",
        path.display()
    )]
    NoBroker {
        /// The socket.
        path: PathBuf,
        /// Whose instance it is.
        owner: u32,
        /// The user of this process.
        uid: u32,
    },
    /// The last broker has ended, and none of its nodes takes its place.
    #[error(
        "no broker listens at {}, and {} there could take its place and did not: stopped or stuck, or of users who may not; `onecopy serve` takes it",
        path.display(), counted(*nodes, "node")
    )]
    NotSucceeded {
        /// The socket.
        path: PathBuf,
        /// Nodes that the kernel says are alive.
        nodes: usize,
    },
    /// The configuration of the instance.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Others could put a socket of theirs into the runtime directory.
    #[error(
        "the runtime directory {} can be written by others than its owner (mode {mode:o}); run `chmod 700` on it, or set ONECOPY_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    WritableDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody who starts up or shuts down a broker there does not get on with it.
    #[error(
        "the runtime directory {} has been locked for {} s by a process that starts or stops a broker; continue that process if it is stopped (`fuser` shows it), or end it",
        path.display(), DIRECTORY_TIMEOUT.as_secs()
    )]
    DirectoryLocked {
        /// The directory.
        path: PathBuf,
    },
    /// Somebody else listens on the socket.
    #[error(
        "the broker socket {} is not to be trusted: process {pid} of user {owner} listens on it, in a directory of user {uid}; stop that process, or set ONECOPY_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    ForeignSocket {
        /// The socket.
        path: PathBuf,
        /// Who listens.
        pid: u32,
        /// As whom.
        owner: u32,
        /// Whose directory it is.
        uid: u32,
    },
    /// There is a broker already.
    #[error(
        "instance {instance:?} is served by process {pid} already; `onecopy serve --replace` takes its place, `onecopy stop` ends it"
    )]
    AlreadyServed {
        /// The instance.
        instance: String,
        /// The broker's process.
        pid: u32,
    },
    /// A broker runs, and its socket was removed under it.
    #[error(
        "a broker holds {} and its socket {} is gone; stop the process that holds the lock (`fuser` shows it) and start again",
        lock.display(), socket.display()
    )]
    SocketRemoved {
        /// Where the socket was.
        socket: PathBuf,
        /// The lock.
        lock: PathBuf,
    },
    /// The broker is there, and says nothing.
    #[error(
        "the broker at {}{process} did not answer within {} s; continue that process if it is stopped, or end it",
        path.display(), HANDSHAKE_TIMEOUT.as_secs()
    )]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// Which process it is, if that is known.
        process: String,
    },
    /// The broker ended before it answered.
    #[error("the broker at {} ended before it answered; try again to find or start another", path.display())]
    BrokerEnded {
        /// The socket.
        path: PathBuf,
    },
    /// Whoever answered is no broker.
    #[error("what listens at {} does not answer as a broker does; stop it, or choose another instance", path.display())]
    NotABroker {
        /// The socket.
        path: PathBuf,
    },
    /// The broker refused the node.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Packets could not be exchanged.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The kernel refused for another reason.
    #[error(
        "cannot {operation} {}: {source}; check the permissions of its directory, or set ONECOPY_RUNTIME_DIR to a directory of yours",
        path.display()
    )]
    Kernel {
        /// What was tried.
        operation: &'static str,
        /// On which instance.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}
