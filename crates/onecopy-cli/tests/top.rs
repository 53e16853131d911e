//! `onecopy top` on a terminal: what it takes it gives back, however it ends.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;
mod terminal;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus, Stdio};

use common::{World, text};
use rustix::process::{Pid, Signal, kill_process};
use rustix::termios::{LocalModes, tcgetattr};

/// A terminal of 80 by 24 characters with the dashboard on it.
struct OnTerminal {
    child: Child,
    /// Where a person would sit.
    person: File,
    terminal: OwnedFd,
    shown: Vec<u8>,
}

impl OnTerminal {
    fn new(world: &World) -> Self {
        let (person, terminal) = terminal::open(80);
        let stdio = || Stdio::from(terminal.try_clone().unwrap());
        let mut command = world.command(&["top", "--interval", "0.1"]);
        let child = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn().unwrap();
        Self { child, person, terminal, shown: Vec::new() }
    }

    /// Waits until this is on the screen.
    fn see(&mut self, word: &str) {
        while !String::from_utf8_lossy(&self.shown).contains(word) {
            let mut more = [0; 4096];
            let read = self.person.read(&mut more).unwrap();
            self.shown.extend_from_slice(&more[..read]);
        }
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }

    /// Waits for its end, which leaves the other screen and the terminal as they were.
    fn end(mut self) -> ExitStatus {
        self.see("\x1b[?1049l");
        let status = self.child.wait().unwrap();
        assert!(!self.is_raw(), "the terminal is as it was");
        status
    }
}

#[test]
fn a_key_ends_it() {
    let world = World::new();
    let node = world.node();
    let _publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    let mut top = OnTerminal::new(&world);
    top.see("numbers");
    assert!(top.is_raw());
    top.person.write_all(b"q").unwrap();
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_given_back() {
    let world = World::new();
    let mut top = OnTerminal::new(&world);
    top.see("no broker runs this instance");
    kill_process(Pid::from_child(&top.child), Signal::TERM).unwrap();
    assert_eq!(top.end().code(), Some(0));
    assert!(!world.runtime_directory().exists(), "looking at nothing makes nothing");
}

#[test]
fn an_instance_that_comes_and_goes_is_followed() {
    let world = World::new();
    let mut top = OnTerminal::new(&world);
    top.see("no topics");
    let node = world.node();
    let publisher = node.topic::<u64>("numbers").unwrap().publisher().open().unwrap();
    top.see("numbers");
    top.shown.clear();
    drop((publisher, node));
    top.see("no broker runs this instance");
    top.person.write_all(&[3]).unwrap();
    assert_eq!(top.end().code(), Some(0));
}

#[test]
fn it_ends_with_its_terminal() {
    let world = World::new();
    let mut top = OnTerminal::new(&world);
    top.see("no topics");
    let OnTerminal { mut child, person, terminal, .. } = top;
    drop((person, terminal));
    child.wait().unwrap();
}

#[test]
fn without_a_terminal_it_says_what_else_there_is() {
    let world = World::new();
    let output = world.run(&["top"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert!(text(&output.stderr).contains("onecopy status --json"));
}
