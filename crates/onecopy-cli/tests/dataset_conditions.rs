//! `onecopy dataset …` where something is not as usual: a terminal, a pipe that is closed, a kernel or a user without
//! the means, a file that was changed without a trace.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;
mod terminal;

use std::fs::{FileTimes, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use common::{Running, World, text};

const BYTES: usize = 5_000_000;

fn content() -> Vec<u8> {
    (0..BYTES as u32).map(|number| (number ^ number >> 9) as u8).collect()
}

/// Runs a command whose standard error is a terminal, and gives what a person saw.
fn seen(mut command: Command) -> String {
    let (mut person, terminal) = terminal::open(100);
    let mut child = command.env("TERM", "xterm").stderr(Stdio::from(terminal)).spawn().unwrap();
    // The command has the terminal's last descriptor but for ours in it.
    drop(command);
    let (mut shown, mut more) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = person.read(&mut more) {
        shown.extend_from_slice(&more[..read]);
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

#[test]
fn long_work_is_shown_on_a_terminal_and_nowhere_else() {
    let world = World::new();
    let path = world.file("data", &content());
    let _serve = world.start(&["serve"], "serves at");
    let publish = ["dataset", "publish", "data", path.to_str().unwrap(), "--keep"];
    for arguments in [&publish[..], &["dataset", "verify", "data"]] {
        let shown = seen(world.command(arguments));
        assert!(shown.contains(" of 4.77 MiB"), "{shown:?}");
        // It is taken off again, and what stays begins at the line's start.
        let rest = shown.rsplit_once("\x1b[2K").unwrap().1;
        assert!(!rest.contains(" of 4.77"), "{shown:?}");
        let output = world.run(arguments);
        assert!(output.status.success() && !text(&output.stderr).contains(" of 4.77"), "{output:?}");
    }
}

#[test]
fn who_has_read_enough_ends_cat_in_peace() {
    let world = World::new();
    let path = world.file("data", &content());
    for backing in ["memory", "file"] {
        let _held = world.start(
            &["dataset", "publish", "data", path.to_str().unwrap(), "--backing", backing],
            "is held until",
        );
        let mut cat = world.command(&["dataset", "cat", "data"]).spawn().unwrap();
        let mut some = [0; 10];
        cat.stdout.take().unwrap().read_exact(&mut some).unwrap();
        assert_eq!(some, content()[..10]);
        let output = cat.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{backing}");
    }
}

#[test]
fn without_huge_pages_ordinary_ones_are_used_and_it_is_said() {
    let world = World::new();
    let path = world.file("data", &content());
    let arguments = ["dataset", "publish", "data", path.to_str().unwrap(), "--hugepages"];
    let mut command = world.command(&arguments);
    let (_held, said) =
        Running::with_word(command.env("ONECOPY_DISABLE", "collapse").spawn().unwrap(), "is held until");
    assert!(said.contains("ordinary pages are used"), "{said}");
    assert!(world.run(&["dataset", "cat", "data"]).stdout == content());
}

/// The command as a user has it who may lock 64 KiB. What root may is taken away first.
fn with_little_to_lock(world: &World, arguments: &[&str]) -> Command {
    let onecopy = world.command(arguments);
    let limited = ["sh", "-c", "ulimit -l 64 && exec \"$@\"", "sh"];
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps=-ipc_lock", "--bounding-set=-ipc_lock"]).args(limited);
        command
    } else {
        let mut command = Command::new(limited[0]);
        command.args(&limited[1..]);
        command
    };
    command.arg(onecopy.get_program()).args(onecopy.get_args());
    command.envs(onecopy.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn memory_that_may_not_be_locked_is_not_published() {
    let world = World::new();
    let path = world.file("data", &content());
    let arguments = ["dataset", "publish", "data", path.to_str().unwrap(), "--lock"];
    let output = with_little_to_lock(&world, &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("raise the limit (`ulimit -l`"), "{output:?}");
    assert_eq!(world.run(&["dataset", "cat", "data"]).status.code(), Some(3));
    // What is less than that may be locked by anybody, and is.
    let path = world.file("small", &content()[..20_000]);
    let arguments = ["dataset", "publish", "small", path.to_str().unwrap(), "--lock"];
    let held = Running::after(with_little_to_lock(&world, &arguments).spawn().unwrap(), "is held until");
    let status = std::fs::read_to_string(format!("/proc/{}/status", held.id())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let kib: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kib >= 20, "{locked}");
}

#[test]
fn a_file_that_was_changed_without_a_trace_is_found_out_by_verify() {
    let world = World::new();
    let path = world.file("data", &content());
    let arguments = ["dataset", "publish", "data", path.to_str().unwrap(), "--backing", "file"];
    let _held = world.start(&arguments, "is held until");
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.write_all_at(b"another", 1_000_000).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    let output = world.run(&["dataset", "verify", "data"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(8), 0), "{output:?}");
    assert!(text(&output.stderr).contains("changed without a trace"), "{output:?}");
}

#[test]
fn a_publisher_that_is_killed_while_it_reads_publishes_nothing() {
    let world = World::new();
    let _serve = world.start(&["serve"], "serves at");
    let mut command = world.command(&["dataset", "publish", "data", "-", "--keep"]);
    let mut publisher = command.stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(publisher.stdin.as_mut().unwrap(), &content()).unwrap();
    publisher.kill().unwrap();
    assert_eq!(publisher.wait().unwrap().signal(), Some(9));
    let list = world.run(&["dataset", "list", "--json"]);
    assert_eq!(text(&list.stdout).trim(), "[]");
}
