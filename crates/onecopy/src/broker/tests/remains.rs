//! What becomes of a region's value when its writer and the broker end together.

use std::sync::Arc;

use onecopy_memory::region::{RegionGeometry, RegionWriter};

use super::samples::memory;
use crate::broker::PeerId;
use crate::broker::protocol::{
    Address, BrokerId, Delivery, Event, NodeId, OpenError, PortId, Request, Route, SegmentSet,
};
use crate::broker::state::{Broker, Output};
use crate::broker::tie::Tie;
use crate::broker::transport::Credentials;
use crate::payload_type::PayloadType;

const USER: u32 = 1000;

fn port(node: u64, serial: u32) -> PortId {
    PortId { node: NodeId(node), serial }
}

fn join(broker: &mut Broker, number: u64, returns_from: Option<BrokerId>) {
    broker.connect(PeerId(number), Credentials { pid: 100, uid: USER });
    let name = format!("node {number}");
    broker.handle_request(PeerId(number), Request::Hello { node: NodeId(number), name, returns_from }, None);
}

fn read(subscriber: PortId) -> Request {
    let address = Address::Region { name: "r".to_owned(), succeeds: None, follows: 0 };
    Request::OpenSubscriber { subscriber, address, payload: Some(PayloadType::value::<u64>()) }
}

/// How often each peer is told what remains, in the order of what it is told.
fn told_of_remains(broker: &mut Broker, peer: u64) -> Vec<&'static str> {
    broker.check_invariants();
    let outputs: Vec<Output> = std::iter::from_fn(|| broker.poll_output()).collect();
    let told = outputs.into_iter().filter_map(|output| match output {
        Output::Send { peer: to, event: Event::Opened { .. }, .. } if to == PeerId(peer) => Some("opened"),
        Output::Send { peer: to, event: Event::Remains { .. }, .. } if to == PeerId(peer) => Some("remains"),
        _ => None,
    });
    told.collect()
}

/// Node 1 reads a region whose writer, node 2, was there as far as node 1 could see, and does not come back.
fn returned_reader() -> Broker {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    broker.expect([NodeId(1), NodeId(2)]);
    // It ends before the one who is tied to it says so.
    broker.handle_absent_ended(NodeId(2));
    join(&mut broker, 1, Some(BrokerId(9)));
    broker.handle_request(PeerId(1), read(port(1, 1)), None);
    let route = Route { publisher: port(2, 1), subscriber: port(1, 1) };
    let tie = Tie::Source { route, attached: true, segments: SegmentSet::EMPTY };
    broker.handle_request(PeerId(1), Request::Tied { tie, pid: 200, is_there: true }, None);
    let remembered = Request::Remembered { subscriber: port(1, 1), version: 70 };
    broker.handle_request(PeerId(1), remembered, Some(Arc::clone(&memory())));
    broker.handle_request(PeerId(1), Request::Announced, None);
    assert!(!broker.is_gathering());
    assert_eq!(broker.absent().map(|(node, _)| node).collect::<Vec<_>>(), [NodeId(2)]);
    assert!(!told_of_remains(&mut broker, 1).contains(&"remains"), "the writer may come back");
    broker
}

/// The same, and node 3 has opened the region since.
fn returned_reader_and_newcomer() -> Broker {
    let mut broker = returned_reader();
    join(&mut broker, 3, None);
    broker.handle_request(PeerId(3), read(port(3, 1)), None);
    broker
}

/// What a peer is told of a region, beside that it has it open.
fn told(broker: &mut Broker, peer: u64) -> Vec<&'static str> {
    broker.check_invariants();
    let outputs: Vec<Output> = std::iter::from_fn(|| broker.poll_output()).collect();
    let told = outputs.into_iter().filter_map(|output| match output {
        Output::Send { peer: to, event, .. } if to == PeerId(peer) => match event {
            Event::Remains { .. } => Some("remains"),
            Event::Publisher { .. } => Some("writer"),
            Event::Settled { .. } => Some("settled"),
            _ => None,
        },
        _ => None,
    });
    told.collect()
}

