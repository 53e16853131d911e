//! Waiting on several subscribers and servers at once, whatever their types.

use std::time::{Duration, Instant};

use crate::error::WaitError;
use crate::payload::{Payload, PlainData};
use crate::service::Server;
use crate::sleep::{self, Sleeper};
use crate::subscriber::Subscriber;
use sealed::SleeperRef;

/// Something that [`wait_any`] can wait for: a [`Subscriber`] or a [`Server`] of any type.
///
/// Sealed: implemented for these only.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// # use onecopy::{Waitable, wait_any};
/// let mut numbers = node.topic::<u64>("numbers")?.subscriber().open()?;
/// let mut server = node.service::<u64, u64>("square")?.server().open()?;
/// node.topic::<u64>("numbers")?.publisher().open()?.publish(&7)?;
/// let sources: &mut [&mut dyn Waitable] = &mut [&mut numbers, &mut server];
/// wait_any(sources, Duration::from_secs(1))?;
/// # Ok(()) }
/// ```
pub trait Waitable: sealed::Sealed {}

impl<P: Payload + ?Sized, H: PlainData> Waitable for Subscriber<P, H> {}

impl<P: Payload + ?Sized, H: PlainData> sealed::Sealed for Subscriber<P, H> {
    fn sleeper(&mut self) -> SleeperRef<'_> {
        SleeperRef(Subscriber::sleeper(self))
    }

    fn has_rest(&self) -> bool {
        self.has_batch()
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Waitable for Server<Req, Res> {}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> sealed::Sealed for Server<Req, Res> {
    fn sleeper(&mut self) -> SleeperRef<'_> {
        SleeperRef(Server::sleeper(self))
    }

    fn has_rest(&self) -> bool {
        false
    }
}

mod sealed {
    use crate::sleep::Sleeper;

    pub struct SleeperRef<'a>(pub(crate) &'a mut dyn Sleeper);

    pub trait Sealed {
        fn sleeper(&mut self) -> SleeperRef<'_>;
        /// Whether a batch was begun, which no publisher will wake anybody for.
        fn has_rest(&self) -> bool;
    }
}

/// Sleeps until one of `sources` may have a message or a request. Then look into each with [`Subscriber::receive`] or
/// [`Server::receive`].
///
/// ```no_run
/// # use std::time::Duration;
/// # fn main() -> Result<(), onecopy::Error> {
/// let node = onecopy::Node::open()?;
/// let mut poses = node.topic::<u64>("pose")?.subscriber().open()?;
/// let mut logs = node.topic::<[u8]>("logs")?.subscriber().open()?;
/// loop {
///     onecopy::wait_any(&mut [&mut poses, &mut logs], Duration::from_secs(1))?;
///     while let Some(pose) = poses.receive()? { println!("{}", *pose); }
///     while let Some(line) = logs.receive()? { println!("{} bytes", line.len()); }
/// }
/// # }
/// ```
///
/// # Errors
///
/// [`WaitError::Timeout`] if nothing came within `timeout`.
pub fn wait_any(sources: &mut [&mut dyn Waitable], timeout: Duration) -> Result<(), WaitError> {
    let deadline = Instant::now().checked_add(timeout);
    if sources.iter().any(|source| source.has_rest()) {
        return Ok(());
    }
    let mut sleepers: Vec<&mut dyn Sleeper> = sources.iter_mut().map(|source| source.sleeper().0).collect();
    let in_time = sleep::until_ready(&mut sleepers, deadline)?;
    // Also after the deadline: a message may have come with it.
    if in_time || sleepers.iter().any(|sleeper| sleeper.is_ready()) {
        Ok(())
    } else {
        Err(WaitError::Timeout)
    }
}
