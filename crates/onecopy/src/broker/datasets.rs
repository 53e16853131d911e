//! Datasets by name: the memory of the newest version, and who has it open. A version is replaced in one
//! step, and those who have an older one keep it; they are told that there is a newer one, and ask for it if
//! they want it.
//!
//! A dataset is there as long as anybody has it open, whichever version, or it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::descriptor::Descriptor;
use super::protocol::{Event, NodeId, OpenError, PortId};
use super::topics::Outbox;

/// One dataset, for as long as anybody has it open.
#[derive(Debug, Default)]
pub(super) struct Dataset {
    /// The newest version, and its memory.
    pub(super) newest: Option<(u64, Descriptor)>,
    /// Who published that version, if they still have it open.
    pub(super) publisher: Option<PortId>,
    /// Everybody who has the dataset open, publishers of older versions included.
    pub(super) ports: BTreeMap<PortId, Part>,
    /// It stays while nobody has it open.
    pub(super) kept: bool,
    /// The latest number that a version was given, also by other brokers and to one that is lost: none comes twice.
    latest: u64,
}

/// What a port comes back with that had a dataset open at another broker.
#[derive(Debug)]
pub(super) struct Claim {
    /// The port, if it published the version.
    pub(super) publisher: Option<PortId>,
    /// Which version; 0 if it waits for the first.
    pub(super) version: u64,
    /// The latest that its node was told of.
    pub(super) latest: u64,
    pub(super) memory: Option<Descriptor>,
    /// It could have published what it says. What others say, who may only look, makes no version for anybody else.
    pub(super) is_believed: bool,
}

/// What a port does in a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It published a version.
    Publisher,
    /// It has a version open, or waits for the first one.
    Viewer,
}

/// All of them, found by name or by one of their ports.
#[derive(Debug, Default)]
pub(super) struct Datasets {
    by_name: BTreeMap<Arc<str>, Dataset>,
    by_port: BTreeMap<PortId, Arc<str>>,
}

impl Dataset {
    /// Whether nobody has it open, and it is not kept.
    fn is_over(&self) -> bool {
        self.ports.is_empty() && !(self.kept && self.newest.is_some())
    }

    pub(super) fn version(&self) -> u64 {
        self.newest.as_ref().map_or(0, |(version, _)| *version)
    }

    /// How many have it open to look at it.
    pub(super) fn viewers(&self) -> usize {
        self.ports.values().filter(|part| **part == Part::Viewer).count()
    }

    fn tell_kept(&self, port: PortId, outbox: &mut Outbox) {
        if self.kept {
            outbox.tell(port.node, Event::KeepChanged { port, kept: true });
        }
    }

    fn tell_version(&self, outbox: &mut Outbox) {
        let version = self.version();
        for port in self.ports.keys() {
            outbox.tell(port.node, Event::DatasetVersion { port: *port, version });
        }
    }
}

impl Datasets {
    /// Makes `memory` the newest version, and tells everybody who has the dataset open.
    pub(super) fn publish(
        &mut self,
        port: PortId,
        name: String,
        memory: Descriptor,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        let dataset = self.join(port, &name, Part::Publisher)?;
        // A node that comes back may claim to have been told of any number.
        dataset.latest = dataset.latest.saturating_add(1);
        dataset.newest = Some((dataset.latest, memory));
        dataset.publisher = Some(port);
        dataset.tell_version(outbox);
        dataset.tell_kept(port, outbox);
        Ok(())
    }

    /// Hands out the newest version. If there is none yet, `wait` waits for it.
    pub(super) fn open(
        &mut self,
        port: PortId,
        name: String,
        wait: bool,
        outbox: &mut Outbox,
    ) -> Result<(), OpenError> {
        let exists = self.by_name.get(name.as_str()).is_some_and(|dataset| dataset.newest.is_some());
        if !exists && !wait {
            return Err(OpenError::NoDataset { dataset: name });
        }
        let dataset = self.join(port, &name, Part::Viewer)?;
        match &dataset.newest {
            Some((version, memory)) => {
                outbox.tell_with(port.node, Event::Dataset { port, version: *version }, memory);
            }
            None => outbox.tell(port.node, Event::DatasetVersion { port, version: 0 }),
        }
        dataset.tell_kept(port, outbox);
        Ok(())
    }

