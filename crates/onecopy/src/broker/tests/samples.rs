//! Arbitrary values for the properties.

use proptest::option;
use proptest::prelude::*;

use crate::broker::protocol::{Delivery, Event, NodeId, OpenError, PortId, Refusal, Request, Route};
use crate::payload_type::{PayloadKind, PayloadType, TypeDescription};

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

pub(super) fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        (node(), name()).prop_map(|(node, name)| Request::Hello { node, name }),
        (port(), topic(), payload(), delivery(), any::<u64>()).prop_map(
            |(publisher, topic, payload, delivery, history)| {
                Request::OpenPublisher { publisher, topic, payload, delivery, history }
            }
        ),
        (port(), any::<u32>()).prop_map(|(publisher, index)| Request::AddSegment { publisher, index }),
        (port(), topic(), option::of(payload())).prop_map(|(subscriber, topic, payload)| {
            Request::OpenSubscriber { subscriber, topic, payload }
        }),
        (route(), any::<u32>(), any::<u32>()).prop_map(|(route, reader_segment, block)| Request::Attach {
            route,
            reader_segment,
            block
        }),
        (route(), any::<u64>()).prop_map(|(route, start)| Request::Attached { route, start }),
        (route(), any::<bool>()).prop_map(|(route, doorbell)| Request::MaySleep { route, doorbell }),
        route().prop_map(|route| Request::Detach { route }),
        port().prop_map(|port| Request::Close { port }),
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
        port().prop_map(|port| OpenError::DuplicatePort { port }),
    ]
}

/// Events of every shape that carries text, which are those whose size and content need checks.
pub(super) fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        any::<u32>().prop_map(|broker_pid| Event::Welcome { broker_pid }),
        refusal().prop_map(|reason| Event::Refused { reason }),
        (port(), option::of(payload()), option::of(delivery()))
            .prop_map(|(port, payload, delivery)| Event::Opened { port, payload, delivery }),
        (port(), open_error()).prop_map(|(port, error)| Event::OpenFailed { port, error }),
        port().prop_map(|port| Event::Settled { port }),
        (route(), payload(), delivery()).prop_map(|(route, payload, delivery)| Event::Publisher {
            route,
            payload,
            delivery
        }),
        (route(), any::<u32>()).prop_map(|(route, index)| Event::Segment { route, index }),
        (any::<u32>(), node(), name(), any::<u32>(), any::<u32>())
            .prop_map(|(request, node, name, pid, uid)| Event::NodeInfo { request, node, name, pid, uid }),
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
        (any::<u32>(), topic(), port(), name()).prop_map(|(request, topic, subscriber, node_name)| {
            Event::SubscriberInfo { request, topic, subscriber, node_name }
        }),
    ]
}
