//! So much of everything that there is a quota of, and how such amounts are reckoned with.

use super::resource::Resource;
use crate::config::Allowance;

/// So much of everything.
///
/// See [`Limits`](super::quota::Limits) for an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Of [`Resource::Nodes`].
    pub nodes: u64,
    /// Of [`Resource::Ports`].
    pub ports: u64,
    /// Of [`Resource::Descriptors`].
    pub descriptors: u64,
    /// Of [`Resource::Bytes`].
    pub bytes: u64,
    /// Of [`Resource::Memory`].
    pub memory: u64,
    /// Of [`Resource::Topics`].
    pub topics: u64,
}

impl Amounts {
    pub(super) fn each(&self) -> [(Resource, u64); 6] {
        [
            (Resource::Nodes, self.nodes),
            (Resource::Ports, self.ports),
            (Resource::Descriptors, self.descriptors),
            (Resource::Bytes, self.bytes),
            (Resource::Memory, self.memory),
            (Resource::Topics, self.topics),
        ]
    }

    /// What is left of it without `others`, of each resource for itself.
    pub(super) fn without(self, others: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_sub(others.nodes),
            ports: self.ports.saturating_sub(others.ports),
            descriptors: self.descriptors.saturating_sub(others.descriptors),
            bytes: self.bytes.saturating_sub(others.bytes),
            memory: self.memory.saturating_sub(others.memory),
            topics: self.topics.saturating_sub(others.topics),
        }
    }

    pub(super) fn and(self, others: Self) -> Self {
        Self {
            nodes: self.nodes.saturating_add(others.nodes),
            ports: self.ports.saturating_add(others.ports),
            descriptors: self.descriptors.saturating_add(others.descriptors),
            bytes: self.bytes.saturating_add(others.bytes),
            memory: self.memory.saturating_add(others.memory),
            topics: self.topics.saturating_add(others.topics),
        }
    }

    /// The same, of what is not unlimited so large a part.
    pub(super) fn divided_by(self, divisor: u64) -> Self {
        let part = |amount: u64| if amount == u64::MAX { amount } else { (amount / divisor).max(1) };
        Self {
            nodes: part(self.nodes),
            ports: part(self.ports),
            descriptors: part(self.descriptors),
            bytes: part(self.bytes),
            memory: part(self.memory),
            topics: part(self.topics),
        }
    }

    /// The same, except for what is allowed otherwise; nobody is allowed more than `most`.
    pub(super) fn with(self, allowance: Allowance, most: Self) -> Self {
        let Allowance { memory_bytes, descriptors, nodes, topics } = allowance;
        Self {
            nodes: nodes.map_or(self.nodes, |nodes| nodes.min(most.nodes)),
            descriptors: descriptors.map_or(self.descriptors, |files| files.min(most.descriptors)),
            memory: memory_bytes.unwrap_or(self.memory),
            topics: topics.unwrap_or(self.topics),
            ..self
        }
    }
}
