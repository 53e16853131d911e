//! The time that a thread was running. For a loop that never waits it is the time that passed, less what other programs
//! took of its processor.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long the calling thread has been running. A system call, so not for single operations.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Measures how much of its processor a thread has.
pub(crate) struct Share {
    begin: Instant,
    running: Duration,
}

impl Share {
    pub(crate) fn start() -> Self {
        Self { begin: Instant::now(), running: now() }
    }

    /// Of the time since the start, in per cent.
    pub(crate) fn percent(&self) -> u64 {
        let running = now().saturating_sub(self.running);
        (100.0 * running.as_secs_f64() / self.begin.elapsed().as_secs_f64()) as u64
    }
}
