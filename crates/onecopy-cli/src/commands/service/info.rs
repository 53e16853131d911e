//! `onecopy service info`: one service in full.

use clap::Args;

use crate::failure::Failure;
use crate::inventory_json::{Payload, unknown};
use crate::output::{self, Output};
use crate::scope::Scope;
use crate::service_json::{Client, Server, ServiceDetails};
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
JSON: one document
  name
  request: {kind, element: {name, size_bytes, align_bytes}, header, description}
                                       kind is \"value\" or \"slice\"; header is null; request is null if not known yet
  response                             like request
  servers: [{id, node, pid, requests}]
  clients: [{id, node, pid, calls, notifications, answered, failed, server_lost, late, cancelled,
             latency: {p50_ns, p90_ns, p99_ns, p999_ns}}]
                                       latency is from sending to the first answer, as the client saw it

Examples:
  onecopy service info planner
  onecopy service info planner --json | jq '.servers[].pid'";

/// Show one service: what it takes and answers, who serves, who asks
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The service, such as robot/planner
    #[arg(value_parser = parse_name)]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let services = scope.visit()?.node.inventory()?.services;
    let service = services.into_iter().find(|service| service.name == arguments.name);
    let service = service.ok_or_else(|| Failure::NoService { name: arguments.name.clone() })?;
    let details = ServiceDetails::from(&service);
    output::info(arguments.json, &details, print)
}

fn print(service: &ServiceDetails, output: &mut Output) -> Result<(), Failure> {
    let described = |payload: Option<&Payload>| {
        payload.map_or_else(unknown, |payload: &Payload| payload.description.clone())
    };
    output.fields(&[
        ("service", service.name.clone()),
        ("request", described(service.request.as_ref())),
        ("response", described(service.response.as_ref())),
    ])?;
    let servers: Vec<_> = service.servers.iter().map(Server::cells).collect();
    output.section(&Server::HEADINGS, &servers, "no servers")?;
    let clients: Vec<_> = service.clients.iter().map(Client::cells).collect();
    output.section(&Client::HEADINGS, &clients, "no clients")
}
