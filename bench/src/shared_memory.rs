//! The bare shared memory of the peer `raw`, and the page over which the two processes of a measurement keep in step.
//! It is written apart from the library's own memory code, because it is what that is compared with. The only
//! `unsafe` of this package is in here.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::Context;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;

use crate::job::Job;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;
/// Words at the start that are reached as atomics.
const WORD_BYTES: usize = 1 << 20;
/// Halves of words behind them, for futexes.
const HALF_BYTES: usize = 1 << 12;
/// Two buffers behind those, one for each direction, reached as plain memory by whose turn it is.
const BUFFER_BYTES: usize = 1 << 20;
const BUFFERS_AT: usize = WORD_BYTES + HALF_BYTES;
const TOTAL_BYTES: usize = BUFFERS_AT + 2 * BUFFER_BYTES;

/// Memory that two processes have mapped.
pub(crate) struct SharedMemory {
    file: File,
    mapping: MmapRaw,
}

impl SharedMemory {
    /// Zeroed memory that goes when both processes are gone.
    pub(crate) fn create() -> anyhow::Result<Self> {
        let descriptor =
            rustix::fs::memfd_create("bench", MemfdFlags::CLOEXEC).context("cannot create shared memory")?;
        let file = File::from(descriptor);
        file.set_len(TOTAL_BYTES as u64).context("cannot size shared memory")?;
        Self::map(file)
    }

    /// The memory that the first process of `job` created.
    pub(crate) fn open(job: &Job) -> anyhow::Result<Self> {
        let path = format!("/proc/{}/fd/{}", job.parent_pid, job.memory_fd);
        let file = OpenOptions::new().read(true).write(true).open(&path);
        Self::map(file.with_context(|| format!("cannot open shared memory at {path}"))?)
    }

    fn map(file: File) -> anyhow::Result<Self> {
        let mapping =
            MmapOptions::new().len(TOTAL_BYTES).map_raw(&file).context("cannot map shared memory")?;
        Ok(Self { file, mapping })
    }

    /// The descriptor for [`Job::memory_fd`].
    pub(crate) fn descriptor(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// The words that both processes may touch at any time. The first lines belong to the harness, see
    /// [`crate::child::Link`].
    #[inline]
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping is TOTAL_BYTES long, page-aligned, readable and writable, and lives as long as `self`.
        // In this part of it every access, here and in the other process, is through these atomics.
        unsafe {
            slice::from_raw_parts(self.mapping.as_mut_ptr().cast(), WORD_BYTES / size_of::<AtomicU64>())
        }
    }

    /// Futex words, each the first of its cache line when `line` differs.
    #[inline]
    pub(crate) fn futex(&self, line: usize) -> &AtomicU32 {
        assert!(line < HALF_BYTES / LINE);
        // SAFETY: as for `words`; the assertion keeps the offset inside this part, which is only reached from here,
        // as atomics of 32 bits, and LINE is a multiple of their alignment.
        unsafe { &*self.mapping.as_mut_ptr().add(WORD_BYTES + line * LINE).cast::<AtomicU32>() }
    }

    /// The buffer that side 0 or 1 writes.
    fn buffer(&self, side: usize) -> *mut u64 {
        self.mapping.as_mut_ptr().wrapping_add(BUFFERS_AT + side * BUFFER_BYTES).cast()
    }
}

/// Large messages back and forth, one process at a time: whose turn it is writes its buffer and sets its
/// flag, in a line of its own. Taking turns is what makes plain, vectorised access to the buffers sound. Each
/// side has a buffer of its own, as a channel of messages has to have. One buffer for both would make this
/// ping-pong faster by half, since the side that writes has just read the very lines; but then the answer
/// overwrites the question.
pub(crate) struct Turns {
    memory: SharedMemory,
    /// Words of a message of side 0 and of side 1
    words: [usize; 2],
    own: usize,
    turn: u64,
    is_own_turn: bool,
}

/// Where the flags of the two sides are, in words: far from each other and from the harness's lines.
const FLAG_AT: [usize; 2] = [1024, 2048];

impl Turns {
    /// Takes the memory's buffers for messages of `words`, those of the side that begins first: it is the one that
    /// writes first. There is one of either side, and the harness starts them so.
    pub(crate) fn new(memory: SharedMemory, words: [usize; 2], begins: bool) -> Self {
        for words in words {
            assert!(
                words * size_of::<u64>() <= BUFFER_BYTES,
                "a message of {words} words is larger than the buffer"
            );
        }
        Self { memory, words, own: usize::from(!begins), turn: 0, is_own_turn: begins }
    }

    /// Writes a message and hands the turn over.
    #[inline]
    pub(crate) fn write(&mut self, write: impl FnOnce(&mut [u64])) {
        assert!(self.is_own_turn, "wrote twice in a row");
        // SAFETY: the buffers are inside the mapping and aligned (`buffer`, `new`), and any bytes make a u64.
        // It is this side's turn: the other side has seen none of this turn's flags, so by the same assertion
        // over there it does not touch it until the store below; what it did before happened before its own
        // release.
        write(unsafe { slice::from_raw_parts_mut(self.memory.buffer(self.own), self.words[self.own]) });
        self.turn += 1;
        self.is_own_turn = false;
        self.memory.words()[FLAG_AT[self.own]].store(self.turn, Ordering::Release);
    }

    /// Spins until the turn comes, and reads the other side's message.
    #[inline]
    pub(crate) fn read<R>(&mut self, read: impl FnOnce(&[u64]) -> R) -> R {
        assert!(!self.is_own_turn, "read twice in a row");
        let other = 1 - self.own;
        // The side that began is answered in the same turn; the other one waits for the next.
        let turn = self.turn + self.own as u64;
        while self.memory.words()[FLAG_AT[other]].load(Ordering::Acquire) != turn {}
        self.is_own_turn = true;
        // SAFETY: as in `write`; the acquire above saw the other side hand over its turn, and it does not write again
        // before this side's next release.
        read(unsafe { slice::from_raw_parts(self.memory.buffer(other), self.words[other]) })
    }
}
