//! Models of a reliable writer that goes on without a reader: whatever the moment, that reader gets whole
//! messages in order, and then either all the others or the news that they are gone.
#![cfg(loom)]

mod model;

use loom::thread;
use onecopy_memory::ring::{MessageParts, Received, RingFault, RingReader};

/// Receives until there is no more, or the reader learns that it was evicted. Gives how many messages it had.
fn receive_all(reader: &mut RingReader) -> Result<u64, RingFault> {
    let mut expected = reader.cursor();
    loop {
        let mut payload = [0; 16];
        let mut parts =
            MessageParts { header: &mut [], payload: &mut payload, exact: true, chunk: &mut None };
        match reader.receive(&mut parts)? {
            Received::Empty => return Ok(expected),
            Received::Inline { .. } => {
                let (words, _) = payload.as_chunks::<8>();
                let (position, inverse) = (u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1]));
                assert_eq!((position, position), (expected, !inverse), "torn, or out of order");
                expected += 1;
            }
            other => panic!("only inline messages were sent: {other:?}"),
        }
    }
}

#[test]
fn a_reader_that_is_evicted_at_any_moment() {
    model::check(3, || {
        let mut writer = model::impatient_writer();
        let mut reader = model::attached(&mut writer, 0);
        let reading = thread::spawn(move || {
            let told = receive_all(&mut reader).is_err();
            (reader, told)
        });
        for _ in 0..4 {
            assert!(writer.has_room(1), "it waits for nobody");
            model::publish(&mut writer);
        }
        let (mut reader, told) = reading.join().expect("the reader ends");
        if !told {
            match receive_all(&mut reader) {
                Ok(end) => assert_eq!((end, reader.lost()), (4, 0)),
                Err(fault) => assert_eq!(fault, RingFault::Evicted { missed: 4 - reader.cursor() }),
            }
        }
    });
}
