//! Several answers to one request, a deadline that travels along, and a server that sees when nobody waits any more.
//!
//! Run it with `cargo run -p onecopy --example 13_streams_and_deadlines`.

use std::time::Duration;

use onecopy::Node;
use onecopy::service::{CallError, CallOptions, RespondError};

const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let service = node.service::<u64, u64>("primes")?;
    let server = service.server().open()?;
    let counting = std::thread::spawn(move || {
        let mut streams = 0;
        while streams < 2 {
            let Ok(Some(request)) = server.wait(TIMEOUT) else { break };
            streams += 1;
            let is_prime = |number: &u64| (2..*number).all(|divisor| !number.is_multiple_of(divisor));
            for prime in (2..=*request).filter(is_prime) {
                // Waits for a client that reads slowly; ends with the client's interest.
                match request.send_within(&prime, TIMEOUT) {
                    Ok(()) => continue,
                    Err(RespondError::Cancelled) => println!("nobody wants more than {prime}"),
                    Err(error) => eprintln!("the stream ends: {error}"),
                }
                break;
            }
            if let Err(error) = request.finish() {
                eprintln!("the end of the stream was not sent: {error}");
            }
        }
    });

    let client = service.client().open()?;
    let below_thirty = client.call(&30)?;
    let mut primes = Vec::new();
    while let Some(prime) = below_thirty.next(TIMEOUT)? {
        primes.push(*prime);
    }
    println!("{primes:?}");
    assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);

    // Enough is enough: dropped (or cancelled), the call is over, and its server sees that.
    let endless = client.call(&u64::MAX)?;
    assert_eq!(*endless.wait(TIMEOUT)?, 2);
    drop(endless);
    counting.join().map_err(|_| "the server fell over")?;

    // A server that comes to a request after its deadline does not begin.
    let lazy = service.server().open()?;
    client.wait_for_server(TIMEOUT)?;
    let late = client.call_with(&7, CallOptions::new().deadline(Duration::from_millis(1)))?;
    assert!(matches!(late.wait(TIMEOUT), Err(CallError::DeadlinePassed)));
    assert!(lazy.receive()?.is_none());
    println!("too late is too late");

    // Nothing comes back, and nothing is waited for.
    client.notify(&1)?;
    let note = lazy.wait(TIMEOUT)?.ok_or("the note arrives")?;
    assert!(note.is_one_way() && *note == 1);
    Ok(())
}
