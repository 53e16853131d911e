//! `rtt-spin` and `rtt-wait`: a client's request goes to the server in the other process, which reads it in full and
//! answers; the time is the client's, from beginning to write the request to having read every byte of the response.
//! It is the whole round trip, not half of it: two messages, so that twice a row of the topics' latency is what to
//! compare with. In `rtt-spin` both sides poll. In `rtt-wait` both sleep until they are woken, and since there is one
//! request at a time, each is asleep, or on the way to it, when its message comes.
//!
//! As for the latency of messages, groups of round trips timed together give the mean, round trips timed one by one, in
//! between, the percentiles.

use std::time::Instant;

use anyhow::ensure;

use super::REQUEST_WORDS;
use crate::child::Link;
use crate::payload::{self, END, Received};
use crate::samples::Samples;

const GROUP: u64 = 16;
/// Of the slice's time, before anything is recorded.
const WARM_UP: u32 = 8;

/// The side that asks.
pub(super) trait Client {
    /// Sends a request whose words count up from `first`, waits for its response as the row asks, and reads every byte
    /// of it.
    fn call(&mut self, first: u64) -> anyhow::Result<Received>;
}

/// The side that answers.
pub(super) trait Server {
    /// Waits for the next request as the row asks, reads every byte of it, and responds with words that count up from
    /// the one after its first. Returns the request.
    fn respond(&mut self) -> anyhow::Result<Received>;
}

/// The first process, which measures.
pub(super) fn ask(mut client: impl Client, link: &mut Link) -> anyhow::Result<Samples> {
    link.probe()?;
    let words = link.job.words();
    let mut first = 0;
    let mut round_trip = || {
        first += 2;
        call(&mut client, first, words)
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
        samples.add_to_mean(start.elapsed(), GROUP);
        let mut mark = Instant::now();
        for _ in 0..GROUP {
            round_trip()?;
            let now = Instant::now();
            samples.record_time(now - mark, 1);
            mark = now;
        }
    }
    call(&mut client, END, words)?;
    link.probe()?;
    Ok(samples)
}

#[inline]
fn call(client: &mut impl Client, first: u64, words: usize) -> anyhow::Result<()> {
    let response = client.call(first)?;
    ensure!(response.first == first + 1, "request {first} was answered with {}", response.first);
    ensure!(response.sum == payload::sum(first + 1, words), "the response to request {first} came damaged");
    Ok(())
}

/// The second process.
pub(super) fn answer(mut server: impl Server, link: &mut Link) -> anyhow::Result<()> {
    link.probe()?;
    loop {
        let request = server.respond()?;
        let expected = payload::sum(request.first, REQUEST_WORDS);
        ensure!(request.sum == expected, "request {} came damaged", request.first);
        if request.first == END {
            break;
        }
    }
    link.probe()
}
