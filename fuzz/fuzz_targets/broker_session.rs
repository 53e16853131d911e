//! The broker's logic under peers that say whatever they like, come, and die, in an order that the fuzzer chose. Its
//! tables must agree after every step, nothing may be sent to a peer that is gone, and when all are gone nothing may
//! be kept.
//!
//! Requests are made of few numbers and names, so that they meet; each goes to the broker as a packet, now and then
//! a garbled one.

#![no_main]
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use onecopy::Delivery;
use onecopy::broker::protocol::{
    Address, BrokerId, Event, NodeId, PortId, Refusal, Request, Role, Route, SegmentSet, ServiceType, Tie,
};
use onecopy::broker::state::{Broker, Output};
use onecopy::broker::transport::Credentials;
use onecopy::broker::{Descriptor, PeerId};
use onecopy::limits::MAX_PACKET_BYTES;
use onecopy::payload_type::PayloadType;

const BROKER: Credentials = Credentials { pid: 1, uid: 1000 };
const SAME_USER: Credentials = Credentials { pid: 2, uid: 1000 };
const OTHER_USER: Credentials = Credentials { pid: 3, uid: 1001 };
const NODES: u64 = 5;
const SERIALS: u32 = 5;

fuzz_target!(|input: &[u8]| {
    let mut input = Unstructured::new(input);
    let mut session = Session::new();
    while !input.is_empty() {
        // The input may end within a step, which then does not take place.
        if session.step(&mut input).is_err() {
            break;
        }
        session.broker.check_invariants();
    }
    session.end();
});

/// The broker, and what the outside knows of its peers.
struct Session {
    broker: Broker,
    descriptor: Descriptor,
    peers: u64,
    /// Who introduced itself last by a node's number.
    speakers: BTreeMap<NodeId, PeerId>,
    /// Peers to which nothing may be sent: their ends were noticed, or brought about by the broker.
    gone: BTreeSet<PeerId>,
    /// Those that the broker may not disconnect either: its refusal and the peer's own end may cross, but only once.
    closed: BTreeSet<PeerId>,
    /// Routes that anybody was told of.
    routes: Vec<Route>,
    /// Clients and servers that were introduced to each other.
    met: Vec<(PortId, PortId)>,
}

