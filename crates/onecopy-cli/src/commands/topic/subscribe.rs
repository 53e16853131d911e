//! `onecopy topic sub`: messages to standard output.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use onecopy::{Node, ReceiveError, Subscriber};
use rustix::event::PollFlags;

use crate::failure::Failure;
use crate::output::Output;
use crate::payload_output::Format;
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::values::{parse_name, parse_seconds};
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
Topics of any type can be read, as the bytes of their payloads. Without --from-history the output begins with what is
published after this command started. Messages that were overwritten before they could be read are counted on
standard error.

JSON: one object a message and a line
  {\"payload\": \"text\"}                 if the payload is UTF-8
  {\"payload_hex\": \"00ff\"}             otherwise

Ends after --count messages, on SIGINT or SIGTERM, or when the reader of its output ends: exit code 0 each time.

Examples:
  onecopy topic sub logs
  onecopy topic sub logs | grep --line-buffered ERROR
  onecopy topic sub load --from-history --count 60
  onecopy topic sub robot/map --count 1 --raw > map.png
  onecopy topic sub robot/pose --hex
  onecopy topic sub heartbeat --count 1 --timeout 5 || echo 'no heartbeat'";

/// Print the messages of a topic, a line each
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The topic, such as app/logs
    #[arg(value_parser = parse_name)]
    name: String,

    /// End after so many messages
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,

    /// Begin with the messages that publishers keep for late joiners
    #[arg(long)]
    from_history: bool,

    /// End with exit code 4 if no message comes for so long
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,

    #[command(flatten)]
    format: FormatArguments,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct FormatArguments {
    /// Payloads as they are, with nothing between them
    #[arg(long)]
    raw: bool,
    /// Payloads in hexadecimal
    #[arg(long)]
    hex: bool,
    /// A JSON object a message
    #[arg(long)]
    json: bool,
}

impl FormatArguments {
    fn format(&self) -> Format {
        match self {
            Self { raw: true, .. } => Format::Raw,
            Self { hex: true, .. } => Format::Hex,
            Self { json: true, .. } => Format::Json,
            _ => Format::Lines,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.join("onecopy topic sub")?;
    let printer = Printer { format: arguments.format.format(), output: Output::new() };
    let mut inlet = Inlet::open(arguments, &node, &signals)?;
    let result = print_all(arguments, &mut inlet, printer);
    inlet.tell_lost();
    result
}

fn print_all(arguments: &Arguments, inlet: &mut Inlet<'_>, mut printer: Printer) -> Result<(), Failure> {
    let mut left = arguments.count.unwrap_or(u64::MAX);
    let signals = inlet.signals;
    while left > 0 {
        // Whoever reads our output may be slow: a signal must end us then, too.
        let print = |payload: &[u8]| {
            signals.unless_signalled(|| printer.format.write(payload, &mut printer.output)).transpose()
        };
        match inlet.receive(print)? {
            Next::Taken(Some(())) => left -= 1,
            Next::Taken(None) => break,
            Next::Nothing => {
                inlet.tell_lost();
                match signals.unless_signalled(|| printer.output.flush()) {
                    Some(flushed) => flushed?,
                    None => break,
                }
                if !inlet.wait(arguments.timeout)? {
                    break;
                }
            }
        }
    }
    printer.output.flush()
}

/// The subscriber, and what is to be said about it.
struct Inlet<'s> {
    subscriber: Subscriber<[u8]>,
    readiness: onecopy::Readiness,
    signals: &'s Signals,
    /// Lost messages that were told already.
    told_lost: u64,
}

enum Next<T> {
    /// There was a message, and this is what was made of it.
    Taken(T),
    Nothing,
}

impl<'s> Inlet<'s> {
    fn open(arguments: &Arguments, node: &Node, signals: &'s Signals) -> Result<Self, Failure> {
        let topic = node.any_topic(&arguments.name)?;
        let subscriber = topic.subscriber();
        let subscriber = if arguments.from_history { subscriber } else { subscriber.skip_history() };
        let mut subscriber = subscriber.open()?;
        let readiness = subscriber.readiness()?;
        tracing::info!(topic = arguments.name, publishers = subscriber.publishers(), "subscribed");
        Ok(Self { subscriber, readiness, signals, told_lost: 0 })
    }

    /// Shows the next message to `take`, where it lies.
    fn receive<T>(&mut self, take: impl FnOnce(&[u8]) -> Result<T, Failure>) -> Result<Next<T>, Failure> {
        loop {
            match self.subscriber.receive() {
                Ok(Some(message)) => return Ok(Next::Taken(take(&message)?)),
                Ok(None) => return Ok(Next::Nothing),
                Err(error @ ReceiveError::Publisher { .. }) => eprintln!("onecopy: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sleeps until there may be messages; `false` if the command is to end.
    fn wait(&self, timeout: Option<Duration>) -> Result<bool, Failure> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let stdout = io::stdout();
        // Without events asked for, the kernel reports only that the reader of a pipe has left.
        let descriptors = [(self.readiness.as_fd(), PollFlags::IN), (stdout.as_fd(), PollFlags::empty())];
        match self.signals.wait(&descriptors, deadline)? {
            Woken::Signal => Ok(false),
            Woken::Deadline => Err(Failure::timeout("message", timeout)),
            Woken::Ready(ready) if ready.get(1) == Some(&true) => Err(Failure::BrokenPipe),
            Woken::Ready(_) => Ok(true),
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.subscriber.lost().saturating_sub(self.told_lost);
        if lost > 0 {
            eprintln!(
                "onecopy: {} lost, overwritten before being read (see `topic pub --reliable`)",
                counted(lost, "message")
            );
            self.told_lost += lost;
        }
    }
}

struct Printer {
    format: Format,
    output: Output,
}
