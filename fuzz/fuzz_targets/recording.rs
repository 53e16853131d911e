//! Files that claim to be recordings: any bytes, and true recordings that were cut off or changed. What is read from a
//! changed one is what was written, or an error that says so; nothing makes the reader panic, or go on without end.

#![no_main]
#![forbid(unsafe_code)]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use onecopy::Delivery;
use onecopy::payload_type::PayloadType;

#[path = "../../crates/onecopy-cli/src/recording/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the program uses all of it")]
mod recording;

use recording::{RecordedTopic, RecordingReader, RecordingWriter};

fuzz_target!(|input: (Vec<u8>, Vec<Vec<u8>>, Vec<(u16, u8)>, u16)| {
    let (raw, messages, changes, cut) = input;
    let Ok(folder) = tempfile::tempdir() else { return };
    let path = folder.path().join("fuzz.mcap");
    if std::fs::write(&path, &raw).is_ok() {
        read(&path, raw.len());
    }
    let payload = PayloadType::slice::<u8>().with_header::<u32>();
    let topic = RecordedTopic { name: "t".to_owned(), payload, delivery: Delivery::Reliable };
    let mut writer = RecordingWriter::create(&path, true).unwrap();
    writer.add_topic(&topic).unwrap();
    for (number, message) in messages.iter().enumerate() {
        writer.write("t", number as u64, message, &[1, 2, 3, 4]).unwrap();
        if number % 2 == 1 {
            writer.flush().unwrap();
        }
    }
    writer.finish().unwrap();
    let Ok(mut bytes) = std::fs::read(&path) else { return };
    assert_eq!(read(&path, bytes.len()), messages.len());
    bytes.truncate(bytes.len() - usize::from(cut) % bytes.len());
    for (at, change) in changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= change;
    }
    if std::fs::write(&path, &bytes).is_ok() {
        read(&path, bytes.len());
    }
});

/// How many messages can be read.
fn read(path: &Path, file_bytes: usize) -> usize {
    let mut reader = RecordingReader::open(path).unwrap();
    let mut messages = 0;
    while let Ok(Some(message)) = reader.next() {
        let (payload, header) = message.parts();
        assert!(payload.len() + header.len() <= file_bytes);
        messages += 1;
        // Each takes some bytes of the file.
        assert!(messages <= file_bytes);
    }
    let (read, all) = reader.progress();
    assert!(read <= all && all as usize == file_bytes);
    messages
}
