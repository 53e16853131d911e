//! The process that the user started: it runs the broker, starts the others, kills one of them, and checks every claim.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onecopy::Node;
use tempfile::TempDir;

use super::leftovers::Before;
use super::memory::SharedMemory;
use super::plan::{INSTANCE, MESSAGE_BYTES, Plan, SUBSCRIBERS, SURVIVORS, VICTIM};
use super::processes::{Identity, Processes, Role};
use super::report::{Reception, Report};
use super::source::Source;
use super::table::{self, Measurement, RoundTrips, Watched};
use super::transport::Sample;
use super::{requests, values};
use crate::failure::Failure;
use crate::output::{Output, Style, stdout_has_colour, styled};
use crate::own_program::OWN_PROGRAM;
use crate::signals::Signals;
use onecopy::counted;

pub(super) fn run(file: Option<&Path>, mebibytes: u64) -> Result<(), Failure> {
    let signals = Arc::new(Signals::install()?);
    let before = Before::look();
    let directory = tempfile::Builder::new().prefix("onecopy-demo-").tempdir();
    let directory = directory.map_err(Failure::system("create a temporary directory"))?;
    let plan = make_plan(file, mebibytes, &directory)?;
    let mut demo = Demo::new(plan, &signals)?;
    demo.introduce(file)?;
    let source = Source::open(&demo.plan.file, demo.plan.file_bytes)?;
    let expected = demo.hash(&source)?;
    let onecopy = demo.over_onecopy(&expected)?;
    let socket = demo.over_sockets()?;
    let round_trips = demo.ask_service()?;
    let watched = demo.watch_region()?;
    demo.bar.finish_and_clear();
    demo.check_sums(&Sample::new(&source)?, [&onecopy, &socket])?;
    demo.say("")?;
    for line in table::comparison(&demo.plan, &onecopy, &socket, &round_trips) {
        demo.say(&line)?;
    }
    demo.say("")?;
    demo.say(&table::region(&watched))?;
    demo.finish(&before, directory)
}

fn make_plan(file: Option<&Path>, mebibytes: u64, directory: &TempDir) -> Result<Plan, Failure> {
    let file = file.map_or_else(|| PathBuf::from(OWN_PROGRAM), Path::to_path_buf);
    let failed = || Failure::system(format!("read {}", file.display()));
    let metadata = std::fs::metadata(&file).map_err(failed())?;
    if !metadata.is_file() || metadata.len() == 0 {
        let why = if metadata.is_file() { "is empty" } else { "is no file" };
        return Err(Failure::Demo(format!("{} {why}: there is nothing to stream", file.display())));
    }
    let copies = (mebibytes << 20).div_ceil(metadata.len());
    let directory = directory.path().to_path_buf();
    Ok(Plan { directory, file, file_bytes: metadata.len(), copies, large_messages: mebibytes })
}

/// What has been learnt so far.
struct Demo {
    plan: Plan,
    signals: Arc<Signals>,
    bar: ProgressBar,
    started: Instant,
    /// Every process that was started.
    processes: BTreeSet<u32>,
    /// Every piece of shared memory that was seen.
    inodes: BTreeSet<u64>,
}

impl Demo {
    fn new(plan: Plan, signals: &Arc<Signals>) -> Result<Self, Failure> {
        let bar = ProgressBar::with_draw_target(Some(plan.total_bytes()), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:30} {bytes:>11} of {total_bytes}  {msg}")
            .map_err(|error| Failure::Demo(error.to_string()))?;
        bar.set_style(style);
        let (processes, inodes) = Default::default();
        Ok(Self { plan, signals: Arc::clone(signals), bar, started: Instant::now(), processes, inodes })
    }

    /// Prints a line without disturbing the bar.
    fn say(&self, line: &str) -> Result<(), Failure> {
        self.bar.suspend(|| {
            let mut output = Output::new();
            output.line(line)?;
            output.flush()
        })
    }

    fn introduce(&self, file: Option<&Path>) -> Result<(), Failure> {
        let name = file.map_or_else(|| "this program".to_owned(), |file| file.display().to_string());
        let Plan { file_bytes, copies, .. } = self.plan;
        let times = if copies == 1 { String::new() } else { format!(" × {copies}") };
        let total = table::mebibytes(self.plan.total_bytes());
        self.say(&format!(
            "source       {name}, {}{times} = {total}, to {SUBSCRIBERS} subscriber processes",
            counted(file_bytes, "byte")
        ))
    }

