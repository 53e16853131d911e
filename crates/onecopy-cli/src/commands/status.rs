//! `onecopy status`: the instance, its broker, its nodes, and what they share.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::dataset_json::{self, DatasetSummary};
use crate::failure::Failure;
use crate::inventory_json::{Node, Publisher, Subscriber, TopicDetails, TopicSummary, others};
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::region_json::{self, RegionSummary};
use crate::scope::Scope;
use crate::service_json::{Client, Server, ServiceDetails, ServiceSummary};
use crate::stuck_json::{self, Stuck};
use crate::units::bytes;
use crate::values::parse_seconds;

const AFTER_LONG_HELP: &str = "\
Looking does not start anything: where no broker runs, this says so and ends with exit code 3. The node by which this
command looks is not listed.

JSON: one document
  instance, running, directory, socket
  broker_pid                           null if not running
  nodes: [{id, name, pid, uid, version, memory_bytes}]
  topics: [{name, payload, delivery, publishers, subscribers, messages, bytes, lost, lag, full, memory_bytes}]
  publishers: [{topic, id, node, ...}], subscribers: [{topic, id, node, ...}]
                                       each with its counters, as `onecopy topic info --json`
  services: [{name, servers, clients, request, response, calls, errors, latency}]
  servers: [{service, id, node, ...}], clients: [{service, id, node, ...}]
                                       each with its counters, as `onecopy service info --json`
  regions: [{name, mode, payload, writer_pid, readers, version, capacity_bytes, kept, memory_bytes, lock_waits}]
  datasets: [{name, version, backing, content_bytes, sections, publisher_pid, viewers, kept}]
  stuck: [{id, name, pid, stopped, seen_for_s, blocks, description}]
                                       nodes that do not go on; what they block is
                                       {kind: \"publisher\", topic, publisher, node} or {kind: \"lock\", region}

STUCK is who is stopped (SIGSTOP, a debugger), and who has not moved while a publisher waits for it or others wait for
a lock that it has. To be sure, this looks again after --stuck-after seconds, if there is somebody to look at again.

Examples:
  onecopy status
  onecopy --instance lab status --json | jq .broker_pid
  onecopy status --json | jq '.subscribers[] | select(.lag_of_ring > 0.5)'     # who is slow?";

/// Show the instance: its broker, nodes, topics, services, regions and datasets
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Report nodes as stuck that have not gone on for so long
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    stuck_after: Duration,
}

#[derive(Debug, Default, Serialize)]
struct Status {
    instance: String,
    running: bool,
    directory: String,
    socket: String,
    broker_pid: Option<u32>,
    nodes: Vec<Node>,
    topics: Vec<TopicSummary>,
    publishers: Vec<OfTopic<Publisher>>,
    subscribers: Vec<OfTopic<Subscriber>>,
    services: Vec<ServiceSummary>,
    servers: Vec<OfService<Server>>,
    clients: Vec<OfService<Client>>,
    regions: Vec<RegionSummary>,
    datasets: Vec<DatasetSummary>,
    stuck: Vec<Stuck>,
}

/// Something of a topic's.
#[derive(Debug, Serialize)]
struct OfTopic<T> {
    topic: String,
    #[serde(flatten)]
    port: T,
}

/// Something of a service's.
#[derive(Debug, Serialize)]
struct OfService<T> {
    service: String,
    #[serde(flatten)]
    port: T,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let instance = scope.instance()?;
    let mut status = Status {
        instance: instance.name().to_owned(),
        directory: instance.directory().display().to_string(),
        socket: instance.socket_path().display().to_string(),
        ..Status::default()
    };
    let looked = look(&mut status, arguments.stuck_after, scope);
    let mut output = Output::new();
    match (&looked, arguments.json) {
        (Ok(()) | Err(Failure::NoBroker { .. }), true) => output.json_document(&status)?,
        (Ok(()), false) => print(&status, &mut output)?,
        (Err(_), _) => {}
    }
    output.flush()?;
    looked
}

fn look(status: &mut Status, stuck_after: Duration, scope: &Scope) -> Result<(), Failure> {
    let visit = scope.visit()?;
    let (inventory, stuck) = stuck_json::look(&visit.node, stuck_after)?;
    status.stuck = stuck;
    status.running = true;
    status.broker_pid = Some(visit.broker_pid);
    status.nodes = others(&inventory.nodes);
    for entry in &inventory.topics {
        let TopicDetails { name, publishers, subscribers, .. } = TopicDetails::from(entry);
        let topic = || name.clone();
        status.publishers.extend(publishers.into_iter().map(|port| OfTopic { topic: topic(), port }));
        status.subscribers.extend(subscribers.into_iter().map(|port| OfTopic { topic: topic(), port }));
    }
    for entry in &inventory.services {
        let ServiceDetails { name, servers, clients, .. } = ServiceDetails::from(entry);
        let service = || name.clone();
        status.servers.extend(servers.into_iter().map(|port| OfService { service: service(), port }));
        status.clients.extend(clients.into_iter().map(|port| OfService { service: service(), port }));
    }
    status.topics = inventory.topics.iter().map(TopicSummary::from).collect();
    status.services = inventory.services.iter().map(ServiceSummary::from).collect();
    status.regions = region_json::summaries(&inventory.regions);
    status.datasets = dataset_json::summaries(&inventory.datasets);
    Ok(())
}

fn print(status: &Status, output: &mut Output) -> Result<(), Failure> {
    let colour = stdout_has_colour();
    let pid = status.broker_pid.map_or_else(String::new, |pid| pid.to_string());
    output.line(&format!("instance  {}", styled(&status.instance, Style::Strong, colour)))?;
    output.line(&format!("socket    {}", status.socket))?;
    output.line(&format!("broker    process {pid}{}", broker_kind(status)))?;
    for stuck in &status.stuck {
        output.line(&format!("{}     {}", styled("stuck", Style::Bad, colour), stuck.description))?;
    }
    let cells = |node: &Node| {
        vec![
            node.name.clone(),
            node.pid.to_string(),
            node.uid.to_string(),
            bytes(node.memory_bytes),
            node.id.clone(),
        ]
    };
    let nodes: Vec<_> = status.nodes.iter().map(cells).collect();
    output.section(&["NODE", "PROCESS", "USER", "MEMORY", "ID"], &nodes, "no nodes")?;
    let topics: Vec<_> = status.topics.iter().map(TopicSummary::cells).collect();
    output.section(&TopicSummary::HEADINGS, &topics, "no topics")?;
    let services: Vec<_> = status.services.iter().map(ServiceSummary::cells).collect();
    output.section(&ServiceSummary::HEADINGS, &services, "no services")?;
    let regions: Vec<_> = status.regions.iter().map(RegionSummary::cells).collect();
    output.section(&RegionSummary::HEADINGS, &regions, "no regions")?;
    let datasets: Vec<_> = status.datasets.iter().map(DatasetSummary::cells).collect();
    output.section(&DatasetSummary::HEADINGS, &datasets, "no datasets")
}

/// Whether the broker will end with a program that has something else to do.
fn broker_kind(status: &Status) -> String {
    match status.nodes.iter().find(|node| Some(node.pid) == status.broker_pid) {
        Some(node) => format!(" (inside node {:?}, ends with it)", node.name),
        None => " (onecopy serve)".to_owned(),
    }
}
