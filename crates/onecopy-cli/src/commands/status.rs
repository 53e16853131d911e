//! `onecopy status`: the instance, its broker, its nodes, and what they share.

use clap::Args;
use serde::Serialize;

use crate::dataset_json::{self, DatasetSummary};
use crate::failure::Failure;
use crate::inventory_json::TopicSummary;
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::region_json::{self, RegionSummary};
use crate::scope::Scope;
use crate::service_json::ServiceSummary;

const AFTER_LONG_HELP: &str = "\
Looking does not start anything: where no broker runs, this says so and ends with exit code 3. The node by which this
command looks is not listed.

JSON: one document
  instance, running, directory, socket
  broker_pid                           null if not running
  nodes: [{id, name, pid, uid}]
  topics: [{name, payload, delivery, publishers, subscribers, messages, bytes}]
  services: [{name, servers, clients, request, response}]
  regions: [{name, mode, payload, writer_pid, readers, version, capacity_bytes, kept}]
  datasets: [{name, version, backing, content_bytes, sections, publisher_pid, viewers, kept}]

Examples:
  onecopy status
  onecopy --instance lab status --json | jq .broker_pid";

/// Show the instance: its broker, nodes, topics, services, regions and datasets
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    instance: String,
    running: bool,
    directory: String,
    socket: String,
    broker_pid: Option<u32>,
    nodes: Vec<Node>,
    topics: Vec<TopicSummary>,
    services: Vec<ServiceSummary>,
    regions: Vec<RegionSummary>,
    datasets: Vec<DatasetSummary>,
}

#[derive(Debug, Serialize)]
struct Node {
    id: String,
    name: String,
    pid: u32,
    uid: u32,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let instance = scope.instance()?;
    let mut status = Status {
        instance: instance.name().to_owned(),
        running: false,
        directory: instance.directory().display().to_string(),
        socket: instance.socket_path().display().to_string(),
        broker_pid: None,
        nodes: Vec::new(),
        topics: Vec::new(),
        services: Vec::new(),
        regions: Vec::new(),
        datasets: Vec::new(),
    };
    let looked = look(&mut status, scope);
    let mut output = Output::new();
    match (&looked, arguments.json) {
        (Ok(()) | Err(Failure::NoBroker { .. }), true) => output.json_document(&status)?,
        (Ok(()), false) => print(&status, &mut output)?,
        (Err(_), _) => {}
    }
    output.flush()?;
    looked
}

fn look(status: &mut Status, scope: &Scope) -> Result<(), Failure> {
    let visit = scope.visit()?;
    let inventory = visit.node.inventory()?;
    status.running = true;
    status.broker_pid = Some(visit.broker_pid);
    let others = inventory.nodes.into_iter().filter(|node| node.pid != std::process::id());
    status.nodes =
        others.map(|node| Node { id: node.id, name: node.name, pid: node.pid, uid: node.uid }).collect();
    status
        .nodes
        .sort_by(|one, other| (&one.name, one.pid, &one.id).cmp(&(&other.name, other.pid, &other.id)));
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
    let cells =
        |node: &Node| vec![node.name.clone(), node.pid.to_string(), node.uid.to_string(), node.id.clone()];
    let nodes: Vec<_> = status.nodes.iter().map(cells).collect();
    output.section(&["NODE", "PROCESS", "USER", "ID"], &nodes, "no nodes")?;
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
