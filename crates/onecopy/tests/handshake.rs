//! Whoever listens on the broker's socket is no broker, or ends in the middle of a conversation: each opening is an
//! error that says what to do.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use common::{LONG, directory};
use onecopy::broker::protocol::{BrokerId, Event, PROTOCOL_VERSION, PortId, Refusal, Request};
use onecopy::broker::transport::{PacketSocket, TransportError};
use onecopy::instance::InstanceError;
use onecopy::limits::HANDSHAKE_ATTEMPTS;
use onecopy::{Node, OpenError};
use rustix::net::sockopt::{self, Timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Listens where the broker of `directory` would.
fn listen(directory: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    let address = SocketAddrUnix::new(directory.join("default.sock")).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    // A node that does not come as often as it should fails the test and does not hang it.
    sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(LONG)).unwrap();
    socket
}

fn accept(listener: &OwnedFd) -> PacketSocket {
    let socket = PacketSocket::from(rustix::net::accept_with(listener, SocketFlags::CLOEXEC).unwrap());
    socket.set_timeout(Some(LONG)).unwrap();
    socket
}

fn open(directory: &Path) -> Result<Node, OpenError> {
    Node::builder().directory(directory).open()
}

/// What a node says of a broker that answers its first packet so.
fn error_after(answer: impl FnOnce(PacketSocket) + Send) -> OpenError {
    let directory = directory();
    let listener = listen(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = accept(&listener);
            assert!(matches!(Request::decode(&socket.receive().unwrap().bytes), Ok(Request::Hello { .. })));
            answer(socket);
        });
        open(directory.path()).map(drop).unwrap_err()
    })
}

fn welcome() -> Vec<u8> {
    Event::Welcome { broker_pid: std::process::id(), broker: BrokerId(1), pid_namespace: 0, limited: false }
        .encode()
}

#[test]
fn a_server_that_hangs_up_at_once() {
    let directory = directory();
    let listener = listen(directory.path());
    let error = std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..HANDSHAKE_ATTEMPTS {
                drop(accept(&listener));
            }
        });
        open(directory.path()).map(drop).unwrap_err()
    });
    assert!(matches!(error, OpenError::Instance(InstanceError::BrokerEnded { .. })), "{error}");
    let message = error.to_string();
    assert!(message.contains("default.sock") && message.contains("try again"), "{message}");
}

#[test]
fn a_server_that_hangs_up_is_tried_again() {
    let directory = directory();
    let listener = listen(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(accept(&listener));
            let heard_out = accept(&listener);
            heard_out.receive().unwrap();
            drop(heard_out);
            let kept = accept(&listener);
            kept.receive().unwrap();
            kept.send(&welcome(), None).unwrap();
            expect_readers(&kept);
            assert!(matches!(kept.receive(), Err(TransportError::Closed)));
        });
        drop(open(directory.path()).unwrap());
    });
}

#[test]
fn garbage_and_halves_of_packets() {
    let whole = welcome();
    let mut other_release = whole.clone();
    other_release[2..4].copy_from_slice(&(PROTOCOL_VERSION + 1).to_le_bytes());
    let answers = [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "only onecopy may talk to this socket"),
        (&[0; 4096], "only onecopy may talk to this socket"),
        (&[7; 5000], "send one message a packet"),
        (&whole[..1], "too short"),
        (&whole[..4], "run the same release"),
        (&whole[..whole.len() - 1], "run the same release"),
        (&other_release, "run the same release"),
        (&[&whole[..], &[0]].concat(), "send one message a packet"),
    ];
    for (answer, advice) in answers {
        let error = error_after(|socket| {
            // Larger than our own transport would ever send.
            rustix::net::send(&socket, answer, rustix::net::SendFlags::NOSIGNAL).unwrap();
            assert!(matches!(socket.receive(), Err(TransportError::Closed)), "the node stays");
        });
        let OpenError::Instance(InstanceError::Transport(TransportError::Decode(_))) = error else {
            panic!("{answer:?}: {error:?}")
        };
        assert!(error.to_string().contains(advice), "{answer:?}: {error}");
    }
}

