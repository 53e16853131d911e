//! The two processes of a measurement. The first, on the first core, starts the second from the same executable, on
//! the second core; a [`Link`] joins them: a socket for the rare word, and a shared page for the probe and the flags
//! that a measuring loop may look at. Processes and not threads, because that is what the peers are made for.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::job::Job;
use crate::probe;
use crate::shared_memory::SharedMemory;

/// Words of the shared memory that the harness uses, each in a line of its own.
const PROBE_AT: usize = 0;
const STOP_AT: usize = 16;
/// The first word that is free for a peer's own use.
pub(crate) const PEER_AT: usize = 4096;

/// One side's connection with the other process.
pub(crate) struct Link {
    /// What is being measured
    pub(crate) job: Job,
    control: UnixStream,
    memory: SharedMemory,
    is_parent: bool,
    probes: Vec<f64>,
}

impl Link {
    /// Tells the other side a word.
    pub(crate) fn tell(&mut self, word: u64) -> anyhow::Result<()> {
        self.control.write_all(&word.to_ne_bytes()).context("the other process of the measurement is gone")
    }

    /// Waits for a word from the other side.
    pub(crate) fn hear(&mut self) -> anyhow::Result<u64> {
        let mut word = [0; size_of::<u64>()];
        self.control.read_exact(&mut word).context("the other process of the measurement ended early")?;
        Ok(u64::from_ne_bytes(word))
    }

    /// Waits until both sides have come here.
    pub(crate) fn meet(&mut self) -> anyhow::Result<()> {
        self.tell(0)?;
        self.hear().map(drop)
    }

    /// Probes the cores' distance, together with the other side. Once before and once after what is measured.
    pub(crate) fn probe(&mut self) -> anyhow::Result<()> {
        self.meet()?;
        let line = &self.memory.words()[PROBE_AT];
        if self.is_parent {
            self.probes.push(probe::ask(line));
        } else {
            probe::answer(line);
        }
        self.meet()
    }

    /// The probes so far, in nanoseconds; the first process has them.
    pub(crate) fn probes(&self) -> &[f64] {
        &self.probes
    }

    fn stop_flag(&self) -> &AtomicU64 {
        &self.memory.words()[STOP_AT]
    }

    /// Ends a loop of the other side.
    pub(crate) fn stop(&self) {
        self.stop_flag().store(1, Ordering::Release);
    }

    /// Whether the other side called [`stop`](Self::stop). Costs a load of a line that nobody else writes.
    #[inline]
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop_flag().load(Ordering::Acquire) != 0
    }
}

/// Runs `work` in this process, linked with a second one that runs the same job in [`serve`].
pub(crate) fn run<R>(
    mut job: Job,
    suite: &str,
    work: impl FnOnce(&mut Link) -> anyhow::Result<R>,
) -> anyhow::Result<R> {
    let memory = SharedMemory::create()?;
    job.memory_fd = memory.descriptor();
    let (control, other) = UnixStream::pair().context("cannot create a socket pair")?;
    let executable = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(executable)
        .args(["child", suite])
        .arg(serde_json::to_string(&job)?)
        .stdin(Stdio::from(OwnedFd::from(other)))
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start the second process")?;
    let mut link = Link { job, control, memory, is_parent: true, probes: Vec::new() };
    let result = work(&mut link);
    if result.is_err() {
        // Whatever it waits for will not come; a child that is gone already is what was wanted.
        let _ = child.kill();
    }
    let status = child.wait().context("cannot wait for the second process")?;
    let result = result?;
    ensure!(status.success(), "the second process ended with {status}");
    Ok(result)
}

/// The life of the second process.
pub(crate) fn serve(job: Job, work: impl FnOnce(&mut Link) -> anyhow::Result<()>) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("cannot ask to be ended with the first process")?;
    crate::pin::pin_to(job.child_core)?;
    let control = std::io::stdin().as_fd().try_clone_to_owned().context("cannot reach the first process")?;
    let memory = SharedMemory::open(&job)?;
    work(&mut Link { job, control: control.into(), memory, is_parent: false, probes: Vec::new() })
}
