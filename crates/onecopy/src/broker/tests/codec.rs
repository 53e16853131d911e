//! Packets survive the way to bytes and back, and no bytes do harm.

use proptest::prelude::*;

use super::samples::{event, request};
use crate::broker::protocol::{
    Address, DecodeError, Event, MAGIC, NodeId, OpenError, PROTOCOL_VERSION, PortId, Refusal, Request,
    SegmentSet,
};
use crate::limits::{MAX_DETAIL_BYTES, MAX_PACKET_BYTES};
use crate::payload_type::{PayloadKind, PayloadType, TypeDescription};

proptest! {
    #[test]
    fn requests_survive(request in request()) {
        let packet = request.encode();
        prop_assert!(packet.len() <= MAX_PACKET_BYTES);
        prop_assert_eq!(Request::decode(&packet), Ok(request));
    }

    #[test]
    fn events_survive(event in event()) {
        let packet = event.encode();
        prop_assert!(packet.len() <= MAX_PACKET_BYTES);
        prop_assert_eq!(Event::decode(&packet), Ok(event));
    }

    #[test]
    fn arbitrary_bodies_do_no_harm(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut packet = header(PROTOCOL_VERSION);
        packet.extend_from_slice(&body);
        if let Ok(request) = Request::decode(&packet) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        if let Ok(event) = Event::decode(&packet) {
            prop_assert_eq!(Event::decode(&event.encode()), Ok(event));
        }
    }

    #[test]
    fn a_packet_cut_short_or_continued_is_refused(request in request(), cut in any::<prop::sample::Index>()) {
        let mut packet = request.encode();
        prop_assert!(Request::decode(&packet[..cut.index(packet.len())]).is_err());
        packet.push(0);
        prop_assert_eq!(Request::decode(&packet), Err(DecodeError::TrailingBytes { bytes: 1 }));
    }

    #[test]
    fn a_flipped_bit_does_no_harm(request in request(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        let mut packet = request.encode();
        let at = at.index(packet.len());
        packet[at] ^= 1_u8 << bit;
        prop_assert_ne!(Request::decode(&packet), Ok(request));
    }
}

fn header(version: u16) -> Vec<u8> {
    [MAGIC.to_le_bytes(), version.to_le_bytes()].concat()
}

#[test]
fn the_largest_packet_fits() {
    let widest = TypeDescription { name: "é".repeat(127), size_bytes: 1 << 40, align_bytes: 4096 };
    let payload = PayloadType { kind: PayloadKind::Slice, element: widest.clone(), header: widest };
    let error = OpenError::TypeMismatch {
        topic: "t".repeat(255),
        existing: Box::new(payload.clone()),
        requested: Box::new(payload),
    };
    let port = PortId { node: NodeId(u64::MAX), serial: u32::MAX };
    let event = Event::OpenFailed { port, error };
    assert!(event.encode().len() <= MAX_PACKET_BYTES / 2);
    assert_eq!(Event::decode(&event.encode()), Ok(event));
}

/// Releases of the same protocol version must go on to understand each other.
#[test]
fn a_set_of_segments_travels_as_the_number_of_its_bits() {
    let publisher = PortId { node: NodeId(1), serial: 2 };
    let mut replaced = SegmentSet::from_iter([0, 8]);
    let encoded = Request::AddSegment { publisher, index: 3, replaced }.encode();
    // 257 in groups of seven bits, the lowest first.
    assert!(encoded.ends_with(&[1, 2, 3, 0x81, 0x02]), "{encoded:x?}");
    replaced.insert(63);
    let encoded = Request::AddSegment { publisher, index: 3, replaced }.encode();
    assert!(
        encoded.ends_with(&[3, 0x81, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        "{encoded:x?}"
    );
}

#[test]
fn another_version_is_named_on_both_sides() {
    let peer = PROTOCOL_VERSION + 1;
    let error = Request::decode(&header(peer)).unwrap_err();
    assert_eq!(error, DecodeError::Version { found: peer });
    assert_eq!(Refusal::from(error), Refusal::Version { peer, broker: PROTOCOL_VERSION });
}

#[test]
fn what_is_no_packet_is_named() {
    assert_eq!(Request::decode(b"1c"), Err(DecodeError::TooShort { bytes: 2 }));
    assert_eq!(Request::decode(b"GET / HTTP/1.1\r\n"), Err(DecodeError::Magic { found: 0x4547 }));
    assert_eq!(Request::decode(&[0; MAX_PACKET_BYTES + 1]), Err(DecodeError::TooLong));
}

#[test]
fn fields_are_checked() {
    let port = PortId { node: NodeId(1), serial: 1 };
    let bad_topic =
        Request::OpenSubscriber { subscriber: port, address: Address::Topic("/a".to_owned()), payload: None };
    assert!(matches!(Request::decode(&bad_topic.encode()), Err(DecodeError::TopicName(_))));
    let bad_name = Request::Hello { node: NodeId(1), name: "a\nb".to_owned(), returns_from: None };
    assert!(matches!(Request::decode(&bad_name.encode()), Err(DecodeError::NodeName { bytes: 3 })));
    let mut payload = PayloadType::value::<u64>();
    payload.header.align_bytes = 3;
    let bad_type = Request::OpenSubscriber {
        subscriber: port,
        address: Address::Topic("a".to_owned()),
        payload: Some(payload),
    };
    assert!(matches!(Request::decode(&bad_type.encode()), Err(DecodeError::TypeDescription(_))));
}

#[test]
fn a_long_detail_is_cut_at_a_character() {
    let error =
        DecodeError::TopicName(crate::topic_name::check(&format!("{}/", "é".repeat(126))).unwrap_err());
    let Refusal::Malformed { detail } = Refusal::from(error) else { panic!("another refusal") };
    assert!((MAX_DETAIL_BYTES - 1..=MAX_DETAIL_BYTES).contains(&detail.len()));
}
