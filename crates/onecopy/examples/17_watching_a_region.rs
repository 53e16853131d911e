//! Sleeping until a value changes: settings that take effect at once, without anybody polling.
//!
//! Run it with `cargo run -p onecopy --example 17_watching_a_region`.

use std::time::Duration;

use onecopy::Node;
use onecopy::region::RegionError;
use rustix::event::{PollFd, PollFlags};

const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let editor = Node::builder().directory(directory.path()).name("editor").open()?;
    let worker = Node::builder().directory(directory.path()).name("worker").open()?;
    let settings = editor.region_bytes("settings")?.open_or_create(b"quiet")?;

    // A thread that sleeps: as an iterator, a watch ends only with an error.
    let view = worker.region_bytes("settings")?.open()?;
    let (ready, wait) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || -> Result<u32, RegionError> {
        let changes = view.watch()?;
        let mut seen = 0;
        let _ = ready.send(());
        for change in changes {
            let change = change?;
            println!("version {}: {}", change.version(), change.as_text()?);
            seen += 1;
            if change.as_text()? == "stop" {
                break;
            }
        }
        Ok(seen)
    });
    wait.recv()?;
    // Values that come faster than they are looked at are passed over: it is the latest that counts.
    for text in ["loud", "louder", "stop"] {
        settings.write_text(text)?;
    }
    let seen = follower.join().map_err(|_| "the follower fell over")??;
    assert!((1..=3).contains(&seen));

    // An event loop: a descriptor that is readable when there may be something new.
    let view = worker.region_bytes("settings")?.open()?;
    let mut watch = view.watch()?;
    let readiness = watch.readiness()?;
    settings.write_text("quiet again")?;
    loop {
        let mut polled = [PollFd::new(&readiness, PollFlags::IN)];
        rustix::event::poll(&mut polled, None)?;
        if let Some(change) = watch.receive()? {
            println!("version {}: {}", change.version(), change.as_text()?);
            break;
        }
    }

    // With a deadline.
    let version = settings.version()?;
    settings.write_text("last")?;
    let last = view.wait_for_change(version, TIMEOUT)?;
    assert_eq!(last.as_text()?, "last");
    assert!(matches!(
        view.wait_for_change(last.version(), Duration::from_millis(10)),
        Err(RegionError::Timeout)
    ));
    Ok(())
}
