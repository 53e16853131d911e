//! What one row of a view consists of, as further tables.

use super::rates::Rates;
use super::snapshot::Snapshot;
use super::table::{Cell, Column, Row, Table, column};
use super::views::{SUBSCRIBER_COLUMNS, View, byte_rate, memory, rate, subscriber_cells, time};
use crate::inventory_json::{Publisher, Subscriber, unknown};
use crate::service_json::ServiceDetails;
use onecopy::counted;

/// Titles with tables; `None` if there is no such thing any more.
pub(super) fn tables(
    view: View,
    key: &str,
    snapshot: &Snapshot,
    rates: &Rates,
) -> Option<Vec<(String, Table)>> {
    match view {
        View::Topics => topic(key, snapshot, rates),
        View::Subscribers => {
            let topic_of = |topic: &&crate::inventory_json::TopicDetails| {
                topic.subscribers.iter().any(|subscriber| subscriber.id == key)
            };
            topic(&snapshot.topics.iter().find(topic_of)?.name, snapshot, rates)
        }
        View::Services => {
            let (_, service) = snapshot.services.iter().find(|(summary, _)| summary.name == key)?;
            Some(service_tables(service, rates))
        }
        View::Regions => region(key, snapshot),
        View::Nodes => node(key, snapshot, rates),
        View::Datasets => dataset(key, snapshot),
    }
}

fn dataset(name: &str, snapshot: &Snapshot) -> Option<Vec<(String, Table)>> {
    let dataset = snapshot.datasets.iter().find(|dataset| dataset.name == name)?;
    let version = dataset.version.map_or_else(unknown, |version| version.to_string());
    let publisher =
        dataset.publisher_pid.map_or_else(|| "has let go of it".to_owned(), |pid| format!("process {pid}"));
    let viewers = counted(dataset.viewers, "viewer");
    let title = format!("dataset {name}: version {version}, publisher {publisher}, {viewers}");
    Some(vec![(title, Table { columns: Vec::new(), rows: Vec::new() })])
}

fn topic(name: &str, snapshot: &Snapshot, rates: &Rates) -> Option<Vec<(String, Table)>> {
    let topic = snapshot.topics.iter().find(|topic| topic.name == name)?;
    let payload = topic.payload.as_ref().map_or_else(unknown, |payload| payload.description.clone());
    let delivery = topic.delivery.clone().unwrap_or_else(unknown);
    let publishers = topic.publishers.iter().map(|port| (&*port.node, port));
    let subscribers = topic.subscribers.iter().map(|port| (&*port.node, port));
    Some(vec![
        (format!("topic {name}: {payload}, {delivery}"), Table { columns: Vec::new(), rows: Vec::new() }),
        ("publishers".to_owned(), publisher_table("NODE", publishers, rates)),
        ("subscribers".to_owned(), subscriber_table("NODE", subscribers, rates)),
    ])
}

fn publisher_table<'p>(
    first: &'static str,
    publishers: impl Iterator<Item = (&'p str, &'p Publisher)>,
    rates: &Rates,
) -> Table {
    const COLUMNS: [Column; 7] = [
        column("MSG/S", 7),
        column("BYTES/S", 9),
        column("MESSAGES", 12),
        column("FULL/S", 7),
        column("WAITS", 7),
        column("OUT", 6),
        column("MEMORY", 9),
    ];
    let rows = publishers.map(|(name, publisher)| {
        let full = rates.of([&*publisher.id], "full");
        Row {
            key: publisher.id.clone(),
            cells: vec![
                Cell::text(name),
                rate(rates.of([&*publisher.id], "messages")),
                byte_rate(rates.of([&*publisher.id], "bytes")),
                Cell::count(publisher.messages.unwrap_or(0)),
                rate(full).bad_if(full > 0.0),
                Cell::count(publisher.waits.unwrap_or(0)),
                Cell::count(publisher.chunks_out.unwrap_or(0)),
                memory(publisher.memory_bytes),
            ],
        }
    });
    Table { columns: [column(first, 14)].into_iter().chain(COLUMNS).collect(), rows: rows.collect() }
}

fn subscriber_table<'s>(
    first: &'static str,
    subscribers: impl Iterator<Item = (&'s str, &'s Subscriber)>,
    rates: &Rates,
) -> Table {
    let columns = [column(first, 14)].into_iter().chain(SUBSCRIBER_COLUMNS);
    let columns = columns.chain([column("LOST", 9), column("ASLEEP", 6)]);
    let rows = subscribers.map(|(name, subscriber)| {
        let asleep = Cell::text(if subscriber.asleep { "yes" } else { "no" });
        let cells = [Cell::text(name)].into_iter().chain(subscriber_cells(subscriber, rates));
        let cells = cells.chain([Cell::count(subscriber.lost), asleep]);
        Row { key: subscriber.id.clone(), cells: cells.collect() }
    });
    Table { columns: columns.collect(), rows: rows.collect() }
}

