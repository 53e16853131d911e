//! What can go wrong with a call, at either end.

use crate::error::{LoanError, ReceiveError, WaitError};

/// Why a call was not made, or ended without an answer.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::service::CallError;
/// let client = node.service::<u64, u64>("square")?.client().open()?;
/// match client.call(&3).map(drop) {
///     Err(CallError::NoServer) => println!("nobody serves yet"),
///     other => other?,
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody serves.
    #[error("no server of this service is there: start one, or wait with wait_for_server()")]
    NoServer,
    /// No memory for the request, or no room in the ring to the server.
    #[error(transparent)]
    Loan(#[from] LoanError),
    /// As many calls as one client can have are under way.
    #[error(
        "{most} calls of this client are under way already: wait for some of them, or open another client"
    )]
    TooManyCalls {
        /// How many.
        most: usize,
    },
    /// No answer came in time. The call goes on: wait for it again, or drop it.
    #[error("no answer came in time")]
    Timeout,
    /// The call's own deadline has passed; no answer will come.
    #[error("the call's deadline has passed")]
    DeadlinePassed,
    /// The server's process ended before it answered, or it closed the service.
    #[error("the server (process {pid}) ended before it answered")]
    PeerDied {
        /// Its process.
        pid: u32,
    },
    /// This side has cancelled the call.
    #[error("the call was cancelled")]
    Cancelled,
    /// The server let the request go without an answer.
    #[error("the server dropped the request without an answer")]
    Unanswered,
    /// The server answered that it could not do it.
    #[error("the server says: {0}")]
    Failed(String),
    /// The one answer, or the last of several, was taken already.
    #[error("all answers to this call have been taken")]
    Finished,
    /// The server broke the protocol.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The system refused to wait.
    #[error(transparent)]
    Wait(WaitError),
}

impl From<WaitError> for CallError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Timeout => Self::Timeout,
            WaitError::Receive(error) => Self::Receive(error),
            other => Self::Wait(other),
        }
    }
}

/// Why a response was not sent.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use std::time::Duration;
/// # use onecopy::service::RespondError;
/// let service = node.service::<u64, u64>("count")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let call = client.call(&1_000_000)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// // The client wants no more.
/// drop(call);
/// for number in 0..*request {
///     match request.send(&number) {
///         Ok(()) => {}
///         Err(RespondError::Cancelled | RespondError::PeerDied { .. }) => break,
///         Err(error) => return Err(error.into()),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RespondError {
    /// The client has ended.
    #[error("the client (process {pid}) has ended")]
    PeerDied {
        /// Its process.
        pid: u32,
    },
    /// The client has cancelled the call: nobody wants the rest of the stream.
    #[error("the client has cancelled the call")]
    Cancelled,
    /// No memory for the response, or the client does not take its answers.
    #[error(transparent)]
    Loan(#[from] LoanError),
    /// The request has had its last answer.
    #[error("the request was answered already")]
    Finished,
    /// The call's deadline passed while the answer waited for room: it is of no use any more.
    #[error("the call's deadline passed before the client had room for the answer")]
    DeadlinePassed,
    /// The client broke the protocol, or this node was refused by the broker: it is not heard any more.
    #[error(transparent)]
    Receive(ReceiveError),
    /// There is no room, and with its server dropped nobody can tell a task when there is.
    #[error(
        "the client takes no answers, and the AsyncServer is gone that would wait for it: keep that until its requests are answered"
    )]
    ServerClosed,
    /// There is no room, and the system refused to wait.
    #[error(transparent)]
    Wait(#[from] WaitError),
}
