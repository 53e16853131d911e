//! A region: one value that everyone sees as it is now. One process writes it, the others can only read.
//!
//! Run it with `cargo run -p onecopy --example 15_region`.

use std::time::Duration;

use onecopy::Node;
use onecopy::region::RegionError;

/// Plain data: every bit pattern is a value. It may be a struct that derives zerocopy's traits.
type Pose = [f64; 3];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let robot = Node::builder().directory(directory.path()).name("robot").open()?;
    let display = Node::builder().directory(directory.path()).name("display").open()?;

    // Whoever makes a region is its writer.
    let pose = robot.region::<Pose>("pose")?.open_or_create(&[0.0; 3])?;
    let seen = display.region::<Pose>("pose")?.open()?;
    pose.write(&[1.0, 2.0, 0.5])?;
    pose.update(|pose| pose[0] += 0.25)?;

    // Reading never waits, and gives one whole value with its version.
    let now = seen.read()?;
    println!("version {}: {:?}", now.version(), *now);
    assert_eq!((now.version(), *now), (3, [1.25, 2.0, 0.5]));
    match seen.write(&[0.0; 3]) {
        Err(RegionError::ReadOnly { pid, .. }) => println!("only process {pid} may write it"),
        other => return Err(format!("expected to be refused, got {other:?}").into()),
    }

    // Large values are read where they are, and stay as they are while they are held.
    let map = robot.region_bytes("map")?.capacity(1 << 20).open_or_create(&vec![b'.'; 1 << 20])?;
    let map_seen = display.region_bytes("map")?.open()?;
    let before = map_seen.read()?;
    map.write(&vec![b'#'; 1 << 20])?;
    assert!(before.is_held() && before.iter().all(|byte| *byte == b'.'));
    println!("the map was {} bytes of {:?}", before.len(), char::from(before[0]));

    // Room for more: who has it open follows.
    map.resize(2 << 20)?;
    let version = map.write(&vec![b'~'; 2 << 20])?;
    let mut grown = map_seen.read()?;
    while grown.version() < version {
        grown = map_seen.wait_for_change(grown.version(), Duration::from_secs(10))?;
    }
    println!("and is now {} bytes of {:?}", grown.len(), char::from(grown[0]));
    Ok(())
}
