//! `publish-cost`: what a publisher pays for one message, from asking for its memory to having published it, while
//! subscribers in the other process poll, one after the other, without pause. They may miss messages. Everything is
//! timed in groups, as the clock would cost more than the thing itself: the percentiles are of the groups' means.

use std::time::Instant;

use anyhow::ensure;

use crate::child::Link;
use crate::payload::{self, Received};
use crate::samples::Samples;

const GROUP: u64 = 16;
const WARM_UP: u32 = 8;

/// The publisher; `publish` is given the message's first word.
pub(super) fn publish(
    link: &mut Link,
    mut publish: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<Samples> {
    link.probe()?;
    let mut samples = Samples::new()?;
    let mut first = 0;
    let begin = Instant::now();
    let mut mark = begin;
    while mark - begin < link.job.duration {
        for _ in 0..GROUP {
            first += 1;
            publish(first)?;
        }
        let now = Instant::now();
        if now - begin > link.job.duration / WARM_UP {
            samples.add_to_mean(now - mark, GROUP);
            samples.record_time(now - mark, GROUP);
        }
        mark = now;
    }
    link.stop();
    let received = link.hear()?;
    ensure!(received > 0, "no subscriber received anything of {first} messages");
    link.probe()?;
    Ok(samples)
}

/// The polling subscribers; `receive` never waits.
pub(super) fn poll<S>(
    link: &mut Link,
    mut subscribers: Vec<S>,
    mut receive: impl FnMut(&mut S) -> anyhow::Result<Option<Received>>,
) -> anyhow::Result<()> {
    link.probe()?;
    let words = link.job.words();
    let mut count = 0;
    while !link.is_stopped() {
        for subscriber in &mut subscribers {
            if let Some(received) = receive(subscriber)? {
                let expected = payload::sum(received.first, words);
                ensure!(received.sum == expected, "message {} came damaged", received.first);
                count += 1;
            }
        }
    }
    link.tell(count)?;
    link.probe()
}
