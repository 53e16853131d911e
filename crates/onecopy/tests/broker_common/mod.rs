//! A broker in a directory of its own, and peers that talk to it as they please.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::os::fd::{AsFd, OwnedFd};

use onecopy::broker::protocol::{Address, Delivery, Event, NodeId, PortId, Request};
use onecopy::broker::server::ServerThread;
use onecopy::broker::transport::{PacketSocket, TransportError};
use onecopy::instance::Instance;
use onecopy::payload_type::PayloadType;

pub struct World {
    pub instance: Instance,
    pub server: ServerThread,
    directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let instance = Instance::in_directory(directory.path().join("run"), "lab").unwrap();
        let server = instance.serve().unwrap().spawn().unwrap();
        Self { instance, server, directory }
    }

    /// Stops the broker; the directory lives as long as it is kept.
    pub fn stop(self) -> (Instance, tempfile::TempDir) {
        self.server.stop().unwrap();
        (self.instance, self.directory)
    }

    /// Connected, with nothing said.
    pub fn connect(&self) -> PacketSocket {
        self.instance.connect().unwrap().unwrap()
    }

    /// A node that the broker knows.
    pub fn node(&self, number: u64) -> PacketSocket {
        let socket = self.connect();
        self.instance.introduce(&socket, NodeId(number), "test").unwrap();
        socket
    }
}

/// Asks a question and waits for the answer: whoever gets it is alive and well.
pub fn assert_served(socket: &PacketSocket) {
    socket
        .send_request(&Request::Inspect { request: 1, topic: Some("none".to_owned()), rings: false }, None)
        .unwrap();
    assert_eq!(socket.receive_event().unwrap().0, Event::InspectEnd { request: 1 });
}

/// The last event before the broker closed the connection.
pub fn last_event(socket: &PacketSocket) -> Option<Event> {
    let mut last = None;
    loop {
        match socket.receive_event() {
            Ok((event, _)) => last = Some(event),
            Err(TransportError::Closed) => return last,
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn port(node: u64, serial: u32) -> PortId {
    PortId { node: NodeId(node), serial }
}

/// Memory of a size that is sealed, as the broker wants it.
pub fn memory() -> OwnedFd {
    use rustix::fs::{MemfdFlags, SealFlags};
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("test", flags).unwrap();
    rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    memory
}

pub fn open_publisher(socket: &PacketSocket, port: PortId, ring: &OwnedFd) {
    let request = Request::OpenPublisher {
        publisher: port,
        address: Address::Topic("t".to_owned()),
        payload: PayloadType::value::<u64>(),
        delivery: Delivery::Overwrite,
        history: 0,
    };
    socket.send_request(&request, Some(ring.as_fd())).unwrap();
}

pub fn open_subscriber(socket: &PacketSocket, port: PortId) {
    let request =
        Request::OpenSubscriber { subscriber: port, address: Address::Topic("t".to_owned()), payload: None };
    socket.send_request(&request, None).unwrap();
}
