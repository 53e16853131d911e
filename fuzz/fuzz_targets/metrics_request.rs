//! Bytes that a scraper sends, in pieces of any size. There is an answer at the latest when the head is as long as it
//! may be, and it does not depend on how the bytes were cut.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/onecopy-cli/src/commands/metrics/request.rs"]
mod request;

use request::{Answer, HEAD_BYTES_MAX, answer_to};

fuzz_target!(|input: (Vec<u8>, bool)| {
    let (sent, begins_well) = input;
    let beginning: &[u8] = if begins_well { b"GET /metrics" } else { b"" };
    let sent = [beginning, &sent].concat();
    let first = (0..=sent.len()).find_map(|end| answer_to(&sent[..end]).map(|answer| (end, answer)));
    match first {
        Some((end, answer)) => {
            assert!(end <= HEAD_BYTES_MAX);
            if answer == Answer::Page {
                assert!(sent.starts_with(b"GET ") || sent[..end].windows(5).any(|part| part == b"\nGET "));
            }
        }
        None => assert!(sent.len() < HEAD_BYTES_MAX),
    }
});
