//! `onecopy call`: standard input to a service, its answers to standard output.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use clap::Args;
use onecopy::service::{CallError, CallOptions, Client, Pending};
use onecopy::{Node, Readiness};
use rustix::event::PollFlags;

use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::payload_output::Format;
use crate::payload_size::is_size_of;
use crate::scope::Scope;
use crate::service_json::without_header;
use crate::signals::{Signals, Woken};
use crate::values::{BUDGET_MEBIBYTES_DEFAULT, parse_mebibytes, parse_name, parse_seconds};

const AFTER_LONG_HELP: &str = "\
All of standard input is the request, as it is. The answer goes to standard output as it is, with nothing added; of
several answers, one after the other. Any service can be called: one whose requests have a fixed size takes standard
input of just that size.

The call ends with its server, so nothing is waited for in vain: if the server's process ends, or is killed, that is
said at once. When this command ends early (a signal, --timeout, a reader of its output that left), the server sees that
nobody waits any more.

Without --timeout a server must be there already, and its answer is waited for however long it takes. --timeout is what
this command waits for, --deadline what the server is told: a request that is late already is not begun.

JSON: one object an answer and a line
  {\"payload\": \"text\"}                 if the answer is UTF-8
  {\"payload_hex\": \"00ff\"}             otherwise

Exit codes:
  0    answered
  1    failed: among others, standard input is no request of this service
  3    no server, nor did one come within --timeout
  4    no answer within --timeout or --deadline
  5    the server answered that it could not do it; standard error has what it says
  6    the server ended, or dropped the request, before it had answered in full
  130  a signal ended the call
  What came of several answers before an error is on standard output all the same.

Examples:
  onecopy call planner < request > plan
  echo hello | onecopy call upper
  onecopy call thumbnail --timeout 5 < photo.jpg > small.jpg
  printf '\\x2a\\0\\0\\0\\0\\0\\0\\0' | onecopy call square --hex
  onecopy call status --retries 2 < /dev/null || echo \"failed: $?\"";

/// Send standard input to a service, and print its answer
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The service, such as robot/planner
    #[arg(value_parser = parse_name)]
    name: String,

    /// Wait so long for a server to come, and so long for each answer; then end with exit code 3 or 4
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,

    /// Tell the server that the answer is of no use later than so long after the request was sent
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    deadline: Option<Duration>,

    /// Send the request to another server, up to so many times, if its server ends before it answers; for requests that
    /// may be done twice without harm
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    retries: u32,

    /// Most memory for the request, in MiB
    #[arg(long, value_name = "MEBIBYTES", default_value = BUDGET_MEBIBYTES_DEFAULT, value_parser = parse_mebibytes)]
    budget: usize,

    #[command(flatten)]
    format: FormatArguments,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct FormatArguments {
    /// Answers in hexadecimal, a line each
    #[arg(long)]
    hex: bool,
    /// A JSON object an answer
    #[arg(long)]
    json: bool,
}

impl FormatArguments {
    fn format(&self) -> Format {
        match self {
            Self { hex: true, .. } => Format::Hex,
            Self { json: true, .. } => Format::Json,
            _ => Format::Raw,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = join(arguments, scope)?;
    let client = node.any_service(&arguments.name)?.client().budget_bytes(arguments.budget).open()?;
    find_server(arguments, &client, &signals)?;
    let mut request = Vec::new();
    if !Input::new(&signals).whole(&mut request)? {
        return Err(Failure::Interrupted);
    }
    check_size(arguments, &client, &request)?;
    let mut options = CallOptions::new().retries(arguments.retries);
    if let Some(deadline) = arguments.deadline {
        options = options.deadline(deadline);
    }
    let pending = match client.call_with(&request, options) {
        Err(CallError::NoServer) => return Err(no_server(arguments)),
        called => called?,
    };
    // Not earlier than the call's own deadline: once it has passed, the call has ended.
    let deadline = arguments.deadline.and_then(|deadline| Instant::now().checked_add(deadline));
    drop(request);
    let answers = Answers {
        pending,
        readiness: client.readiness()?,
        signals: &signals,
        timeout: arguments.timeout,
        deadline,
    };
    answers.print_all(arguments.format.format())
}

/// Who waits for a server may be the first of the instance; who doesn't need not found one to find nobody.
fn join(arguments: &Arguments, scope: &Scope) -> Result<Node, Failure> {
    match arguments.timeout {
        Some(_) => scope.join("onecopy call"),
        None => Ok(scope.visit_as("onecopy call")?.node),
    }
}

fn find_server(arguments: &Arguments, client: &Client<[u8], [u8]>, signals: &Signals) -> Result<(), Failure> {
    let timeout = arguments.timeout.unwrap_or_default();
    match signals.unless_signalled(|| client.wait_for_server(timeout)) {
        Some(Err(CallError::NoServer)) => Err(no_server(arguments)),
        Some(found) => Ok(found?),
        None => Err(Failure::Interrupted),
    }
}

fn no_server(arguments: &Arguments) -> Failure {
    let seconds = arguments.timeout.map(|timeout| timeout.as_secs_f64());
    Failure::NoServer { name: arguments.name.clone(), seconds }
}

/// Refuses what the server would take for the work of a broken client.
fn check_size(arguments: &Arguments, client: &Client<[u8], [u8]>, request: &[u8]) -> Result<(), Failure> {
    let Some(service_type) = client.service_type() else { return Ok(()) };
    if is_size_of(&service_type.request, request.len() as u64) {
        return Ok(());
    }
    Err(Failure::RequestSize {
        name: arguments.name.clone(),
        bytes: request.len(),
        expected: without_header(&service_type.request).to_string(),
    })
}

/// The call under way, and what ends the wait for its answers.
struct Answers<'c> {
    pending: Pending<'c, [u8]>,
    readiness: Readiness,
    signals: &'c Signals,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

impl Answers<'_> {
    fn print_all(&self, format: Format) -> Result<(), Failure> {
        let mut output = Output::new();
        let ended = self.print_until_the_end(format, &mut output);
        // What came before an error is of use to somebody.
        self.unless_signalled(|| output.flush())?;
        ended
    }

    fn print_until_the_end(&self, format: Format, output: &mut Output) -> Result<(), Failure> {
        loop {
            match self.pending.receive() {
                Ok(Some(answer)) => self.unless_signalled(|| format.write(&answer, output))?,
                Ok(None) => {
                    self.unless_signalled(|| output.flush())?;
                    self.wait()?;
                }
                Err(CallError::Finished) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whoever reads our output may be slow: a signal must end us then, too.
    fn unless_signalled(&self, write: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        self.signals.unless_signalled(write).unwrap_or(Err(Failure::Interrupted))
    }

    /// Sleeps until there may be an answer.
    fn wait(&self) -> Result<(), Failure> {
        let timeout = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let until = timeout.into_iter().chain(self.deadline).min();
        let stdout = io::stdout();
        // Without events asked for, the kernel reports only that the reader of a pipe has left.
        let descriptors = [(self.readiness.as_fd(), PollFlags::IN), (stdout.as_fd(), PollFlags::empty())];
        match self.signals.wait(&descriptors, until)? {
            Woken::Signal => Err(Failure::Interrupted),
            // The next look says that the call has ended.
            Woken::Deadline if until == self.deadline => Ok(()),
            Woken::Deadline => Err(Failure::timeout("answer", self.timeout)),
            Woken::Ready(ready) if ready.get(1) == Some(&true) => Err(Failure::BrokenPipe),
            Woken::Ready(_) => Ok(()),
        }
    }
}
