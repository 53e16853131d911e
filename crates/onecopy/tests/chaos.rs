//! Processes that publish, subscribe, serve, call, share regions and datasets, while some are killed, stopped
//! and set going again at random, the broker among them. Every message carries a checksum and a number. At
//! the end nothing is left of them, and one that was there all the time has no more than at its start.
//!
//! `cargo xtask chaos --seed S --seconds N` runs it for longer; a failure prints its seed and what was done
//! last. The same seed makes the same choices, though not at the same instants.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod chaos_roles;
mod common;

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use chaos_roles::{ALONE, ROLES};
use common::{LONG, directory, node_in};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::{Pid, Signal, kill_process};

const ROLE: &str = "ONECOPY_CHAOS_ROLE";
const DIRECTORY: &str = "ONECOPY_CHAOS_DIRECTORY";
const SEED: &str = "ONECOPY_CHAOS_SEED";
const SECONDS: &str = "ONECOPY_CHAOS_SECONDS";
const SECONDS_DEFAULT: u64 = 5;
/// Faults are so far apart, at most.
const PAUSE_MS_MAX: u64 = 40;
const EVENTS_SHOWN: usize = 40;

#[test]
fn child() {
    if let (Ok(role), Some(directory)) = (std::env::var(ROLE), std::env::var_os(DIRECTORY)) {
        chaos_roles::play(&role, Path::new(&directory));
    }
}

/// xorshift, so that a seed means the same everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// One process, as the test has it; the thread that waits for its end has the rest.
struct Actor {
    role: &'static str,
    pid: Pid,
    input: Option<std::process::ChildStdin>,
    stopped: Option<Instant>,
}

struct Chaos<'d> {
    directory: &'d Path,
    dice: Dice,
    actors: Vec<Actor>,
    /// The ends of processes, with whether they ended well.
    ended: Receiver<(Pid, bool)>,
    tell_end: Sender<(Pid, bool)>,
    events: VecDeque<String>,
    began: Instant,
    faults: [u64; 4],
}

impl Chaos<'_> {
    fn note(&mut self, event: String) {
        if self.events.len() == EVENTS_SHOWN {
            self.events.pop_front();
        }
        self.events.push_back(format!("{:?} {event}", self.began.elapsed()));
    }

    fn start(&mut self, role: &'static str) {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(DIRECTORY, self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&process);
        let input = process.stdin.take();
        let tell_end = self.tell_end.clone();
        std::thread::spawn(move || {
            let status = process.wait();
            let _nobody_waits = tell_end.send((pid, status.is_ok_and(|status| status.success())));
        });
        self.note(format!("start {role} ({})", pid.as_raw_nonzero()));
        self.actors.push(Actor { role, pid, input, stopped: None });
    }

    fn signal(&mut self, index: usize, signal: Signal) {
        let Actor { role, pid, .. } = self.actors[index];
        self.note(format!("{signal:?} to {role} ({})", pid.as_raw_nonzero()));
        let _ended_by_itself = kill_process(pid, signal);
    }

    /// Kills one and starts another that does the same.
    fn kill(&mut self, index: usize) {
        self.signal(index, Signal::KILL);
        let Actor { role, pid, .. } = self.actors.swap_remove(index);
        let (ended, _) = self.ended.recv_timeout(LONG).expect("a killed process ends");
        if ended != pid {
            self.someone_ended(ended);
        }
        self.start(role);
    }

    fn someone_ended(&self, pid: Pid) -> ! {
        let role = self.actors.iter().find(|actor| actor.pid == pid).map_or("?", |actor| actor.role);
        panic!("{role} ({}) ended by itself; what it said stands above", pid.as_raw_nonzero());
    }

    /// The process that listens at the instance's socket.
    fn broker(&self) -> Option<usize> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).ok()?;
        connect(&socket, &SocketAddrUnix::new(self.directory.join("default.sock")).ok()?).ok()?;
        let pid = sockopt::socket_peercred(&socket).ok()?.pid;
        self.actors.iter().position(|actor| actor.pid == pid)
    }

    fn fault(&mut self) {
        let any = self.dice.below(self.actors.len() as u64) as usize;
        match self.dice.below(8) {
            0 | 1 => {
                self.faults[0] += 1;
                self.kill(any);
            }
            2 => {
                if let Some(broker) = self.broker() {
                    self.faults[1] += 1;
                    self.note("the broker:".to_owned());
                    self.kill(broker);
                }
            }
            3 | 4 if self.actors[any].stopped.is_none() => {
                self.faults[2] += 1;
                self.signal(any, Signal::STOP);
                self.actors[any].stopped = Some(Instant::now());
            }
            // More often than others are stopped: most of them run.
            _ => self.continue_longest_stopped(),
        }
    }

    /// Nobody is stopped for long: a stopped broker keeps others from joining until it goes on, which they
    /// wait for with a limit.
    fn continue_longest_stopped(&mut self) {
        let stopped = self.actors.iter().enumerate().filter(|(_, actor)| actor.stopped.is_some());
        if let Some((index, _)) = stopped.min_by_key(|(_, actor)| actor.stopped) {
            self.faults[3] += 1;
            self.signal(index, Signal::CONT);
            self.actors[index].stopped = None;
        }
    }

    fn continue_all(&mut self) {
        while self.actors.iter().any(|actor| actor.stopped.is_some()) {
            self.continue_longest_stopped();
        }
    }

    fn rage(&mut self, time: Duration) {
        while self.began.elapsed() < time {
            let pause = Duration::from_millis(self.dice.below(PAUSE_MS_MAX));
            match self.ended.recv_timeout(pause) {
                Ok((pid, _)) => self.someone_ended(pid),
                Err(RecvTimeoutError::Timeout) => self.fault(),
                Err(RecvTimeoutError::Disconnected) => unreachable!("this side has a sender"),
            }
        }
    }

    /// Sets everybody going, and has them end by themselves.
    fn calm_down(&mut self) {
        self.continue_all();
        self.actors.iter_mut().for_each(|actor| drop(actor.input.take()));
        self.note("everybody is to end".to_owned());
        for _ in 0..self.actors.len() {
            match self.ended.recv_timeout(LONG) {
                Ok((_, true)) => {}
                Ok((pid, _)) => self.someone_ended(pid),
                Err(_) => panic!("somebody hangs"),
            }
        }
    }
}

