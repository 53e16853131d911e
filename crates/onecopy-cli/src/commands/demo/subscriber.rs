//! A subscribing process of the demo. One of them is killed half-way, with a message in its hands.

use onecopy::{Node, Publisher, Subscriber};

use super::plan::{ACKNOWLEDGEMENTS, INSTANCE, Plan, TOPIC, VICTIM};
use super::publisher::PATIENCE;
use super::report::{Report, wait_for_dismissal};
use super::transport::{Header, Inlet, check_sequence, receive_stages};
use crate::failure::Failure;

/// Messages between two reports of progress.
const PROGRESS_MESSAGES: u64 = 4;

pub(super) fn run(plan: &Plan, number: usize) -> Result<(), Failure> {
    let name = format!("subscriber {}", number + 1);
    let node = Node::builder().directory(&plan.directory).instance(INSTANCE).name(name).open()?;
    let acknowledgements = node.topic::<u64>(ACKNOWLEDGEMENTS)?.publisher().reliable().open()?;
    let subscriber = node.topic::<[u8]>(TOPIC)?.header::<Header>().subscriber().open()?;
    let mut inlet = TopicInlet { subscriber, acknowledgements, acknowledged: 0 };
    Report::Ready.send()?;
    inlet.receive_file(plan, number == VICTIM)?;
    inlet.acknowledge()?;
    receive_stages(plan, &mut inlet)?;
    Report::Finished.send()?;
    wait_for_dismissal()
}

struct TopicInlet {
    subscriber: Subscriber<[u8], Header>,
    acknowledgements: Publisher<u64>,
    acknowledged: u64,
}

impl TopicInlet {
    /// Hashes the file where the publisher wrote it.
    fn receive_file(&mut self, plan: &Plan, is_victim: bool) -> Result<(), Failure> {
        let mut hasher = blake3::Hasher::new();
        for expected in 0..plan.messages() {
            let message = self.subscriber.wait(PATIENCE)?;
            check_sequence(Some(message.header().sequence), expected)?;
            if is_victim && expected == plan.half_way() {
                Report::Holding { sequence: expected }.send()?;
                // SIGKILL comes here, while the message is held.
                wait_for_dismissal()?;
            }
            hasher.update(&message);
            if expected % PROGRESS_MESSAGES == 0 {
                Report::Progress { messages: expected }.send()?;
            }
        }
        let (blake3, bytes) = (hasher.finalize().to_hex().to_string(), hasher.count());
        Report::Digest { blake3, bytes }.send()
    }
}

impl Inlet for TopicInlet {
    fn receive(&mut self, read: &mut dyn FnMut(&Header, &[u8])) -> Result<(), Failure> {
        let message = self.subscriber.wait(PATIENCE)?;
        read(message.header(), &message);
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), Failure> {
        self.acknowledged += 1;
        Ok(self.acknowledgements.publish(&self.acknowledged)?)
    }
}
