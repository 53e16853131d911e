//! What the broker's logic lets a guest do, and what it believes of one.

use std::sync::Arc;

use super::samples::memory;
use crate::broker::protocol::{
    Address, BrokerId, Delivery, Event, NodeId, OpenError, PortId, Refusal, Request, Resource, SegmentSet,
};
use crate::broker::quota::Limits;
use crate::broker::state::{Broker, Output};
use crate::broker::transport::Credentials;
use crate::broker::{Descriptor, PeerId};
use crate::config::{Accounts, Config, Right};
use crate::payload_type::PayloadType;

const OWNER: u32 = 1000;
const GUEST: u32 = 2000;

const RULES: &str = r#"
[admit]
users = [2000]
groups = [77]
[[allow]]
rights = ["read", "subscribe", "call"]
names = ["open/**"]
[[allow]]
groups = [77]
rights = ["write", "publish"]
names = ["**"]
"#;

fn governed(rules: &str) -> Broker {
    let mut broker = Broker::with_limits(Credentials { pid: 7, uid: OWNER }, Limits::with_open_files(1200));
    let config = Config::parse("lab.toml".as_ref(), rules, &Accounts::default()).unwrap();
    broker.govern(Arc::new(config));
    broker
}

/// A node of that user, on a peer of its own.
fn join(broker: &mut Broker, peer: u64, uid: u32, returns_from: Option<BrokerId>) -> NodeId {
    let node = NodeId::of_user(uid).unwrap();
    broker.connect(PeerId(peer), Credentials { pid: 100 + peer as u32, uid });
    let hello = Request::Hello { node, name: "node".to_owned(), returns_from };
    broker.handle_request(PeerId(peer), hello, None);
    node
}

fn outputs(broker: &mut Broker) -> Vec<Output> {
    broker.check_invariants();
    std::iter::from_fn(|| broker.poll_output()).collect()
}

fn ask(
    broker: &mut Broker,
    peer: u64,
    request: Request,
    descriptor: Option<&Descriptor>,
) -> Vec<(Event, Option<Descriptor>)> {
    broker.handle_request(PeerId(peer), request, descriptor.cloned());
    let told = outputs(broker).into_iter().filter_map(|output| match output {
        Output::Send { peer: to, event, descriptor } if to == PeerId(peer) => Some((event, descriptor)),
        Output::Disconnect { peer: to, reason } if to == PeerId(peer) => {
            Some((Event::Refused { reason }, None))
        }
        _ => None,
    });
    told.collect()
}

fn port(node: NodeId, serial: u32) -> PortId {
    PortId { node, serial }
}

fn publish(port: PortId, address: Address) -> Request {
    let (payload, delivery) = (PayloadType::value::<u64>(), Delivery::Overwrite);
    Request::OpenPublisher { publisher: port, address, payload, delivery, history: 0 }
}

fn topic(name: &str) -> Address {
    Address::Topic(name.to_owned())
}

fn region(name: &str) -> Address {
    Address::Region { name: name.to_owned(), succeeds: None, follows: 0 }
}

#[test]
fn guests_are_counted_and_known_by_numbers_of_their_own() {
    let mut broker = governed(RULES);
    join(&mut broker, 1, OWNER, None);
    assert!(matches!(&outputs(&mut broker)[..], [Output::Send { event: Event::Welcome { .. }, .. }]));
    join(&mut broker, 2, GUEST, None);
    let told = outputs(&mut broker);
    let [Output::ShowRoll { peer: PeerId(2) }, Output::Send { event: Event::Welcome { .. }, .. }] = &told[..]
    else {
        panic!("{told:?}")
    };
    // A guest that comes back as somebody else's node.
    let stolen = NodeId::of_user(OWNER).unwrap();
    broker.connect(PeerId(3), Credentials { pid: 9, uid: GUEST });
    let hello = Request::Hello { node: stolen, name: "me".to_owned(), returns_from: Some(BrokerId(3)) };
    let told = ask(&mut broker, 3, hello, None);
    let reason = Refusal::ForeignNode { node: stolen, uid: GUEST };
    assert!(matches!(&told[..], [(Event::Refused { reason: told }, None)] if *told == reason), "{told:?}");
    for uid in [0, 1, 1000, 65_534, 100_000, 1 << 20, u32::MAX] {
        let node = NodeId::of_user(uid).unwrap();
        assert!(node.is_of_user(uid) && !node.is_of_user(uid ^ 2), "{uid}");
    }
}

