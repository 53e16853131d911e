//! Everything that is counted in an instance at one moment, as plain values.

use onecopy::Inventory;
use onecopy::stuck::StuckNode;

use crate::dataset_json::{self, DatasetSummary};
use crate::inventory_json::{Node, TopicDetails, others};
use crate::region_json::{self, RegionSummary};
use crate::service_json::{ServiceDetails, ServiceSummary};

/// What there is; empty if no broker runs the instance.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) broker_pid: Option<u32>,
    pub(super) nodes: Vec<Node>,
    pub(super) topics: Vec<TopicDetails>,
    /// In total and in full.
    pub(super) services: Vec<(ServiceSummary, ServiceDetails)>,
    pub(super) regions: Vec<RegionSummary>,
    pub(super) datasets: Vec<DatasetSummary>,
    pub(super) stuck: Vec<StuckNode>,
}

impl Snapshot {
    pub(super) fn new(broker_pid: u32, inventory: &Inventory, stuck: Vec<StuckNode>) -> Self {
        let services = inventory.services.iter();
        Self {
            broker_pid: Some(broker_pid),
            nodes: others(&inventory.nodes),
            topics: inventory.topics.iter().map(TopicDetails::from).collect(),
            services: services.map(|service| (service.into(), service.into())).collect(),
            regions: region_json::summaries(&inventory.regions),
            datasets: dataset_json::summaries(&inventory.datasets),
            stuck,
        }
    }

    /// What only goes up, by a name that nothing else has. Who comes later begins at 0, and counters that belong to
    /// somebody who ended are gone with him.
    pub(super) fn counters(&self) -> impl Iterator<Item = (String, u64)> {
        let publishers = self.topics.iter().flat_map(|topic| &topic.publishers).flat_map(|publisher| {
            let counters =
                [("messages", publisher.messages), ("bytes", publisher.bytes), ("full", publisher.full)];
            counters.map(|(name, count)| (format!("{}/{name}", publisher.id), count.unwrap_or(0)))
        });
        let subscribers = self.topics.iter().flat_map(|topic| &topic.subscribers).flat_map(|subscriber| {
            let counters = [("received", subscriber.received), ("lost", subscriber.lost)];
            counters.map(|(name, count)| (format!("{}/{name}", subscriber.id), count))
        });
        let services = self.services.iter().flat_map(|(_, service)| &service.clients);
        let clients = services.flat_map(|client| {
            let errors = [client.failed, client.server_lost, client.late].into_iter().flatten().sum();
            let counters = [("calls", client.calls.unwrap_or(0)), ("errors", errors)];
            counters.map(|(name, count)| (format!("{}/{name}", client.id), count))
        });
        let regions = self.regions.iter().flat_map(|region| {
            let counters = [("writes", region.version), ("lock_waits", region.lock_waits)];
            counters.map(|(name, count)| (format!("region {}/{name}", region.name), count.unwrap_or(0)))
        });
        publishers.chain(subscribers).chain(clients).chain(regions)
    }
}
