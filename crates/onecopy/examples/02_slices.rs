//! Messages of any length: `[T]` topics. Large ones are written once, where every subscriber reads them.

use std::time::Duration;

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;

    let microphone = node.topic::<[f32]>("microphone/left")?;
    let mut publisher = microphone.publisher().open()?;
    let mut subscriber = microphone.subscriber().open()?;

    let mut samples = publisher.loan_slice(48_000)?;
    for (index, sample) in samples.iter_mut().enumerate() {
        *sample = (index as f32 / 100.0).sin();
    }
    samples.publish()?;
    publisher.publish(&[0.5, -0.5])?;

    let samples = subscriber.wait(Duration::from_secs(10))?;
    println!("{} samples, held in place: {}", samples.len(), samples.is_held());
    assert_eq!(samples.len(), 48_000);
    assert!(samples.is_held());
    // The message is given back when it is dropped; kept, it stays while others are received.
    let first = samples.keep();

    let second = subscriber.wait(Duration::from_secs(10))?;
    assert_eq!(*second, [0.5, -0.5]);
    assert_eq!(first[100], 1.0_f32.sin());
    Ok(())
}