fn service_tables(service: &ServiceDetails, rates: &Rates) -> Vec<(String, Table)> {
    let described = |payload: &Option<crate::inventory_json::Payload>| {
        payload.as_ref().map_or_else(unknown, |payload| payload.description.clone())
    };
    let nothing = Table { columns: Vec::new(), rows: Vec::new() };
    let servers = service.servers.iter().map(|server| Row {
        key: server.id.clone(),
        cells: vec![
            Cell::text(&server.node),
            Cell::count(server.pid.into()),
            Cell::count(server.requests.unwrap_or(0)),
        ],
    });
    let clients = service.clients.iter().map(|client| {
        let failed = client.failed.unwrap_or(0) + client.server_lost.unwrap_or(0);
        Row {
            key: client.id.clone(),
            cells: vec![
                Cell::text(&client.node),
                Cell::count(client.pid.into()),
                rate(rates.of([&*client.id], "calls")),
                Cell::count(client.calls.unwrap_or(0)),
                Cell::count(failed),
                Cell::count(client.late.unwrap_or(0)),
                time(client.latency.p50_ns),
                time(client.latency.p99_ns),
            ],
        }
    });
    vec![
        (format!("service {}: request {}", service.name, described(&service.request)), nothing.clone()),
        (format!("response {}", described(&service.response)), nothing),
        (
            "servers".to_owned(),
            Table {
                columns: vec![column("NODE", 14), column("PROCESS", 9), column("REQUESTS", 12)],
                rows: servers.collect(),
            },
        ),
        (
            "clients".to_owned(),
            Table {
                columns: vec![
                    column("NODE", 14),
                    column("PROCESS", 9),
                    column("CALLS/S", 8),
                    column("CALLS", 10),
                    column("FAILED", 7),
                    column("LATE", 6),
                    column("P50", 9),
                    column("P99", 9),
                ],
                rows: clients.collect(),
            },
        ),
    ]
}

fn region(name: &str, snapshot: &Snapshot) -> Option<Vec<(String, Table)>> {
    let region = snapshot.regions.iter().find(|region| region.name == name)?;
    let payload = region.payload.clone().unwrap_or_else(unknown);
    let rows = [
        ("mode", region.mode.to_owned()),
        ("writer", region.writer_pid.map_or_else(unknown, |pid| format!("process {pid}"))),
        ("readers", region.readers.to_string()),
        ("version", crate::units::count(region.version)),
        (
            "capacity",
            region.capacity_bytes.map_or_else(unknown, |capacity| crate::units::bytes(capacity as u64)),
        ),
        ("memory", crate::units::bytes(region.memory_bytes)),
        ("lock waits", crate::units::count(region.lock_waits)),
        ("kept", if region.kept { "yes" } else { "no" }.to_owned()),
    ];
    let rows =
        rows.map(|(key, value)| Row { key: key.to_owned(), cells: vec![Cell::text(key), Cell::text(value)] });
    let table = Table { columns: vec![column("", 14), column("", 30)], rows: rows.to_vec() };
    Some(vec![(format!("region {name}: {payload}"), table)])
}

fn node(id: &str, snapshot: &Snapshot, rates: &Rates) -> Option<Vec<(String, Table)>> {
    let node = snapshot.nodes.iter().find(|node| node.id == id)?;
    let is_its = |port: &str| port.split_once('/').is_some_and(|(owner, _)| owner == id);
    let publishers = snapshot.topics.iter().flat_map(|topic| {
        topic.publishers.iter().filter(|port| is_its(&port.id)).map(|port| (&*topic.name, port))
    });
    let subscribers = snapshot.topics.iter().flat_map(|topic| {
        topic.subscribers.iter().filter(|port| is_its(&port.id)).map(|port| (&*topic.name, port))
    });
    let title =
        format!("node {}, process {}, {}", node.name, node.pid, crate::units::bytes(node.memory_bytes));
    let mut tables = vec![
        (title, Table { columns: Vec::new(), rows: Vec::new() }),
        ("publishes".to_owned(), publisher_table("TOPIC", publishers, rates)),
        ("subscribes".to_owned(), subscriber_table("TOPIC", subscribers, rates)),
    ];
    for (_, service) in &snapshot.services {
        let serves = service.servers.iter().any(|port| is_its(&port.id));
        let asks = service.clients.iter().any(|port| is_its(&port.id));
        let what = match (serves, asks) {
            (true, true) => "serves and asks",
            (true, false) => "serves",
            (false, true) => "asks",
            (false, false) => continue,
        };
        tables.push((format!("{what} {}", service.name), Table { columns: Vec::new(), rows: Vec::new() }));
    }
    Some(tables)
}
