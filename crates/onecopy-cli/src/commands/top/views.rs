//! The tables of the views.

use super::rates::{COURSE_LENGTH, Rates};
use super::snapshot::Snapshot;
use super::table::{Cell, Column, Order, Row, Table, column};
use crate::dataset_json::DatasetSummary;
use crate::inventory_json::{Subscriber, TopicDetails};
use crate::units::{amount, bytes, duration};

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Topics = 0,
    Subscribers = 1,
    Services = 2,
    Regions = 3,
    Nodes = 4,
    Datasets = 5,
}

pub(super) const VIEWS: [View; 6] =
    [View::Topics, View::Subscribers, View::Services, View::Regions, View::Nodes, View::Datasets];

impl View {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Topics => "Topics",
            Self::Subscribers => "Subscribers",
            Self::Services => "Services",
            Self::Regions => "Regions",
            Self::Nodes => "Nodes",
            Self::Datasets => "Datasets",
        }
    }

    /// At first: what matters most on top.
    pub(super) fn order(self) -> Order {
        let (column, is_descending) = match self {
            Self::Topics => (0, false),
            Self::Subscribers => (4, true),
            Self::Services => (0, false),
            Self::Regions => (0, false),
            Self::Nodes => (1, true),
            Self::Datasets => (3, true),
        };
        Order { column, is_descending }
    }
}

pub(super) fn table(view: View, snapshot: &Snapshot, rates: &Rates) -> Table {
    match view {
        View::Topics => topics(snapshot, rates),
        View::Subscribers => subscribers(snapshot, rates),
        View::Services => services(snapshot, rates),
        View::Regions => regions(snapshot, rates),
        View::Nodes => nodes(snapshot),
        View::Datasets => datasets(&snapshot.datasets),
    }
}

/// So many a second.
pub(super) fn rate(rate: f64) -> Cell {
    Cell::number(rate, amount(rate))
}

/// So many bytes a second.
pub(super) fn byte_rate(rate: f64) -> Cell {
    Cell::number(rate, bytes(rate as u64))
}

pub(super) fn memory(amount: u64) -> Cell {
    Cell::number(amount as f64, bytes(amount))
}

pub(super) fn time(nanoseconds: Option<u64>) -> Cell {
    Cell::number(nanoseconds.map_or(0.0, |time| time as f64), duration(nanoseconds))
}

/// A lag as a part of the ring; from where it costs messages, it is bad.
pub(super) fn part_of_ring(part: f64) -> Cell {
    Cell::number(part, format!("{:.0} %", part * 100.0)).bad_if(part >= 0.5)
}

fn topics(snapshot: &Snapshot, rates: &Rates) -> Table {
    let columns = vec![
        column("TOPIC", 12),
        column("PUB", 4),
        column("SUB", 4),
        column("MSG/S", 7),
        column("BYTES/S", 9),
        column("COURSE", COURSE_LENGTH as u16),
        column("RING", 7),
        column("LOST/S", 7),
    ];
    let rows = snapshot.topics.iter().map(|topic| {
        let publishers = || topic.publishers.iter().map(|publisher| &*publisher.id);
        let lost = rates.of(topic.subscribers.iter().map(|subscriber| &*subscriber.id), "lost");
        let messages = rates.of(publishers(), "messages");
        Row {
            key: topic.name.clone(),
            cells: vec![
                Cell::text(&topic.name),
                Cell::count(topic.publishers.len() as u64),
                Cell::count(topic.subscribers.len() as u64),
                rate(messages),
                byte_rate(rates.of(publishers(), "bytes")),
                Cell::number(messages, rates.course(&topic.name)),
                part_of_ring(
                    topic.subscribers.iter().map(|subscriber| subscriber.lag_of_ring).fold(0.0, f64::max),
                ),
                rate(lost).bad_if(lost > 0.0),
            ],
        }
    });
    Table { columns, rows: rows.collect() }
}

fn subscribers(snapshot: &Snapshot, rates: &Rates) -> Table {
    let mut columns = vec![column("TOPIC", 14), column("NODE", 17), column("PROCESS", 7)];
    columns.extend(SUBSCRIBER_COLUMNS);
    let pid_of = |port: &str| {
        let owner = port.split_once('/').map(|(owner, _)| owner);
        snapshot.nodes.iter().find(|node| Some(&*node.id) == owner).map_or(0, |node| node.pid)
    };
    let of_topic = |topic: &'_ TopicDetails| {
        let rows = topic.subscribers.iter().map(|subscriber| {
            let process = Cell::count(pid_of(&subscriber.id).into());
            let mut cells = vec![Cell::text(&topic.name), Cell::text(&subscriber.node), process];
            cells.extend(subscriber_cells(subscriber, rates));
            Row { key: subscriber.id.clone(), cells }
        });
        rows.collect::<Vec<_>>()
    };
    Table { columns, rows: snapshot.topics.iter().flat_map(of_topic).collect() }
}

