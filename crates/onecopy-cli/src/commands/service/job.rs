//! One request being done: a command with the request on its standard input, whose output becomes the response. Nothing
//! here waits; whoever has jobs sleeps on the descriptors of all of them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use onecopy::service::{Request, RespondError};
use rustix::event::PollFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::capture::{Capture, Tail, TooLarge};
use super::child::command_for;
use onecopy::counted;

/// A request as bytes, to be answered with bytes.
pub(super) type BytesRequest = Request<[u8], [u8]>;

/// Most that one job reads or writes in its turn: a pipe's whole buffer.
const TURN_BYTES: u64 = 64 << 10;

/// What each request is done with.
#[derive(Debug)]
pub(super) struct Recipe {
    pub(super) command: Vec<OsString>,
    pub(super) timeout: Option<Duration>,
    pub(super) response_bytes_max: usize,
}

/// A command under way. Dropped, the command is killed.
pub(super) struct Job {
    request: BytesRequest,
    child: Child,
    /// Readable once the command has ended.
    process: OwnedFd,
    stdin: Option<ChildStdin>,
    /// Bytes of the request that the command's pipe has taken.
    written: usize,
    stdout: Option<ChildStdout>,
    output: Capture,
    stderr: Option<ChildStderr>,
    said: Tail,
    /// When `--timeout` has passed.
    timed_out_at: Option<Instant>,
    timeout: Option<Duration>,
    /// Why the command was killed.
    stopped: Option<Stopped>,
    has_ended: bool,
}

/// Why a command was not let come to its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopped {
    Cancelled,
    DeadlinePassed,
    TimedOut,
    OutputTooLarge,
}

impl Job {
    /// Starts the command. If that fails, the client is told, and there is no job.
    pub(super) fn start(request: BytesRequest, recipe: &Recipe) -> Option<Self> {
        match spawn(&recipe.command) {
            Ok((mut child, process)) => Some(Self {
                stdin: child.stdin.take(),
                stdout: child.stdout.take(),
                stderr: child.stderr.take(),
                request,
                child,
                process,
                written: 0,
                output: Capture::new(recipe.response_bytes_max),
                said: Tail::default(),
                timed_out_at: recipe.timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
                timeout: recipe.timeout,
                stopped: None,
                has_ended: false,
            }),
            Err(error) => {
                let reason = format!("cannot start a process for the request: {error}");
                tracing::error!("{reason}");
                tell(&request, request.fail(&reason));
                None
            }
        }
    }

    /// Kills the command if nobody waits for its answer any more, or it has had its time.
    pub(super) fn stop_if_useless(&mut self) {
        let is_past = |instant: Option<Instant>| instant.is_some_and(|instant| Instant::now() >= instant);
        if is_unwanted(&self.request) {
            self.stop(Stopped::Cancelled);
        } else if self.request.time_left() == Some(Duration::ZERO) {
            self.stop(Stopped::DeadlinePassed);
        } else if is_past(self.timed_out_at) {
            self.stop(Stopped::TimedOut);
        }
    }

