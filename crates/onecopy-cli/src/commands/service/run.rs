//! `onecopy service run`: a service made of a command. One thread sleeps until a request comes, a command has something
//! to say, a client has left, or a signal came.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::time::Duration;

use clap::Args;
use onecopy::service::Server;
use onecopy::{Readiness, ReceiveError};
use rustix::event::PollFlags;

use super::job::{BytesRequest, Job, Recipe, is_unwanted, tell};
use crate::failure::Failure;
use crate::scope::Scope;
use crate::signals::{Signals, Woken};
use crate::values::{BUDGET_MEBIBYTES_DEFAULT, parse_mebibytes, parse_name, parse_seconds};

/// Requests taken in while all jobs are under way: taking one in is how the end of its client is noticed. As
/// many as one client has under way; beyond that they wait in the clients' rings.
const WAITING_MAX: usize = onecopy::limits::CALLS_MAX;

const AFTER_LONG_HELP: &str = "\
For each request, COMMAND is started anew: it reads the request from its standard input to the end, and what it writes to
standard output until it ends is the response. The service takes and answers [u8], so every program that is a filter can
be one. The command is run directly, without a shell; for pipes and variables write sh -c '…'.
However this command ends, the kernel kills COMMAND with it. If it is killed itself (SIGKILL), what COMMAND has started, such
as the parts of a pipe, lives on until it finds its input or output closed.

A command that ends with a non-zero exit code, or by a signal, makes an error response with the last 2 KiB of what it
wrote to standard error; so does one that can't be started, takes longer than --timeout, or writes more than --budget.
Its standard error is also passed on to that of this command.

A command is killed (SIGKILL, with its process group) when nobody waits for its response any more. That is noticed at once
if the client's process has ended, or closed the service, or the call's deadline has passed; if a client that lives on
cancels one of its calls, when the command next writes something, or a request or another client comes or goes.

Up to --jobs commands run at once. More requests wait for their turn, also for the other servers of the service: each
client sends a request to the server with the fewest of its calls under way.

SIGINT and SIGTERM end the service as soon as the commands that are running have ended; requests that wait for their turn
are refused. A second signal kills those commands, and ends it at once with exit code 130.

Examples:
  onecopy service run upper -- tr a-z A-Z
  onecopy service run thumbnail --jobs 4 --timeout 10 -- convert - -resize 128x128 -
  onecopy service run query -- sh -c 'sqlite3 -json data.db \"$(cat)\"'
  onecopy --log info service run echo -- cat           # tells of each request";

/// Serve with a command: each request on its standard input, its output is the response
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The service, such as robot/planner
    #[arg(value_parser = parse_name)]
    name: String,

    /// Run up to so many commands at once
    #[arg(long, value_name = "COMMANDS", default_value = "1")]
    jobs: NonZeroUsize,

    /// Kill a command that takes longer, and answer with an error
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: Option<Duration>,

    /// Most memory for one response, and for those of one client that it has not taken yet, in MiB
    #[arg(long, value_name = "MEBIBYTES", default_value = BUDGET_MEBIBYTES_DEFAULT, value_parser = parse_mebibytes)]
    budget: usize,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let signals = Signals::install()?;
    let node = scope.join("onecopy service run")?;
    let service = node.service::<[u8], [u8]>(&arguments.name)?;
    let server = service.server().budget_bytes(arguments.budget).open()?;
    let readiness = server.readiness()?;
    tracing::info!(service = arguments.name, "serving");
    let recipe = Recipe {
        command: arguments.command.clone(),
        timeout: arguments.timeout,
        response_bytes_max: arguments.budget,
    };
    let (waiting, jobs) = Default::default();
    let jobs_max = arguments.jobs.get();
    let shop = Workshop { server, readiness, recipe, jobs_max, waiting, jobs, is_closing: false };
    shop.work(&signals)
}

/// The service: what waits, and what is being done.
struct Workshop {
    server: Server<[u8], [u8]>,
    readiness: Readiness,
    recipe: Recipe,
    jobs_max: usize,
    waiting: VecDeque<BytesRequest>,
    jobs: Vec<Job>,
    /// A signal came: nothing is begun any more.
    is_closing: bool,
}

impl Workshop {
    fn work(mut self, signals: &Signals) -> Result<(), Failure> {
        loop {
            self.take_requests()?;
            self.jobs.iter_mut().for_each(Job::stop_if_useless);
            self.waiting.retain(|request| !is_unwanted(request));
            if self.is_closing {
                self.turn_away();
                if self.jobs.is_empty() {
                    return Ok(());
                }
            }
            self.start_jobs();
            if !self.sleep(signals)? {
                if self.is_closing {
                    return Err(Failure::Interrupted);
                }
                signals.acknowledge();
                self.is_closing = true;
                tracing::info!(running = self.jobs.len(), "closing");
            }
        }
    }

    /// Takes in requests, and with them who came and who left.
    fn take_requests(&mut self) -> Result<(), Failure> {
        while self.waiting.len() < WAITING_MAX {
            match self.server.receive() {
                Ok(Some(request)) => self.waiting.push_back(request),
                Ok(None) => break,
                // That was about one client; the others go on.
                Err(
                    error @ (ReceiveError::Publisher { .. }
                    | ReceiveError::MemoryLost(_)
                    | ReceiveError::NoDoorbell(_)),
                ) => {
                    tracing::warn!(%error, "a client is in trouble");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn start_jobs(&mut self) {
        while self.jobs.len() < self.jobs_max
            && let Some(request) = self.waiting.pop_front()
        {
            if request.time_left() != Some(Duration::ZERO) {
                self.jobs.extend(Job::start(request, &self.recipe));
            }
        }
    }

    fn turn_away(&mut self) {
        for request in self.waiting.drain(..) {
            tell(&request, request.fail("this server is ending, and did not begin with the request"));
        }
    }

    /// Sleeps until there is something to do, and does what jobs have to do. `false` if a signal came.
    fn sleep(&mut self, signals: &Signals) -> Result<bool, Failure> {
        let mut descriptors = Vec::new();
        let listens = self.waiting.len() < WAITING_MAX;
        if listens {
            descriptors.push((self.readiness.as_fd(), PollFlags::IN));
        }
        self.jobs.iter().for_each(|job| job.add_descriptors(&mut descriptors));
        let deadline = self.jobs.iter().filter_map(Job::deadline).min();
        let ready = match signals.wait(&descriptors, deadline)? {
            Woken::Signal => return Ok(false),
            Woken::Deadline => return Ok(true),
            Woken::Ready(ready) => ready,
        };
        let mut ready = ready.into_iter().skip(usize::from(listens));
        let mut ended = Vec::with_capacity(self.jobs.len());
        for job in &mut self.jobs {
            ended.push(job.advance(&mut ready).map_err(Failure::system("follow a command"))?);
        }
        let mut ended = ended.into_iter();
        self.jobs.retain(|_| ended.next() != Some(true));
        Ok(true)
    }
}
