//! Requests and responses: a server, and a client that calls it. Large payloads are written where the other side reads
//! them.
//!
//! Run it with `cargo run -p onecopy --example 12_service`.

use std::time::Duration;

use onecopy::Node;
use onecopy::service::{CallError, CallOptions};

const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let kitchen = Node::builder().directory(directory.path()).name("kitchen").open()?;
    let guest = Node::builder().directory(directory.path()).name("guest").open()?;

    // Requests and responses are plain data, or slices of it: here a number, and that many bytes.
    let server = kitchen.service::<u64, [u8]>("noodles")?.server().open()?;
    let cook = std::thread::spawn(move || {
        // Nobody asks for a while: closed.
        while let Ok(Some(request)) = server.wait(Duration::from_millis(500)) {
            let served = match usize::try_from(*request) {
                Ok(length @ 1..=1_000_000) => request.loan_slice(length).and_then(|mut noodles| {
                    noodles.fill(b'~');
                    noodles.respond()
                }),
                _ => request.fail("one to a million, please"),
            };
            if let Err(error) = served {
                eprintln!("one guest could not be served: {error}");
            }
        }
    });

    let client = guest.service::<u64, [u8]>("noodles")?.client().open()?;
    client.wait_for_server(TIMEOUT)?;
    // Several calls may be under way.
    let (small, large) = (client.call(&10)?, client.call(&500_000)?);
    println!("small: {}", String::from_utf8_lossy(&small.wait(TIMEOUT)?));
    let noodles = large.wait(TIMEOUT)?;
    println!("large: {} bytes, held in the server's memory: {}", noodles.len(), noodles.is_held());
    assert!(noodles.is_held() && noodles.iter().all(|byte| *byte == b'~'));

    // What went wrong is told apart: an answer that says no, no answer in time, a server that died.
    match client.call(&0)?.wait(TIMEOUT) {
        Err(CallError::Failed(reason)) => println!("none: {reason}"),
        other => return Err(format!("expected to be refused, got {other:?}").into()),
    }
    // If its server dies, this call goes to another one, twice at most: it does no harm to make it again.
    let patient = client.call_with(&3, CallOptions::new().retries(2))?;
    assert_eq!(&*patient.wait(TIMEOUT)?, b"~~~");
    drop(noodles);
    cook.join().map_err(|_| "the cook fell over")?;
    Ok(())
}