impl Session {
    fn new() -> Self {
        let file = File::open("/dev/null").expect("every system has it");
        Self {
            broker: Broker::new(BROKER),
            descriptor: Arc::new(OwnedFd::from(file)),
            peers: 0,
            speakers: BTreeMap::new(),
            gone: BTreeSet::new(),
            closed: BTreeSet::new(),
            routes: Vec::new(),
            met: Vec::new(),
        }
    }

    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=18_u8)? {
            0 => self.connect(if input.ratio(1, 16)? { OTHER_USER } else { SAME_USER }),
            1 => {
                let peer = self.any_peer(input)?;
                self.broker.handle_gone(peer);
                self.gone.insert(peer);
            }
            2 => {
                let peer = self.any_peer(input)?;
                self.broker.refuse(peer, Refusal::TooSlow { queued: 1 });
                self.gone.insert(peer);
            }
            3..=5 => self.take_outputs(),
            // A node comes back, says what it says, and is done.
            7 => {
                self.connect(SAME_USER);
                let (peer, node) = (PeerId(self.peers - 1), any_node(input)?);
                let returns_from = Some(BrokerId(input.int_in_range(0..=1)?));
                self.say(peer, Request::Hello { node, name: "node".to_owned(), returns_from }, input)?;
                for _ in 0..input.int_in_range(0..=4_u8)? {
                    let (_, request) = self.any_request(input)?;
                    self.say(peer, request, input)?;
                }
                self.say(peer, Request::Announced, input)?;
            }
            8 => match input.int_in_range(0..=2_u8)? {
                0 => self.broker.expect([any_node(input)?]),
                1 => self.broker.end_gathering(),
                _ => self.broker.handle_absent_ended(any_node(input)?),
            },
            6 => {
                // The usual beginning.
                self.connect(SAME_USER);
                let (peer, node) = (PeerId(self.peers - 1), any_node(input)?);
                self.say(peer, Request::Hello { node, name: "node".to_owned(), returns_from: None }, input)?;
            }
            _ => {
                let (node, request) = self.any_request(input)?;
                let peer = match self.speakers.get(&node) {
                    Some(peer) if !input.ratio(1, 16)? => *peer,
                    _ => self.any_peer(input)?,
                };
                self.say(peer, request, input)?;
            }
        }
        Ok(())
    }

    fn connect(&mut self, credentials: Credentials) {
        self.broker.connect(PeerId(self.peers), credentials);
        self.peers += 1;
    }

    fn say(&mut self, peer: PeerId, request: Request, input: &mut Unstructured<'_>) -> Result<()> {
        let mut packet = request.encode();
        if input.ratio(1, 16)? {
            let index = input.choose_index(packet.len())?;
            packet[index] ^= input.arbitrary::<u8>()?;
        }
        match Request::decode(&packet) {
            Ok(request) => {
                if let Request::Hello { node, .. } = &request {
                    self.speakers.insert(*node, peer);
                }
                let is_due = request.carries_descriptor();
                let comes = is_due != input.ratio(1, 32)?;
                self.broker.handle_request(peer, request, comes.then(|| Arc::clone(&self.descriptor)));
            }
            Err(error) => self.broker.handle_malformed(peer, error),
        }
        Ok(())
    }

    fn take_outputs(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Send { peer, event, descriptor } => {
                    assert!(peer.0 < self.peers && !self.gone.contains(&peer), "{event:?} to {peer:?}");
                    assert_eq!(event.carries_descriptor(), descriptor.is_some(), "{event:?}");
                    check_packet(&event);
                    match event {
                        Event::Publisher { route, .. } | Event::Attach { route, .. } => {
                            self.routes.push(route)
                        }
                        Event::Met { port, peer, .. } => self.met.push((port, peer)),
                        _ => {}
                    }
                }
                // The driver would end after these; here everybody goes on, which the broker has to bear as well.
                Output::ShowPlace { peer }
                | Output::ShowRoll { peer }
                | Output::Yield { peer }
                | Output::End { peer } => {
                    assert!(peer.0 < self.peers, "{peer:?} was never there");
                }
                Output::Disconnect { peer, reason } => {
                    assert!(peer.0 < self.peers && self.closed.insert(peer), "{peer:?} is refused again");
                    self.gone.insert(peer);
                    check_packet(&Event::Refused { reason });
                }
            }
        }
        self.closed.clone_from(&self.gone);
    }

    fn end(mut self) {
        for peer in (0..self.peers).map(PeerId) {
            self.broker.handle_gone(peer);
            self.gone.insert(peer);
            self.broker.check_invariants();
        }
        self.take_outputs();
        assert!(self.broker.is_empty(), "kept when all are gone: {:?}", self.broker);
        assert_eq!(Arc::strong_count(&self.descriptor), 1, "a descriptor is kept when all are gone");
    }

    /// One that is connected, or was, or never will be.
    fn any_peer(&self, input: &mut Unstructured<'_>) -> Result<PeerId> {
        Ok(PeerId(input.int_in_range(0..=self.peers)?.checked_sub(1).unwrap_or(u64::MAX)))
    }

    /// A request, and the node in whose name it speaks.
    fn any_request(&self, input: &mut Unstructured<'_>) -> Result<(NodeId, Request)> {
        let port = any_port(input)?;
        Ok(match input.int_in_range(0..=30_u8)? {
            0 => (
                port.node,
                Request::Hello { node: port.node, name: any_text(input)?.to_owned(), returns_from: None },
            ),
            1 | 2 => {
                let (address, payload) = (self.any_address(port, input)?, any_payload(input)?);
                let delivery = if input.ratio(1, 8)? { Delivery::Reliable } else { Delivery::Overwrite };
                let history = input.arbitrary()?;
                let publisher = port;
                (port.node, Request::OpenPublisher { publisher, address, payload, delivery, history })
            }
            3 | 4 => {
                let address = self.any_address(port, input)?;
                let payload = if input.arbitrary()? { Some(any_payload(input)?) } else { None };
                (port.node, Request::OpenSubscriber { subscriber: port, address, payload })
            }
            13 | 14 => {
                let role = if input.arbitrary()? { Role::Client } else { Role::Server };
                let service = any_text(input)?.to_owned();
                let payload = if input.ratio(7, 8)? {
                    Some(ServiceType { request: any_payload(input)?, response: any_payload(input)? })
                } else {
                    None
                };
                (port.node, Request::OpenService { port, role, service, payload })
            }
            // What those send each other who were introduced.
            15 => match self.met.last() {
                Some((from, to)) => {
                    let publisher = PortId { node: from.node, ..port };
                    let address = Address::Direct { to: *to, from: *from };
                    let (payload, delivery) = (any_payload(input)?, Delivery::Reliable);
                    (from.node, Request::OpenPublisher { publisher, address, payload, delivery, history: 0 })
                }
                None => (port.node, Request::Close { port }),
            },
            16..=18 => (port.node, any_region_request(port, input)?),
            19..=25 => self.any_return(port, input)?,
            26..=28 => (port.node, any_dataset_request(port, input)?),
            29 => (port.node, Request::ShowReaders),
            30 => {
                let (request, bytes, replaced) = (1, input.arbitrary()?, any_segments(input)?);
                (port.node, Request::Reserve { request, port, bytes, replaced })
            }
            5 => (
                port.node,
                Request::AddSegment {
                    publisher: port,
                    index: input.int_in_range(0..=7)?,
                    replaced: any_segments(input)?,
                },
            ),
            6 | 7 => {
                let (route, block) = (self.any_route(input)?, input.arbitrary()?);
                (route.subscriber.node, Request::Attach { route, reader_segment: 0, block })
            }
            8 => {
                let route = self.any_route(input)?;
                (route.publisher.node, Request::Attached { route, start: input.arbitrary()? })
            }
            9 => {
                let route = self.any_route(input)?;
                (route.subscriber.node, Request::MaySleep { route, doorbell: input.arbitrary()? })
            }
            10 => {
                let route = self.any_route(input)?;
                (route.subscriber.node, Request::Detach { route })
            }
            11 => (port.node, Request::Close { port }),
            _ => {
                let topic = if input.arbitrary()? { Some(any_text(input)?.to_owned()) } else { None };
                (port.node, Request::Inspect { request: 7, topic, rings: input.arbitrary()? })
            }
        })
    }

    /// What belongs into an announcement, or is said by those who want the broker's place.
    fn any_return(&self, port: PortId, input: &mut Unstructured<'_>) -> Result<(NodeId, Request)> {
        Ok(match input.int_in_range(0..=6_u8)? {
            0..=3 => {
                let tie = self.any_tie(port, input)?;
                let (pid, is_there) = (input.int_in_range(0..=2)?, input.arbitrary()?);
                (tie.port().node, Request::Tied { tie, pid, is_there })
            }
            4 => (port.node, Request::Remembered { subscriber: port, version: input.int_in_range(0..=3)? }),
            5 => (port.node, Request::Announced),
            _ => match input.int_in_range(0..=2_u8)? {
                0 => (port.node, Request::TakeOver { replaces: input.arbitrary()? }),
                1 => (port.node, Request::Taken),
                _ => (port.node, Request::Stop),
            },
        })
    }

    /// Half of a tie, which the other side may know of.
    fn any_tie(&self, port: PortId, input: &mut Unstructured<'_>) -> Result<Tie> {
        Ok(match input.int_in_range(0..=3_u8)? {
            0 => Tie::Reader(self.any_route(input)?),
            1 => {
                let (route, attached) = (self.any_route(input)?, input.arbitrary()?);
                Tie::Source { route, attached, segments: any_segments(input)? }
            }
            2 => Tie::Met { port, peer: any_port(input)? },
            _ => Tie::Seat { port, other: any_port(input)?, seat: input.int_in_range(0..=70)? },
        })
    }

    /// What `port` is to publish or subscribe to.
    fn any_address(&self, port: PortId, input: &mut Unstructured<'_>) -> Result<Address> {
        Ok(match input.int_in_range(0..=5_u8)? {
            0 => match input.choose(&self.met) {
                Ok((from, to)) => Address::Direct { to: *to, from: *from },
                Err(_) => Address::Direct { to: any_port(input)?, from: port },
            },
            1 | 2 => {
                let succeeds = if input.ratio(1, 4)? { Some(any_port(input)?) } else { None };
                Address::Region { name: any_text(input)?.to_owned(), succeeds, follows: input.arbitrary()? }
            }
            _ => Address::Topic(any_text(input)?.to_owned()),
        })
    }

    /// Most often one that somebody was told of.
    fn any_route(&self, input: &mut Unstructured<'_>) -> Result<Route> {
        if self.routes.is_empty() || input.ratio(1, 8)? {
            return Ok(Route { publisher: any_port(input)?, subscriber: any_port(input)? });
        }
        input.choose(&self.routes).copied()
    }
}

