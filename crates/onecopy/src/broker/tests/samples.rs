//! Arbitrary values for the properties.

use std::sync::Arc;

use proptest::option;
use proptest::prelude::*;

use crate::broker::Descriptor;
use crate::broker::protocol::{
    Address, BrokerId, Delivery, Denied, Event, KeepError, NodeId, OpenError, PortId, QuotaExceeded, Refusal,
    Request, Resource, Role, Route, SegmentSet, ServiceType, Tie,
};
use crate::config::{Kind, Right};
use crate::payload_type::{PayloadKind, PayloadType, TypeDescription};

/// Memory.
pub(super) fn memory() -> Descriptor {
    memory_of(64)
}

/// Memory of that size.
pub(super) fn memory_of(bytes: u64) -> Descriptor {
    let memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::ftruncate(&memory, bytes).unwrap();
    Arc::new(memory)
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Topic), Just(Kind::Service), Just(Kind::Region), Just(Kind::Dataset)]
}

fn denied() -> impl Strategy<Value = Box<Denied>> {
    let right = prop_oneof![Just(Right::Publish), Just(Right::Write), Just(Right::Admin)];
    let parts = (any::<u32>(), right, option::of((kind(), topic())), name(), option::of(any::<u32>()));
    parts.prop_map(|(uid, right, object, file, line)| Box::new(Denied { uid, right, object, file, line }))
}

fn quota() -> impl Strategy<Value = Box<QuotaExceeded>> {
    (any::<u32>(), any::<u64>(), name(), any::<u32>()).prop_map(|(uid, limit, file, line)| {
        Box::new(QuotaExceeded { uid, resource: Resource::Memory, limit, file, line })
    })
}

pub(super) fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

pub(super) fn port() -> impl Strategy<Value = PortId> {
    (node(), any::<u32>()).prop_map(|(node, serial)| PortId { node, serial })
}

fn route() -> impl Strategy<Value = Route> {
    (port(), port()).prop_map(|(publisher, subscriber)| Route { publisher, subscriber })
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zé]{1,9}(/[a-z ]{1,9}){0,3}", Just("x".repeat(255)), Just("é".repeat(127))]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zA-Z é/]{1,20}", Just("n".repeat(255))]
}

fn delivery() -> impl Strategy<Value = Delivery> {
    prop_oneof![Just(Delivery::Overwrite), Just(Delivery::Reliable)]
}

fn description() -> impl Strategy<Value = TypeDescription> {
    (name(), 0_u64..1 << 20, 0_u32..=12).prop_map(|(name, count, shift)| {
        let align_bytes = 1 << shift;
        TypeDescription { name, size_bytes: count * align_bytes, align_bytes }
    })
}

fn payload() -> impl Strategy<Value = PayloadType> {
    let kind = prop_oneof![Just(PayloadKind::Value), Just(PayloadKind::Slice)];
    (kind, description(), description()).prop_map(|(kind, element, header)| PayloadType {
        kind,
        element,
        header,
    })
}

fn service_type() -> impl Strategy<Value = ServiceType> {
    (payload(), payload()).prop_map(|(request, response)| ServiceType { request, response })
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Client), Just(Role::Server)]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        topic().prop_map(Address::Topic),
        (port(), port()).prop_map(|(to, from)| Address::Direct { to, from }),
        (topic(), option::of(port()), any::<u64>()).prop_map(|(name, succeeds, follows)| Address::Region {
            name,
            succeeds,
            follows
        }),
    ]
}

fn segments() -> impl Strategy<Value = SegmentSet> {
    any::<u64>().prop_map(SegmentSet::from_bits)
}

fn tie() -> impl Strategy<Value = Tie> {
    prop_oneof![
        route().prop_map(Tie::Reader),
        (route(), any::<bool>(), segments()).prop_map(|(route, attached, segments)| Tie::Source {
            route,
            attached,
            segments
        }),
        (port(), port()).prop_map(|(port, peer)| Tie::Met { port, peer }),
        (port(), port(), any::<u32>()).prop_map(|(port, other, seat)| Tie::Seat { port, other, seat }),
    ]
}

