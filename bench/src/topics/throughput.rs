//! `throughput` and `throughput-batch`: one side sends as fast as it can, the other reads every byte of every message,
//! none may be lost. The clock runs from the first message sent until the receiver has said that it has read the last.
//! The percentiles are of the rates of single chunks of messages at the sender, whose buffer is smaller than a chunk.

use std::time::Instant;

use anyhow::ensure;

use crate::child::Link;
use crate::endpoint::Endpoint;
use crate::payload::{self, END};
use crate::samples::Samples;

const CHUNK: u64 = 1 << 14;
/// Messages in one call of `throughput-batch`.
pub(super) const BATCH: u64 = 16;

/// The sender, of `batch` messages a call.
pub(super) fn send(mut endpoint: impl Endpoint, link: &mut Link, batch: u64) -> anyhow::Result<Samples> {
    link.probe()?;
    let mut samples = Samples::new()?;
    let mut sent = 0;
    let begin = Instant::now();
    let mut mark = begin;
    while mark - begin < link.job.duration {
        for _ in 0..CHUNK / batch {
            endpoint.send(sent)?;
            sent += batch;
        }
        let now = Instant::now();
        samples.record((CHUNK as f64 / (now - mark).as_secs_f64()) as u64);
        mark = now;
    }
    endpoint.send(END)?;
    let (count, total) = (link.hear()?, link.hear()?);
    samples.set_mean(sent as f64 / begin.elapsed().as_secs_f64());
    let words = link.job.words();
    let expected = (0..sent).fold(0, |sum: u64, first| sum.wrapping_add(payload::sum(first, words)));
    ensure!((count, total) == (sent, expected), "sent {sent} messages, {count} came, or their bytes differ");
    link.probe()?;
    Ok(samples)
}

/// The receiver.
pub(super) fn receive(mut endpoint: impl Endpoint, link: &mut Link) -> anyhow::Result<()> {
    link.probe()?;
    let mut count = 0;
    let mut total: u64 = 0;
    loop {
        let received = endpoint.receive()?;
        if received.first != count {
            ensure!(received.first == END, "message {count} is missing, {} came", received.first);
            break;
        }
        count += 1;
        total = total.wrapping_add(received.sum);
    }
    link.tell(count)?;
    link.tell(total)?;
    link.probe()
}
