//! `onecopy topic list`: all topics, a line each.

use clap::Args;

use crate::failure::Failure;
use crate::inventory_json::TopicSummary;
use crate::output;
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
A topic is there as long as somebody has it open. MESSAGES counts those of the publishers that are there.

JSON: one array
  [{name, payload, delivery, publishers, subscribers, messages, bytes, lost, lag, full, memory_bytes}]
  payload and delivery are null until somebody says what they are. lost is the sum over the subscribers that are
  there, lag the largest of theirs, in messages; full counts messages that found no room at first.

Examples:
  onecopy topic list
  onecopy topic list --json | jq -r '.[].name'";

/// List the topics
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let inventory = scope.visit()?.node.inventory()?;
    let topics: Vec<_> = inventory.topics.iter().map(TopicSummary::from).collect();
    output::list(arguments.json, "topics", &topics, &TopicSummary::HEADINGS, TopicSummary::cells)
}
