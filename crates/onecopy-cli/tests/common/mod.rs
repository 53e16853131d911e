//! Real processes in a runtime directory of their own.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// A directory in which no instance is known but those that the test makes.
pub(crate) struct World {
    directory: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// Where the instances are; not created yet.
    pub(crate) fn runtime_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A node of this process beside those of the command.
    pub(crate) fn node(&self) -> onecopy::Node {
        onecopy::Node::builder().directory(self.runtime_directory()).name("test").open().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onecopy"));
        command
            .args(arguments)
            .env("ONECOPY_RUNTIME_DIR", self.runtime_directory())
            .env("TMPDIR", self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs to the end, with something to read.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Starts and waits until standard error says `ready`.
    pub(crate) fn start(&self, arguments: &[&str], ready: &str) -> Running {
        Running::after(self.command(arguments).spawn().unwrap(), ready)
    }

    /// Starts `topic sub` and waits until it has subscribed.
    pub(crate) fn subscribe(&self, arguments: &[&str]) -> Running {
        self.start(&[&["--log", "info", "topic", "sub"], arguments].concat(), "subscribed")
    }
}

/// A process that is set up. Killed when the test ends without it having ended.
pub(crate) struct Running {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Running {
    pub(crate) fn after(child: Child, ready: &str) -> Self {
        Self::with_word(child, ready).0
    }

    /// The same, and what it said.
    pub(crate) fn with_word(mut child: Child, ready: &str) -> (Self, String) {
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(ready) {
            assert_ne!(stderr.read_line(&mut said).unwrap(), 0, "it ended, having said {said:?}");
        }
        (Self { child, stderr }, said)
    }

    /// Waits until it says something with `word` in it, and gives that line.
    pub(crate) fn until(&mut self, word: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended without {word:?}");
            if line.contains(word) {
                return line;
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).unwrap();
        kill_process(pid, signal).unwrap();
        if signal == Signal::STOP {
            // Its threads stop one after the other: the last may still become the broker.
            waitpid(Some(pid), WaitOptions::UNTRACED).unwrap();
        }
    }

    /// Waits for its end: exit code, output, and what it said after it was set up.
    pub(crate) fn finish(mut self) -> (Option<i32>, Vec<u8>, String) {
        drop(self.child.stdin.take());
        let (mut output, mut said) = (Vec::new(), String::new());
        if let Some(mut stdout) = self.child.stdout.take() {
            stdout.read_to_end(&mut output).unwrap();
        }
        self.stderr.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), output, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

pub(crate) fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}