#[test]
fn answers_to_other_questions() {
    let error = error_after(|socket| socket.send(&Event::InspectEnd { request: 1 }.encode(), None).unwrap());
    assert!(matches!(error, OpenError::Instance(InstanceError::NotABroker { .. })), "{error}");
    assert!(error.to_string().contains("choose another instance"), "{error}");

    let error = error_after(|socket| socket.send(&welcome(), Some(socket.as_fd())).unwrap());
    let OpenError::Instance(InstanceError::Transport(TransportError::Descriptor(reason))) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*reason, Refusal::DescriptorSurplus);

    let refusal = Refusal::OutOfDescriptors;
    let error =
        error_after(|socket| socket.send(&Event::Refused { reason: refusal }.encode(), None).unwrap());
    assert!(
        matches!(error, OpenError::Instance(InstanceError::Refused(Refusal::OutOfDescriptors))),
        "{error}"
    );
    assert!(error.to_string().contains("ulimit -n"), "{error}");
}

/// A node that is welcome shows its reader state.
fn expect_readers(socket: &PacketSocket) {
    let packet = socket.receive().unwrap();
    assert_eq!(Request::decode(&packet.bytes), Ok(Request::ShowReaders));
    assert!(packet.descriptor.is_some());
}

/// What a node says of opening a subscriber, if its broker answers so.
fn opening_error_after(answer: impl FnOnce(&PacketSocket, PortId) + Send) -> OpenError {
    let directory = directory();
    let listener = listen(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = accept(&listener);
            socket.receive().unwrap();
            socket.send(&welcome(), None).unwrap();
            expect_readers(&socket);
            let Request::OpenSubscriber { subscriber, .. } =
                Request::decode(&socket.receive().unwrap().bytes).unwrap()
            else {
                panic!("the node asks for something else")
            };
            answer(&socket, subscriber);
        });
        let node = open(directory.path()).unwrap();
        node.topic::<u64>("numbers").unwrap().subscriber().open().map(drop).unwrap_err()
    })
}

/// What a node says that loses its broker while it opens a subscriber, and is refused by the next one that it comes to.
fn refused_by_the_next_after(end: impl FnOnce(PacketSocket) + Send) -> OpenError {
    let directory = directory();
    let listener = listen(directory.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = accept(&listener);
            socket.receive().unwrap();
            socket.send(&welcome(), None).unwrap();
            socket.receive().unwrap();
            end(socket);
            let next = accept(&listener);
            let Request::Hello { returns_from: Some(BrokerId(1)), .. } =
                Request::decode(&next.receive().unwrap().bytes).unwrap()
            else {
                panic!("it does not say that it comes back")
            };
            next.send(&Event::Refused { reason: Refusal::LetGo }.encode(), None).unwrap();
        });
        let node = open(directory.path()).unwrap();
        node.topic::<u64>("numbers").unwrap().subscriber().open().map(drop).unwrap_err()
    })
}

#[test]
fn a_broker_that_ends_while_something_is_opened() {
    let half = Event::InspectEnd { request: 1 }.encode();
    let errors = [
        refused_by_the_next_after(drop),
        refused_by_the_next_after(|socket| socket.send(&half[..4], None).unwrap()),
        refused_by_the_next_after(|socket| socket.send(b"garbage", None).unwrap()),
    ];
    for error in errors {
        assert!(matches!(error, OpenError::Fault(Refusal::LetGo)), "{error}");
        assert!(error.to_string().contains("open a new node"), "{error}");
    }
    let reason = Refusal::DescriptorMissing;
    let refused = opening_error_after(|socket, _| {
        socket.send(&Event::Refused { reason: reason.clone() }.encode(), None).unwrap();
    });
    assert!(matches!(&refused, OpenError::Fault(found) if *found == reason), "{refused}");
}
