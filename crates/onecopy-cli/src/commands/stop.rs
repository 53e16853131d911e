//! `onecopy stop`: ends the broker that runs on its own.

use clap::Args;
use onecopy::instance::{Stopped, Survivor};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
Programs that use the instance go on: one of them becomes the broker. Regions that only the broker kept are gone.

Examples:
  onecopy stop
  onecopy stop --json | jq '.nodes[].pid'";

/// End `onecopy serve`, and tell who still uses the instance
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print who still uses it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    broker_pid: u32,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    name: String,
    pid: u32,
    uid: u32,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let instance = scope.instance()?;
    let Some(Stopped { broker_pid, nodes }) = instance.stop()? else {
        let socket = instance.socket_path().display().to_string();
        return Err(Failure::NoBroker { instance: instance.name().to_owned(), socket });
    };
    let mut output = Output::new();
    if arguments.json {
        let nodes = nodes.into_iter().map(|Survivor { name, pid, uid }| Node { name, pid, uid }).collect();
        output.json_document(&Report { broker_pid, nodes })?;
        return output.flush();
    }
    eprintln!("onecopy: broker of instance {:?} (process {broker_pid}) has ended", instance.name());
    if !nodes.is_empty() {
        eprintln!("onecopy: these go on without it:");
    }
    for Survivor { name, pid, .. } in nodes {
        output.line(&format!("{name} (process {pid})"))?;
    }
    output.flush()
}