    fn hash(&self, source: &Source) -> Result<String, Failure> {
        self.bar.set_message("hashing the source");
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; MESSAGE_BYTES];
        for sequence in 0..self.plan.messages() {
            let piece = &mut buffer[..self.plan.message_bytes(sequence)];
            source.read_at(hasher.count(), piece)?;
            hasher.update(piece);
            if self.signals.received() {
                return Err(Failure::Interrupted);
            }
        }
        let digest = hasher.finalize().to_hex().to_string();
        self.say(&format!("BLAKE3       {digest}  source"))?;
        Ok(digest)
    }

    /// The broker runs in this process, in the node's thread; any other could be killed as well.
    fn node(&self) -> Result<Node, Failure> {
        Ok(Node::builder().directory(&self.plan.directory).instance(INSTANCE).name("demo").open()?)
    }

    fn over_onecopy(&mut self, expected: &str) -> Result<Vec<Measurement>, Failure> {
        let node = self.node()?;
        let mut processes = Processes::new(&self.plan, &self.signals)?;
        for number in 0..SUBSCRIBERS {
            processes.start(Role::Subscriber, number)?;
            processes.await_ready()?;
        }
        processes.start(Role::Publisher, 0)?;
        self.processes.extend(processes.ids());
        self.bar.set_message("streaming");
        let measurements = self.follow(&mut processes, Some(expected))?;
        self.inodes.extend(SharedMemory::of(&processes.ids()).inodes);
        processes.dismiss()?;
        drop(node);
        Ok(measurements)
    }

    fn over_sockets(&mut self) -> Result<Vec<Measurement>, Failure> {
        self.bar.set_message("the same over Unix sockets");
        let mut processes = Processes::new(&self.plan, &self.signals)?;
        processes.start(Role::SocketPublisher, 0)?;
        processes.await_ready()?;
        for number in 0..SURVIVORS {
            processes.start(Role::SocketSubscriber, number)?;
        }
        self.processes.extend(processes.ids());
        let measurements = self.follow(&mut processes, None)?;
        processes.dismiss()?;
        Ok(measurements)
    }

    fn ask_service(&mut self) -> Result<RoundTrips, Failure> {
        self.bar.set_message("asking a service");
        let node = self.node()?;
        let (processes, onecopy) = self.with_second(Role::Server, || requests::call(&node))?;
        self.end_second(processes)?;
        drop(node);
        let path = self.plan.socket();
        let (processes, socket) = self.with_second(Role::SocketServer, || requests::call_socket(&path))?;
        self.end_second(processes)?;
        Ok(RoundTrips { onecopy, socket })
    }

    fn watch_region(&mut self) -> Result<Watched, Failure> {
        self.bar.set_message("watching a region");
        let node = self.node()?;
        let region = values::create(&node)?;
        let (processes, write_nanoseconds) = self.with_second(Role::Watcher, || values::write(&region))?;
        let written = region.get()?;
        match self.end_second(processes)?.as_slice() {
            &[Report::Watched { seen, last }] if written == [last; 8] => {
                Ok(Watched { seen, write_nanoseconds })
            }
            reports => Err(Failure::Demo(format!("{written:?} was written last, and watched: {reports:?}"))),
        }
    }

    /// Starts a second process, and does something with it once it is set up.
    fn with_second<T>(
        &mut self,
        role: Role,
        work: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<(Processes, T), Failure> {
        let mut processes = Processes::new(&self.plan, &self.signals)?;
        processes.start(role, 0)?;
        self.processes.extend(processes.ids());
        processes.await_ready()?;
        let result = work()?;
        Ok((processes, result))
    }

    /// Waits until it has done its work, which it tells of, and lets it end.
    fn end_second(&mut self, mut processes: Processes) -> Result<Vec<Report>, Failure> {
        let reports = processes.await_finished()?;
        self.inodes.extend(SharedMemory::of(&processes.ids()).inodes);
        processes.dismiss()?;
        Ok(reports)
    }

    /// Takes reports until all survivors and the publisher have finished.
    fn follow(
        &mut self,
        processes: &mut Processes,
        expected: Option<&str>,
    ) -> Result<Vec<Measurement>, Failure> {
        let mut measurements = vec![Measurement::default(); self.plan.stages().len()];
        let (mut finished, mut digests) = (0, 0);
        let mut progress = [0; SUBSCRIBERS];
        while finished < SURVIVORS + 1 {
            let (identity, report) = processes.next_report()?;
            match report {
                Report::Ready | Report::Watched { .. } => {}
                Report::Progress { messages } => {
                    if let Some(place) = progress.get_mut(identity.number) {
                        *place = messages * MESSAGE_BYTES as u64;
                    }
                    let survivors = progress.iter().enumerate().filter(|(number, _)| *number != VICTIM);
                    self.bar.set_position(survivors.map(|(_, bytes)| *bytes).min().unwrap_or(0));
                }
                Report::Holding { sequence } => self.kill(processes, identity, sequence)?,
                Report::Digest { blake3, bytes } => {
                    digests += 1;
                    self.judge(identity, &blake3, bytes, expected.unwrap_or_default())?;
                    if digests == SURVIVORS {
                        self.bar.set_position(self.plan.total_bytes());
                        self.bar.set_message("measuring");
                    }
                }
                Report::Started { stage, nanoseconds } => {
                    measurement(&mut measurements, stage)?.started_nanoseconds = nanoseconds;
                }
                Report::Received { stage, reception } => {
                    measurement(&mut measurements, stage)?.receptions.push(reception);
                }
                Report::Finished => finished += 1,
            }
        }
        if expected.is_some() && digests != SURVIVORS {
            return Err(Failure::Demo(format!("{SURVIVORS} hashes were expected, and {digests} came")));
        }
        Ok(measurements)
    }

    fn kill(&mut self, processes: &mut Processes, victim: Identity, sequence: u64) -> Result<(), Failure> {
        let memory = SharedMemory::of(&processes.ids());
        processes.kill(victim)?;
        let (number, total) = (sequence + 1, self.plan.messages());
        self.say(&format!("SIGKILL      {victim}, while it holds message {number} of {total}"))?;
        self.say(&table::memory(&memory))?;
        self.inodes.extend(memory.inodes);
        Ok(())
    }

    fn judge(&self, survivor: Identity, digest: &str, bytes: u64, expected: &str) -> Result<(), Failure> {
        let matches = digest == expected && bytes == self.plan.total_bytes();
        let colour = stdout_has_colour();
        let verdict = if matches {
            styled("matches", Style::Good, colour)
        } else {
            styled("DIFFERS", Style::Bad, colour)
        };
        self.say(&format!("BLAKE3       {digest}  {survivor}: {verdict}"))?;
        if matches {
            return Ok(());
        }
        let total = self.plan.total_bytes();
        Err(Failure::Demo(format!(
            "{survivor} received {bytes} of {total} bytes, and not those of the source"
        )))
    }

    fn check_sums(&self, sample: &Sample, transports: [&[Measurement]; 2]) -> Result<(), Failure> {
        for measurements in transports {
            for (stage, measurement) in self.plan.stages().iter().zip(measurements) {
                let expected = sample.sum(stage);
                let differs = |reception: &&Reception| reception.sum != expected;
                if measurement.receptions.len() != SURVIVORS
                    || measurement.receptions.iter().any(|it| differs(&it))
                {
                    return Err(Failure::Demo(format!(
                        "measured messages differ from those sent: {stage:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Makes sure that nothing is left, and removes the directory.
    fn finish(&self, before: &Before, directory: TempDir) -> Result<(), Failure> {
        let processes: Vec<u32> = self.processes.iter().copied().collect();
        let mut leftovers = before.compare(&processes, &self.inodes, directory.path());
        let path = directory.path().to_path_buf();
        if directory.close().is_err() || path.exists() {
            leftovers.found.push(path.display().to_string());
        }
        self.say(&table::leftovers(&leftovers))?;
        self.say(&format!("took         {:.1} s", self.started.elapsed().as_secs_f64()))?;
        if leftovers.found.is_empty() {
            Ok(())
        } else {
            Err(Failure::Demo(format!("{} left behind", counted(leftovers.found.len(), "thing"))))
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // An error must not be printed beside half a bar.
        self.bar.finish_and_clear();
    }
}

fn measurement(measurements: &mut [Measurement], stage: usize) -> Result<&mut Measurement, Failure> {
    measurements.get_mut(stage).ok_or_else(|| Failure::Demo(format!("there is no stage {stage}")))
}
