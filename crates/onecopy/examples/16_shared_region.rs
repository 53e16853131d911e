//! A region that several processes write, by turns: whole updates, none of them lost, and a file that keeps
//! the last one.
//!
//! Run it with `cargo run -p onecopy --example 16_shared_region`.

use std::time::Duration;

use onecopy::Node;
use onecopy::region::{Region, RegionError};

const TIMEOUT: Duration = Duration::from_secs(10);

/// All who open the region say that it is shared, and where it is kept.
fn open(node: &Node, directory: &std::path::Path) -> Result<Region<u64>, Box<dyn std::error::Error>> {
    Ok(node.region::<u64>("visitors")?.shared().file(directory.join("visitors")).open_or_create(&0)?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = |name: &str| Node::builder().directory(directory.path()).name(name).open();
    let (north, south) = (node("north")?, node("south")?);
    let mut at_north = open(&north, directory.path())?;
    let at_south = open(&south, directory.path())?;

    // A change that takes no time: under the lock, and over.
    at_north.update(|visitors| *visitors += 1)?;
    at_south.update(|visitors| *visitors += 2)?;

    // A change that should only be made to what was seen.
    let seen = at_south.read()?;
    at_north.update(|visitors| *visitors += 10)?;
    match at_south.compare_and_set(seen.version(), &(*seen * 2)) {
        Err(RegionError::Conflict { current }) => println!("it is at version {current} by now"),
        other => return Err(format!("expected a conflict, got {other:?}").into()),
    }

    // A change that takes a while. Others read on, and wait to write.
    let mut guard = at_north.lock(TIMEOUT)?;
    if guard.was_abandoned() {
        println!("whoever had the lock died with it: the value is the last that was committed");
    }
    *guard *= 2;
    assert_eq!(at_south.get()?, 13, "nobody sees a value in the making");
    match open(&south, directory.path())?.lock(Duration::from_millis(10)).map(drop) {
        Err(RegionError::Locked { pid }) => println!("process {pid} has the lock"),
        other => return Err(format!("expected it to be locked, got {other:?}").into()),
    }
    let version = guard.commit()?;
    println!("version {version}: {} visitors", at_south.get()?);

    // The region ends with the last who has it open; the file goes on.
    drop((at_north, at_south, seen));
    drop((north, south));
    let tomorrow = node("tomorrow")?;
    let kept = open(&tomorrow, directory.path())?.get()?;
    println!("the next day: {kept}");
    assert_eq!(kept, 26);
    Ok(())
}
