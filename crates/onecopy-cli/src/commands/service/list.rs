//! `onecopy service list`: all services, a line each.

use clap::Args;

use crate::failure::Failure;
use crate::output;
use crate::scope::Scope;
use crate::service_json::ServiceSummary;

const AFTER_LONG_HELP: &str = "\
A service is there as long as somebody has it open, be it only a client that waits for a server.

JSON: one array
  [{name, servers, clients, request, response, calls, errors, latency: {p50_ns, p90_ns, p99_ns, p999_ns}}]
  request and response are null until somebody says what they are.

Examples:
  onecopy service list
  onecopy service list --json | jq -r '.[] | select(.servers == 0).name'    # asked for, and not served";

/// List the services
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let inventory = scope.visit()?.node.inventory()?;
    let services: Vec<_> = inventory.services.iter().map(ServiceSummary::from).collect();
    output::list(arguments.json, "services", &services, &ServiceSummary::HEADINGS, ServiceSummary::cells)
}
