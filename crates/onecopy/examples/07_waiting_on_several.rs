//! One thread, several topics of different types: sleep until any of them has something.

use std::time::Duration;

use onecopy::{Node, WaitError, wait_any};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let numbers = node.topic::<u64>("numbers")?;
    let texts = node.topic::<[u8]>("texts")?;
    let mut number_subscriber = numbers.subscriber().open()?;
    let mut text_subscriber = texts.subscriber().open()?;

    let nothing = wait_any(&mut [&mut number_subscriber, &mut text_subscriber], Duration::from_millis(1));
    assert!(matches!(nothing, Err(WaitError::Timeout)));

    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), onecopy::Error> {
            let mut number_publisher = numbers.publisher().open()?;
            let mut text_publisher = texts.publisher().open()?;
            for number in 0..100 {
                number_publisher.publish(&number)?;
                text_publisher.publish(number.to_string().as_bytes())?;
            }
            Ok(())
        });
        let (mut sum, mut letters) = (0, 0);
        while sum < 4950 || letters < 190 {
            wait_any(&mut [&mut number_subscriber, &mut text_subscriber], Duration::from_secs(60))?;
            while let Some(number) = number_subscriber.receive()? {
                sum += *number;
            }
            while let Some(text) = text_subscriber.receive()? {
                letters += text.len();
            }
        }
        println!("sum {sum}, {letters} letters");
        assert_eq!((sum, letters), (4950, 190));
        writer.join().map_err(|_| "the writer panicked")??;
        Ok(())
    })
}
