//! `onecopy service info`: one service in full.

use clap::Args;

use crate::failure::Failure;
use crate::inventory_json::{Payload, unknown};
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::scope::Scope;
use crate::service_json::{Port, ServiceDetails};
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
JSON: one document
  name
  request: {kind, element: {name, size_bytes, align_bytes}, header, description}
                                       kind is \"value\" or \"slice\"; header is null; request is null if not known yet
  response                             like request
  servers: [{id, node, pid}]
  clients: [{id, node, pid}]

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
    let service = scope.visit()?.node.service_entry(&arguments.name)?;
    let service = service.ok_or_else(|| Failure::NoService { name: arguments.name.clone() })?;
    let details = ServiceDetails::from(&service);
    let mut output = Output::new();
    if arguments.json {
        output.json_document(&details)?;
    } else {
        print(&details, &mut output)?;
    }
    output.flush()
}

fn print(service: &ServiceDetails, output: &mut Output) -> Result<(), Failure> {
    let described = |payload: Option<&Payload>| {
        payload.map_or_else(unknown, |payload: &Payload| payload.description.clone())
    };
    output.line(&format!("service   {}", styled(&service.name, Style::Strong, stdout_has_colour())))?;
    output.line(&format!("request   {}", described(service.request.as_ref())))?;
    output.line(&format!("response  {}", described(service.response.as_ref())))?;
    let servers: Vec<_> = service.servers.iter().map(Port::cells).collect();
    output.section(&["SERVER", "NODE", "PROCESS"], &servers, "no servers")?;
    let clients: Vec<_> = service.clients.iter().map(Port::cells).collect();
    output.section(&["CLIENT", "NODE", "PROCESS"], &clients, "no clients")
}
