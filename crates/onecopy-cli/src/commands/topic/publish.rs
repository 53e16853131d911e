//! `onecopy topic pub`: standard input to messages.

use std::time::Duration;

use clap::Args;
use onecopy::{Error, LoanError, Node, Publisher};

use crate::failure::Failure;
use crate::input::Input;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::values::{BUDGET_MEBIBYTES_DEFAULT, parse_mebibytes, parse_name, parse_seconds};

const AFTER_LONG_HELP: &str = "\
Messages go to the subscribers that are there; nobody is waited for. A subscriber that is slower than the input loses
the oldest messages and is told how many, unless --reliable: then this command waits for it, with --evict-after no longer
than so many seconds. What is published and not
yet read stays readable for the subscribers that have it when this command ends; for those that come later it is gone.

The topic carries [u8]. SIGINT and SIGTERM end the input.

Examples:
  tail -f app.log | onecopy topic pub logs
  seq 1000000 | onecopy topic pub numbers --reliable
  arecord -t raw | onecopy topic pub microphone --frame 4096
  onecopy topic pub robot/map --whole < map.png
  vmstat 1 | onecopy topic pub load --history 60     # who joins later gets the last minute";

/// Publish standard input, a line a message
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The topic, such as app/logs
    #[arg(value_parser = parse_name)]
    name: String,

    /// Messages of so many bytes instead of lines; the last may be shorter
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "whole")]
    frame: Option<u64>,

    /// All of the input as one message
    #[arg(long)]
    whole: bool,

    /// Lose nothing: wait for the slowest subscriber when it lags by the whole ring
    #[arg(long)]
    reliable: bool,

    /// Like --reliable, but go on without a subscriber that has been waited for so long and does not move
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    evict_after: Option<Duration>,

    /// Subscribers that come later start up to so many messages back, while this command runs
    #[arg(long, value_name = "MESSAGES", default_value_t = 0)]
    history: u64,

    /// How many messages a subscriber may lag behind
    #[arg(long, value_name = "MESSAGES", default_value_t = onecopy::limits::DEPTH_DEFAULT, value_parser = clap::value_parser!(u64).range(1..))]
    depth: u64,

    /// Most memory for messages that subscribers have not read yet or hold, in MiB
    #[arg(long, value_name = "MEBIBYTES", default_value = BUDGET_MEBIBYTES_DEFAULT, value_parser = parse_mebibytes)]
    budget: usize,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.join("onecopy topic pub")?;
    let mut outlet = Outlet { publisher: open(arguments, &node)?, signals: &signals, published: 0 };
    tracing::info!(topic = arguments.name, subscribers = outlet.publisher.subscribers(), "publishing");
    let mut input = Input::new(&signals);
    let mut message = Vec::new();
    if arguments.whole {
        if input.whole(&mut message)? {
            outlet.publish(&message)?;
        }
    } else {
        while match arguments.frame {
            Some(bytes) => input.frame(&mut message, bytes)?,
            None => input.line(&mut message)?,
        } {
            if !outlet.publish(&message)? {
                break;
            }
        }
    }
    tracing::info!(topic = arguments.name, messages = outlet.published, "end of input");
    settle(&node, &arguments.name);
    Ok(())
}

fn open(arguments: &Arguments, node: &Node) -> Result<Publisher<[u8]>, Failure> {
    let topic = node.topic::<[u8]>(&arguments.name)?;
    let builder = topic.publisher().history(arguments.history).depth(arguments.depth);
    let builder = builder.budget_bytes(arguments.budget);
    let builder = if arguments.reliable { builder.reliable() } else { builder };
    Ok(match arguments.evict_after {
        Some(time) => builder.evict_after(time).open()?,
        None => builder.open()?,
    })
}

/// Subscribers that have not read the last messages need the memory that those lie in. The broker, which may be this
/// very process, passes it on in order; once it has answered a question, it has passed on what came before.
fn settle(node: &Node, name: &str) {
    if let Err(error) = node.topic_entry(name) {
        tracing::debug!(%error, "the broker ended before this publisher");
    }
}

struct Outlet<'s> {
    publisher: Publisher<[u8]>,
    signals: &'s Signals,
    published: u64,
}

impl Outlet<'_> {
    /// Publishes a message, once there is room for it; `false` if a signal came first.
    fn publish(&mut self, message: &[u8]) -> Result<bool, Failure> {
        match self.publisher.publish(message) {
            Err(Error::Loan(full @ (LoanError::Full | LoanError::Budget(_)))) => {
                tracing::debug!(reason = %full, "waiting for subscribers");
                match self.signals.unless_signalled(|| publish_later(&mut self.publisher, message, full)) {
                    Some(published) => published?,
                    None => return Ok(false),
                }
            }
            published => published?,
        }
        self.published += 1;
        Ok(true)
    }
}

fn publish_later(publisher: &mut Publisher<[u8]>, message: &[u8], full: LoanError) -> Result<(), Error> {
    match publisher.loan_slice_within(message.len(), Duration::MAX) {
        Ok(mut loan) => {
            loan.copy_from_slice(message);
            loan.publish()
        }
        // There was nobody to wait for: the message will never fit.
        Err(LoanError::Timeout) => Err(full.into()),
        Err(error) => Err(error.into()),
    }
}
