//! Runtime directories of their own, and real processes: a test runs its own binary again with a role to play. The
//! two talk in lines over the child's standard input and output, so nobody ever waits by the clock.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub(crate) mod possessions;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child as Process, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use onecopy::Node;
use onecopy::instance::Instance;

/// Far longer than anything takes: only a lost wake-up or a hang gets there.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// How a timeout is tried out.
pub(crate) const SHORT: Duration = Duration::from_millis(20);

const ROLE: &str = "ONECOPY_TEST_ROLE";
/// The role that [`play`] plays itself.
const BROKER: &str = "the broker";
const DIRECTORY: &str = "ONECOPY_TEST_DIRECTORY";
/// Tells the child's lines from the test harness's.
const MARK: &str = "@@ ";

/// Runs on one thread, and no longer than [`LONG`].
#[cfg(feature = "tokio")]
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(LONG, future).await.expect("it ends in time") })
}

/// A runtime directory that nobody else uses.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory can be made")
}

/// A node in that directory.
pub(crate) fn node_in(directory: &Path) -> Node {
    Node::builder().directory(directory).open().expect("a node can be opened")
}

/// Numbers that differ but can be computed again.
pub(crate) fn pattern(seed: u64, len: usize) -> impl Iterator<Item = u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
}

/// Another process of the test. Killed when dropped.
pub(crate) struct Child {
    process: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Runs the function that plays `role` (see [`play`]) in a process of its own.
    pub(crate) fn spawn(role: &str, directory: &Path) -> Self {
        Self::spawn_with(role, directory, |command| command)
    }

    /// The same in a process that is set up otherwise.
    pub(crate) fn spawn_with(
        role: &str,
        directory: &Path,
        set_up: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Self {
        // Not by its name: a child of another user may be shut out of the folders above it.
        let program = "/proc/self/exe";
        let mut command = Command::new(program);
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(ROLE, role)
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = set_up(&mut command).spawn().expect("the test can run its own binary");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("it was piped"));
        Self { process, input, output }
    }

    /// A process whose node is the broker, and which does nothing else. Every test has this role.
    pub(crate) fn broker(directory: &Path) -> Self {
        let mut broker = Self::spawn(BROKER, directory);
        broker.expect("ready");
        broker
    }

    /// One for each role: has all of them begin together, once each has said that it is ready.
    pub(crate) fn spawn_together(roles: impl IntoIterator<Item = String>, directory: &Path) -> Vec<Self> {
        let mut children: Vec<Self> = roles.into_iter().map(|role| Self::spawn(&role, directory)).collect();
        children.iter_mut().for_each(|child| child.expect("ready"));
        children.iter_mut().for_each(|child| child.tell("go"));
        children
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The next line that the child says.
    pub(crate) fn line(&mut self) -> String {
        self.try_line().expect("the child says something before it ends")
    }

    /// The next line, or `None` when the child has ended.
    pub(crate) fn try_line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).expect("the pipe works") == 0 {
                return None;
            }
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Asserts what the child says next.
    pub(crate) fn expect(&mut self, said: &str) {
        assert_eq!(self.line(), said);
    }

    /// Says a line to the child.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("the child listens");
    }

    /// SIGKILL, and waits until the kernel has taken everything back.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("the child can be killed");
        self.process.wait().expect("the child can be waited for");
    }

    /// SIGSTOP; returns once it has stopped.
    pub(crate) fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        // Its threads stop one after the other: the last may still become the broker.
        let pid = rustix::process::Pid::from_child(&self.process);
        let options = rustix::process::WaitOptions::UNTRACED;
        rustix::process::waitpid(Some(pid), options).expect("the child is there");
    }

    pub(crate) fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("the child is there");
    }

    /// Closes the child's input and waits until it has ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        drop(self.input.take());
        while self.try_line().is_some() {}
        self.process.wait().expect("the child can be waited for")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a child sees of the test.
pub(crate) struct Stage {
    pub(crate) role: String,
    pub(crate) directory: PathBuf,
}

impl Stage {
    pub(crate) fn node(&self) -> Node {
        node_in(&self.directory)
    }

    /// Says a line to the test.
    pub(crate) fn say(&self, line: &str) {
        println!("{MARK}{line}");
    }

    /// The test's next line; `None` when it wants the child to end.
    pub(crate) fn hear(&self) -> Option<String> {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line).expect("the pipe works");
        (read > 0).then(|| line.trim_end().to_owned())
    }

    fn be_the_broker(&self) {
        let node = self.node();
        assert!(node.is_broker());
        self.say("ready");
        self.stay();
    }

    /// Waits until the test wants the child to end.
    pub(crate) fn stay(&self) {
        while self.hear().is_some() {}
    }

    /// Is the broker of the default instance, which takes over from whoever was it.
    pub(crate) fn serve(&self) {
        let instance = Instance::in_directory(&self.directory, "default").unwrap();
        let server = instance.serve().unwrap().spawn().unwrap();
        self.say("serves");
        self.stay();
        server.stop().unwrap();
    }
}

/// In a child, its role. Each test binary has a test named `child` that calls this; run by hand it has nothing to do.
pub(crate) fn play(role: impl FnOnce(&Stage)) {
    if let (Ok(name), Some(directory)) = (std::env::var(ROLE), std::env::var_os(DIRECTORY)) {
        let stage = Stage { role: name, directory: directory.into() };
        match stage.role.as_str() {
            BROKER => stage.be_the_broker(),
            _ => role(&stage),
        }
    }
}
