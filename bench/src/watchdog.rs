//! Ends the program when one slice hangs. A measuring loop spins on memory that the other process writes and may not
//! pay for looking at a clock; should that process be gone, this thread, asleep until then, says so.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Far beyond any slice, and short enough for somebody who waits.
const LIMIT: Duration = Duration::from_secs(60);

/// Watches over one slice until dropped.
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub(crate) fn start(what: String) -> Self {
        let (alive, watched) = channel::<()>();
        std::thread::spawn(move || {
            if watched.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                eprintln!(
                    "error: {what} did not end within {} s: its second process is stuck or gone",
                    LIMIT.as_secs()
                );
                std::process::exit(1);
            }
        });
        Self { _alive: alive }
    }
}
