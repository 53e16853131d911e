//! `latency-spin`, `latency-wait` and `watch-wake`: a message goes to the other process and the next one, of the same
//! size, comes back; half of that is the time one way. In `latency-spin` both sides poll. In the others both
//! sleep until they are woken, so that each is asleep, or on the way to it, when its message comes; in
//! `watch-wake` the message is a region's new value, and there is a region for each direction.
//!
//! Groups of round trips timed together give the mean, round trips timed one by one, in between, the percentiles: these
//! hold half a reading of the clock each, and what waiting for all stores before it does to a message of one line. So
//! for small messages the mean is the number to compare, and the percentiles show the spread.

use std::time::Instant;

use anyhow::ensure;

use crate::child::Link;
use crate::endpoint::Endpoint;
use crate::payload::{self, END};
use crate::samples::Samples;

const GROUP: u64 = 16;
/// Of the slice's time, before anything is recorded.
const WARM_UP: u32 = 8;

/// The side that asks and measures.
pub(crate) fn ask(mut endpoint: impl Endpoint, link: &mut Link) -> anyhow::Result<Samples> {
    link.probe()?;
    let words = link.job.words();
    let mut first = 0;
    let mut round_trip = || {
        first += 2;
        exchange(&mut endpoint, first, words)
    };
    let warm_up = Instant::now();
    while warm_up.elapsed() < link.job.duration / WARM_UP {
        round_trip()?;
    }
    let mut samples = Samples::new()?;
    let begin = Instant::now();
    while begin.elapsed() < link.job.duration {
        let start = Instant::now();
        for _ in 0..GROUP {
            round_trip()?;
        }
        samples.add_to_mean(start.elapsed(), 2 * GROUP);
        let mut mark = Instant::now();
        for _ in 0..GROUP {
            round_trip()?;
            let now = Instant::now();
            samples.record_time(now - mark, 2);
            mark = now;
        }
    }
    endpoint.send(END)?;
    link.probe()?;
    Ok(samples)
}

#[inline]
fn exchange(endpoint: &mut impl Endpoint, first: u64, words: usize) -> anyhow::Result<()> {
    endpoint.send(first)?;
    let received = endpoint.receive()?;
    ensure!(received.first == first + 1, "sent message {first}, and message {} came back", received.first);
    ensure!(received.sum == payload::sum(first + 1, words), "the answer to message {first} came damaged");
    Ok(())
}

/// The side that answers.
pub(crate) fn answer(mut endpoint: impl Endpoint, link: &mut Link) -> anyhow::Result<()> {
    link.probe()?;
    let words = link.job.words();
    loop {
        let received = endpoint.receive()?;
        ensure!(
            received.sum == payload::sum(received.first, words),
            "message {} came damaged",
            received.first
        );
        if received.first == END {
            break;
        }
        endpoint.send(received.first + 1)?;
    }
    link.probe()
}
