//! One process publishes, another receives: here two nodes in one program, which makes no difference to either.
//!
//! Run it with `cargo run -p onecopy --example 01_publish_and_subscribe`.

use std::time::Duration;

use onecopy::Node;
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Plain data: a fixed layout, no padding, every bit pattern valid. The derives check that at compile time.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Pose {
    x: f64,
    y: f64,
    heading: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A directory of its own keeps the example apart from what else runs here; `Node::open()` is the usual way.
    let directory = tempfile::tempdir()?;
    let robot = Node::builder().directory(directory.path()).name("robot").open()?;
    let screen = Node::builder().directory(directory.path()).name("screen").open()?;

    let mut publisher = robot.topic::<Pose>("robot/pose")?.publisher().open()?;
    let mut subscriber = screen.topic::<Pose>("robot/pose")?.subscriber().open()?;

    // Written in place, or ...
    let mut pose = publisher.loan()?;
    pose.x = 1.0;
    pose.y = 0.5;
    pose.heading = 0.0;
    pose.publish()?;
    // ... all at once.
    publisher.publish(&Pose { x: 2.0, y: 0.5, heading: 0.1 })?;

    let pose = subscriber.wait(Duration::from_secs(10))?;
    println!("at {}, {}", pose.x, pose.y);
    assert_eq!((pose.x, pose.y), (1.0, 0.5));
    drop(pose);

    // Does not wait: `None` if there is nothing.
    let pose = subscriber.receive()?.ok_or("the second pose is there already")?;
    println!("at {}, {}, heading {}", pose.x, pose.y, pose.heading);
    assert_eq!((pose.x, pose.heading), (2.0, 0.1));
    drop(pose);
    assert!(subscriber.receive()?.is_none());
    Ok(())
}
