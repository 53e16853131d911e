//! A region's writer that is stopped, or hostile, just after it has become the writer, and before it has let in those who
//! read: here a peer that speaks to the broker for itself.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod common;

use std::path::Path;
use std::sync::mpsc;

use common::{LONG, directory, node_in};
use onecopy::Delivery;
use onecopy::broker::protocol::{Address, Event, NodeId, PortId, Request};
use onecopy::broker::transport::PacketSocket;
use onecopy::instance::Instance;
use onecopy::payload_type::PayloadType;
use onecopy_memory::region::{RegionGeometry, RegionWriter};

/// So large that whoever becomes the writer is still copying it when another one has become the writer.
const LARGE: usize = 64 << 20;
const ROUNDS: usize = 20;

/// A peer that reads the region, and never answers those who read what it writes.
struct Peer {
    socket: PacketSocket,
    payload: PayloadType,
    questions: u32,
}

impl Peer {
    fn new(directory: &Path, payload: PayloadType) -> Self {
        let instance = Instance::in_directory(directory, "default").unwrap();
        let socket = instance.connect().unwrap().unwrap();
        instance.introduce(&socket, NodeId(77), "peer").unwrap();
        let peer = Self { socket, payload, questions: 0 };
        let (subscriber, address) = (Self::port(0), Self::address(0));
        peer.say(&Request::OpenSubscriber { subscriber, address, payload: Some(peer.payload.clone()) });
        peer
    }

    fn port(serial: u32) -> PortId {
        PortId { node: NodeId(77), serial }
    }

    fn address(follows: u64) -> Address {
        Address::Region { name: "r".to_owned(), succeeds: None, follows }
    }

    fn say(&self, request: &Request) {
        self.socket.send_request(request, None).unwrap();
    }

    fn writer(&self, version: u64, value: &[u8]) -> RegionWriter {
        let geometry = RegionGeometry::new(value.len(), 1).unwrap();
        RegionWriter::create(geometry, self.payload.layout_hash(), version, value).unwrap()
    }

    /// Whether the broker takes it for the writer.
    fn becomes_writer(&mut self, serial: u32, follows: u64, writer: &RegionWriter) -> bool {
        let request = Request::OpenPublisher {
            publisher: Self::port(serial),
            address: Self::address(follows),
            payload: self.payload.clone(),
            delivery: Delivery::Overwrite,
            history: 1,
        };
        self.socket.send_request(&request, Some(writer.descriptor())).unwrap();
        self.questions += 1;
        self.say(&Request::Inspect { request: self.questions, topic: Some("none".to_owned()), rings: false });
        let mut is_writer = true;
        loop {
            match self.socket.receive_event().unwrap().0 {
                Event::OpenFailed { .. } => is_writer = false,
                Event::InspectEnd { request } if request == self.questions => return is_writer,
                _ => {}
            }
        }
    }
}

#[test]
fn nobody_waits_for_ever_for_a_writer_that_is_silent() {
    let value = vec![1; LARGE];
    let has_won = (0..ROUNDS).any(|_| {
        let directory = directory();
        let node = node_in(directory.path());
        let mut peer = Peer::new(directory.path(), PayloadType::slice::<u8>());
        let left = peer.writer(1, &value);
        assert!(peer.becomes_writer(1, 0, &left));
        peer.say(&Request::Close { port: Peer::port(1) });
        let (sender, receiver) = mpsc::channel();
        let path = directory.path().to_owned();
        std::thread::spawn(move || {
            let node = node_in(&path);
            let region = node.region_bytes("r").unwrap().open_or_create(b"0").unwrap();
            sender.send((region.is_writer(), region.version().unwrap()))
        });
        while node.region_entry("r").unwrap().is_none_or(|region| region.readers < 2) {}
        let silent = peer.writer(2, &value[..8]);
        let has_won = peer.becomes_writer(2, 1, &silent);
        let (is_writer, version) = receiver.recv_timeout(LONG).expect("it waits for ever");
        assert_eq!((is_writer, version), if has_won { (false, 1) } else { (true, 2) });
        has_won
    });
    assert!(has_won, "the other one was quicker each time");
}
