//! `read-idle` and `read-busy`: what it costs to read the latest value in full, in nanoseconds a read and reader. A
//! reader in the first process reads without pause. The writer is in the second process: in `read-idle` it has written
//! a value and sleeps; in `read-busy` it writes small values without pause and large ones 10,000 times a second,
//! sleeping in between.
//!
//! With two readers and two processors, the second reader is a thread beside the writer: both processors read without
//! pause, the first one undisturbed, the second one but for the writer, which comes before it (the reader has the
//! lowest priority). So that the writer's share of the processor is not taken for the reader's cost, each reader's time
//! is that of its own thread, with one reader as with two, and the result is the mean of both readers. The percentiles
//! are of the passing time of groups of reads of the reader in the first process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};
use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::{Reading, Region, Writer};
use crate::child::Link;
use crate::job::Job;
use crate::samples::Samples;
use crate::thread_clock::{self, Share};

const NAME: &str = "value";
/// Reads timed together, because the clock costs as much as several.
const GROUP: u64 = 64;
/// Of the slice's time, before anything is recorded.
const WARM_UP: u32 = 8;
/// From one large value to the next.
const PERIOD: Duration = Duration::from_micros(100);
/// The lowest priority there is.
const LOWEST: i32 = 19;

/// The probes need both processes at work, and say nothing about a reader that is alone with its caches.
fn is_busy(job: &Job) -> bool {
    job.bench == "read-busy"
}

/// The first process: the reader that is measured.
pub(super) fn read<R: Region>(link: &mut Link) -> anyhow::Result<Samples> {
    link.meet()?;
    let mut reading = Reading::<R>::new(R::open(&link.job, NAME)?, link.job.words());
    link.meet()?;
    if is_busy(&link.job) {
        link.probe()?;
    }
    // Now the second reader starts, and then the writer.
    link.meet()?;
    let mut samples = Samples::new()?;
    let own = measure(&mut reading, &mut samples, link.job.duration)?;
    link.stop();
    link.tell(0)?;
    let share = link.hear()?;
    let second =
        Tally { reads: link.hear()?, torn: link.hear()?, running: Duration::from_nanos(link.hear()?) };
    samples.set_mean(if second.reads > 0 { (own + second.mean()) / 2.0 } else { own });
    samples.add_torn(reading.torn + second.torn);
    if is_busy(&link.job) {
        ensure!(reading.changes > 1, "the reader saw no change");
        samples.set_share(share);
        link.probe()?;
    }
    Ok(samples)
}

/// Returns the nanoseconds of this thread's time for a read.
fn measure<R: Region>(
    reading: &mut Reading<R>,
    samples: &mut Samples,
    duration: Duration,
) -> anyhow::Result<f64> {
    let warm_up = Instant::now();
    while warm_up.elapsed() < duration / WARM_UP {
        reading.read()?;
    }
    let (before, running) = (reading.reads, thread_clock::now());
    let begin = Instant::now();
    let mut mark = begin;
    while mark - begin < duration {
        for _ in 0..GROUP {
            reading.read()?;
        }
        let now = Instant::now();
        samples.record_time(now - mark, GROUP);
        mark = now;
    }
    let running = thread_clock::now() - running;
    Ok(Tally { reads: reading.reads - before, torn: 0, running }.mean())
}

/// What a reader did in how much of its thread's time.
#[derive(Debug, Default)]
struct Tally {
    reads: u64,
    torn: u64,
    running: Duration,
}

impl Tally {
    /// Nanoseconds a read.
    fn mean(&self) -> f64 {
        self.running.as_nanos() as f64 / self.reads as f64
    }
}

fn has_pace(job: &Job) -> bool {
    job.payload > 64
}

/// The second process: the writer, and the second reader if there is one.
pub(super) fn write<R: Region>(link: &mut Link) -> anyhow::Result<()> {
    let mut writer = R::create(&link.job, NAME)?;
    let first = 1;
    writer.write(first)?;
    link.meet()?;
    link.meet()?;
    if is_busy(&link.job) {
        link.probe()?;
    }
    let second = (link.job.readers > 1).then(|| SecondReader::start::<R>(&link.job)).transpose()?;
    link.meet()?;
    let share = if is_busy(&link.job) { keep_writing(&mut writer, first, link)? } else { 100 };
    link.hear()?;
    let second = second.map_or(Ok(Tally::default()), SecondReader::finish)?;
    link.tell(share)?;
    link.tell(second.reads)?;
    link.tell(second.torn)?;
    link.tell(second.running.as_nanos() as u64)?;
    if is_busy(&link.job) {
        link.probe()?;
    }
    Ok(())
}

/// Writes until the reader has had enough. Returns how much of what it should do it did, in per cent: of the time, or
/// of the values.
fn keep_writing(writer: &mut impl Writer, mut first: u64, link: &Link) -> anyhow::Result<u64> {
    let mut pace = has_pace(&link.job).then(Pace::new);
    let (begin, share, before) = (Instant::now(), Share::start(), first);
    while !link.is_stopped() {
        first += 1;
        writer.write(first)?;
        if let Some(pace) = &mut pace {
            pace.sleep()?;
        }
    }
    let due = (begin.elapsed().as_nanos() / PERIOD.as_nanos()) as u64;
    Ok(if pace.is_some() { 100 * (first - before) / due.max(1) } else { share.percent() })
}

/// Deadlines at equal distances.
struct Pace {
    next: Duration,
}

impl Pace {
    fn new() -> Self {
        Self { next: now() }
    }

    /// Sleeps until the next deadline; those that have passed are left out.
    fn sleep(&mut self) -> anyhow::Result<()> {
        self.next = (self.next + PERIOD).max(now());
        let request =
            Timespec { tv_sec: self.next.as_secs() as i64, tv_nsec: i64::from(self.next.subsec_nanos()) };
        loop {
            match clock_nanosleep_absolute(ClockId::Monotonic, &request) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot sleep until the next value"),
            }
        }
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The reader beside the writer.
struct SecondReader {
    is_stopped: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Tally>>,
}

impl SecondReader {
    /// Returns when it reads.
    fn start<R: Region>(job: &Job) -> anyhow::Result<Self> {
        let is_stopped = Arc::new(AtomicBool::new(false));
        let (ready, started) = channel();
        let (job, flag) = (job.clone(), is_stopped.clone());
        let thread = std::thread::spawn(move || read_beside::<R>(&job, &flag, &ready));
        let second = Self { is_stopped, thread };
        match started.recv() {
            Ok(()) => Ok(second),
            Err(_) => Err(second.finish().err().unwrap_or_else(|| anyhow!("it ended early"))),
        }
    }

    /// Ends it, and returns what it did.
    fn finish(self) -> anyhow::Result<Tally> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let result = self.thread.join().map_err(|_| anyhow!("it panicked"))?;
        result.context("the second reader failed")
    }
}

fn read_beside<R: Region>(job: &Job, is_stopped: &AtomicBool, ready: &Sender<()>) -> anyhow::Result<Tally> {
    // For a thread, not for the whole process, as Linux understands it.
    rustix::process::setpriority_process(None, LOWEST).context("cannot lower a reader's priority")?;
    let mut reading = Reading::<R>::new(R::open(job, NAME)?, job.words());
    reading.read()?;
    ready.send(()).context("nobody waits for the second reader")?;
    let (before, running) = (reading.reads, thread_clock::now());
    while !is_stopped.load(Ordering::Relaxed) {
        for _ in 0..GROUP {
            reading.read()?;
        }
    }
    let running = thread_clock::now() - running;
    Ok(Tally { reads: reading.reads - before, torn: reading.torn, running })
}
