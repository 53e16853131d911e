//! Who is there, and how much has been published: counted by the publishers in shared memory, so nobody is disturbed.

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let camera = Node::builder().directory(directory.path()).name("camera").open()?;
    let screen = Node::builder().directory(directory.path()).name("screen").open()?;
    let mut publisher = camera.topic::<[u8]>("frames")?.publisher().history(2).open()?;
    let _subscriber = screen.topic::<[u8]>("frames")?.subscriber().open()?;
    publisher.publish(&[0; 1000])?;

    let inventory = screen.inventory()?;
    for node in &inventory.nodes {
        println!("node {}, process {}", node.name, node.pid);
    }
    assert_eq!(inventory.nodes.len(), 2);
    let topic = inventory.topics.first().ok_or("one topic is open")?;
    let frames = topic.publishers.first().ok_or("it has a publisher")?;
    println!("topic {}: {:?} messages, {:?} bytes", topic.name, frames.messages(), frames.bytes());
    assert_eq!((frames.node.as_str(), frames.history), ("camera", 2));
    assert_eq!(topic.subscribers.first().map(|subscriber| subscriber.node.as_str()), Some("screen"));

    // The counters go on without asking anybody again.
    publisher.publish(&[0; 500])?;
    assert_eq!((frames.messages(), frames.bytes()), (Some(2), Some(1500)));
    Ok(())
}
