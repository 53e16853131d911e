//! `onecopy topic info`: one topic in full.

use clap::Args;

use crate::failure::Failure;
use crate::inventory_json::{Publisher, Subscriber, TopicDetails, unknown};
use crate::output::{self, Output};
use crate::scope::Scope;
use crate::units::{bytes, count};
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
JSON: one document
  name
  payload: {kind, element: {name, size_bytes, align_bytes}, header, description}
                                       kind is \"value\" or \"slice\"; header is like element, or null
  delivery                             \"overwrite\", \"reliable\" or null
  publishers: [{id, node, history, depth, messages, bytes, full, exhausted, waits, wakes,
                memory_bytes, pool_bytes, budget_bytes, chunks_out}]
                                       full, exhausted: messages that found no room, or no memory, at first;
                                       waits, wakes: how often it slept for space, and woke subscribers;
                                       chunks_out: large messages that were not given back at its last look
  subscribers: [{id, node, publishers, received, lost, lag, lag_of_ring, sleeps, asleep, held}]
                                       lag: messages published and not received (told once in 64 messages by one
                                       that works through many); held: large messages that it has not let go

Examples:
  onecopy topic info camera/front
  onecopy topic info camera/front --json | jq '[.publishers[].messages] | add'";

/// Show one topic: what it carries, who publishes, who subscribes
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The topic, such as camera/front
    #[arg(value_parser = parse_name)]
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let topics = scope.visit()?.node.inventory()?.topics;
    let topic = topics.into_iter().find(|topic| topic.name == arguments.name);
    let topic = topic.ok_or_else(|| Failure::NoTopic { name: arguments.name.clone() })?;
    let details = TopicDetails::from(&topic);
    output::info(arguments.json, &details, print)
}

fn print(topic: &TopicDetails, output: &mut Output) -> Result<(), Failure> {
    let payload = topic.payload.as_ref().map_or_else(unknown, |payload| payload.description.clone());
    let delivery = topic.delivery.clone().unwrap_or_else(unknown);
    output.fields(&[("topic", topic.name.clone()), ("payload", payload), ("delivery", delivery)])?;
    let publishers: Vec<_> = topic.publishers.iter().map(publisher_cells).collect();
    let headings = ["PUBLISHER", "NODE", "HISTORY", "DEPTH", "MESSAGES", "BYTES", "FULL", "WAITS", "MEMORY"];
    output.section(&headings, &publishers, "no publishers")?;
    let subscribers: Vec<_> = topic.subscribers.iter().map(subscriber_cells).collect();
    let headings = ["SUBSCRIBER", "NODE", "RECEIVED", "LOST", "LAG", "HELD", "SLEEPS"];
    output.section(&headings, &subscribers, "no subscribers")
}

fn publisher_cells(publisher: &Publisher) -> Vec<String> {
    vec![
        publisher.id.clone(),
        publisher.node.clone(),
        publisher.history.to_string(),
        count(publisher.depth),
        count(publisher.messages),
        count(publisher.bytes),
        count(publisher.full),
        count(publisher.waits),
        bytes(publisher.memory_bytes),
    ]
}

fn subscriber_cells(subscriber: &Subscriber) -> Vec<String> {
    let Subscriber { received, lost, lag, held, sleeps, .. } = subscriber;
    let counters = [received, lost, lag, held, sleeps].map(u64::to_string);
    [subscriber.id.clone(), subscriber.node.clone()].into_iter().chain(counters).collect()
}
