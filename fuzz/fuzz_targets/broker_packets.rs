//! Bytes from a socket, read as what a node says and as what the broker says. Whatever decodes is within every limit
//! and survives the way to bytes and back; whatever doesn't ends in a refusal that the other side can read.

#![no_main]
#![forbid(unsafe_code)]

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use onecopy::broker::protocol::{DecodeError, Event, MAGIC, PROTOCOL_VERSION, Refusal, Request};
use onecopy::limits::MAX_PACKET_BYTES;

fuzz_target!(|input: &[u8]| {
    check(input);
    // Most inputs fail at the first four bytes; behind the right ones they get somewhere.
    let header = [MAGIC.to_le_bytes(), PROTOCOL_VERSION.to_le_bytes()].concat();
    check(&[&header, input].concat());
});

fn check(packet: &[u8]) {
    check_as(packet, Request::decode, Request::encode);
    check_as(packet, Event::decode, Event::encode);
}

fn check_as<Message: PartialEq + Debug>(
    packet: &[u8],
    decode: fn(&[u8]) -> Result<Message, DecodeError>,
    encode: fn(&Message) -> Vec<u8>,
) {
    match decode(packet) {
        Ok(message) => {
            let encoded = encode(&message);
            assert!(encoded.len() <= packet.len().min(MAX_PACKET_BYTES), "the shortest form is longer");
            assert_eq!(decode(&encoded), Ok(message));
        }
        Err(error) => {
            let refused = Event::Refused { reason: Refusal::from(error) };
            assert_eq!(Event::decode(&refused.encode()), Ok(refused));
        }
    }
}