impl Drop for Chaos<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what was done last:\n{:#?}", self.events);
        }
        for actor in &self.actors {
            let _ended = kill_process(actor.pid, Signal::KILL);
        }
    }
}

/// What this process has: descriptors, threads, and mappings of shared memory.
fn possessions() -> Vec<String> {
    let entries = |directory| std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    // What is read here is gone by the time it is looked at.
    let descriptors = entries("/proc/self/fd").filter_map(|path| std::fs::read_link(path).ok());
    let names = entries("/proc/self/task").filter_map(|path| std::fs::read_to_string(path.join("comm")).ok());
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mappings = maps.lines().filter(|line| line.contains("memfd:onecopy")).map(str::to_owned);
    let descriptors =
        descriptors.map(|path| path.display().to_string()).filter(|path| !path.ends_with("/fd"));
    descriptors.chain(names).chain(mappings).collect()
}

/// What is there and was not before. There may be less: the harness's threads for other tests end when they like.
fn beyond(before: &[String], mut now: Vec<String>) -> Vec<String> {
    for was in before {
        if let Some(index) = now.iter().position(|is| is == was) {
            now.swap_remove(index);
        }
    }
    now
}

/// Processes that were started for a run, whoever started them: all have its directory in their environment.
/// When none of them is left, nobody has memory of the run but this process.
fn processes_of(directory: &Path) -> Vec<String> {
    let mark = format!("{DIRECTORY}={}\0", directory.display()).into_bytes();
    let has_mark = |path: &Path| {
        std::fs::read(path.join("environ")).is_ok_and(|all| all.windows(mark.len()).any(|part| part == mark))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    processes.filter(|path| has_mark(path)).map(|path| path.display().to_string()).collect()
}

/// The test's own node is there all the time: it may be the broker of some of it.
fn survive(directory: &Path, seed: u64, time: Duration) -> [u64; 4] {
    let (tell_end, ended) = channel();
    let (actors, events) = Default::default();
    let dice = Dice(seed | 1);
    let began = Instant::now();
    let mut chaos = Chaos { directory, dice, actors, ended, tell_end, events, began, faults: [0; 4] };
    for role in ROLES.into_iter().chain(ROLES).chain([ALONE]) {
        chaos.start(role);
    }
    chaos.rage(time / 2);
    {
        // Nobody sets a stopped broker going while this thread waits for it.
        chaos.continue_all();
        // Joined late, so that the broker is one of those that are killed at first.
        let node = node_in(directory);
        let mut subscriber = node
            .topic::<[u8]>("chaos/overwriting")
            .unwrap()
            .header::<[u64; 3]>()
            .subscriber()
            .open()
            .unwrap();
        chaos.rage(time);
        while subscriber.receive().unwrap().is_some() {}
        chaos.calm_down();
        while node.inventory().unwrap().nodes.len() > 1 {
            std::thread::yield_now();
        }
        while subscriber.receive().unwrap().is_some() {}
        let inventory = node.inventory().unwrap();
        let services = inventory.services.len() + inventory.regions.len() + inventory.datasets.len();
        assert_eq!((inventory.topics.len(), services), (1, 0), "{inventory:#?}");
        assert!(inventory.topics[0].publishers.is_empty());
    }
    chaos.faults
}

#[test]
fn nothing_is_lost_torn_or_left_whoever_is_killed_or_stopped() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let seed = number(SEED).unwrap_or_else(clock);
    let time = Duration::from_secs(number(SECONDS).unwrap_or(SECONDS_DEFAULT));
    eprintln!(
        "seed {seed}, {time:?}: repeat with cargo xtask chaos --seed {seed} --seconds {}",
        time.as_secs()
    );
    let directory = directory();
    let before = possessions();
    let [killed, brokers, stopped, continued] = survive(directory.path(), seed, time);
    eprintln!("{killed} killed, {brokers} brokers killed, {stopped} stopped, {continued} set going again");
    // Threads that have ended may be seen for an instant.
    let deadline = Instant::now() + LONG;
    loop {
        let left = beyond(&before, possessions());
        if left.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "left: {left:#?}");
        std::thread::yield_now();
    }
    assert_eq!(processes_of(directory.path()), [""; 0], "left");
    let names = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
    for name in names {
        assert!(
            name == "default.lock" || name == "default.sock",
            "{name:?} is left in the runtime directory"
        );
    }
    let shared = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    for entry in shared {
        assert!(!entry.file_name().to_string_lossy().contains("onecopy"), "{entry:?} is left");
    }
}
