//! What there is a quota of.

use std::fmt;

use onecopy_memory::counted::{Counted, counted};
use serde::{Deserialize, Serialize};

/// What there is a quota of.
///
/// See [`Resource::counted`] for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// Connections, each of which is a node.
    Nodes,
    /// Publishers, subscribers, clients, servers, and whoever has a region or a dataset open.
    Ports,
    /// Open files of the broker's process.
    Descriptors,
    /// Memory of the broker's process.
    Bytes,
    /// Ports on one topic, or of one service.
    PortsOfOneName,
    /// Connections of one process.
    NodesOfOneProcess,
    /// Shared memory that nodes publish.
    Memory,
    /// Topics, services, regions and datasets.
    Topics,
}

impl Resource {
    /// One of it, and several, in words.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Nodes => ("node", "nodes"),
            Self::Ports => ("port", "ports"),
            Self::Descriptors => ("open file", "open files"),
            Self::Bytes => ("byte of the broker's memory", "bytes of the broker's memory"),
            Self::PortsOfOneName => ("port on one topic or service", "ports on one topic or service"),
            Self::NodesOfOneProcess => ("node in one process", "nodes in one process"),
            Self::Memory => ("byte of shared memory", "bytes of shared memory"),
            Self::Topics => ("topic, service, region or dataset", "topics, services, regions and datasets"),
        }
    }

    /// So much of it in words.
    ///
    /// ```
    /// use onecopy::broker::protocol::Resource;
    ///
    /// assert_eq!(Resource::Descriptors.counted(1).to_string(), "1 open file");
    /// assert_eq!(Resource::Topics.counted(8).to_string(), "8 topics, services, regions and datasets");
    /// ```
    pub fn counted(self, number: u64) -> Counted<'static, u64> {
        let (one, many) = self.words();
        counted(number, one).plural(many)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.words().1)
    }
}
