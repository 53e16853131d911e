//! For tools: receive from a topic without knowing its type, and ask what that is.

use std::time::Duration;

use onecopy::Node;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let mut publisher = node.topic::<[u16; 3]>("colours")?.publisher().open()?;

    let tool = Node::builder().directory(directory.path()).name("tool").open()?;
    let mut subscriber = tool.any_topic("colours")?.subscriber().open()?;
    publisher.publish(&[1, 2, 3])?;

    let entry = tool.topic_entry("colours")?.ok_or("the topic is open")?;
    let payload = entry.payload.ok_or("its publisher said what it carries")?;
    let bytes = subscriber.wait(Duration::from_secs(10))?;
    println!("{payload}: {:?}", bytes.as_bytes());
    assert_eq!(payload.element.name, "[u16; 3]");
    assert_eq!(bytes.len() as u64, payload.element.size_bytes);
    assert_eq!(bytes[..2], 1_u16.to_ne_bytes());
    Ok(())
}
