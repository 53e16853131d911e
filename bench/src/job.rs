//! What is measured: a [`Row`] of the results table, and the [`Job`] that tells the second process which row, with
//! which peer, for how long, and where to find the first process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A means of communication under comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Peer {
    /// Bare shared memory and nothing else: the floor that the hardware sets
    Raw,
    /// iceoryx2, the rival
    Iceoryx2,
    /// A Unix stream socket
    UnixSocket,
    /// A pipe in each direction
    Pipe,
    /// mmap-sync, values in memory-mapped files
    MmapSync,
    /// samtools, which looks through the whole file
    Samtools,
    /// This project
    Onecopy,
}

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Raw,
        Self::Iceoryx2,
        Self::UnixSocket,
        Self::Pipe,
        Self::MmapSync,
        Self::Samtools,
        Self::Onecopy,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Iceoryx2 => "iceoryx2",
            Self::UnixSocket => "unix-socket",
            Self::Pipe => "pipe",
            Self::MmapSync => "mmap-sync",
            Self::Samtools => "samtools",
            Self::Onecopy => "onecopy",
        }
    }
}

/// One line of the results table: the same work, asked of every peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Name of the benchmark
    pub(crate) bench: &'static str,
    /// Bytes in a message, a response or a value
    pub(crate) payload: usize,
    /// Subscribers, clients or readers
    pub(crate) readers: usize,
    /// What its numbers count
    pub(crate) unit: Unit,
}

/// What a result counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    /// Time; less is better
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Rate; more is better
    #[serde(rename = "messages/s")]
    MessagesPerSecond,
    /// Memory; less is better
    #[serde(rename = "B")]
    Bytes,
    /// Memory in larger units; less is better
    #[serde(rename = "MiB")]
    Mebibytes,
    /// Time of a whole operation; less is better
    #[serde(rename = "s")]
    Seconds,
    /// The same
    #[serde(rename = "ms")]
    Milliseconds,
    /// Rate of anything; more is better
    #[serde(rename = "1/s")]
    PerSecond,
    /// How much of all; more is better
    #[serde(rename = "%")]
    Percent,
    /// How many; less is better
    #[serde(rename = "positions")]
    Positions,
}

/// The order that the first process gives to the second.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// [`Row::bench`]
    pub(crate) bench: String,
    /// Who carries the messages
    pub(crate) peer: Peer,
    /// [`Row::payload`]
    pub(crate) payload: usize,
    /// [`Row::readers`]
    pub(crate) readers: usize,
    /// How long to measure
    pub(crate) duration: Duration,
    /// Name that no other measurement has: for services, folders and sockets
    pub(crate) instance: String,
    /// The processor for the second process
    pub(crate) child_core: usize,
    /// Process id of the first process
    pub(crate) parent_pid: u32,
    /// Descriptor of the shared memory in the first process
    pub(crate) memory_fd: i32,
}

impl Job {
    /// Words of eight bytes in a message.
    pub(crate) fn words(&self) -> usize {
        self.payload / size_of::<u64>()
    }
}
