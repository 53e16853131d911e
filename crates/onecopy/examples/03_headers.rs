//! A small header of your own beside each message: a frame number, a time stamp. It is part of the topic's type.

use std::time::Duration;

use onecopy::Node;
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct FrameInfo {
    number: u64,
    width: u32,
    height: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;

    let camera = node.topic::<[u8]>("camera/front")?.header::<FrameInfo>();
    let mut publisher = camera.publisher().open()?;
    let mut subscriber = camera.subscriber().open()?;

    for number in 0..3 {
        let mut frame = publisher.loan_slice(640 * 480)?;
        frame.fill(number as u8);
        *frame.header_mut() = FrameInfo { number, width: 640, height: 480 };
        frame.publish()?;
    }
    for number in 0..3 {
        let frame = subscriber.wait(Duration::from_secs(10))?;
        let FrameInfo { number: received, width, height } = frame.header();
        println!("frame {received}: {width} × {height}");
        assert_eq!(*received, number);
        assert_eq!(frame.len(), (width * height) as usize);
        assert!(frame.iter().all(|pixel| u64::from(*pixel) == number));
    }

    // Who expects another header is told so, and what the topic carries.
    let error = node.topic::<[u8]>("camera/front")?.subscriber().open().expect_err("the headers differ");
    println!("{error}");
    assert!(error.to_string().contains("FrameInfo"));
    Ok(())
}