pub(super) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (node(), name(), option::of(any::<u64>().prop_map(BrokerId)))
            .prop_map(|(node, name, returns_from)| Request::Hello { node, name, returns_from }),
        (tie(), any::<u32>(), any::<bool>()).prop_map(|(tie, pid, is_there)| Request::Tied {
            tie,
            pid,
            is_there
        }),
        (port(), any::<u64>()).prop_map(|(subscriber, version)| Request::Remembered { subscriber, version }),
        (port(), any::<bool>(), any::<u64>(), any::<bool>()).prop_map(
            |(port, succeeds, version, brought)| {
                Request::OfferShared { port, succeeds, version, brought }
            }
        ),
        (port(), topic(), option::of(payload()), option::of(any::<u32>()))
            .prop_map(|(port, region, payload, seat)| Request::OpenShared { port, region, payload, seat }),
        Just(Request::Announced),
        (port(), address(), payload(), delivery(), any::<u64>()).prop_map(
            |(publisher, address, payload, delivery, history)| {
                Request::OpenPublisher { publisher, address, payload, delivery, history }
            }
        ),
        (any::<u32>(), port(), any::<u64>(), segments()).prop_map(|(request, port, bytes, replaced)| {
            Request::Reserve { request, port, bytes, replaced }
        }),
        (port(), any::<u32>(), segments()).prop_map(|(publisher, index, replaced)| Request::AddSegment {
            publisher,
            index,
            replaced
        }),
        (port(), address(), option::of(payload())).prop_map(|(subscriber, address, payload)| {
            Request::OpenSubscriber { subscriber, address, payload }
        }),
        (port(), role(), topic(), option::of(service_type())).prop_map(|(port, role, service, payload)| {
            Request::OpenService { port, role, service, payload }
        }),
        (route(), any::<u32>(), any::<u32>()).prop_map(|(route, reader_segment, block)| Request::Attach {
            route,
            reader_segment,
            block
        }),
        (route(), any::<u64>()).prop_map(|(route, start)| Request::Attached { route, start }),
        (route(), any::<bool>()).prop_map(|(route, doorbell)| Request::MaySleep { route, doorbell }),
        route().prop_map(|route| Request::Detach { route }),
        (port(), topic()).prop_map(|(port, dataset)| Request::PublishDataset { port, dataset }),
        (port(), topic(), any::<bool>()).prop_map(|(port, dataset, wait)| Request::OpenDataset {
            port,
            dataset,
            wait
        }),
        (port(), topic(), any::<bool>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(port, dataset, publishes, version, latest, memory)| Request::ReopenDataset {
                port,
                dataset,
                publishes,
                version,
                latest,
                memory,
            }
        ),
        (any::<u32>(), topic(), any::<bool>()).prop_map(|(request, dataset, keep)| Request::KeepDataset {
            request,
            dataset,
            keep
        }),
        port().prop_map(|port| Request::Close { port }),
        Just(Request::ShowReaders),
        (any::<u32>(), option::of(topic()), any::<bool>())
            .prop_map(|(request, topic, rings)| Request::Inspect { request, topic, rings }),
    ]
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        (any::<u16>(), any::<u16>()).prop_map(|(peer, broker)| Refusal::Version { peer, broker }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(peer_uid, broker_uid)| Refusal::WrongUser { peer_uid, broker_uid }),
        node().prop_map(|node| Refusal::DuplicateNode { node }),
        name().prop_map(|detail| Refusal::Malformed { detail }),
        (port(), node()).prop_map(|(port, node)| Refusal::ForeignPort { port, node }),
        (port(), any::<u32>()).prop_map(|(publisher, index)| Refusal::DuplicateSegment { publisher, index }),
        Just(Refusal::OutOfDescriptors),
        topic().prop_map(|name| Refusal::Superseded { name }),
        (any::<u32>(), name()).prop_map(|(uid, file)| Refusal::NotAdmitted { uid, file }),
        denied().prop_map(Refusal::Denied),
        quota().prop_map(Refusal::OverUserQuota),
    ]
}

fn open_error() -> impl Strategy<Value = OpenError> {
    prop_oneof![
        (topic(), payload(), payload()).prop_map(|(topic, existing, requested)| {
            let (existing, requested) = (Box::new(existing), Box::new(requested));
            OpenError::TypeMismatch { topic, existing, requested }
        }),
        (topic(), delivery(), delivery()).prop_map(|(topic, existing, requested)| {
            OpenError::DeliveryMismatch { topic, existing, requested }
        }),
        (topic(), service_type(), service_type()).prop_map(|(service, existing, requested)| {
            let (existing, requested) = (Box::new(existing), Box::new(requested));
            OpenError::ServiceMismatch { service, existing, requested }
        }),
        (topic(), any::<u32>()).prop_map(|(region, pid)| OpenError::HasWriter { region, pid }),
        (port(), port()).prop_map(|(port, peer)| OpenError::NoSuchPeer { port, peer }),
        topic().prop_map(|dataset| OpenError::NoDataset { dataset }),
        port().prop_map(|port| OpenError::DuplicatePort { port }),
        denied().prop_map(OpenError::Denied),
        quota().prop_map(OpenError::OverUserQuota),
    ]
}

