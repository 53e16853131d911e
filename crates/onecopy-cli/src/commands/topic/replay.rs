//! `onecopy topic replay`: a recording to messages, with the types and the times that they had.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use onecopy::{AnyPublisher, Error, LoanError, Node};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::recording::{Recorded, RecordingReader};
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::values::parse_name;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
Publishes what `onecopy topic record` recorded: on the same topics, with the same types and delivery, at the same pace. A
topic is opened at its first message. Subscribers that are there hear everything; nobody is waited for, unless a topic is
reliable and a subscriber lags by the whole ring.

A recording whose end is missing, because what recorded it died, is replayed as far as it is whole; that is told. One
that is damaged is replayed up to there, and then this command fails.

JSON: one document, at the end
  file, rounds, messages, seconds
  complete                             false if the recording's end is missing
  topics: [{name, messages}]

Examples:
  onecopy topic replay drive.mcap
  onecopy topic replay drive.mcap --rate 10 --only lidar
  onecopy topic replay drive.mcap --rate inf --json
  onecopy topic replay drive.mcap --loop";

/// Replay a recording
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The recording, such as drive.mcap
    file: PathBuf,
    /// So many times as fast; `inf` for as fast as it goes
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_rate)]
    rate: f64,
    /// Begin again at the end, until SIGINT or SIGTERM
    #[arg(long = "loop")]
    again: bool,
    /// Only this topic; may be given several times
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    only: Vec<String>,
    /// Subscribers that come later start up to so many messages back, while this command runs
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    history: u64,
    /// Print a summary as JSON at the end
    #[arg(long)]
    json: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 => Ok(rate),
        _ => Err("a number above 0, such as 0.5 or 10, or inf".to_owned()),
    }
}

#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    complete: bool,
    rounds: u64,
    messages: u64,
    seconds: f64,
    topics: Vec<TopicSummary>,
}

#[derive(Debug, Serialize)]
struct TopicSummary {
    name: String,
    messages: u64,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    // A file that is none is told before anything is opened.
    RecordingReader::open(&arguments.file)?;
    let node = scope.join("onecopy topic replay")?;
    let mut player = Player { arguments, node: &node, signals: &signals, outlets: HashMap::new() };
    let began = Instant::now();
    let (mut rounds, mut complete) = (0, true);
    loop {
        let Some(to_its_end) = player.play(&arguments.file)? else { break };
        (rounds, complete) = (rounds + 1, to_its_end);
        if !arguments.again || player.outlets.is_empty() {
            break;
        }
    }
    settle(&node);
    if !complete {
        eprintln!("onecopy: the end of {} is missing; what is there was replayed", arguments.file.display());
    }
    let mut topics: Vec<_> =
        player.outlets.into_iter().map(|(name, outlet)| (name, outlet.messages)).collect();
    topics.sort();
    let summary = Summary {
        file: arguments.file.display().to_string(),
        complete,
        rounds,
        messages: topics.iter().map(|(_, messages)| messages).sum(),
        seconds: began.elapsed().as_secs_f64(),
        topics: topics.into_iter().map(|(name, messages)| TopicSummary { name, messages }).collect(),
    };
    tell(&summary, arguments.json)
}

/// Subscribers that have not read the last messages need the memory that those lie in. The broker, which may be this
/// very process, passes it on in order; once it has answered a question, it has passed on what came before.
fn settle(node: &Node) {
    if let Err(error) = node.topic_entry("-") {
        tracing::debug!(%error, "the broker ended before this publisher");
    }
}

struct Player<'a> {
    arguments: &'a Arguments,
    node: &'a Node,
    signals: &'a Signals,
    outlets: HashMap<String, Outlet>,
}

struct Outlet {
    publisher: AnyPublisher,
    messages: u64,
}

impl Player<'_> {
    /// Plays the file once, and gives whether it was complete; `None` if a signal came.
    fn play(&mut self, file: &Path) -> Result<Option<bool>, Failure> {
        let mut reader = RecordingReader::open(file)?;
        let progress = progress(reader.progress().1);
        let mut pace = None;
        while let Some(message) = reader.next()? {
            let is_meant =
                self.arguments.only.is_empty() || self.arguments.only.contains(&message.topic.name);
            if !is_meant {
                continue;
            }
            let (first_ns, began) = *pace.get_or_insert((message.time_ns, Instant::now()));
            let later = Duration::from_nanos(message.time_ns.saturating_sub(first_ns)).as_secs_f64();
            let later = Duration::try_from_secs_f64(later / self.arguments.rate).unwrap_or(Duration::MAX);
            let due = began.checked_add(later);
            if self.signals.received()
                || (due.is_none_or(|due| due > Instant::now())
                    && self.signals.wait(&[], due)? == Woken::Signal)
                || !self.publish(&message)?
            {
                progress.finish_and_clear();
                return Ok(None);
            }
            progress.set_position(reader.progress().0);
        }
        progress.finish_and_clear();
        Ok(Some(reader.is_complete()))
    }

    /// Publishes a message, once there is room for it; `false` if a signal came first.
    fn publish(&mut self, message: &Recorded) -> Result<bool, Failure> {
        let name = &message.topic.name;
        if !self.outlets.contains_key(name) {
            let builder = self.node.any_topic(name)?.publisher(message.topic.payload.clone());
            let builder = builder.delivery(message.topic.delivery).history(self.arguments.history);
            self.outlets.insert(name.clone(), Outlet { publisher: builder.open()?, messages: 0 });
        }
        let Some(outlet) = self.outlets.get_mut(name) else { return Ok(false) };
        let (payload, header) = message.parts();
        match outlet.publisher.publish(payload, header) {
            Err(Error::Loan(LoanError::Full | LoanError::Budget(_))) => {
                let publisher = &mut outlet.publisher;
                let later = || publisher.publish_within(payload, header, Duration::MAX);
                match self.signals.unless_signalled(later) {
                    Some(published) => published?,
                    None => return Ok(false),
                }
            }
            published => published?,
        }
        outlet.messages += 1;
        Ok(true)
    }
}

fn progress(file_bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}");
    ProgressBar::new(file_bytes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn tell(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        let mut output = Output::new();
        output.json_document(summary)?;
        return output.flush();
    }
    let Summary { file, messages, seconds, topics, .. } = summary;
    let (messages, topics) = (counted(*messages, "message"), counted(topics.len(), "topic"));
    eprintln!("onecopy: {messages} on {topics} in {seconds:.1} s from {file}");
    Ok(())
}
