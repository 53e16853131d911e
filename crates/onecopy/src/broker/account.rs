//! Who has taken how much of everything, and what one has taken as a thing of its own, which gives it back
//! when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::amounts::Amounts;
use super::exceeded::{Exceeded, QuotaExceeded};
use super::resource::Resource;
use crate::config::Allowance;

/// What somebody has taken of everything, and may.
#[derive(Debug, Default)]
pub(super) struct Account {
    limit: Amounts,
    /// The quota of the configuration that some of the limits come from.
    source: Option<Source>,
    nodes: AtomicU64,
    ports: AtomicU64,
    descriptors: AtomicU64,
    bytes: AtomicU64,
    memory: AtomicU64,
    topics: AtomicU64,
}

/// A quota of the configuration, as a user who meets it is told.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) uid: u32,
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) allowance: Allowance,
}

impl Source {
    fn sets(&self, resource: Resource) -> bool {
        match resource {
            Resource::Nodes => self.allowance.nodes.is_some(),
            Resource::Descriptors => self.allowance.descriptors.is_some(),
            Resource::Memory => self.allowance.memory_bytes.is_some(),
            Resource::Topics => self.allowance.topics.is_some(),
            Resource::Ports | Resource::Bytes | Resource::PortsOfOneName | Resource::NodesOfOneProcess => {
                false
            }
        }
    }
}

impl Account {
    pub(super) fn new(limit: Amounts, source: Option<Source>) -> Self {
        Self { limit, source, ..Self::default() }
    }

    fn counters(&self) -> [&AtomicU64; 6] {
        [&self.nodes, &self.ports, &self.descriptors, &self.bytes, &self.memory, &self.topics]
    }

    pub(super) fn check(&self, more: Amounts) -> Result<(), Exceeded> {
        for ((counter, (resource, more)), (_, limit)) in
            self.counters().into_iter().zip(more.each()).zip(self.limit.each())
        {
            if more > 0 && counter.load(Ordering::Relaxed).saturating_add(more) > limit {
                return Err(self.exceeded(resource, limit));
            }
        }
        Ok(())
    }

    /// Whether the configuration bounds what a node takes without opening anything.
    pub(super) fn limits_growth(&self) -> bool {
        let sets = |source: &Source| source.sets(Resource::Memory) || source.sets(Resource::Descriptors);
        self.source.as_ref().is_some_and(sets)
    }

    pub(super) fn limit(&self) -> &Amounts {
        &self.limit
    }

    pub(super) fn descriptors(&self) -> u64 {
        self.descriptors.load(Ordering::Relaxed)
    }

    fn exceeded(&self, resource: Resource, limit: u64) -> Exceeded {
        match self.source.as_ref().filter(|source| source.sets(resource)) {
            Some(Source { uid, file, line, .. }) => {
                let (uid, file, line) = (*uid, file.clone(), *line);
                Exceeded::Configured(Box::new(QuotaExceeded { uid, resource, limit, file, line }))
            }
            None => Exceeded::General { resource, limit },
        }
    }

    fn add(&self, amounts: Amounts) {
        for (counter, (_, more)) in self.counters().into_iter().zip(amounts.each()) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
    }

    fn subtract(&self, amounts: Amounts) {
        for (counter, (_, less)) in self.counters().into_iter().zip(amounts.each()) {
            counter.fetch_sub(less, Ordering::Relaxed);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.counters().into_iter().all(|counter| counter.load(Ordering::Relaxed) == 0)
    }
}

/// What somebody has taken. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Charge {
    amounts: Amounts,
    accounts: [Arc<Account>; 2],
}

impl Charge {
    /// Takes from both, or from neither.
    pub(super) fn take(accounts: [&Arc<Account>; 2], amounts: Amounts) -> Result<Self, Exceeded> {
        Self::take_in_place_of(Amounts::default(), accounts, amounts)
    }

    /// The same where so much is about to be given back.
    pub(super) fn take_in_place_of(
        given_back: Amounts,
        accounts: [&Arc<Account>; 2],
        amounts: Amounts,
    ) -> Result<Self, Exceeded> {
        let more = amounts.without(given_back);
        accounts.into_iter().try_for_each(|account| account.check(more))?;
        accounts.into_iter().for_each(|account| account.add(amounts));
        Ok(Self { amounts, accounts: accounts.map(Arc::clone) })
    }

    pub(super) fn amounts(&self) -> Amounts {
        self.amounts
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.accounts.iter().for_each(|account| account.subtract(self.amounts));
    }
}
