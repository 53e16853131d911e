//! A node that its broker lets go of, and one that cannot take in what it is sent: both learn it from their
//! subscribers, and what they have received stays whole.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use common::{Child, LONG, SHORT, Stage, directory, node_in};
use onecopy::broker::protocol::{Event, Refusal};
use onecopy::broker::transport::PacketSocket;
use onecopy::instance::Instance;
use onecopy::{OpenError, ReceiveError, Subscriber, WaitError};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const LARGE: usize = 1 << 20;

#[test]
fn child() {
    common::play(|stage| {
        assert_eq!(stage.role, "out of descriptors");
        run_out_of_descriptors(stage);
    });
}

/// A conversation of a node with its broker, which we listen to.
struct Link {
    node: Arc<PacketSocket>,
    broker: Arc<PacketSocket>,
}

impl Link {
    /// Waits for a node to come to `listener`, and passes on what it and the broker of `instance` say.
    fn accept(listener: &OwnedFd, instance: &Instance) -> Self {
        let node = Arc::new(rustix::net::accept_with(listener, SocketFlags::CLOEXEC).unwrap().into());
        let broker = Arc::new(instance.connect().unwrap().unwrap());
        for (from, to) in [(&node, &broker), (&broker, &node)] {
            let (from, to): (Arc<PacketSocket>, Arc<PacketSocket>) = (Arc::clone(from), Arc::clone(to));
            std::thread::spawn(move || {
                use std::os::fd::AsFd;
                while let Ok(packet) = from.receive() {
                    if to.send(&packet.bytes, packet.descriptor.as_ref().map(AsFd::as_fd)).is_err() {
                        break;
                    }
                }
                // Either may be closed already.
                let _ = (from.shutdown(), to.shutdown());
            });
        }
        Self { node, broker }
    }

    /// Does to the node what a broker does that lets go of it: first the reason, then the end, for all to see.
    fn refuse(&self, reason: &Refusal) {
        self.node.send(&Event::Refused { reason: reason.clone() }.encode(), None).unwrap();
        self.node.shutdown().unwrap();
        // The relay may have been faster.
        let _ = self.broker.shutdown();
    }
}

fn listen(directory: &Path) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let address = SocketAddrUnix::new(directory.join("default.sock")).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 8).unwrap();
    socket
}

fn assert_evicted<P: onecopy::Payload + ?Sized>(subscriber: &mut Subscriber<P>, expected: &Refusal) {
    let Err(WaitError::Receive(error)) = subscriber.wait(LONG).map(drop) else { panic!("still open") };
    assert_eq!(error, ReceiveError::Evicted(expected.clone()));
    assert!(error.to_string().contains(&expected.to_string()), "{error}");
    // Told once; then there is nobody to be heard.
    assert!(subscriber.receive().unwrap().is_none());
    assert_eq!(subscriber.publishers(), 0);
    assert!(matches!(subscriber.wait(SHORT).map(drop), Err(WaitError::Timeout)));
}

#[test]
fn a_node_that_is_refused_keeps_what_it_received() {
    let (real, tapped) = (directory(), directory());
    let publishing = node_in(real.path());
    let instance = publishing_instance(real.path());
    let mut large =
        publishing.topic::<[u8]>("large").unwrap().publisher().budget_bytes(8 * LARGE).open().unwrap();
    let mut small = publishing.topic::<u64>("small").unwrap().publisher().open().unwrap();
    let listener = listen(tapped.path());
    let (node, link) = std::thread::scope(|scope| {
        let link = scope.spawn(|| Link::accept(&listener, &instance));
        (node_in(tapped.path()), link.join().unwrap())
    });
    let mut large_subscriber = node.topic::<[u8]>("large").unwrap().subscriber().open().unwrap();
    let mut small_subscriber = node.topic::<u64>("small").unwrap().subscriber().open().unwrap();
    large.publish(&[1; LARGE]).unwrap();
    small.publish(&1).unwrap();
    let kept_large = large_subscriber.wait(LONG).unwrap().keep();
    let kept_small = small_subscriber.wait(LONG).unwrap().keep();

    let reason = Refusal::TooSlow { queued: 7 };
    link.refuse(&reason);
    assert_evicted(&mut large_subscriber, &reason);
    assert_evicted(&mut small_subscriber, &reason);
    let reopened = node.topic::<u64>("small").unwrap().subscriber().open().map(drop);
    assert!(matches!(reopened, Err(OpenError::Fault(found)) if found == reason));
    assert!(*kept_large == [1; LARGE] && *kept_small == 1);

    // The publishers go on as if it had never been there.
    while large.subscribers() + small.subscribers() > 0 {
        publishing.inventory().unwrap();
    }
    for value in 2..50 {
        large.publish(&[value; LARGE]).unwrap();
        small.publish(&u64::from(value)).unwrap();
    }
    assert_eq!(*kept_small, 1);
    assert_eq!(kept_large.len(), LARGE);
    assert!(kept_large.iter().all(|byte| (1..50).contains(byte)));
    drop((large_subscriber, small_subscriber, node));
    assert_eq!(kept_large.iter().count(), LARGE);
}

fn publishing_instance(directory: &Path) -> Instance {
    Instance::in_directory(directory, "default").unwrap()
}

/// No descriptor beyond standard input, output and error can be made any more; those that are there stay.
fn allow_no_more_descriptors() -> Rlimit {
    let saved = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: saved.maximum }).unwrap();
    saved
}

fn run_out_of_descriptors(stage: &Stage) {
    let node = stage.node();
    let mut subscriber = node.topic::<u64>("numbers").unwrap().subscriber().open().unwrap();
    // Where sleeping takes descriptors, they are made now.
    assert!(matches!(subscriber.wait(SHORT).map(drop), Err(WaitError::Timeout)));
    let saved = allow_no_more_descriptors();
    stage.say("full");
    let Err(WaitError::Receive(error)) = subscriber.wait(LONG).map(drop) else { panic!("nothing was lost") };
    assert!(matches!(&error, ReceiveError::MemoryLost(_)), "{error}");
    assert!(error.to_string().contains("ulimit -n"), "{error}");
    setrlimit(Resource::Nofile, saved).unwrap();
    stage.say("emptied");
    assert_eq!(*subscriber.wait(LONG).unwrap(), 2);
    assert_eq!(subscriber.publishers(), 1);
    stage.say("heard");
    stage.stay();
}

#[test]
fn memory_that_cannot_be_received_is_told_and_costs_its_publisher_only() {
    let directory = directory();
    let node = node_in(directory.path());
    let mut subscriber = Child::spawn("out of descriptors", directory.path());
    subscriber.expect("full");
    let topic = node.topic::<u64>("numbers").unwrap();
    let mut unheard = topic.publisher().history(1).open().unwrap();
    subscriber.expect("emptied");
    unheard.publish(&1).unwrap();
    let mut heard = topic.publisher().open().unwrap();
    heard.publish(&2).unwrap();
    subscriber.expect("heard");
    assert_eq!((unheard.subscribers(), heard.subscribers()), (0, 1));
    assert!(subscriber.end().success());
}
