//! The text format of Prometheus (version 0.0.4), as text.

use std::fmt::Write;

use onecopy::observation::{ClientCounters, PublisherCounters, SubscriberCounters, bucket_bounds_ns};
use onecopy::{DatasetEntry, Inventory, RegionEntry};

use crate::dataset_json::{self, DatasetSummary};
use crate::inventory_json::others;

/// Bounds of the histogram that is shown, in nanoseconds: 100 ns to 10 s. What is counted is finer; each bound is the
/// end of a bucket near it.
const LATENCY_BOUNDS_NS: [u64; 17] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// An instance that nobody runs.
pub(super) fn not_running(instance: &str) -> String {
    let mut text = Text { instance, text: String::new() };
    text.up(false);
    text.text
}

/// Everything that is counted in an instance.
pub(super) fn write(instance: &str, inventory: &Inventory) -> String {
    let mut text = Text { instance, text: String::new() };
    text.up(true);
    text.family("node_memory_bytes", GAUGE, "Shared memory that a node has made and touched.");
    for node in others(&inventory.nodes) {
        let labels = [("node", node.name), ("pid", node.pid.to_string()), ("id", node.id)];
        text.sample("node_memory_bytes", &labels, node.memory_bytes as f64);
    }
    publishers(&mut text, inventory);
    subscribers(&mut text, inventory);
    clients(&mut text, inventory);
    servers(&mut text, inventory);
    regions(&mut text, inventory);
    datasets(&mut text, &inventory.datasets);
    text.text
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

/// Name, kind and meaning of a metric, and how to get at its value.
type Metric<T> = (&'static str, &'static str, &'static str, fn(&T) -> f64);

const PUBLISHER: [Metric<PublisherCounters>; 8] = [
    ("publisher_messages_total", COUNTER, "Messages published.", |c| c.messages as f64),
    ("publisher_bytes_total", COUNTER, "Payload bytes published.", |c| c.bytes as f64),
    ("publisher_full_total", COUNTER, "Messages that found the ring full at first.", |c| c.full as f64),
    ("publisher_exhausted_total", COUNTER, "Messages that found no memory at first.", |c| c.exhausted as f64),
    ("publisher_waits_total", COUNTER, "Sleeps until subscribers made space.", |c| c.waits as f64),
    ("publisher_evictions_total", COUNTER, "Subscribers that it went on without.", |c| c.evictions as f64),
    ("publisher_pool_bytes", GAUGE, "Memory set aside for large messages.", |c| c.pool_bytes as f64),
    ("publisher_budget_bytes", GAUGE, "Most memory for large messages.", |c| c.budget_bytes as f64),
];

fn publishers(text: &mut Text<'_>, inventory: &Inventory) {
    let all: Vec<_> = inventory
        .topics
        .iter()
        .flat_map(|topic| topic.publishers.iter().map(move |publisher| (topic, publisher)))
        .map(|(topic, publisher)| (port(&topic.name, &publisher.node, &publisher.id), publisher))
        .collect();
    text.family("publisher_memory_bytes", GAUGE, "Shared memory that a publisher has touched.");
    for (labels, publisher) in &all {
        text.sample("publisher_memory_bytes", labels, publisher.memory_bytes as f64);
    }
    let counted: Vec<_> =
        all.into_iter().filter_map(|(labels, publisher)| Some((labels, publisher.counters()?))).collect();
    text.metrics(&PUBLISHER, &counted);
}

const SUBSCRIBER: [Metric<SubscriberCounters>; 6] = [
    ("subscriber_received_total", COUNTER, "Messages received.", |c| c.received as f64),
    ("subscriber_lost_total", COUNTER, "Messages overwritten before they were received.", |c| c.lost as f64),
    ("subscriber_sleeps_total", COUNTER, "Sleeps until there was a message.", |c| c.sleeps as f64),
    ("subscriber_lag_messages", GAUGE, "Messages published and not yet received.", |c| c.lag as f64),
    (
        "subscriber_lag_ratio",
        GAUGE,
        "Lag as a part of the publisher's ring; from 1 on messages are lost or wait.",
        |c| c.lag_permille as f64 / 1000.0,
    ),
    ("subscriber_held_messages", GAUGE, "Large messages held in their publishers' memory.", |c| {
        c.held as f64
    }),
];

fn subscribers(text: &mut Text<'_>, inventory: &Inventory) {
    let all: Vec<_> = inventory
        .topics
        .iter()
        .flat_map(|topic| topic.subscribers.iter().map(move |subscriber| (topic, subscriber)))
        .map(|(topic, subscriber)| {
            (port(&topic.name, &subscriber.node, &subscriber.id), subscriber.counters())
        })
        .collect();
    text.metrics(&SUBSCRIBER, &all);
}

const CLIENT: [Metric<ClientCounters>; 2] = [
    ("client_calls_total", COUNTER, "Calls made.", |c| c.calls as f64),
    ("client_notifications_total", COUNTER, "Requests sent that wanted no answer.", |c| {
        c.notifications as f64
    }),
];

fn clients(text: &mut Text<'_>, inventory: &Inventory) {
    let mut all = Vec::new();
    for service in &inventory.services {
        for client in &service.clients {
            let labels = service_port(&service.name, &client.node, client.pid, &client.id);
            all.extend(client.calls.clone().map(|calls| (labels, calls)));
        }
    }
    text.metrics(&CLIENT, &all);
    text.family("client_ended_calls_total", COUNTER, "Calls by how they ended.");
    for (labels, calls) in &all {
        let results = [
            ("answered", calls.answered),
            ("failed", calls.failed),
            ("server_lost", calls.server_lost),
            ("late", calls.late),
            ("cancelled", calls.cancelled),
        ];
        for (result, count) in results {
            let labels: Vec<_> = labels.iter().cloned().chain([("result", result.to_owned())]).collect();
            text.sample("client_ended_calls_total", &labels, count as f64);
        }
    }
    text.family("client_latency_seconds", "histogram", "From sending a request to its first answer.");
    for (labels, calls) in &all {
        text.histogram("client_latency_seconds", labels, calls.latencies.buckets());
    }
}

fn servers(text: &mut Text<'_>, inventory: &Inventory) {
    text.family("server_requests_total", COUNTER, "Requests received from clients that are there.");
    for service in &inventory.services {
        for server in &service.servers {
            let labels = service_port(&service.name, &server.node, server.pid, &server.id);
            if let Some(requests) = server.requests {
                text.sample("server_requests_total", &labels, requests as f64);
            }
        }
    }
}

fn regions(text: &mut Text<'_>, inventory: &Inventory) {
    let mut family = |name, kind, help, value: fn(&RegionEntry) -> Option<f64>| {
        text.family(name, kind, help);
        for region in &inventory.regions {
            if let Some(value) = value(region) {
                text.sample(name, &[("region", region.name.clone())], value);
            }
        }
    };
    family("region_version", GAUGE, "How often the region was written, and 1.", |region| {
        region.version().map(|version| version as f64)
    });
    family("region_memory_bytes", GAUGE, "Shared memory that the region has touched.", |region| {
        Some(region.memory_bytes as f64)
    });
    family("region_readers", GAUGE, "How many take part in the region.", |region| {
        Some(region.readers.into())
    });
    family("region_lock_waits_total", COUNTER, "Sleeps until the region's lock was free.", |region| {
        region.lock_waits().map(|waits| waits as f64)
    });
}

fn datasets(text: &mut Text<'_>, datasets: &[DatasetEntry]) {
    let mut family = |name, help, value: fn(&DatasetSummary) -> Option<f64>| {
        text.family(name, GAUGE, help);
        for dataset in dataset_json::summaries(datasets) {
            if let Some(value) = value(&dataset) {
                text.sample(name, &[("dataset", dataset.name)], value);
            }
        }
    };
    family("dataset_version", "The newest version.", |dataset| dataset.version.map(|version| version as f64));
    family("dataset_content_bytes", "Bytes of the newest version's content.", |dataset| {
        dataset.content_bytes.map(|bytes| bytes as f64)
    });
    family("dataset_viewers", "How many have the dataset open.", |dataset| Some(dataset.viewers.into()));
}

type Labels = Vec<(&'static str, String)>;

fn port(topic: &str, node: &str, id: &str) -> Labels {
    vec![("topic", topic.to_owned()), ("node", node.to_owned()), ("id", id.to_owned())]
}

fn service_port(service: &str, node: &str, pid: u32, id: &str) -> Labels {
    vec![
        ("service", service.to_owned()),
        ("node", node.to_owned()),
        ("pid", pid.to_string()),
        ("id", id.to_owned()),
    ]
}

struct Text<'i> {
    instance: &'i str,
    text: String,
}

impl Text<'_> {
    fn up(&mut self, up: bool) {
        self.family("up", GAUGE, "Whether a broker runs the instance.");
        self.sample("up", &[], f64::from(u8::from(up)));
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP onecopy_{name} {help}"));
        self.line(format_args!("# TYPE onecopy_{name} {kind}"));
    }

    fn metrics<T>(&mut self, metrics: &[Metric<T>], counted: &[(Labels, T)]) {
        for (name, kind, help, value) in metrics {
            self.family(name, kind, help);
            for (labels, counters) in counted {
                self.sample(name, labels, value(counters));
            }
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&'static str, String)], value: f64) {
        let mut shown = format!("instance=\"{}\"", escaped(self.instance));
        for (label, value) in labels {
            let _ = write!(shown, ",{label}=\"{}\"", escaped(value));
        }
        self.line(format_args!("onecopy_{name}{{{shown}}} {value}"));
    }

    fn histogram(&mut self, name: &str, labels: &[(&'static str, String)], buckets: &[u64]) {
        let bucket_name = format!("{name}_bucket");
        let below = |bound: u64| {
            let counts = buckets.iter().enumerate();
            counts.take_while(move |(bucket, _)| bucket_bounds_ns(*bucket).1 <= bound).map(|(_, count)| count)
        };
        for bound in LATENCY_BOUNDS_NS {
            // The bound in seconds, as a number that reads well.
            let seconds = bound as f64 / 1e9;
            let labels: Vec<_> = labels.iter().cloned().chain([("le", seconds.to_string())]).collect();
            self.sample(&bucket_name, &labels, below(bound).sum::<u64>() as f64);
        }
        let count = buckets.iter().sum::<u64>() as f64;
        let all: Vec<_> = labels.iter().cloned().chain([("le", "+Inf".to_owned())]).collect();
        self.sample(&bucket_name, &all, count);
        let middle = |(bucket, count): (usize, &u64)| {
            let (least, next) = bucket_bounds_ns(bucket);
            (least + next) as f64 / 2e9 * *count as f64
        };
        self.sample(&format!("{name}_sum"), labels, buckets.iter().enumerate().map(middle).sum());
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// A label's value may be any text, with these three escaped.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_the_instance_is_always_there() {
        let mut text = Text { instance: "lab", text: String::new() };
        text.sample("up", &[("node", "a \"b\" \\ \n".to_owned())], 1.5);
        assert_eq!(text.text, "onecopy_up{instance=\"lab\",node=\"a \\\"b\\\" \\\\ \\n\"} 1.5\n");
    }

    #[test]
    fn a_histogram_counts_upwards_to_all() {
        let mut buckets = vec![0; 304];
        buckets[50] = 3;
        buckets[200] = 2;
        let mut text = Text { instance: "lab", text: String::new() };
        text.histogram("l", &[], &buckets);
        let counts: Vec<f64> =
            text.text.lines().map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect();
        let (bounds, rest) = counts.split_at(LATENCY_BOUNDS_NS.len());
        assert!(bounds.is_sorted() && bounds[0] == 0.0, "{bounds:?}");
        assert_eq!((rest[0], rest[2]), (5.0, 5.0));
        assert!(rest[1] > 0.0);
        assert!(text.text.contains("le=\"0.0000001\"") && text.text.contains("le=\"+Inf\""));
    }
}