fn any_region_request(port: PortId, input: &mut Unstructured<'_>) -> Result<Request> {
    Ok(match input.int_in_range(0..=2_u8)? {
        0 => {
            let region = any_text(input)?.to_owned();
            let payload = if input.arbitrary()? { Some(any_payload(input)?) } else { None };
            let seat = if input.arbitrary()? { Some(input.int_in_range(0..=70)?) } else { None };
            Request::OpenShared { port, region, payload, seat }
        }
        1 => {
            let (succeeds, version) = (input.arbitrary()?, input.int_in_range(0..=3)?);
            Request::OfferShared { port, succeeds, version, brought: input.arbitrary()? }
        }
        _ => {
            let region = any_text(input)?.to_owned();
            Request::Keep { request: 7, region, keep: input.arbitrary()? }
        }
    })
}

fn any_dataset_request(port: PortId, input: &mut Unstructured<'_>) -> Result<Request> {
    let dataset = any_text(input)?.to_owned();
    Ok(match input.int_in_range(0..=3_u8)? {
        0 => Request::PublishDataset { port, dataset },
        1 => Request::OpenDataset { port, dataset, wait: input.arbitrary()? },
        2 => {
            let (version, latest) = (input.int_in_range(0..=3)?, input.int_in_range(0..=3)?);
            let (publishes, memory) = (input.arbitrary()?, input.arbitrary()?);
            Request::ReopenDataset { port, dataset, publishes, version, latest, memory }
        }
        _ => Request::KeepDataset { request: 7, dataset, keep: input.arbitrary()? },
    })
}

