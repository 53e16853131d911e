//! `onecopy serve` as a service of systemd, by what systemd does for its services: the listening socket as descriptor 3,
//! and a socket that takes notes. Neither needs a machine that systemd has started.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Running, World, json, text};
use rustix::process::{Pid, Signal, kill_process};

fn broker_of(world: &World) -> u64 {
    json(&world.run(&["status", "--json"]))["broker_pid"].as_u64().unwrap()
}

/// What a service tells its manager.
struct Notes(UnixDatagram);

impl Notes {
    fn at(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(socket)
    }

    fn hear(&self) -> String {
        let mut said = [0; 64];
        let length = self.0.recv(&mut said).unwrap();
        String::from_utf8_lossy(&said[..length]).into_owned()
    }
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_ends() {
    let world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let notes = Notes::at(&path);
    let mut command = world.command(&["serve"]);
    let broker = Running::after(command.env("NOTIFY_SOCKET", &path).spawn().unwrap(), "serves at");
    assert_eq!(notes.hear(), "READY=1");
    broker.signal(Signal::TERM);
    assert_eq!(notes.hear(), "STOPPING=1");
    assert_eq!(broker.finish().0, Some(0));
}

/// What systemd does for a socket unit: the program finds the listening socket as descriptor 3.
#[test]
fn a_socket_that_systemd_has_made_is_served_and_left() {
    use std::os::fd::OwnedFd;

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    let world = World::new();
    std::fs::create_dir_all(world.runtime_directory()).unwrap();
    let path = world.runtime_directory().join("default.sock");
    let kind = SocketType::SEQPACKET;
    let listener: OwnedFd =
        rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&listener, 8).unwrap();
    for is_stopped in [false, true] {
        // The shell's number stays that of the program that it becomes.
        let program = world.command(&["serve"]);
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" serve 3<&0 </dev/null"]);
        command.arg(program.get_program());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.stdin(listener.try_clone().unwrap()).stdout(Stdio::piped());
        let broker = Running::after(command.stderr(Stdio::piped()).spawn().unwrap(), "serves at");
        assert_eq!(broker_of(&world), u64::from(broker.id()));
        if is_stopped {
            // Not the process that made the socket, whose number the kernel tells.
            let stopped = json(&world.run(&["stop", "--json"]));
            assert_eq!(stopped["broker_pid"], broker.id());
        } else {
            broker.signal(Signal::TERM);
        }
        assert_eq!(broker.finish().0, Some(0));
        assert!(path.exists(), "the socket is systemd's to remove");
    }
}

/// The same by systemd's own program for it, which listens until somebody comes, and becomes the service then.
#[test]
fn the_first_who_comes_starts_the_service() {
    if Command::new("systemd-socket-activate").arg("--version").output().is_err() {
        return println!("left out: systemd-socket-activate is not installed");
    }
    let world = World::new();
    std::fs::create_dir_all(world.runtime_directory()).unwrap();
    let notes_path = world.path().join("notify");
    let notes = Notes::at(&notes_path);
    let serve = world.command(&["serve"]);
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--seqpacket", "--listen"]).arg(world.runtime_directory().join("default.sock"));
    for (name, value) in serve.get_envs() {
        command.arg("--setenv").arg([name, value.unwrap_or_default()].join("=".as_ref()));
    }
    command.arg("--setenv").arg(format!("NOTIFY_SOCKET={}", notes_path.display()));
    command.arg(serve.get_program()).arg("serve").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut service = Running::after(command.spawn().unwrap(), "Listening on");
    // Whoever comes first waits until the service is there.
    let mut subscriber = world.subscribe(&["t", "--count", "2"]);
    service.until("serves at");
    assert_eq!(notes.hear(), "READY=1");
    assert_eq!(broker_of(&world), u64::from(service.id()));
    // Killed, it is succeeded by the program, and nothing is lost.
    assert!(world.run_with_input(&["topic", "pub", "t"], b"before\n").status.success());
    kill_process(Pid::from_raw(service.id() as i32).unwrap(), Signal::KILL).unwrap();
    assert_eq!(service.finish().0, None);
    assert!(world.run_with_input(&["topic", "pub", "t"], b"after\n").status.success());
    let mut output = Vec::new();
    std::io::Read::read_to_end(subscriber.child().stdout.as_mut().unwrap(), &mut output).unwrap();
    assert_eq!(text(&output), "before\nafter\n");
}