    /// Adds a port. Nobody is told.
    pub(super) fn join(&mut self, port: PortId, name: &str, part: Part) -> Result<&mut Dataset, OpenError> {
        if self.by_port.contains_key(&port) {
            return Err(OpenError::DuplicatePort { port });
        }
        let name: Arc<str> =
            self.by_name.get_key_value(name).map_or_else(|| name.into(), |(kept, _)| Arc::clone(kept));
        self.by_port.insert(port, Arc::clone(&name));
        let dataset = self.by_name.entry(name).or_default();
        dataset.ports.insert(port, part);
        Ok(dataset)
    }

    /// A port that has come back says what it has: of several versions the newest goes on.
    pub(super) fn claim(&mut self, port: PortId, claim: Claim, outbox: &mut Outbox) {
        let Some(name) = self.by_port.get(&port) else { return };
        let Some(dataset) = self.by_name.get_mut(name) else { return };
        let Claim { publisher, version, latest, memory, is_believed } = claim;
        if is_believed {
            dataset.latest = dataset.latest.max(latest).max(version);
        }
        if let Some(memory) = memory.filter(|_| is_believed) {
            if version > dataset.version() {
                (dataset.newest, dataset.publisher) = (Some((version, memory)), publisher);
                return dataset.tell_version(outbox);
            }
            if version == dataset.version() {
                dataset.publisher = dataset.publisher.or(publisher);
            }
        }
        // The version that it was told of may have been lost with the last broker and its publisher.
        if latest != dataset.version() {
            outbox.tell(port.node, Event::DatasetVersion { port, version: dataset.version() });
        }
        dataset.tell_kept(port, outbox);
    }

    /// Keeps a dataset that another broker kept.
    pub(super) fn inherit(&mut self, name: &str, version: u64, memory: Descriptor) {
        let dataset = self.by_name.entry(name.into()).or_default();
        (dataset.newest, dataset.latest, dataset.kept) = (Some((version, memory)), version, true);
    }

    /// Ends a port, and its dataset with the last one; a port that has none open is none of ours.
    pub(super) fn close(&mut self, port: PortId) {
        let Some(name) = self.by_port.remove(&port) else { return };
        let Some(dataset) = self.by_name.get_mut(&name) else { return };
        dataset.ports.remove(&port);
        if dataset.publisher == Some(port) {
            dataset.publisher = None;
        }
        if dataset.is_over() {
            self.by_name.remove(&name);
        }
    }

    /// Keeps a dataset, or lets go of it; `false` if there is none.
    pub(super) fn keep(&mut self, name: &str, keep: bool, outbox: &mut Outbox) -> bool {
        let Some(dataset) = self.by_name.get_mut(name).filter(|dataset| dataset.newest.is_some()) else {
            return false;
        };
        dataset.kept = keep;
        for port in dataset.ports.keys() {
            outbox.tell(port.node, Event::KeepChanged { port: *port, kept: keep });
        }
        if dataset.is_over() {
            self.by_name.remove(name);
        }
        true
    }

    /// Every port that a node has open.
    pub(super) fn ports_of(&self, node: NodeId) -> Vec<PortId> {
        self.by_port.range(node.ports()).map(|(port, _)| *port).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Dataset)> {
        self.by_name.iter().map(|(name, dataset)| (&**name, dataset))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty() && self.by_port.is_empty()
    }

    pub(super) fn check_invariants(&self) {
        let mut ports = 0;
        for (name, dataset) in &self.by_name {
            assert!(!dataset.is_over(), "a dataset that nobody has open");
            let publisher = dataset.publisher.and_then(|port| dataset.ports.get(&port));
            assert!(
                dataset.publisher.is_none() || publisher == Some(&Part::Publisher),
                "the publisher of {name} is none of its ports"
            );
            for port in dataset.ports.keys() {
                assert_eq!(self.by_port.get(port), Some(name), "port {port} leads to another dataset");
                ports += 1;
            }
        }
        assert_eq!(ports, self.by_port.len(), "a port without its dataset");
    }
}
