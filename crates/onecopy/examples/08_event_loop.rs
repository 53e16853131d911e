//! In an event loop of your own: a descriptor that becomes readable when there may be messages.

use onecopy::Node;
use rustix::event::{PollFd, PollFlags, poll};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let node = Node::builder().directory(directory.path()).open()?;
    let topic = node.topic::<u64>("numbers")?;
    let mut subscriber = topic.subscriber().open()?;
    let readiness = subscriber.readiness()?;

    std::thread::scope(|scope| {
        let writer = scope.spawn(|| -> Result<(), onecopy::Error> {
            let mut publisher = topic.publisher().reliable().depth(16).open()?;
            for number in 0..1000 {
                let mut loan = publisher.loan_within(std::time::Duration::from_secs(60))?;
                *loan = number;
                loan.publish()?;
            }
            Ok(())
        });
        let (mut next, mut rounds) = (0, 0);
        while next < 1000 {
            // Any number of other descriptors may stand here: sockets, timers, signals.
            poll(&mut [PollFd::new(&readiness, PollFlags::IN)], None)?;
            rounds += 1;
            // Always until there is nothing more: only then is the descriptor armed for the next message.
            while let Some(number) = subscriber.receive()? {
                assert_eq!(*number, next);
                next += 1;
            }
        }
        println!("{next} messages in {rounds} rounds of the loop");
        writer.join().map_err(|_| "the writer panicked")??;
        Ok(())
    })
}
