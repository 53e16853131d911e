//! Datasets in the state machine: what its rules say, and any history.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use proptest::prelude::*;

use crate::broker::protocol::{BrokerId, Event, KeepError, NodeId, OpenError, PortId, Request};
use crate::broker::state::{Broker, Output};
use crate::broker::transport::{Credentials, PacketSocket};
use crate::broker::{Descriptor, PeerId};

const USER: u32 = 1000;

fn memory() -> Descriptor {
    Arc::new(OwnedFd::from(PacketSocket::pair().unwrap().0))
}

fn port(node: u64, serial: u32) -> PortId {
    PortId { node: NodeId(node), serial }
}

/// A broker with nodes 1 to `nodes`, each on the peer of the same number.
fn broker(nodes: u64) -> Broker {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    broker.keep_regions();
    (1..=nodes).for_each(|number| connect(&mut broker, number));
    broker
}

fn connect(broker: &mut Broker, number: u64) {
    broker.connect(PeerId(number), Credentials { pid: 100, uid: USER });
    broker.handle_request(
        PeerId(number),
        Request::Hello { node: NodeId(number), name: "node".to_owned(), returns_from: None },
        None,
    );
    told(broker);
}

/// What everybody is told, with the memory that goes along.
fn told(broker: &mut Broker) -> Vec<(Event, Option<Descriptor>)> {
    broker.check_invariants();
    std::iter::from_fn(|| broker.poll_output())
        .map(|output| match output {
            Output::Send { event, descriptor, .. } => (event, descriptor),
            Output::Disconnect { reason, .. } => panic!("an honest peer was let go of: {reason}"),
            other => panic!("nobody asked for {other:?}"),
        })
        // Said for the next broker's sake.
        .filter(|(event, _)| !matches!(event, Event::KeepChanged { .. }))
        .collect()
}

fn send(broker: &mut Broker, request: Request, memory: Option<&Descriptor>) -> Vec<Event> {
    let node = match &request {
        Request::PublishDataset { port, .. }
        | Request::OpenDataset { port, .. }
        | Request::Close { port } => port.node.0,
        _ => 1,
    };
    broker.handle_request(PeerId(node), request, memory.cloned());
    told(broker).into_iter().map(|(event, _)| event).collect()
}

fn publish(broker: &mut Broker, port: PortId, memory: &Descriptor) -> Vec<Event> {
    send(broker, Request::PublishDataset { port, dataset: "index".to_owned() }, Some(memory))
}

fn open(port: PortId, wait: bool) -> Request {
    Request::OpenDataset { port, dataset: "index".to_owned(), wait }
}

fn keep(keep: bool) -> Request {
    Request::KeepDataset { request: 5, dataset: "index".to_owned(), keep }
}

#[test]
fn the_newest_version_is_handed_out_and_everybody_is_told_of_it() {
    let mut broker = broker(3);
    let failed = send(&mut broker, open(port(2, 1), false), None);
    let error = OpenError::NoDataset { dataset: "index".to_owned() };
    assert_eq!(failed, [Event::OpenFailed { port: port(2, 1), error }]);
    let waiting = send(&mut broker, open(port(2, 2), true), None);
    assert_eq!(waiting, [Event::DatasetVersion { port: port(2, 2), version: 0 }]);
    let told_of_first = publish(&mut broker, port(1, 1), &memory());
    let version = |port, version| Event::DatasetVersion { port, version };
    assert_eq!(told_of_first, [version(port(1, 1), 1), version(port(2, 2), 1)]);
    let opened = send(&mut broker, open(port(3, 1), false), None);
    assert_eq!(opened, [Event::Dataset { port: port(3, 1), version: 1 }]);
    let told_of_second = publish(&mut broker, port(3, 2), &memory());
    let everybody = [port(1, 1), port(2, 2), port(3, 1), port(3, 2)];
    assert_eq!(told_of_second, everybody.map(|port| version(port, 2)));
    let twice = publish(&mut broker, port(3, 2), &memory());
    assert!(matches!(twice[..], [Event::OpenFailed { error: OpenError::DuplicatePort { .. }, .. }]));
}

