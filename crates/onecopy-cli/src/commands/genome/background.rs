//! The process that `onecopy genome share --detach` leaves behind: how it is started, found again, and ended.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use onecopy::Node;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::failure::Failure;
use crate::own_program::OWN_PROGRAM;
use crate::scope::Scope;

/// What the process writes when the index is shared.
const SHARED: &str = "shared";

/// How long `unshare` waits for it to end. It has nothing to do but to let go; one that takes longer is stopped.
const END_WITHIN: Duration = Duration::from_secs(10);

/// What its node is called, by which it is told from those that somebody started in a terminal, and from jobs.
pub(super) fn node_name(dataset: &str) -> String {
    format!("onecopy genome share --detach ({dataset})")
}

/// The processes in the background that share this dataset. More than one if two were started at the same moment.
pub(super) fn pids(node: &Node, dataset: &str) -> Result<Vec<u32>, Failure> {
    let name = node_name(dataset);
    let nodes = node.inventory()?.nodes;
    Ok(nodes.into_iter().filter(|node| node.name == name).map(|node| node.pid).collect())
}

/// Starts one, and returns when it shares the index. Gives its number.
pub(super) fn start(bam: &Path, index: &Path, scope: &Scope) -> Result<u32, Failure> {
    let mut child = Command::new(OWN_PROGRAM)
        .args(["--instance", scope.instance_name(), "genome", "share", "--background"])
        .arg("--index")
        .args([index, Path::new("--"), bam])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::system("start the process that shares the index"))?;
    let mut answer = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut answer)
            .map_err(Failure::system("hear from the process that shares the index"))?;
    }
    if answer.trim_end() == SHARED {
        return Ok(child.id());
    }
    let status = child.wait().map_err(Failure::system("wait for the process that shares the index"))?;
    Err(Failure::NotShared { status })
}

/// In the process itself: leaves the session of the terminal, and gets the name that it was not started by.
pub(super) fn enter() -> Result<(), Failure> {
    let failed = |error: Errno| Failure::system("leave the terminal's session")(error.into());
    rustix::process::setsid().map_err(failed)?;
    // It was started through /proc, and `ps` would call it "exe".
    rustix::thread::set_name(c"onecopy").map_err(failed)
}

/// In the process itself: says that the index is shared, and lets go of the terminal, or of the pipe at whose end
/// somebody waits.
pub(super) fn announce() -> Result<(), Failure> {
    println!("{SHARED}");
    io::stdout().flush().map_err(Failure::output)?;
    let failed = |error: Errno| Failure::system("let go of the terminal")(error.into());
    let nowhere =
        std::fs::File::options().write(true).open("/dev/null").map_err(Failure::system("open /dev/null"))?;
    rustix::stdio::dup2_stdout(&nowhere).map_err(failed)?;
    rustix::stdio::dup2_stderr(&nowhere).map_err(failed)
}

/// Asks one to end, and waits until it has; `false` if it takes too long.
pub(super) fn end(node: &Node, dataset: &str, pid: u32) -> Result<bool, Failure> {
    let failed = |error: Errno| Failure::system("end the process that shares the index")(error.into());
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(true) };
    let process = match pidfd_open(process, PidfdFlags::empty()) {
        Ok(process) => process,
        // The last two where a thread, or its children's group, has the number by now.
        Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(true),
        Err(error) => return Err(failed(error)),
    };
    // If it is there after the descriptor was opened, the descriptor is its own, not that of a later process.
    if !pids(node, dataset)?.contains(&pid) {
        return Ok(true);
    }
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) => has_ended(&process).map_err(failed),
        Err(Errno::SRCH) => Ok(true),
        Err(error) => Err(failed(error)),
    }
}

/// Waits for the end of a process; `false` if it takes too long.
fn has_ended(process: &OwnedFd) -> Result<bool, Errno> {
    let deadline = Instant::now() + END_WITHIN;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
