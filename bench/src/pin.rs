//! Pins a process to one processor, so that a measurement is between two known cores and the scheduler has no say.

use anyhow::{Context, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The two processors that the measurements use: the first two that this process may run on.
pub(crate) fn two_cores() -> anyhow::Result<[usize; 2]> {
    let allowed = sched_getaffinity(None).context("cannot read the processors this process may use")?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    match (cores.next(), cores.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => bail!("the measurements need two processors, and this process may use only one: see taskset(1)"),
    }
}

/// Moves the calling thread, and what it starts later, to `core`.
pub(crate) fn pin_to(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("cannot pin this process to processor {core}"))
}