#[test]
fn the_broker_has_memory_as_long_as_somebody_has_the_dataset_open_or_it_is_kept() {
    let mut broker = broker(2);
    let (first, second) = (memory(), memory());
    publish(&mut broker, port(1, 1), &first);
    send(&mut broker, open(port(2, 1), false), None);
    publish(&mut broker, port(1, 2), &second);
    assert_eq!(Arc::strong_count(&first), 1, "an older version is its readers' own");
    broker.handle_gone(PeerId(1));
    assert_eq!(Arc::strong_count(&second), 2, "somebody still has the dataset open");
    assert_eq!(
        send(&mut broker, open(port(2, 2), false), None),
        [Event::Dataset { port: port(2, 2), version: 2 }]
    );
    send(&mut broker, Request::Close { port: port(2, 1) }, None);
    send(&mut broker, Request::Close { port: port(2, 2) }, None);
    assert_eq!(Arc::strong_count(&second), 1);

    connect(&mut broker, 1);
    assert_eq!(
        send(&mut broker, keep(true), None),
        [Event::Kept { request: 5, refused: Some(KeepError::NotFound) }]
    );
    publish(&mut broker, port(1, 1), &first);
    assert_eq!(send(&mut broker, keep(true), None), [Event::Kept { request: 5, refused: None }]);
    broker.handle_gone(PeerId(1));
    assert_eq!(Arc::strong_count(&first), 2, "it is kept");
    connect(&mut broker, 1);
    send(&mut broker, keep(false), None);
    assert_eq!(Arc::strong_count(&first), 1);
    broker.handle_gone(PeerId(1));
    broker.handle_gone(PeerId(2));
    assert!(broker.is_empty());
}

/// One step of a history; numbers choose among what is there.
#[derive(Debug, Clone)]
enum Step {
    Publish { node: u64, dataset: usize },
    Open { node: u64, dataset: usize, wait: bool },
    Keep { dataset: usize, keep: bool },
    Close { port: usize },
    Die { node: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, dataset) = (1_u64..4, 0_usize..2);
    prop_oneof![
        4 => (node.clone(), dataset.clone()).prop_map(|(node, dataset)| Step::Publish { node, dataset }),
        4 => (node.clone(), dataset.clone(), any::<bool>())
            .prop_map(|(node, dataset, wait)| Step::Open { node, dataset, wait }),
        1 => (dataset, any::<bool>()).prop_map(|(dataset, keep)| Step::Keep { dataset, keep }),
        4 => (0_usize..64).prop_map(|port| Step::Close { port }),
        1 => node.prop_map(|node| Step::Die { node }),
    ]
}

/// What must be so: naive books beside the broker's.
#[derive(Default)]
struct Books {
    /// For each name, all memory that was ever published, as one entry a version, since it last began.
    versions: BTreeMap<usize, Vec<Descriptor>>,
    ports: BTreeMap<PortId, usize>,
    kept: BTreeSet<usize>,
}

impl Books {
    fn end_unused(&mut self) {
        let used: BTreeSet<usize> = self.ports.values().chain(&self.kept).copied().collect();
        self.versions.retain(|dataset, _| used.contains(dataset));
    }
}

