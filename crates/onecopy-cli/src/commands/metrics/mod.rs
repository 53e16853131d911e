//! `onecopy metrics`: everything that is counted, in the text format of Prometheus; once on standard output,
//! or over HTTP to whoever asks.

mod exposition;
mod http;
mod request;

use std::net::SocketAddr;

use clap::Args;

use crate::failure::Failure;
use crate::output::Output;
use crate::scope::Scope;
use crate::signals::Signals;

const AFTER_LONG_HELP: &str = "\
Without --listen, prints the counters as they are now and ends; exit code 3 if no broker runs the instance. With it, serves
GET /metrics over HTTP until SIGINT or SIGTERM, one request at a time; an instance that does not run then shows as
onecopy_up 0. Whoever can reach the address can read the names of nodes, topics, services and regions, and their
counters, but no message: keep it on the machine, or on a network that may know them.

Being observed costs the observed nothing: their counters lie in shared memory. Counters belong to who counts, so they end
with their process; Prometheus takes a count that went down as one that began again.

Metrics (each with label instance):
  onecopy_up                                               1 if a broker runs the instance
  onecopy_node_memory_bytes                                node, pid
  onecopy_publisher_{messages,bytes,full,exhausted,waits}_total, onecopy_publisher_{memory,pool,budget}_bytes
                                                           topic, node, id
  onecopy_subscriber_{received,lost,sleeps}_total, onecopy_subscriber_{lag_messages,lag_ratio,held_messages}
                                                           topic, node, id
  onecopy_client_calls_total, onecopy_client_notifications_total, onecopy_client_ended_calls_total (label result)
                                                           service, node, pid, id
  onecopy_client_latency_seconds                           a histogram; service, node, pid, id
  onecopy_server_requests_total                            service, node, pid, id
  onecopy_region_version, onecopy_region_memory_bytes, onecopy_region_readers, onecopy_region_lock_waits_total
                                                           region

Examples:
  onecopy metrics | grep lost
  onecopy metrics --listen 127.0.0.1:9464";

/// Print or serve all counters for Prometheus
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Serve them at this address, such as 127.0.0.1:9464, instead of printing them
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let Some(address) = arguments.listen else {
        let mut output = Output::new();
        output.write(look(scope)?.as_bytes())?;
        return output.flush();
    };
    let signals = Signals::install()?;
    http::serve(address, &signals, || match look(scope) {
        Err(Failure::NoBroker { .. }) => Ok(exposition::not_running(scope.instance_name())),
        looked => looked,
    })
}

/// Looks anew each time: so the command keeps no broker alive, and finds one that comes later.
fn look(scope: &Scope) -> Result<String, Failure> {
    let inventory = scope.visit()?.node.inventory()?;
    Ok(exposition::write(scope.instance_name(), &inventory))
}