#[test]
fn a_reader_that_leaves_does_not_end_the_writer_it_knew() {
    let mut broker = returned_reader_and_newcomer();
    broker.handle_request(PeerId(1), Request::Close { port: port(1, 1) }, None);
    broker.handle_gone(PeerId(1));
    join(&mut broker, 4, Some(BrokerId(9)));
    broker.handle_request(PeerId(4), Request::Announced, None);
    // The writer may be alive and writing: what it writes is not to be read by one whom it does not know.
    assert_eq!(told(&mut broker, 3), Vec::<&str>::new());
    assert!(is_refused(&mut broker, write(port(3, 2), 70)), "there may be a writer");
    broker.handle_absent_ended(NodeId(2));
    assert_eq!(told(&mut broker, 3), ["remains", "settled"]);
}

#[test]
fn a_writer_that_comes_back_is_met_by_those_who_came_meanwhile() {
    let mut broker = returned_reader_and_newcomer();
    broker.handle_request(PeerId(1), Request::Close { port: port(1, 1) }, None);
    assert_eq!(told(&mut broker, 3), Vec::<&str>::new());
    join(&mut broker, 2, Some(BrokerId(9)));
    broker.handle_request(PeerId(2), write(port(2, 1), 70), Some(memory()));
    broker.handle_request(PeerId(2), Request::Announced, None);
    assert_eq!(told(&mut broker, 3), ["writer"]);
    assert_eq!(broker.absent().count(), 0);
}

#[test]
fn a_writer_that_comes_back_without_the_region_leaves_it() {
    let mut broker = returned_reader_and_newcomer();
    join(&mut broker, 2, Some(BrokerId(9)));
    broker.handle_request(PeerId(2), Request::Announced, None);
    assert_eq!(told(&mut broker, 3), ["remains", "settled"]);
}

#[test]
fn nobody_is_waited_for_once_nobody_reads() {
    let mut broker = returned_reader();
    broker.handle_gone(PeerId(1));
    assert!(broker.is_empty());
}

fn write(publisher: PortId, follows: u64) -> Request {
    Request::OpenPublisher {
        publisher,
        address: Address::Region { name: "r".to_owned(), succeeds: None, follows },
        payload: PayloadType::value::<u64>(),
        delivery: Delivery::Overwrite,
        history: 1,
    }
}

#[test]
fn nobody_begins_anew_where_there_is_a_value() {
    let mut broker = returned_reader_and_newcomer();
    // The writer may be alive and writing, and does not know this reader.
    assert_eq!(told_of_remains(&mut broker, 3), ["opened"]);
    assert!(is_refused(&mut broker, write(port(3, 2), 0)));
    broker.handle_absent_ended(NodeId(2));
    assert_eq!(told_of_remains(&mut broker, 3), ["remains"]);
    // One who had decided before it was told.
    assert!(is_refused(&mut broker, write(port(3, 3), 0)));
    assert!(!is_refused(&mut broker, write(port(3, 4), 70)));
}

#[test]
fn nobody_goes_back_behind_the_last_value() {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    for number in 2..=3 {
        join(&mut broker, number, None);
        broker.handle_request(PeerId(number), read(port(number, 1)), None);
    }
    let geometry = RegionGeometry::new(8, 8).unwrap();
    let hash = PayloadType::value::<u64>().layout_hash();
    let mut writer = RegionWriter::create(geometry, hash, 5, &[1; 8]).unwrap();
    let memory = Arc::new(writer.descriptor().try_clone_to_owned().unwrap());
    broker.handle_request(PeerId(2), write(port(2, 2), 4), Some(memory));
    writer.write(&[2; 8]).unwrap();
    broker.handle_request(PeerId(2), Request::Close { port: port(2, 2) }, None);
    // It had looked before that write.
    assert!(is_refused(&mut broker, write(port(3, 2), 5)));
    assert!(!is_refused(&mut broker, write(port(3, 3), 6)));
}

fn is_refused(broker: &mut Broker, request: Request) -> bool {
    broker.handle_request(PeerId(3), request, Some(memory()));
    broker.check_invariants();
    let outputs: Vec<Output> = std::iter::from_fn(|| broker.poll_output()).collect();
    outputs.iter().any(|output| {
        let Output::Send { peer: PeerId(3), event: Event::OpenFailed { error, .. }, .. } = output else {
            return false;
        };
        matches!(error, OpenError::HasWriter { .. })
    })
}

#[test]
fn the_writers_end_leaves_the_value_to_its_readers() {
    let mut broker = returned_reader();
    broker.handle_absent_ended(NodeId(2));
    assert_eq!(told_of_remains(&mut broker, 1), ["remains"]);
}