proptest! {
    #[test]
    fn any_history_of_datasets_keeps_the_books_straight(steps in prop::collection::vec(step(), 1..120)) {
        let mut broker = broker(3);
        let mut books = Books::default();
        let mut serial = 0;
        for step in steps {
            serial += 1;
            match step {
                Step::Publish { node, dataset } => {
                    let (port, memory) = (port(node, serial), memory());
                    let request = Request::PublishDataset { port, dataset: format!("index/{dataset}") };
                    let events = send(&mut broker, request, Some(&memory));
                    books.ports.insert(port, dataset);
                    let versions = books.versions.entry(dataset).or_default();
                    versions.push(memory);
                    let version = versions.len() as u64;
                    let open = books.ports.iter().filter(|(_, of)| **of == dataset);
                    let expected: Vec<_> =
                        open.map(|(port, _)| Event::DatasetVersion { port: *port, version }).collect();
                    prop_assert_eq!(events, expected);
                }
                Step::Open { node, dataset, wait } => {
                    let port = port(node, serial);
                    let request = Request::OpenDataset { port, dataset: format!("index/{dataset}"), wait };
                    broker.handle_request(PeerId(node), request, None);
                    let mut told = told(&mut broker);
                    let (event, memory) = told.pop().expect("an answer");
                    prop_assert!(told.is_empty());
                    let versions = books.versions.get(&dataset).filter(|versions| !versions.is_empty());
                    match versions {
                        Some(versions) => {
                            let version = versions.len() as u64;
                            prop_assert_eq!(event, Event::Dataset { port, version });
                            prop_assert!(Arc::ptr_eq(&memory.expect("memory"), versions.last().expect("one")));
                            books.ports.insert(port, dataset);
                        }
                        None if wait => {
                            prop_assert_eq!(event, Event::DatasetVersion { port, version: 0 });
                            books.ports.insert(port, dataset);
                        }
                        None => {
                            let refused = matches!(event, Event::OpenFailed { .. });
                            prop_assert!(refused);
                        }
                    }
                }
                Step::Keep { dataset, keep } => {
                    let request = Request::KeepDataset { request: 0, dataset: format!("index/{dataset}"), keep };
                    send(&mut broker, request, None);
                    if keep && books.versions.get(&dataset).is_some_and(|versions| !versions.is_empty()) {
                        books.kept.insert(dataset);
                    } else if !keep {
                        books.kept.remove(&dataset);
                    }
                }
                Step::Close { port } => {
                    let Some(port) = books.ports.keys().nth(port % books.ports.len().max(1)).copied() else {
                        continue;
                    };
                    books.ports.remove(&port);
                    send(&mut broker, Request::Close { port }, None);
                }
                Step::Die { node } => {
                    broker.handle_gone(PeerId(node));
                    books.ports.retain(|port, _| port.node != NodeId(node));
                    told(&mut broker);
                    connect(&mut broker, node);
                }
            }
            books.end_unused();
            for versions in books.versions.values() {
                // The broker has the newest version, and no other.
                for (index, memory) in versions.iter().enumerate() {
                    let is_newest = index + 1 == versions.len();
                    prop_assert_eq!(Arc::strong_count(memory), 1 + usize::from(is_newest));
                }
            }
        }
    }
}

#[test]
fn what_the_last_broker_kept_is_kept_by_the_next_and_the_newest_version_wins() {
    let mut broker = Broker::new(Credentials { pid: 7, uid: USER });
    broker.keep_regions();
    let (old, new): (Descriptor, Descriptor) = (memory(), memory());
    for (node, version, memory) in [(1, 4, &new), (2, 3, &old)] {
        broker.connect(PeerId(node), Credentials { pid: 100, uid: USER });
        let name = "node".to_owned();
        let returns_from = Some(BrokerId(9));
        broker.handle_request(PeerId(node), Request::Hello { node: NodeId(node), name, returns_from }, None);
        let (port, dataset) = (port(node, 1), "index".to_owned());
        let reopen =
            Request::ReopenDataset { port, dataset, publishes: false, version, latest: 6, memory: true };
        broker.handle_request(PeerId(node), reopen, Some(Arc::clone(memory)));
        broker.handle_request(PeerId(node), keep(true), None);
        broker.handle_request(PeerId(node), Request::Announced, None);
    }
    told(&mut broker);
    for node in [1, 2] {
        send(&mut broker, Request::Close { port: port(node, 1) }, None);
    }
    broker.handle_request(PeerId(1), open(port(1, 2), false), None);
    let answers = told(&mut broker);
    let (event, descriptor) = answers.first().unwrap();
    assert_eq!(*event, Event::Dataset { port: port(1, 2), version: 4 });
    assert!(Arc::ptr_eq(descriptor.as_ref().unwrap(), &new));
    // Six was told of once, and is not given again.
    let published = publish(&mut broker, port(2, 2), &old);
    assert!(published.contains(&Event::DatasetVersion { port: port(2, 2), version: 7 }));
}
