//! `onecopy topic record`: messages of topics to a file.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;
use onecopy::{Node, Readiness, ReceiveError, Subscriber};
use rustix::event::PollFlags;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Output;
use crate::recording::{RecordedTopic, RecordingWriter};
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::units::bytes;
use crate::values::{parse_name, parse_seconds};
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
Records until SIGINT or SIGTERM, --count or --duration, whatever types the topics carry, with their types. A topic need not
be there yet. What is published while the disk is slower than the publishers is lost as for any slow subscriber (it is
counted), unless the topic is reliable: then its publishers wait for this command.

The file is MCAP (https://mcap.dev): tools that know it show times, topics and sizes. It is written in checksummed chunks
of a mebibyte, and at least one a second, so if this command or the machine dies, what is in the file is whole, and
misses the last second at most. `onecopy topic replay` reads it.

JSON: one document, at the end
  file, file_bytes, seconds, messages, bytes, lost
  topics: [{name, messages, bytes, lost}]

Examples:
  onecopy topic record drive.mcap camera/front lidar
  onecopy topic record minute.mcap lidar --duration 60 --json | jq .lost";

/// How long messages may be in memory before they are in the file.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// How often people are told how far it is.
const TELL_INTERVAL: Duration = Duration::from_millis(200);
/// Messages of one topic before it is the next one's turn.
const MESSAGES_PER_TURN: usize = 256;

/// Record topics to a file
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The file to make, such as drive.mcap
    file: PathBuf,
    /// The topics
    #[arg(required = true, value_parser = parse_name, value_name = "NAME")]
    names: Vec<String>,
    /// End after so many messages
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    duration: Option<Duration>,
    /// Begin with the messages that publishers keep for those who come later
    #[arg(long)]
    from_history: bool,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Print a summary as JSON at the end
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Summary {
    file: String,
    file_bytes: u64,
    seconds: f64,
    messages: u64,
    bytes: u64,
    lost: u64,
    topics: Vec<TopicSummary>,
}

#[derive(Debug, Serialize)]
struct TopicSummary {
    name: String,
    messages: u64,
    bytes: u64,
    lost: u64,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.join("onecopy topic record")?;
    let mut names = arguments.names.clone();
    names.sort();
    names.dedup();
    let mut sources = Vec::new();
    for name in names {
        sources.push(Source::open(&node, name, arguments.from_history)?);
    }
    let mut recorder = Recorder {
        node: &node,
        writer: RecordingWriter::create(&arguments.file, arguments.force)?,
        left: arguments.count.unwrap_or(u64::MAX),
        payload: Vec::new(),
    };
    tracing::info!(file = %arguments.file.display(), topics = sources.len(), "recording");
    let began = Instant::now();
    let end = arguments.duration.and_then(|duration| began.checked_add(duration));
    let recorded = record(&mut recorder, &mut sources, &signals, end);
    // Whatever ended it: what was received is kept.
    let file_bytes = recorder.writer.finish()?;
    recorded?;
    let topics: Vec<_> = sources.iter().map(Source::summary).collect();
    let summary = Summary {
        file: arguments.file.display().to_string(),
        file_bytes,
        seconds: began.elapsed().as_secs_f64(),
        messages: topics.iter().map(|topic| topic.messages).sum(),
        bytes: topics.iter().map(|topic| topic.bytes).sum(),
        lost: topics.iter().map(|topic| topic.lost).sum(),
        topics,
    };
    tell(&summary, arguments.json)
}

/// Until a signal, the last message, or `end`.
fn record(
    recorder: &mut Recorder<'_>,
    sources: &mut [Source],
    signals: &Signals,
    end: Option<Instant>,
) -> Result<(), Failure> {
    let progress =
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let mut next_flush = Instant::now() + FLUSH_INTERVAL;
    let mut next_tell = Instant::now();
    while !signals.received() && recorder.left > 0 && end.is_none_or(|end| Instant::now() < end) {
        let mut is_idle = true;
        for source in &mut *sources {
            is_idle &= recorder.take_turn(source)?;
        }
        let now = Instant::now();
        if now >= next_flush {
            recorder.writer.flush()?;
            next_flush = now + FLUSH_INTERVAL;
        }
        if now >= next_tell {
            let messages: u64 = sources.iter().map(|source| source.messages).sum();
            let size = bytes(sources.iter().map(|source| source.bytes).sum());
            progress.set_message(format!("{}, {size}", counted(messages, "message")));
            progress.tick();
            next_tell = now + TELL_INTERVAL;
        }
        if is_idle && recorder.left > 0 {
            let watched: Vec<_> =
                sources.iter().map(|source| (source.readiness.as_fd(), PollFlags::IN)).collect();
            let deadline = end.map_or(next_flush, |end| end.min(next_flush));
            if signals.wait(&watched, Some(deadline))? == Woken::Signal {
                break;
            }
        }
    }
    progress.finish_and_clear();
    Ok(())
}

/// A topic that is recorded.
struct Source {
    name: String,
    subscriber: Subscriber<[u8]>,
    readiness: Readiness,
    messages: u64,
    bytes: u64,
}

impl Source {
    fn open(node: &Node, name: String, from_history: bool) -> Result<Self, Failure> {
        let subscriber = node.any_topic(&name)?.subscriber();
        let subscriber = if from_history { subscriber } else { subscriber.skip_history() };
        let mut subscriber = subscriber.open()?;
        let readiness = subscriber.readiness()?;
        Ok(Self { name, subscriber, readiness, messages: 0, bytes: 0 })
    }

    fn summary(&self) -> TopicSummary {
        let lost = self.subscriber.lost();
        TopicSummary { name: self.name.clone(), messages: self.messages, bytes: self.bytes, lost }
    }
}

struct Recorder<'n> {
    node: &'n Node,
    writer: RecordingWriter,
    /// Messages that are still to be recorded.
    left: u64,
    payload: Vec<u8>,
}

