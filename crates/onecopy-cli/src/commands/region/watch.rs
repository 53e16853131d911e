//! `onecopy region watch`: the value as it is now, and then each as it comes.

use std::io;
use std::os::fd::AsFd;

use clap::Args;
use rustix::event::PollFlags;

use super::reading::{FormatArguments, Reading};
use crate::failure::Failure;
use crate::output::Output;
use crate::payload_output::Format;
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::values::parse_name;

const AFTER_LONG_HELP: &str = "\
Begins with the value as it is now, and prints one more whenever it has become another. A region is about what is: values
that come and go between two looks are passed over, and one that is written again unchanged is not printed again. The
region stays while it is watched, even if its writer ends: the next writer's values follow.

JSON: one object a value and a line
  {\"version\": 3, \"payload\": \"text\"}          if the value is UTF-8
  {\"version\": 3, \"payload_hex\": \"00ff\"}      otherwise
  version is how often the region was written, so that the ones passed over can be counted.

Ends after --count values, on SIGINT or SIGTERM, or when the reader of its output ends: exit code 0 each time.

Examples:
  onecopy region watch settings
  onecopy region watch mode | while read -r mode; do echo \"now $mode\"; done
  onecopy region watch gains --hex --count 2 | tail -n 1     # the next value";

/// Print the value of a region, and each new one, a line each
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The region, such as robot/settings
    #[arg(value_parser = parse_name)]
    name: String,

    /// End after so many values, the first included
    #[arg(long, value_name = "VALUES")]
    count: Option<u64>,

    #[command(flatten)]
    format: FormatArguments,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.visit_as("onecopy region watch")?.node;
    let region = node.any_region(&arguments.name)?.open()?;
    // Before the first look, so that nothing after that is missed.
    let mut watch = region.watch()?;
    let readiness = watch.readiness()?;
    let format = arguments.format.format(Format::Lines);
    let (mut output, mut left) = (Output::new(), arguments.count.unwrap_or(u64::MAX));
    let mut next = Some(Reading::copy(&region.read()?));
    let mut last: Option<Reading> = None;
    while left > 0 && !signals.received() {
        let Some(reading) = next else {
            // Whoever reads our output may be slow: a signal must end us then, too.
            let Some(flushed) = signals.unless_signalled(|| output.flush()) else { return Ok(()) };
            flushed?;
            tracing::debug!(region = arguments.name, "waiting for another value");
            if !wait(&signals, &readiness)? {
                return Ok(());
            }
            next = watch.receive()?.as_ref().map(Reading::copy);
            continue;
        };
        if last.as_ref().is_none_or(|last| !last.is_same_value(&reading)) {
            let Some(printed) = signals.unless_signalled(|| reading.print(format, &mut output)) else {
                return Ok(());
            };
            printed?;
            left -= 1;
        }
        last = Some(reading);
        next = watch.receive()?.as_ref().map(Reading::copy);
    }
    output.flush()
}

/// Sleeps until there may be another value; `false` if the command is to end.
fn wait(signals: &Signals, readiness: &onecopy::Readiness) -> Result<bool, Failure> {
    let stdout = io::stdout();
    // Without events asked for, the kernel reports only that the reader of a pipe has left.
    let descriptors = [(readiness.as_fd(), PollFlags::IN), (stdout.as_fd(), PollFlags::empty())];
    match signals.wait(&descriptors, None)? {
        Woken::Signal | Woken::Deadline => Ok(false),
        Woken::Ready(ready) if ready.get(1) == Some(&true) => Err(Failure::BrokenPipe),
        Woken::Ready(_) => Ok(true),
    }
}