/// Whatever the broker says, a node can read.
fn check_packet(event: &Event) {
    let packet = event.encode();
    assert!(packet.len() <= MAX_PACKET_BYTES, "{event:?}");
    assert_eq!(Event::decode(&packet).as_ref(), Ok(event));
}

fn any_node(input: &mut Unstructured<'_>) -> Result<NodeId> {
    Ok(NodeId(input.int_in_range(1..=NODES)?))
}

fn any_port(input: &mut Unstructured<'_>) -> Result<PortId> {
    Ok(PortId { node: any_node(input)?, serial: input.int_in_range(1..=SERIALS)? })
}

fn any_segments(input: &mut Unstructured<'_>) -> Result<SegmentSet> {
    Ok(SegmentSet::from_bits(input.arbitrary()?))
}

/// A name of a topic or of a node.
fn any_text(input: &mut Unstructured<'_>) -> Result<&'static str> {
    input.choose(&["a", "a/b", "é"]).copied()
}

fn any_payload(input: &mut Unstructured<'_>) -> Result<PayloadType> {
    Ok(match input.int_in_range(0..=7_u8)? {
        0 => PayloadType::slice::<u64>(),
        1 => PayloadType::value::<u64>().with_header::<u32>(),
        _ => PayloadType::value::<u64>(),
    })
}
