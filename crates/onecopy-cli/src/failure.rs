//! Why a command ends early, and the exit code that tells a script so.

use std::error::Error;
use std::io;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use onecopy::dataset::DatasetError;
use onecopy::region::RegionError;
use onecopy::service::CallError;

use crate::recording::RecordingError;
use onecopy::counted;

/// The end of a command that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Whoever read our output has left: the ordinary end of a command in a pipe.
    #[error("the reader of the output has ended")]
    BrokenPipe,
    /// The output can't be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// Nobody runs the instance.
    #[error(
        "no broker: instance {instance:?} is not running (looked at {socket}); any publisher, subscriber or server starts it, or `onecopy serve` does"
    )]
    NoBroker { instance: String, socket: String },
    /// Nobody has the topic open.
    #[error("no such topic: nobody has {name:?} open; `onecopy topic list` shows those there are")]
    NoTopic { name: String },
    /// Nobody has the service open.
    #[error("no such service: nobody has {name:?} open; `onecopy service list` shows those there are")]
    NoService { name: String },
    /// Nobody serves, though there may be other clients.
    #[error(
        "no server: nobody serves {name:?}{}; --timeout waits for one, `onecopy service run {name} -- COMMAND` makes one",
        waited(*.seconds)
    )]
    NoServer { name: String, seconds: Option<f64> },
    /// `--timeout` has passed.
    #[error("no {what} came within {seconds} s")]
    Timeout { what: &'static str, seconds: f64 },
    /// What is to be asked can't be a request of the service.
    #[error("standard input has {}, and a request of service {name:?} is {expected}", counted(*bytes, "byte"))]
    RequestSize { name: String, bytes: usize, expected: String },
    /// A call without a complete answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A recording that can't be read or written.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// A region that can't be opened, read or written.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// What is to be written can't be a value of the region.
    #[error("the value has {}, and a value of region {name:?} is {expected}", counted(*bytes, "byte"))]
    ValueSize { name: String, bytes: usize, expected: String },
    /// What is to be written has no room.
    #[error(
        "the value has {}, and region {name:?} has room for {capacity_bytes}: make more with `onecopy region resize {name} {bytes}`",
        counted(*bytes, "byte")
    )]
    ValueTooLarge { name: String, bytes: usize, capacity_bytes: usize },
    /// The region's values all have one size.
    #[error("values of region {name:?} are {payload}: their size is fixed")]
    FixedSize { name: String, payload: String },
    /// Something on this machine should be mended. What, is on standard output.
    #[error("{} to mend", counted(*findings, "thing"))]
    Unhealthy { findings: usize },
    /// There is nothing to draw on, or no keyboard.
    #[error(
        "standard input and output must be a terminal; scripts use `onecopy status --json` or `onecopy metrics`"
    )]
    NoTerminal,
    /// A configuration file that is not taken.
    #[error(transparent)]
    Config(onecopy::config::ConfigError),
    /// The machine has no such user.
    #[error("/etc/passwd has no user {user:?}; write its number, which `id -u {user}` tells")]
    NoUser { user: String },
    /// A user may not do what was asked about. Why, is on standard output.
    #[error("it may not")]
    MayNot,
    /// A dataset that can't be published, opened or read.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// There is no broker to keep the region or the dataset.
    #[error(
        "{what} {name:?} is not there: --keep needs `onecopy serve`, which keeps it while nobody has it open, and no broker runs"
    )]
    NothingKeeps { what: &'static str, name: String },
    /// What is to be created is there.
    #[error(
        "region {name:?} exists already: `onecopy region write {name}` gives it another value, `onecopy region info {name}` shows it"
    )]
    RegionExists { name: String },
    /// The region or the dataset lives by those who have it open only.
    #[error("{what} {name:?} is not kept: it ends by itself when the last process closes it{writer}")]
    NotKept { what: &'static str, name: String, writer: String },
    /// Options that contradict each other.
    #[error("{0}")]
    CommandLine(&'static str),
    /// The editor did not end well.
    #[error(
        "the editor ended with {status}, so nothing was written (VISUAL and EDITOR choose another editor)"
    )]
    Editor { status: ExitStatus },
    /// Edited text could not be written, for a reason that has its own exit code.
    #[error("{}; the text is kept in {path}: {advice}", reason.explanation())]
    TextKept { reason: Box<Failure>, path: String, advice: String },
    /// A genome file that can't be used.
    #[error(transparent)]
    Genome(#[from] onecopy_genome::GenomeError),
    /// The process in the background has ended instead of sharing an index.
    #[error("the index is not shared: the process that should share it ended with {status}")]
    NotShared { status: ExitStatus },
    /// Nobody shares an index that was to be used.
    #[error("nobody shares the index of {bam}: `onecopy genome share {bam}` does")]
    NobodyShares { bam: String },
    /// Somebody who is not to be ended shares the index.
    #[error(
        "process {pid} shares the index of {bam}, and was not started with --detach: end it where it was started"
    )]
    SharedByOther { bam: String, pid: u32 },
    /// The process in the background does not end.
    #[error(
        "process {pid}, which shares the index of {bam}, was asked to end and does not: is it stopped (`kill -CONT {pid}`)?"
    )]
    StillShares { bam: String, pid: u32 },
    /// Names that no read has.
    #[error("not in {bam}: {count} of the names")]
    NoRead { count: u64, bam: String },
    /// Something of the library.
    #[error(transparent)]
    Library(#[from] onecopy::Error),
    /// Something of the system.
    #[error("cannot {operation}")]
    System {
        operation: String,
        #[source]
        source: io::Error,
    },
    /// A claim of the demo did not hold.
    #[error("{0}")]
    Demo(String),
    /// The command of a service can't be run.
    #[error("cannot start {program}")]
    NotStarted {
        program: String,
        #[source]
        source: io::Error,
    },
    /// The process that this one works for is gone.
    #[error("the process that started this one has ended")]
    Orphaned,
    /// A signal ended a command that had more to do; the shell's convention for the exit code.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what the system refused.
    pub(crate) fn system(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation: operation.into(), source }
    }

    /// Nothing came in the time that an option allows.
    pub(crate) fn timeout(what: &'static str, timeout: Option<Duration>) -> Self {
        Self::Timeout { what, seconds: timeout.unwrap_or_default().as_secs_f64() }
    }

    /// An error on the way to standard output.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Output(error),
        }
    }

    /// Whether the instance's configuration is not taken.
    pub(crate) fn is_of_config(&self) -> bool {
        let Self::Library(onecopy::Error::Open(onecopy::OpenError::Instance(error))) = self else {
            return false;
        };
        matches!(error, onecopy::instance::InstanceError::Config(_))
    }

    /// The codes that `--help` lists.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BrokenPipe => 0,
            Self::NoBroker { .. }
            | Self::NoTopic { .. }
            | Self::NoService { .. }
            | Self::NoServer { .. }
            | Self::NothingKeeps { .. }
            | Self::NobodyShares { .. }
            | Self::Region(RegionError::NotFound { .. })
            | Self::Dataset(DatasetError::NotFound { .. }) => 3,
            Self::Timeout { .. }
            | Self::Call(CallError::Timeout | CallError::DeadlinePassed)
            | Self::Region(RegionError::WriterStuck { .. }) => 4,
            Self::Call(CallError::Failed(_)) => 5,
            Self::Call(CallError::PeerDied { .. } | CallError::Unanswered) => 6,
            Self::Region(RegionError::Conflict { .. }) => 7,
            Self::Dataset(DatasetError::Stale { .. } | DatasetError::Corrupt { .. }) => 8,
            Self::CommandLine(_) => 2,
            Self::Unhealthy { .. } => 10,
            Self::MayNot => 11,
            Self::TextKept { reason, .. } => return reason.exit_code(),
            Self::NoRead { .. } => 9,
            // The shell's code for a command that is not there, or can't be run.
            Self::NotStarted { .. } => 127,
            Self::Interrupted => 130,
            _ => 1,
        })
    }

    /// The message with all its causes, in one line.
    pub(crate) fn explanation(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Those that end with a hint quote their cause before it.
            if !text.contains(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
}

fn waited(seconds: Option<f64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", and nobody came within {seconds} s"))
}

/// The library's small errors reach the user like its large one.
macro_rules! from_library {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Library(error.into())
            }
        })*
    };
}

from_library!(onecopy::OpenError, onecopy::LoanError, onecopy::ReceiveError, onecopy::WaitError);

impl From<onecopy::instance::InstanceError> for Failure {
    fn from(error: onecopy::instance::InstanceError) -> Self {
        onecopy::OpenError::from(error).into()
    }
}
