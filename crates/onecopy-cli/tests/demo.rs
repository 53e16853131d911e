//! The demo, with little to stream: what it claims is checked by itself, so here it is only made to fail and
//! to succeed.

mod common;

use std::io::{BufRead, BufReader};

use common::{World, text};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn everything_matches_and_nothing_is_left() {
    let world = World::new();
    let content: Vec<u8> = (0..5_000_000_u32).map(|index| (index.wrapping_mul(index) >> 9) as u8).collect();
    let path = world.file("film", &content);
    let output = world.run(&["demo", path.to_str().unwrap(), "--mebibytes", "16"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let said = text(&output.stdout);
    let digest = blake3::Hasher::new().update(&content.repeat(4)).finalize().to_hex().to_string();
    assert_eq!(said.matches(&digest).count(), 3, "{said}");
    assert_eq!(said.matches(": matches").count(), 2, "{said}");
    for word in [
        "SIGKILL      subscriber 3, while it holds message 11 of 20",
        "GB/s",
        "call of 64 B: p50",
        "5,000 of them, every answer right",
        "1,000,000 values written",
        "none torn, and the last: agrees",
        "left behind: nothing",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    std::fs::remove_file(path).unwrap();
    assert_eq!(std::fs::read_dir(world.path()).unwrap().count(), 0, "its directory was in TMPDIR");
}

#[test]
fn small_files_are_repeated_and_bad_ones_refused() {
    let world = World::new();
    let path = world.file("small", b"abc");
    let output = world.run(&["demo", path.to_str().unwrap(), "--mebibytes", "1"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains("3 bytes × 349526"));
    let empty = world.file("empty", b"");
    for (path, why) in
        [(empty.as_path(), "is empty"), (world.path(), "is no file"), ("/no/such".as_ref(), "No such file")]
    {
        let output = world.run(&["demo", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(why), "{output:?}");
    }
}

#[test]
fn a_signal_ends_it_without_a_trace() {
    let world = World::new();
    let mut child = world.command(&["demo", "--mebibytes", "64"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Half-way: all processes are there.
    assert!(lines.any(|line| line.starts_with("SIGKILL")));
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(world.path()).unwrap().count(), 0);
}
