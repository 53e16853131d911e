//! `join`: how long a new process takes from its first call of the peer's interface until it has read a message, while
//! a publisher publishes without pause. Every sample is a fresh process. What the harness itself does there first
//! (reading its order, moving to its core) is before the clock starts, for every peer.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::child::{self, Link};
use crate::job::Job;
use crate::payload::{self, Received};
use crate::samples::Samples;

/// The publisher: for each new process, `prepare` gives the function that publishes, called until that process is done.
pub(super) fn publish<P: FnMut(u64) -> anyhow::Result<()>>(
    job: &Job,
    mut prepare: impl FnMut(&Link) -> anyhow::Result<P>,
) -> anyhow::Result<Samples> {
    let mut samples = Samples::new()?;
    let begin = Instant::now();
    while begin.elapsed() < job.duration {
        let elapsed = child::run(job.clone(), super::NAME, |link| {
            let mut publish = prepare(link)?;
            link.meet()?;
            let mut first = 0;
            let start = Instant::now();
            while !link.is_stopped() {
                first += 1;
                publish(first)?;
                // A child that failed says nothing; the pipe to it does, but only to one who asks.
                ensure!(start.elapsed() < Duration::from_secs(5), "the new process received nothing in 5 s");
            }
            Ok(Duration::from_nanos(link.hear()?))
        })?;
        samples.add_to_mean(elapsed, 1);
        samples.record_time(elapsed, 1);
    }
    Ok(samples)
}

/// The new process: `receive` does everything from the first call to the first message read. What it returns beside the
/// message is kept until the publisher has been told.
pub(super) fn receive<K>(
    link: &mut Link,
    receive: impl FnOnce(&Link) -> anyhow::Result<(Received, K)>,
) -> anyhow::Result<()> {
    link.meet()?;
    let start = Instant::now();
    let (received, kept) = receive(link)?;
    let elapsed = start.elapsed();
    ensure!(
        received.sum == payload::sum(received.first, link.job.words()),
        "message {} came damaged",
        received.first
    );
    link.stop();
    link.tell(elapsed.as_nanos() as u64)?;
    drop(kept);
    Ok(())
}
