//! `memory`: by how much the machine's shared memory grows while one publisher has sent messages to N subscribers, each
//! message received by all of them before the next one. The kernel's own count, because a peer may hold memory that
//! no process has mapped; so anything else on the machine counts too, and the median over the slices decides.

use anyhow::{Context, ensure};

use crate::child::Link;
use crate::payload::{self, Received};
use crate::samples::Samples;

const MESSAGES: u64 = 64;

/// The publisher, which `open` opens.
pub(super) fn publish<P>(
    link: &mut Link,
    open: impl FnOnce(&Link) -> anyhow::Result<P>,
    mut publish: impl FnMut(&mut P, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Samples> {
    let before = shared_bytes()?;
    link.meet()?;
    let mut publisher = open(link)?;
    link.meet()?;
    for first in 1..=MESSAGES {
        publish(&mut publisher, first)?;
        link.meet()?;
    }
    let after = shared_bytes()?;
    link.meet()?;
    let mut samples = Samples::new()?;
    samples.set_mean(after.saturating_sub(before) as f64);
    Ok(samples)
}

/// The subscribers, which `open` opens.
pub(super) fn receive<S>(
    link: &mut Link,
    open: impl FnOnce(&Link) -> anyhow::Result<Vec<S>>,
    mut receive: impl FnMut(&mut S) -> anyhow::Result<Option<Received>>,
) -> anyhow::Result<()> {
    link.meet()?;
    let mut subscribers = open(link)?;
    link.meet()?;
    for first in 1..=MESSAGES {
        for subscriber in &mut subscribers {
            let received = loop {
                if let Some(received) = receive(subscriber)? {
                    break received;
                }
            };
            let expected = Received { first, sum: payload::sum(first, link.job.words()) };
            ensure!(received == expected, "message {first} is missing or damaged");
        }
        link.meet()?;
    }
    link.meet()
}

fn shared_bytes() -> anyhow::Result<u64> {
    // The kernel counts per processor and sums now and then; reading this file makes it do so. Only root may:
    // for others the numbers are off by up to 500 kB a processor, in either direction.
    let _ = std::fs::read("/proc/sys/vm/stat_refresh");
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let kibibytes =
        text.lines().find_map(|line| line.strip_prefix("Shmem:")?.trim().strip_suffix(" kB")?.parse().ok());
    Ok(1024 * kibibytes.map(|value: u64| value).context("/proc/meminfo has no line Shmem")?)
}