impl Recorder<'_> {
    /// Records what a topic has, up to a turn's messages; `true` if there is nothing more.
    fn take_turn(&mut self, source: &mut Source) -> Result<bool, Failure> {
        for _ in 0..MESSAGES_PER_TURN {
            if self.left == 0 {
                return Ok(true);
            }
            self.payload.clear();
            match source.subscriber.receive() {
                Ok(Some(message)) => self.payload.extend_from_slice(&message),
                Ok(None) => return Ok(true),
                Err(error @ ReceiveError::Publisher { .. }) => {
                    eprintln!("onecopy: {error}");
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if !self.writer.knows(&source.name) {
                self.writer.add_topic(&self.describe(&source.name)?)?;
            }
            let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let time_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
            self.writer.write(&source.name, time_ns, &self.payload, source.subscriber.header_bytes())?;
            source.messages += 1;
            source.bytes += self.payload.len() as u64;
            self.left -= 1;
        }
        Ok(false)
    }

    /// What the topic carries. It is known, since a message came, and stays, since this command has it open.
    fn describe(&self, name: &str) -> Result<RecordedTopic, Failure> {
        let entry = self.node.topic_entry(name)?.ok_or_else(|| Failure::NoTopic { name: name.to_owned() })?;
        match (entry.payload, entry.delivery) {
            (Some(payload), Some(delivery)) => Ok(RecordedTopic { name: name.to_owned(), payload, delivery }),
            _ => Err(Failure::NoTopic { name: name.to_owned() }),
        }
    }
}

fn tell(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        let mut output = Output::new();
        output.json_document(summary)?;
        return output.flush();
    }
    let Summary { file, messages, seconds, lost, .. } = summary;
    let size = bytes(summary.file_bytes);
    let messages = counted(*messages, "message");
    eprintln!("onecopy: {messages} in {seconds:.1} s to {file} ({size}), {lost} lost");
    Ok(())
}
