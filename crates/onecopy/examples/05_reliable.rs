//! Nothing is lost: a reliable publisher waits for its slowest subscriber, as long as you let it.

use std::time::Duration;

use onecopy::{LoanError, Node};

const COMMANDS: u64 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let topic = node.topic::<u64>("commands")?;
    let mut publisher = topic.publisher().reliable().depth(16).open()?;
    let mut subscriber = topic.subscriber().open()?;

    // Nobody reads yet: after sixteen messages the ring is full, and says so at once.
    let mut sent = 0;
    while publisher.loan().is_ok() {
        publisher.publish(&sent)?;
        sent += 1;
    }
    println!("full after {sent} messages");
    assert_eq!(sent, 16);
    assert!(matches!(publisher.loan().map(drop), Err(LoanError::Full)));

    std::thread::scope(|scope| {
        let reader = scope.spawn(move || -> Result<u64, onecopy::Error> {
            for expected in 0..COMMANDS {
                assert_eq!(*subscriber.wait(Duration::from_secs(60))?, expected);
            }
            Ok(subscriber.lost())
        });
        for command in sent..COMMANDS {
            let mut loan = publisher.loan_within(Duration::from_secs(60))?;
            *loan = command;
            loan.publish()?;
        }
        let lost = reader.join().map_err(|_| "the reader panicked")??;
        println!("{COMMANDS} commands, {lost} lost");
        assert_eq!(lost, 0);
        Ok(())
    })
}
