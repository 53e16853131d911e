//! The broker on a thread of its own, in a program that does other things as well.

use std::io;
use std::thread::JoinHandle;

use super::server::{Ended, Server, StopHandle};

/// A server on a thread of its own. Dropped, it stops the server and waits for it.
///
/// ```
/// use onecopy::instance::Instance;
///
/// # let directory = tempfile::tempdir()?;
/// let instance = Instance::in_directory(directory.path().join("run"), "lab")?;
/// let thread = instance.serve()?.spawn()?;
/// assert!(instance.socket_path().exists());
/// thread.stop()?;
/// assert!(!instance.socket_path().exists());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ServerThread {
    stop: StopHandle,
    thread: Option<JoinHandle<io::Result<Ended>>>,
    /// A forked child has a copy of this, and no such thread.
    process: u32,
}

impl ServerThread {
    pub(super) fn spawn(server: Server) -> io::Result<Self> {
        let stop = server.stop_handle();
        let name = "onecopy-broker".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || server.run())?;
        Ok(Self { stop, thread: Some(thread), process: std::process::id() })
    }

    /// Stops the server and waits until its socket is removed and its lock released.
    ///
    /// # Errors
    ///
    /// What ended the server before, if something did.
    pub fn stop(mut self) -> io::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.process != std::process::id() {
            std::mem::forget(self.thread.take());
            return Ok(());
        }
        self.stop.stop();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("the broker's thread panicked")));
        ended.map(drop)
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the broker ended early");
        }
    }
}
