//! Recordings that are whole, cut off at every byte, or damaged at any.

use std::path::{Path, PathBuf};

use onecopy::Delivery;
use onecopy::payload_type::PayloadType;

use super::{RecordedTopic, RecordingError, RecordingReader, RecordingWriter};

/// What a message is made of: its topic, when, payload, header.
type Message = (String, u64, Vec<u8>, Vec<u8>);

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn topics() -> [RecordedTopic; 2] {
    let payload = PayloadType::slice::<u8>().with_header::<u32>();
    [
        RecordedTopic { name: "camera".to_owned(), payload, delivery: Delivery::Reliable },
        RecordedTopic {
            name: "numbers".to_owned(),
            payload: PayloadType::value::<u64>(),
            delivery: Delivery::Overwrite,
        },
    ]
}

/// Twenty messages in chunks of three.
fn messages() -> Vec<Message> {
    let message = |number: u64| match number % 2 {
        0 => (
            "camera".to_owned(),
            number * 1000,
            vec![number as u8; number as usize],
            vec![1, 2, 3, number as u8],
        ),
        _ => ("numbers".to_owned(), number * 1000, number.to_ne_bytes().to_vec(), Vec::new()),
    };
    (0..20).map(message).collect()
}

/// Writes the messages, and gives where each chunk ends with how many messages are in the file then.
fn record(path: &Path) -> Vec<(u64, usize)> {
    let mut writer = RecordingWriter::create(path, false).unwrap();
    let mut ends = Vec::new();
    for (index, (topic, time_ns, payload, header)) in messages().iter().enumerate() {
        if !writer.knows(topic) {
            let topics = topics();
            writer.add_topic(topics.iter().find(|known| known.name == *topic).unwrap()).unwrap();
        }
        writer.write(topic, *time_ns, payload, header).unwrap();
        if index % 3 == 2 {
            writer.flush().unwrap();
            ends.push((std::fs::metadata(path).unwrap().len(), index + 1));
        }
    }
    let file_bytes = writer.finish().unwrap();
    assert_eq!(file_bytes, std::fs::metadata(path).unwrap().len());
    ends
}

/// All messages up to the end or the first error, and whether that is the end that was written.
fn read(path: &Path) -> (Vec<Message>, Result<bool, RecordingError>) {
    let mut reader = RecordingReader::open(path).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next() {
            Ok(Some(message)) => {
                let (payload, header) = message.parts();
                let name = message.topic.name.clone();
                assert!(topics().contains(&message.topic));
                found.push((name, message.time_ns, payload.to_vec(), header.to_vec()));
            }
            Ok(None) => return (found, Ok(reader.is_complete())),
            Err(error) => return (found, Err(error)),
        }
    }
}

#[test]
fn what_was_written_is_read() {
    let place = Place::new();
    let path = place.path("whole.mcap");
    record(&path);
    let (found, end) = read(&path);
    assert_eq!(found, messages());
    assert!(end.unwrap());
    assert!(matches!(RecordingWriter::create(&path, false), Err(RecordingError::Exists { .. })));
    assert!(RecordingWriter::create(&path, true).is_ok());
}

#[test]
fn cut_off_at_any_byte_all_whole_chunks_before_it_are_there() {
    let place = Place::new();
    let path = place.path("whole.mcap");
    let ends = record(&path);
    let whole = std::fs::read(&path).unwrap();
    let all = messages();
    let cut = place.path("cut.mcap");
    for length in 0..whole.len() {
        std::fs::write(&cut, &whole[..length]).unwrap();
        let (found, end) = read(&cut);
        let expected =
            ends.iter().rev().find(|(end, _)| *end <= length as u64).map_or(0, |(_, count)| *count);
        assert!(found.len() >= expected, "{} of {expected} messages at {length}", found.len());
        assert_eq!(found, all[..found.len()], "at {length}");
        assert!(!end.unwrap_or_else(|error| panic!("{error} at {length}")), "it is not complete at {length}");
    }
}

#[test]
fn damage_anywhere_gives_no_message_that_was_not_written() {
    let place = Place::new();
    let path = place.path("whole.mcap");
    let ends = record(&path);
    let whole = std::fs::read(&path).unwrap();
    let all = messages();
    let damaged = place.path("damaged.mcap");
    let data_end = ends.last().unwrap().0 as usize;
    for place in (0..data_end).step_by(7) {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x41;
        std::fs::write(&damaged, &bytes).unwrap();
        let mut reader = RecordingReader::open(&damaged).unwrap();
        let mut found = Vec::new();
        while let Ok(Some(message)) = reader.next() {
            let (payload, header) = message.parts();
            found.push((message.time_ns, payload.to_vec(), header.to_vec()));
        }
        let all: Vec<_> =
            all.iter().map(|(_, time, payload, header)| (*time, payload.clone(), header.clone())).collect();
        // Whole chunks may be missed if what is damaged is between them; none is made up.
        assert!(found.iter().all(|message| all.contains(message)), "at {place}");
    }
}

#[test]
fn other_files_are_told_from_recordings() {
    let place = Place::new();
    let path = place.path("other");
    std::fs::write(&path, b"this is a text, and longer than any magic number").unwrap();
    assert!(matches!(read(&path).1, Err(RecordingError::Foreign { .. })));
    let mut writer =
        mcap::WriteOptions::new().profile("ros2").create(std::fs::File::create(&path).unwrap()).unwrap();
    writer.finish().unwrap();
    assert!(matches!(read(&path).1, Err(RecordingError::Foreign { .. })));
}