#[test]
fn nobody_but_the_own_user_takes_the_brokers_place() {
    let mut broker = governed(RULES);
    broker.connect(PeerId(1), Credentials { pid: 9, uid: GUEST });
    for request in [Request::TakeOver { replaces: true }, Request::TakeOver { replaces: false }] {
        let told = ask(&mut broker, 1, request, None);
        let reason = Refusal::NotOwner { owner: OWNER, uid: GUEST };
        assert!(
            matches!(&told[..], [(Event::Refused { reason: told }, None)] if *told == reason),
            "{told:?}"
        );
        assert!(broker.has_forgotten(PeerId(1)));
        broker.connect(PeerId(1), Credentials { pid: 9, uid: GUEST });
    }
    // Ending it is a right of its own.
    let told = ask(&mut broker, 1, Request::Stop, None);
    let [(Event::Refused { reason: Refusal::Denied(denied) }, None)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((denied.right, denied.object.as_ref(), denied.line), (Right::Admin, None, None));
}

#[test]
fn memory_is_shown_only_to_those_who_could_open_it() {
    let mut broker = governed(RULES);
    let (owner, guest) = (join(&mut broker, 1, OWNER, None), join(&mut broker, 2, GUEST, None));
    let ring = memory();
    for (serial, name) in [(1, "open/a"), (2, "private/a")] {
        ask(&mut broker, 1, publish(port(owner, serial), topic(name)), Some(&ring));
    }
    let open_shared =
        Request::OpenShared { port: port(owner, 3), region: "open/s".to_owned(), payload: None, seat: None };
    ask(&mut broker, 1, open_shared, None);
    let offer = Request::OfferShared { port: port(owner, 3), succeeds: false, version: 0, brought: true };
    ask(&mut broker, 1, offer, Some(&ring));
    let question = Request::Inspect { request: 1, topic: None, rings: true };
    let told = ask(&mut broker, 2, question.clone(), None);
    let shown: Vec<&Event> =
        told.iter().filter(|(_, memory)| memory.is_some()).map(|(event, _)| event).collect();
    assert!(matches!(&shown[..], [Event::PublisherInfo { topic, .. }] if topic == "open/a"), "{shown:?}");
    // A region that several may write is writable for whoever has its memory.
    let is_listed =
        |event: &Event| matches!(event, Event::RegionInfo { name, memory: false, .. } if name == "open/s");
    assert!(told.iter().any(|(event, _)| is_listed(event)), "{told:?}");
    assert!(
        !told.iter().any(|(event, _)| matches!(event, Event::TopicInfo { name, .. } if name == "private/a"))
    );
    let all = ask(&mut broker, 1, question, None);
    assert_eq!(all.iter().filter(|(_, memory)| memory.is_some()).count(), 3);
    let _ = guest;
}

#[test]
fn what_a_guest_may_only_read_it_does_not_hand_on_to_others() {
    let mut broker = governed(RULES);
    broker.keep_regions();
    let forged = memory();
    let guest = join(&mut broker, 2, GUEST, Some(BrokerId(9)));
    let name = || "open/d".to_owned();
    let reopen = Request::ReopenDataset {
        port: port(guest, 1),
        dataset: name(),
        publishes: false,
        version: 1 << 40,
        latest: 1 << 40,
        memory: true,
    };
    broker.handle_request(PeerId(2), reopen, Some(Arc::clone(&forged)));
    let subscriber = port(guest, 2);
    let read = Request::OpenSubscriber {
        subscriber,
        address: region("open/r"),
        payload: Some(PayloadType::value::<u64>()),
    };
    broker.handle_request(PeerId(2), read, None);
    broker.handle_request(
        PeerId(2),
        Request::Remembered { subscriber, version: 1 << 40 },
        Some(Arc::clone(&forged)),
    );
    // It was told that they are kept; it may not ask for that, and is not to blame.
    for request in [
        Request::Keep { request: 0, region: "open/r".to_owned(), keep: true },
        Request::KeepDataset { request: 0, dataset: name(), keep: true },
    ] {
        broker.handle_request(PeerId(2), request, None);
    }
    broker.handle_request(PeerId(2), Request::Announced, None);
    outputs(&mut broker);
    assert!(!broker.has_forgotten(PeerId(2)));
    let owner = join(&mut broker, 1, OWNER, None);
    let told = ask(
        &mut broker,
        1,
        Request::OpenDataset { port: port(owner, 1), dataset: name(), wait: false },
        None,
    );
    assert!(
        told.iter()
            .any(|(event, _)| matches!(event, Event::OpenFailed { error: OpenError::NoDataset { .. }, .. })),
        "{told:?}"
    );
    let read =
        Request::OpenSubscriber { subscriber: port(owner, 2), address: region("open/r"), payload: None };
    let told = ask(&mut broker, 1, read, None);
    assert!(!told.iter().any(|(event, _)| matches!(event, Event::Remains { .. })), "{told:?}");
    // The first version that somebody publishes is the first.
    let told = ask(
        &mut broker,
        1,
        Request::PublishDataset { port: port(owner, 3), dataset: name() },
        Some(&memory()),
    );
    assert!(
        told.iter().any(|(event, _)| *event == Event::DatasetVersion { port: port(owner, 3), version: 1 }),
        "{told:?}"
    );
}

#[test]
fn a_node_does_not_come_back_with_what_it_may_not_have() {
    let mut broker = governed(RULES);
    let guest = join(&mut broker, 2, GUEST, Some(BrokerId(9)));
    broker.handle_request(PeerId(2), publish(port(guest, 1), topic("open/a")), Some(memory()));
    let told = ask(&mut broker, 2, Request::Announced, None);
    let Some((Event::Refused { reason: Refusal::Denied(denied) }, _)) = told.last() else {
        panic!("{told:?}")
    };
    assert_eq!((denied.uid, denied.right), (GUEST, Right::Publish));
    assert!(denied.to_string().contains("no rule of lab.toml allows it"), "{denied}");
}

#[test]
fn neither_a_guest_nor_one_process_takes_the_place_of_all_others() {
    // 1200 open files are 400 nodes: 100 for a guest, and 200 for a process.
    let mut broker = governed(RULES);
    let connect = |broker: &mut Broker, number: u64, pid: u32, uid: u32| {
        broker.connect(PeerId(number), Credentials { pid, uid });
        outputs(broker).into_iter().find_map(|output| match output {
            Output::Disconnect { reason, .. } => Some(reason),
            _ => None,
        })
    };
    let over = |resource, limit| Some(Refusal::OverQuota { resource, limit });
    for number in 0..100 {
        assert_eq!(connect(&mut broker, number, number as u32 + 1, GUEST), None);
    }
    assert_eq!(connect(&mut broker, 100, 4000, GUEST), over(Resource::Nodes, 100));
    for number in 200..400 {
        assert_eq!(connect(&mut broker, number, 5000, OWNER), None);
    }
    assert_eq!(connect(&mut broker, 400, 5000, OWNER), over(Resource::NodesOfOneProcess, 200));
    assert_eq!(connect(&mut broker, 401, 5001, OWNER), None);
    // What ends makes room, for whoever it was.
    for number in [0, 200] {
        broker.handle_gone(PeerId(number));
    }
    assert_eq!(connect(&mut broker, 402, 5000, OWNER), None);
    assert_eq!(connect(&mut broker, 403, 4001, GUEST), None);
    for number in 0..=403 {
        broker.handle_gone(PeerId(number));
    }
    assert!(broker.is_empty());
}

#[test]
fn segments_that_take_the_place_of_others_give_back_what_those_cost() {
    let rules = format!("{RULES}[[quota]]\nusers = [1000]\nmemory = 1000\n");
    let mut broker = governed(&rules);
    let owner = join(&mut broker, 1, OWNER, None);
    let sized = |bytes| super::samples::memory_of(bytes);
    ask(&mut broker, 1, publish(port(owner, 1), topic("t")), Some(&sized(100)));
    let add = |index, replaced| {
        let replaced = SegmentSet::from_bits(replaced);
        Request::AddSegment { publisher: port(owner, 1), index, replaced }
    };
    assert_eq!(ask(&mut broker, 1, add(1, 0), Some(&sized(300))).len(), 0);
    assert_eq!(ask(&mut broker, 1, add(2, 0), Some(&sized(200))).len(), 0);
    // 600 of 1000 are taken; 500 more fit in the place of the first.
    let told = ask(&mut broker, 1, publish(port(owner, 2), topic("u")), Some(&sized(500)));
    let [(Event::OpenFailed { error: OpenError::OverUserQuota(quota), .. }, None)] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!((quota.resource, quota.limit), (Resource::Memory, 1000));
    assert_eq!(ask(&mut broker, 1, add(3, 1 << 1), Some(&sized(400))).len(), 0);
    ask(&mut broker, 1, Request::Close { port: port(owner, 1) }, None);
    let told = ask(&mut broker, 1, publish(port(owner, 3), topic("u")), Some(&sized(1000)));
    assert!(matches!(told.first(), Some((Event::Opened { .. }, None))), "{told:?}");
}
