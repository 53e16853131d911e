//! `onecopy topic hz`: how often a topic publishes, from the counters that publishers keep in their own memory. Nobody
//! is slowed down by being counted.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use onecopy::{Node, PublisherEntry};
use rustix::event::PollFlags;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::values::parse_name;
use onecopy::counted;

/// Time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

const AFTER_LONG_HELP: &str = "\
Counts what is published, whether or not anybody reads it, and prints a line a second. The topic must be there when
the command starts; if its publishers end, the rate is 0 until others come. Ends on SIGINT or SIGTERM.

JSON: one object a second and a line
  {topic, seconds, publishers, messages, messages_per_second, bytes_per_second}
  seconds is the time since the line before, messages the number published in it.

Examples:
  onecopy topic hz camera/front
  onecopy topic hz camera/front --count 1 --json | jq .messages_per_second";

/// Print how often a topic publishes, each second
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The topic, such as camera/front
    #[arg(value_parser = parse_name)]
    name: String,
    /// End after so many lines
    #[arg(long, value_name = "LINES")]
    count: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Rate {
    topic: String,
    seconds: f64,
    publishers: usize,
    messages: u64,
    messages_per_second: f64,
    bytes_per_second: f64,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.visit()?.node;
    let first = node.topic_entry(&arguments.name)?;
    let first = first.ok_or_else(|| Failure::NoTopic { name: arguments.name.clone() })?;
    let mut watched: Vec<_> = first.publishers.into_iter().map(Watched::from_now).collect();
    let mut output = Output::new();
    let mut before = Instant::now();
    for _ in 0..arguments.count.unwrap_or(u64::MAX) {
        if !pause(&signals, before + INTERVAL)? {
            return Ok(());
        }
        let there = publishers(&node, &arguments.name)?;
        let ids: Vec<String> = there.iter().map(|publisher| publisher.id.clone()).collect();
        let is_new =
            |publisher: &PublisherEntry| watched.iter().all(|known| known.publisher.id != publisher.id);
        let newcomers: Vec<_> = there.into_iter().filter(is_new).map(Watched::from_start).collect();
        watched.extend(newcomers);
        let now = Instant::now();
        let rate = measure(arguments, &mut watched, now - before);
        // Those that had ended at this look have been counted to their end.
        watched.retain(|watched| ids.contains(&watched.publisher.id));
        before = now;
        if arguments.json {
            output.json_line(&rate)?
        } else {
            output.line(&in_words(&rate))?
        }
        output.flush()?;
    }
    Ok(())
}

/// A publisher and what it had published at the last look. Its counters can be read even after it has ended.
struct Watched {
    publisher: PublisherEntry,
    messages: u64,
    bytes: u64,
}

impl Watched {
    fn from_now(publisher: PublisherEntry) -> Self {
        let messages = publisher.messages().unwrap_or(0);
        let bytes = publisher.bytes().unwrap_or(0);
        Self { publisher, messages, bytes }
    }

    /// One that was not there at the last look: all that it published is new.
    fn from_start(publisher: PublisherEntry) -> Self {
        Self { publisher, messages: 0, bytes: 0 }
    }
}

/// Waits; `false` if the command is to end.
fn pause(signals: &Signals, until: Instant) -> Result<bool, Failure> {
    let stdout = io::stdout();
    match signals.wait(&[(stdout.as_fd(), PollFlags::empty())], Some(until))? {
        Woken::Deadline => Ok(true),
        Woken::Signal => Ok(false),
        Woken::Ready(_) => Err(Failure::BrokenPipe),
    }
}

fn publishers(node: &Node, name: &str) -> Result<Vec<PublisherEntry>, Failure> {
    Ok(node.topic_entry(name)?.map(|topic| topic.publishers).unwrap_or_default())
}

fn measure(arguments: &Arguments, watched: &mut [Watched], passed: Duration) -> Rate {
    let (mut messages, mut bytes) = (0, 0);
    for watched in watched.iter_mut() {
        let messages_now = watched.publisher.messages().unwrap_or(0);
        let bytes_now = watched.publisher.bytes().unwrap_or(0);
        messages += messages_now.saturating_sub(watched.messages);
        bytes += bytes_now.saturating_sub(watched.bytes);
        (watched.messages, watched.bytes) = (messages_now, bytes_now);
    }
    let seconds = passed.as_secs_f64();
    Rate {
        topic: arguments.name.clone(),
        seconds,
        publishers: watched.len(),
        messages,
        messages_per_second: messages as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
    }
}

fn in_words(rate: &Rate) -> String {
    let Rate { publishers, messages_per_second, bytes_per_second, .. } = rate;
    let (megabytes_per_second, publishers) = (bytes_per_second / 1e6, counted(*publishers, "publisher"));
    format!("{messages_per_second:.1} messages/s, {megabytes_per_second:.3} MB/s, {publishers}")
}
