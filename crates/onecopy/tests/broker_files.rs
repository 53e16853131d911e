//! What a broker has open when it is killed. Its lock is free only once the kernel has closed what comes
//! before it, and an `inotify` takes the kernel milliseconds to seconds.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, directory};
use onecopy::instance::Instance;

#[test]
fn child() {
    common::play(|stage| panic!("no role {}", stage.role));
}

#[test]
fn a_broker_has_no_inotify_among_its_files_and_still_sees_what_becomes_of_its_socket() {
    let directory = directory();
    let mut broker = Child::broker(directory.path());
    let files = std::fs::read_dir(format!("/proc/{}/fd", broker.pid())).unwrap();
    // Some may have been closed meanwhile.
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let slow: Vec<_> = targets.filter(|target| target.to_string_lossy().contains("inotify")).collect();
    assert!(slow.is_empty(), "{slow:?}");
    // Twice, as what it is told by is put away again after the first time.
    for name in ["other", "another"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    std::fs::remove_file(instance.socket_path()).unwrap();
    assert!(instance.connect_or_serve().unwrap().server.is_some(), "it has made room");
    broker.kill();
}
