//! Who comes late may still get the last messages, and who is slow is told exactly how many it lost.

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let temperature = node.topic::<f32>("kitchen/temperature")?;

    let mut publisher = temperature.publisher().history(3).depth(8).open()?;
    for degrees in 15..25_u8 {
        publisher.publish(&f32::from(degrees))?;
    }

    let mut late = temperature.subscriber().open()?;
    let mut received = Vec::new();
    while let Some(degrees) = late.receive()? {
        received.push(*degrees);
    }
    println!("a late joiner got {received:?}");
    assert_eq!(received, [22.0, 23.0, 24.0]);

    // The ring has eight slots: of twenty messages, the oldest twelve are overwritten.
    for degrees in 30..50_u8 {
        publisher.publish(&f32::from(degrees))?;
    }
    let first = late.receive()?.map(|degrees| *degrees);
    println!("then {first:?}, after losing {}", late.lost());
    assert_eq!(first, Some(42.0));
    assert_eq!(late.lost(), 12);
    Ok(())
}
