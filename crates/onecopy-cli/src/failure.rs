//! Why a command ends early, and the exit code that tells a script so.

use std::error::Error;
use std::io;
use std::process::ExitCode;

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
        "no broker: instance {instance:?} is not running (looked at {socket}); any publisher or subscriber starts it, or `onecopy serve` does"
    )]
    NoBroker { instance: String, socket: String },
    /// Nobody has the topic open.
    #[error("no such topic: nobody has {name:?} open; `onecopy topic list` shows those there are")]
    NoTopic { name: String },
    /// `--timeout` has passed.
    #[error("no message came within {seconds} s")]
    Timeout { seconds: f64 },
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
    /// A signal ended a command that had more to do; the shell's convention for the exit code.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what the system refused.
    pub(crate) fn system(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { operation: operation.into(), source }
    }

    /// An error on the way to standard output.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Output(error),
        }
    }

    /// The codes that `--help` lists.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::BrokenPipe => 0,
            Self::NoBroker { .. } | Self::NoTopic { .. } => 3,
            Self::Timeout { .. } => 4,
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
            // Some errors already quote their cause.
            if !text.ends_with(&next) {
                text.push_str(": ");
                text.push_str(&next);
            }
            cause = error.source();
        }
        text
    }
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
