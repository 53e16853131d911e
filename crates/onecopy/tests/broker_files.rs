//! What a broker has open when it is killed, and in which order. Its lock is free only once the kernel has closed what
//! comes before it, and an `inotify` takes the kernel milliseconds to seconds.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use common::{Child, directory};
use onecopy::instance::Instance;

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "replacement");
        let server = Instance::in_directory(&stage.directory, "default").unwrap().replace().unwrap();
        let server = server.spawn().unwrap();
        stage.say("ready");
        stage.stay();
        server.stop().unwrap();
    });
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

/// The files of a broker, by their numbers, that are so locked or so called.
fn files(broker: &Child, is_meant: impl Fn(&str, &str) -> bool) -> Vec<u32> {
    let process = format!("/proc/{}", broker.pid());
    let numbers = std::fs::read_dir(format!("{process}/fd")).unwrap();
    let numbers = numbers.filter_map(|file| file.ok()?.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|number| {
            let target = std::fs::read_link(format!("{process}/fd/{number}")).unwrap_or_default();
            let info = std::fs::read_to_string(format!("{process}/fdinfo/{number}")).unwrap_or_default();
            is_meant(&target.to_string_lossy(), &info)
        })
        .collect()
}

/// The inode of the socket that listens there.
fn listening(socket: &std::path::Path) -> String {
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    // Flags: it accepts connections.
    let is_it = |line: &&str| line.contains(" 00010000 ") && line.ends_with(&*socket.to_string_lossy());
    sockets.lines().find(is_it).unwrap().split_whitespace().nth(6).unwrap().to_owned()
}

/// The kernel closes what a killed process had open from the highest number down: whoever finds nobody
/// listening any more finds the lock free, and need not wait for it.
#[test]
fn the_lock_of_a_killed_broker_is_free_before_its_socket_is_closed() {
    let directory = directory();
    let instance = Instance::in_directory(directory.path(), "default").unwrap();
    let check = |broker: &Child| {
        let socket = format!("socket:[{}]", listening(&instance.socket_path()));
        let listeners = files(broker, |target, _| target == socket);
        let locks = files(broker, |target, info| target.ends_with("default.lock") && info.contains("WRITE"));
        let is_so = matches!((&*listeners, &*locks), ([listener], [lock]) if listener < lock);
        assert!(is_so, "listens on {listeners:?}, and has the lock in {locks:?}");
    };
    let broker = Child::broker(directory.path());
    check(&broker);
    let mut replacement = Child::spawn("replacement", directory.path());
    replacement.expect("ready");
    check(&replacement);
}
