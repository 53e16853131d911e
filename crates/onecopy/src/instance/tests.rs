//! What needs a look behind the public interface: another user, and a broker that never answers.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use fork::{Fork, fork};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

use super::serving::Place;
use super::{Instance, InstanceError, Seat};
use crate::broker::protocol::{Event, NodeId, Request};
use crate::broker::transport::{PacketSocket, TransportError};
use crate::config::Config;

impl Instance {
    /// The place of the broker, for a server of the test's own making.
    pub(crate) fn take_seat_for_test(&self) -> Seat {
        match self.find_place().unwrap() {
            Place::Ours(seat) => *seat,
            Place::Taken(_) => panic!("there is a broker already"),
        }
    }
}

/// Longer than anything takes.
const LONG: Duration = Duration::from_secs(120);

fn instance_in(directory: &tempfile::TempDir) -> Instance {
    Instance::in_directory(directory.path().join("run"), "lab").unwrap()
}

#[test]
fn a_socket_or_directory_of_another_user_is_not_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let _seat = instance.take_seat_for_test();
    assert!(instance.check_listener(7, 1000, 1000).is_ok());
    // Root may do what it likes anyway, and listens on behalf of others.
    assert!(instance.check_listener(7, 0, 1000).is_ok());
    match instance.check_listener(7, 1001, 1000) {
        Err(InstanceError::ForeignSocket { pid: 7, owner: 1001, uid: 1000, .. }) => {}
        other => panic!("{other:?}"),
    }
    // The directory must be somebody's who is neither root nor the one who looks.
    let owner = if instance.uid == 0 { 4242 } else { instance.uid };
    std::os::unix::fs::chown(instance.directory(), Some(owner), None).unwrap();
    let stranger = Instance { uid: owner + 1, ..instance.clone() };
    match stranger.connect() {
        Err(error @ InstanceError::ForeignDirectory { .. }) => {
            assert!(error.to_string().contains(&format!("owner = {owner}")), "{error}");
        }
        other => panic!("{other:?}"),
    }
    // One that was told whom to trust is a guest there: it finds the broker, and never becomes it.
    let text = format!("owner = {owner}");
    let config = Config::parse("lab.toml".as_ref(), &text, &Default::default()).unwrap();
    let guest = Instance { config: Arc::new(config), ..stranger };
    assert!(guest.is_guest().unwrap() && guest.connect().unwrap().is_some());
    for error in [guest.serve().map(drop), guest.create_directory()] {
        assert!(matches!(error, Err(InstanceError::NotOwner { .. })), "{error:?}");
    }
    let text = format!("owner = {}", owner + 2);
    let config = Config::parse("lab.toml".as_ref(), &text, &Default::default()).unwrap();
    let misled = Instance { config: Arc::new(config), ..guest };
    assert!(matches!(misled.connect(), Err(InstanceError::OtherOwner { .. })));
}

#[test]
fn a_broker_that_never_answers_does_not_hang_us() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let _seat = instance.take_seat_for_test();
    let socket = instance.connect().unwrap().unwrap();
    let hello = Request::Hello { node: NodeId(1), name: "n".to_owned(), returns_from: None };
    let error = instance.introduce_within(&socket, &hello, Duration::from_millis(20), None).unwrap_err();
    assert!(matches!(error, InstanceError::NoAnswer { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[test]
fn a_broker_that_ends_while_we_wait_for_it_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let seat = instance.take_seat_for_test();
    let socket = instance.connect().unwrap().unwrap();
    drop(seat);
    let error = instance.introduce(&socket, NodeId(1), "n").unwrap_err();
    assert!(matches!(error, InstanceError::BrokerEnded { .. }), "{error}");
}

#[test]
fn a_broker_whose_socket_outlives_it_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let address = SocketAddrUnix::new(directory.path().join("left.sock")).unwrap();
    let new_socket = || socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let left_behind = new_socket().unwrap();
    bind(&left_behind, &address).unwrap();
    // To those who connect, whoever began to listen is at the other end.
    match fork().unwrap() {
        Fork::Child => {
            let _ = listen(&left_behind, 1);
            let _ = kill_process(getpid(), Signal::KILL);
        }
        Fork::Parent(pid) => drop(waitpid(Pid::from_raw(pid), WaitOptions::empty()).unwrap()),
    }
    let socket = new_socket().unwrap();
    connect(&socket, &address).unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let hello = Request::Hello { node: NodeId(1), name: "n".to_owned(), returns_from: None };
        sender.send(instance.introduce_within(&PacketSocket::from(socket), &hello, LONG, None).unwrap_err())
    });
    let error = receiver.recv_timeout(LONG / 2).expect("nobody will answer");
    assert!(matches!(error, InstanceError::BrokerEnded { .. }), "{error}");
}

#[test]
fn whoever_answers_otherwise_is_no_broker() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let (socket, other) = PacketSocket::pair().unwrap();
    other.send(&Event::InspectEnd { request: 1 }.encode(), None).unwrap();
    let error = instance.introduce(&socket, NodeId(1), "n").unwrap_err();
    assert!(matches!(error, InstanceError::NotABroker { .. }), "{error}");
    other.send(b"220 smtp ready", None).unwrap();
    let error = instance.introduce(&socket, NodeId(1), "n").unwrap_err();
    assert!(matches!(error, InstanceError::Transport(TransportError::Decode(_))), "{error}");
}

#[test]
fn a_server_leaves_the_socket_of_its_successor_alone() {
    let directory = tempfile::tempdir().unwrap();
    let instance = instance_in(&directory);
    let first = instance.take_seat_for_test();
    // Somebody tidies the directory, and another broker starts.
    std::fs::remove_file(instance.socket_path()).unwrap();
    std::fs::remove_file(instance.lock_path()).unwrap();
    let second = instance.take_seat_for_test();
    drop(first);
    assert!(instance.connect().unwrap().is_some());
    drop(second);
    assert!(!instance.socket_path().exists());
}