/// What is shown of a subscriber, wherever it is.
pub(super) const SUBSCRIBER_COLUMNS: [Column; 5] =
    [column("LAG", 7), column("RING", 7), column("RECV/S", 6), column("LOST/S", 6), column("HELD", 4)];

pub(super) fn subscriber_cells(subscriber: &Subscriber, rates: &Rates) -> [Cell; 5] {
    let lost = rates.of([&*subscriber.id], "lost");
    [
        Cell::count(subscriber.lag),
        part_of_ring(subscriber.lag_of_ring),
        rate(rates.of([&*subscriber.id], "received")),
        rate(lost).bad_if(lost > 0.0),
        Cell::count(subscriber.held),
    ]
}

fn services(snapshot: &Snapshot, rates: &Rates) -> Table {
    let columns = vec![
        column("SERVICE", 14),
        column("SERVERS", 8),
        column("CLIENTS", 8),
        column("CALLS/S", 8),
        column("ERR/S", 7),
        column("P50", 9),
        column("P99", 9),
        column("P99.9", 9),
    ];
    let rows = snapshot.services.iter().map(|(summary, service)| {
        let clients = || service.clients.iter().map(|client| &*client.id);
        let errors = rates.of(clients(), "errors");
        Row {
            key: summary.name.clone(),
            cells: vec![
                Cell::text(&summary.name),
                Cell::count(summary.servers as u64).bad_if(summary.servers == 0),
                Cell::count(summary.clients as u64),
                rate(rates.of(clients(), "calls")),
                rate(errors).bad_if(errors > 0.0),
                time(summary.latency.p50_ns),
                time(summary.latency.p99_ns),
                time(summary.latency.p999_ns),
            ],
        }
    });
    Table { columns, rows: rows.collect() }
}

fn regions(snapshot: &Snapshot, rates: &Rates) -> Table {
    let columns = vec![
        column("REGION", 14),
        column("MODE", 14),
        column("VERSION", 10),
        column("WRITES/S", 9),
        column("READERS", 8),
        column("WAITS/S", 8),
        column("MEMORY", 9),
    ];
    let rows = snapshot.regions.iter().map(|region| {
        let counter = |name| rates.of([&*format!("region {}", region.name)], name);
        Row {
            key: region.name.clone(),
            cells: vec![
                Cell::text(&region.name),
                Cell::text(region.mode),
                Cell::count(region.version.unwrap_or(0)),
                rate(counter("writes")),
                Cell::count(region.readers.into()),
                rate(counter("lock_waits")),
                memory(region.memory_bytes),
            ],
        }
    });
    Table { columns, rows: rows.collect() }
}

fn datasets(datasets: &[DatasetSummary]) -> Table {
    let columns = vec![
        column("DATASET", 22),
        column("VERSION", 8),
        column("BACKING", 8),
        column("CONTENT", 10),
        column("SECTIONS", 9),
        column("VIEWERS", 8),
        column("KEPT", 5),
    ];
    let rows = datasets.iter().map(|dataset| Row {
        key: dataset.name.clone(),
        cells: vec![
            Cell::text(&dataset.name),
            Cell::count(dataset.version.unwrap_or(0)),
            Cell::text(dataset.backing.unwrap_or("?")),
            memory(dataset.content_bytes.unwrap_or(0)),
            Cell::count(dataset.sections.unwrap_or(0) as u64),
            Cell::count(dataset.viewers.into()),
            Cell::text(if dataset.kept { "yes" } else { "no" }),
        ],
    });
    Table { columns, rows: rows.collect() }
}

fn nodes(snapshot: &Snapshot) -> Table {
    let columns = vec![
        column("NODE", 16),
        column("MEMORY", 10),
        column("PROCESS", 8),
        column("USER", 6),
        column("VERSION", 9),
        column("PUB", 5),
        column("SUB", 5),
        column("SRV", 5),
        column("CLI", 5),
    ];
    let rows = snapshot.nodes.iter().map(|node| {
        // A port's number begins with that of its node.
        let is_its = |id: &str| id.split_once('/').is_some_and(|(owner, _)| owner == node.id);
        let publishers = snapshot.topics.iter().flat_map(|topic| &topic.publishers);
        let subscribers = snapshot.topics.iter().flat_map(|topic| &topic.subscribers);
        let servers = snapshot.services.iter().flat_map(|(_, service)| &service.servers);
        let clients = snapshot.services.iter().flat_map(|(_, service)| &service.clients);
        let version = node.version.clone().unwrap_or_else(crate::inventory_json::unknown);
        Row {
            key: node.id.clone(),
            cells: vec![
                Cell::text(&node.name),
                memory(node.memory_bytes),
                Cell::count(node.pid.into()),
                Cell::count(node.uid.into()),
                Cell::text(version),
                Cell::count(publishers.filter(|port| is_its(&port.id)).count() as u64),
                Cell::count(subscribers.filter(|port| is_its(&port.id)).count() as u64),
                Cell::count(servers.filter(|port| is_its(&port.id)).count() as u64),
                Cell::count(clients.filter(|port| is_its(&port.id)).count() as u64),
            ],
        }
    });
    Table { columns, rows: rows.collect() }
}