    /// When [`Self::stop_if_useless`] has to look at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.stopped.is_some() {
            return None;
        }
        let late_at = self.request.time_left().and_then(|left| Instant::now().checked_add(left));
        late_at.into_iter().chain(self.timed_out_at).min()
    }

    /// Adds what is to be waited for.
    pub(super) fn add_descriptors<'j>(&'j self, descriptors: &mut Vec<(BorrowedFd<'j>, PollFlags)>) {
        descriptors.push((self.process.as_fd(), PollFlags::IN));
        let stdin = self.stdin.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::OUT));
        let stdout = self.stdout.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN));
        let stderr = self.stderr.as_ref().map(|pipe| (pipe.as_fd(), PollFlags::IN));
        descriptors.extend([stdin, stdout, stderr].into_iter().flatten());
    }

    /// Does what is to be done, with for each of [`Self::add_descriptors`] whether it is ready. `true` if that was the
    /// end, and the client has its answer.
    pub(super) fn advance(&mut self, ready: &mut impl Iterator<Item = bool>) -> io::Result<bool> {
        let mut next = |is_open: bool| is_open && ready.next() == Some(true);
        let has_ended = next(true);
        let (feeds, writes, says) =
            (next(self.stdin.is_some()), next(self.stdout.is_some()), next(self.stderr.is_some()));
        if has_ended {
            self.finish()?;
            return Ok(true);
        }
        if feeds {
            self.feed();
        }
        if writes {
            self.take_output(TURN_BYTES)?;
        }
        if says {
            self.take_error(TURN_BYTES)?;
        }
        Ok(false)
    }

    /// Gives the command what its pipe takes of the request.
    fn feed(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        let rest = self.request.as_bytes().get(self.written..).unwrap_or_default();
        let piece = &rest[..rest.len().min(TURN_BYTES as usize)];
        match stdin.write(piece) {
            Ok(written) => self.written += written,
            Err(error) if is_for_later(&error) => return,
            // It has closed its input: it knows enough.
            Err(_) => self.stdin = None,
        }
        if self.written == self.request.as_bytes().len() {
            self.stdin = None;
        }
    }

    fn take_output(&mut self, bytes_max: u64) -> io::Result<()> {
        let Some(piece) = take_some(&mut self.stdout, bytes_max)? else { return Ok(()) };
        if self.stopped.is_none() && self.output.push(&piece) == Err(TooLarge) {
            self.stop(Stopped::OutputTooLarge);
        }
        Ok(())
    }

    fn take_error(&mut self, bytes_max: u64) -> io::Result<()> {
        let Some(piece) = take_some(&mut self.stderr, bytes_max)? else { return Ok(()) };
        self.said.push(&piece);
        // Nobody may be reading ours.
        let _ = io::stderr().write_all(&piece);
        Ok(())
    }

    /// Kills the command and all that it started. Its end is noticed as any other.
    fn stop(&mut self, reason: Stopped) {
        if self.stopped.is_none() {
            self.stopped = Some(reason);
            self.kill();
        }
    }

    fn kill(&self) {
        // Its number is its own until it has been waited for. An error says that it has just ended.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
    }

    /// The command has ended: answers with what it wrote until then. What it left running may write on, for nobody.
    fn finish(&mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        self.has_ended = true;
        let unread = |pipe: Option<BorrowedFd<'_>>| pipe.map_or(Ok(0), rustix::io::ioctl_fionread);
        let (written, said) =
            (unread(self.stdout.as_ref().map(AsFd::as_fd))?, unread(self.stderr.as_ref().map(AsFd::as_fd))?);
        self.take_output(written)?;
        self.take_error(said)?;
        self.answer(status);
        Ok(())
    }

    fn answer(&self, status: ExitStatus) {
        let bytes = self.output.bytes().len();
        tracing::info!(client = self.request.client_pid(), %status, bytes, stopped = ?self.stopped, "done");
        if self.request.is_one_way() {
            return;
        }
        let failed = match self.stopped {
            None if status.success() => match self.request.respond(self.output.bytes()) {
                Err(RespondError::Loan(error)) => {
                    format!("the response has {}: {error}", counted(bytes, "byte"))
                }
                responded => return tell(&self.request, responded),
            },
            None => failure(status, &self.said.text()),
            // Nobody listens.
            Some(Stopped::Cancelled) => return,
            Some(Stopped::DeadlinePassed) => "the deadline passed, and the command was killed".to_owned(),
            Some(Stopped::TimedOut) => {
                let seconds = self.timeout.unwrap_or_default().as_secs_f64();
                format!("the command did not end within the server's {seconds} s, and was killed")
            }
            Some(Stopped::OutputTooLarge) => {
                "the response is larger than the server's memory for responses (--budget)".to_owned()
            }
        };
        tell(&self.request, self.request.fail(&failed));
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.has_ended {
            self.kill();
            // It has been killed, so this does not take long; an error means that there is nothing to wait for.
            let _ = self.child.wait();
        }
    }
}

/// Whether nobody waits for the answer. Who wanted none does not wait, and wants it done all the same.
pub(super) fn is_unwanted(request: &BytesRequest) -> bool {
    !request.is_one_way() && request.is_cancelled()
}

/// Notes an answer that could not be given.
pub(super) fn tell(request: &BytesRequest, responded: Result<(), RespondError>) {
    if let Err(error) = responded
        && !request.is_one_way()
    {
        tracing::warn!(client = request.client_pid(), %error, "no answer could be given");
    }
}

/// In a process group of its own: a Ctrl-C is for this command to deal with, and killing it must reach all
/// that it starts.
fn spawn(command: &[OsString]) -> io::Result<(Child, OwnedFd)> {
    let mut command = command_for(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    match watch(&child) {
        Ok(process) => Ok((child, process)),
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

/// A descriptor for its end; its pipes never block us.
fn watch(child: &Child) -> io::Result<OwnedFd> {
    let stdin = child.stdin.as_ref().map(AsFd::as_fd);
    let stdout = child.stdout.as_ref().map(AsFd::as_fd);
    let stderr = child.stderr.as_ref().map(AsFd::as_fd);
    for pipe in [stdin, stdout, stderr].into_iter().flatten() {
        rustix::io::ioctl_fionbio(pipe, true)?;
    }
    Ok(pidfd_open(Pid::from_child(child), PidfdFlags::empty())?)
}

/// What is in a pipe, up to `bytes_max`, once; closes it at its end. `None` if there is nothing.
fn take_some<P: Read>(pipe: &mut Option<P>, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(open) = pipe else { return Ok(None) };
    let mut piece = Vec::new();
    match open.take(bytes_max).read_to_end(&mut piece) {
        // Fewer than asked for without an error: that was the end.
        Ok(read) if (read as u64) < bytes_max => *pipe = None,
        Ok(_) => {}
        Err(error) if is_for_later(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(Some(piece))
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What the client is told of a command that did not succeed.
fn failure(status: ExitStatus, said: &str) -> String {
    let ended = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, signal) => format!("killed by signal {}", signal.unwrap_or_default()),
    };
    if said.is_empty() { format!("the command ended: {ended}") } else { format!("{ended}: {said}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_with_what_was_said() {
        assert_eq!(failure(ExitStatus::from_raw(3 << 8), "no such plan"), "exit code 3: no such plan");
        assert_eq!(failure(ExitStatus::from_raw(9), ""), "the command ended: killed by signal 9");
    }
}
