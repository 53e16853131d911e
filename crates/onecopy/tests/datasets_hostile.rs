//! Publishers that are broken or hostile: what they publish costs whoever opens it an error that says what is
//! wrong, and nothing else.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod broker_common;

use std::os::fd::{AsFd, OwnedFd};

use broker_common::{World, assert_served, last_event, port};
use onecopy::Node;
use onecopy::broker::protocol::{Event, Refusal, Request};
use onecopy::broker::transport::PacketSocket;
use onecopy::dataset::DatasetError;
use onecopy_memory::dataset::{DatasetDraft, DatasetError as MemoryError, Sections};
use onecopy_memory::layout::{FORMAT_VERSION, SegmentKind};
use onecopy_memory::segment::{Segment, SegmentError};
use rustix::fs::{MemfdFlags, SealFlags};

fn publish(socket: &PacketSocket, serial: u32, memory: &OwnedFd) {
    let request = Request::PublishDataset { port: port(9, serial), dataset: "index".to_owned() };
    socket.send_request(&request, Some(memory.as_fd())).unwrap();
    let version = u64::from(serial);
    // Those who published before are told as well.
    let told = |port| Event::DatasetVersion { port, version };
    let mut events = (1..=serial).map(|_| socket.receive_event().unwrap().0);
    assert!(events.all(|event| (1..=serial).any(|serial| event == told(port(9, serial)))));
}

fn open(node: &Node) -> Result<Vec<u8>, DatasetError> {
    node.dataset("index").unwrap().open()?.bytes().map(<[u8]>::to_vec)
}

/// An honest dataset's memory with some bytes changed, sealed as is proper.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> OwnedFd {
    let draft = DatasetDraft::create(5, Sections::default()).unwrap();
    let sealed = draft.seal(None).unwrap();
    let mut bytes = vec![0; 4101];
    assert_eq!(rustix::io::pread(sealed.descriptor(), bytes.as_mut_slice(), 0), Ok(4101));
    change(&mut bytes);
    let memory =
        rustix::fs::memfd_create("hostile", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::io::write(&memory, &bytes).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals).unwrap();
    memory
}

#[test]
fn what_cannot_be_a_dataset_costs_its_reader_an_error() {
    let world = World::new();
    let hostile = world.node(9);
    let directory = world.instance.directory().to_owned();
    let node = Node::builder().directory(directory).instance("lab").open().unwrap();

    publish(&hostile, 1, &broker_common::memory());
    assert!(matches!(open(&node), Err(DatasetError::Memory(MemoryError::Segment(SegmentError::NotSealed)))));
    let ring = Segment::create(SegmentKind::Ring, 8192, 0).unwrap();
    publish(&hostile, 2, &ring.descriptor().try_clone_to_owned().unwrap());
    assert!(matches!(open(&node), Err(DatasetError::Memory(MemoryError::Segment(SegmentError::NotSealed)))));
    publish(&hostile, 3, &changed(|bytes| bytes[8] = 77));
    let error = open(&node).unwrap_err();
    assert!(
        error.to_string().contains("version 77")
            && error.to_string().contains(&format!("version {FORMAT_VERSION}")),
        "a mismatch names both sides: {error}"
    );
    publish(&hostile, 4, &changed(|bytes| bytes[64..72].fill(0xff)));
    assert!(matches!(open(&node), Err(DatasetError::Memory(MemoryError::Impossible { .. }))));
    // A hash that is not the content's is found by those who look.
    publish(&hostile, 5, &changed(|bytes| bytes[80] = 1));
    let view = node.dataset("index").unwrap().open().unwrap();
    assert_eq!(view.bytes().unwrap(), [0; 5]);
    assert!(matches!(view.verify(), Err(DatasetError::Corrupt { .. })));
    // The name is not spoilt for others.
    let honest = node.dataset("index").unwrap().publish_bytes(b"honest").unwrap();
    assert_eq!((honest.version(), open(&node).unwrap()), (6, b"honest".to_vec()));
    // And the hostile one is told of it like everybody who has the dataset open.
    for _ in 1..=5 {
        assert!(matches!(hostile.receive_event().unwrap().0, Event::DatasetVersion { version: 6, .. }));
    }
    assert_served(&hostile);
}

#[test]
fn breaches_of_the_protocol_cost_the_connection() {
    let world = World::new();
    let memory = broker_common::memory();
    // Without memory, with what is none, in the name of somebody else.
    let (without, no_memory, foreign) = (world.node(1), world.node(2), world.node(3));
    let request = |node| Request::PublishDataset { port: port(node, 1), dataset: "index".to_owned() };
    without.send(&request(1).encode(), None).unwrap();
    assert_eq!(last_event(&without), Some(Event::Refused { reason: Refusal::DescriptorMissing }));
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    no_memory.send_request(&request(2), Some(file.as_fd())).unwrap();
    assert_eq!(last_event(&no_memory), Some(Event::Refused { reason: Refusal::DescriptorKind }));
    foreign.send_request(&request(9), Some(memory.as_fd())).unwrap();
    assert!(matches!(last_event(&foreign), Some(Event::Refused { reason: Refusal::ForeignPort { .. } })));
    assert_served(&world.node(4));
}
