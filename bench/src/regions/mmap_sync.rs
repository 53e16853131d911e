//! The peer `mmap-sync`: two copies of the value in memory-mapped files, here in /dev/shm as in its own benchmarks. The
//! faster of its ways on either side: bytes that need no serialising, and reading without the check of their form,
//! which has nothing to check in numbers. It offers no way to wait for a change.
//!
//! A writer that meets a reader in the copy that it wants next sleeps, by default for a second. That would be
//! a pause in the writer's work and no comparison, so it is told to sleep as little as it may: not at all
//! where each process has a processor, and a microsecond where a reader that it waits for may need its
//! processor.
//!
//! Its reader looks up the latest copy, and then counts itself in. A writer that is twice through in between does not
//! see the reader, and writes where it reads: so values may be torn, and the run tells how many were.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, ensure};
use mmap_sync::locks::LockDisabled;
use mmap_sync::synchronizer::Synchronizer;
use wyhash::WyHash;
use zerocopy::IntoBytes;

use super::{Reader, Region, Writer};
use crate::cell::Cell;
use crate::job::Job;
use crate::payload::{self, Received};

const FOLDER: &str = "/dev/shm";
const PREFIX: &str = "bench_mmap_sync_";
/// After this, the writer takes a reader for dead.
const GRACE: Duration = Duration::from_secs(1);
/// Its default, here without effect: nothing is serialised.
const SCRATCH_BYTES: usize = 1024;

pub(super) fn cell(bench: &str, payload: usize) -> Option<Cell> {
    super::values::<Files<8, 0>, Files<512, 1000>>(bench, payload)
}

/// Removes the files of this run.
pub(super) fn clean_up() {
    crate::leftovers::remove(PREFIX, &[FOLDER]);
}

/// Values of `WORDS`, whose writer sleeps for `SLEEP_NS` when it meets a reader.
struct Files<const WORDS: usize, const SLEEP_NS: u64> {
    synchronizer: Synchronizer<WyHash, LockDisabled, SCRATCH_BYTES, SLEEP_NS>,
    value: [u64; WORDS],
}

impl<const WORDS: usize, const SLEEP_NS: u64> Files<WORDS, SLEEP_NS> {
    fn map(job: &Job, name: &str) -> Self {
        let path = format!("{FOLDER}/{PREFIX}{}_{}-{name}", job.parent_pid, job.instance);
        Self { synchronizer: Synchronizer::with_params(&OsString::from(path)), value: [0; WORDS] }
    }
}

impl<const WORDS: usize, const SLEEP_NS: u64> Region for Files<WORDS, SLEEP_NS> {
    type Writer = Self;
    type Reader = Self;

    const MAY_TEAR: bool = true;

    fn create(job: &Job, name: &str) -> anyhow::Result<Self> {
        Ok(Self::map(job, name))
    }

    fn open(job: &Job, name: &str) -> anyhow::Result<Self> {
        Ok(Self::map(job, name))
    }
}

impl<const WORDS: usize, const SLEEP_NS: u64> Writer for Files<WORDS, SLEEP_NS> {
    #[inline]
    fn write(&mut self, first: u64) -> anyhow::Result<()> {
        payload::fill(&mut self.value, first);
        let written = self.synchronizer.write_raw::<[u64; WORDS]>(self.value.as_bytes(), GRACE);
        let (_, is_reset) = written.context("mmap-sync cannot write")?;
        ensure!(!is_reset, "mmap-sync took a reader for dead");
        Ok(())
    }
}

impl<const WORDS: usize, const SLEEP_NS: u64> Reader for Files<WORDS, SLEEP_NS> {
    #[inline(always)]
    fn read(&mut self, words: usize) -> anyhow::Result<u64> {
        // SAFETY: the value is let go before this function returns, long before the writer's grace is over, and the
        // files hold nothing but numbers, of which any bytes are valid. That the writer may write one of them
        // meanwhile (see above) is in this crate's design; a sum of numbers comes out wrong then, and is checked.
        let value = unsafe { self.synchronizer.read::<[u64; WORDS]>(false) };
        Ok(Received::read(&*value.context("mmap-sync cannot read")?).first_if_whole(words))
    }
}
