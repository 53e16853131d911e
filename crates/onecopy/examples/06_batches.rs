//! Many small messages at once: a batch takes one slot of the ring, so each message costs a fraction of a publish.

use onecopy::Node;
use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
struct Tick {
    instrument: u32,
    price: u32,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let topic = node.topic::<Tick>("market/ticks")?;
    let mut publisher = topic.publisher().open()?;
    let mut subscriber = topic.subscriber().open()?;

    // Written in place, or ...
    let mut batch = publisher.loan_batch(16)?;
    for (index, tick) in batch.iter_mut().enumerate() {
        *tick = Tick { instrument: index as u32, price: 100 };
    }
    batch.publish()?;
    // ... as many as you have: cut into as few batches as possible.
    let ticks: Vec<Tick> = (0..600).map(|index| Tick { instrument: 7, price: index }).collect();
    publisher.publish_batch(&ticks)?;

    // The subscriber need not know: they come one by one.
    let mut received = Vec::new();
    while let Some(tick) = subscriber.receive()? {
        received.push(*tick);
    }
    println!("{} ticks, the last {:?}", received.len(), received.last());
    assert_eq!(received.len(), 616);
    assert_eq!(received[15], Tick { instrument: 15, price: 100 });
    assert_eq!(received[16..], ticks);
    Ok(())
}