/// Events of every shape that carries text, which are those whose size and content need checks.
pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (any::<u32>(), any::<u64>(), any::<bool>()).prop_map(|(broker_pid, pid_namespace, limited)| {
            Event::Welcome { broker_pid, broker: BrokerId(!pid_namespace), pid_namespace, limited }
        }),
        any::<u32>().prop_map(|broker_pid| Event::Ended { broker_pid }),
        (any::<u32>(), option::of(open_error()))
            .prop_map(|(request, refused)| Event::Reserved { request, refused }),
        refusal().prop_map(|reason| Event::Refused { reason }),
        (port(), option::of(payload()), option::of(delivery()))
            .prop_map(|(port, payload, delivery)| Event::Opened { port, payload, delivery }),
        (port(), open_error()).prop_map(|(port, error)| Event::OpenFailed { port, error }),
        port().prop_map(|port| Event::Settled { port }),
        Just(Event::Roll),
        (any::<u32>(), option::of(denied().prop_map(KeepError::Denied)))
            .prop_map(|(request, refused)| Event::Kept { request, refused }),
        (route(), payload(), delivery(), option::of(port())).prop_map(|(route, payload, delivery, from)| {
            Event::Publisher { route, payload, delivery, from, pid: 7 }
        }),
        (port(), port(), any::<u32>(), service_type()).prop_map(|(port, peer, pid, payload)| Event::Met {
            port,
            peer,
            pid,
            payload
        }),
        (port(), payload()).prop_map(|(subscriber, payload)| Event::Remains { subscriber, payload }),
        (route(), any::<u32>(), segments()).prop_map(|(route, index, replaced)| Event::Segment {
            route,
            index,
            replaced
        }),
        (any::<u32>(), node(), name(), any::<u32>(), any::<u32>(), any::<bool>()).prop_map(
            |(request, node, name, pid, uid, readers)| {
                Event::NodeInfo { request, node, name, pid, uid, readers }
            }
        ),
        (any::<u32>(), port()).prop_map(|(request, owner)| Event::MemoryInfo { request, owner }),
        (any::<u32>(), topic(), option::of(payload()), option::of(delivery()), any::<u32>()).prop_map(
            |(request, name, payload, delivery, publishers)| {
                Event::TopicInfo { request, name, payload, delivery, publishers, subscribers: publishers / 2 }
            }
        ),
        (any::<u32>(), topic(), port(), name(), any::<u64>(), any::<bool>()).prop_map(
            |(request, topic, publisher, node_name, history, ring)| {
                Event::PublisherInfo { request, topic, publisher, node_name, history, ring }
            }
        ),
        (any::<u32>(), topic(), option::of(service_type()))
            .prop_map(|(request, name, payload)| Event::ServiceInfo { request, name, payload }),
        (any::<u32>(), topic(), port(), role(), name(), any::<u32>()).prop_map(
            |(request, service, port, role, node_name, pid)| {
                Event::ServicePortInfo { request, service, port, role, node_name, pid }
            }
        ),
        (any::<u32>(), topic(), option::of(payload()), option::of((port(), any::<u32>())), any::<bool>())
            .prop_map(|(request, name, payload, writer, memory)| {
                Event::RegionInfo {
                    request,
                    name,
                    payload,
                    shared: memory,
                    writer,
                    readers: request / 2,
                    kept: memory,
                    memory,
                }
            }),
        (any::<u32>(), topic(), any::<u32>(), any::<u32>())
            .prop_map(|(request, region, seat, pid)| Event::SeatInfo { request, region, seat, pid }),
        (port(), any::<u64>()).prop_map(|(port, version)| Event::Dataset { port, version }),
        (port(), any::<u64>()).prop_map(|(port, version)| Event::DatasetVersion { port, version }),
        (any::<u32>(), topic(), any::<u64>(), option::of((port(), any::<u32>())), any::<bool>()).prop_map(
            |(request, name, version, publisher, memory)| {
                let (viewers, kept) = (request / 3, memory);
                Event::DatasetInfo { request, name, version, publisher, viewers, kept, memory }
            }
        ),
        (any::<u32>(), topic(), port(), name()).prop_map(|(request, topic, subscriber, node_name)| {
            Event::SubscriberInfo { request, topic, subscriber, node_name }
        }),
    ]
}
