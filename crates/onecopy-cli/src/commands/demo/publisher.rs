//! The publishing process of the demo: first the file, then the measurements.

use std::time::Duration;

use onecopy::{Node, Publisher, Subscriber};

use super::plan::{
    ACKNOWLEDGEMENTS, BUDGET_BYTES, INSTANCE, MESSAGE_BYTES, Plan, SUBSCRIBERS, SURVIVORS, TOPIC,
};
use super::report::{Report, wait_for_dismissal};
use super::source::Source;
use super::transport::{Header, Outlet, Sample, now_nanoseconds, send_stages};
use crate::failure::Failure;

/// No step takes nearly as long, unless something is broken; then the demo says so rather than hang.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(plan: &Plan) -> Result<(), Failure> {
    let node = Node::builder().directory(&plan.directory).instance(INSTANCE).name("publisher").open()?;
    let source = Source::open(&plan.file, plan.file_bytes)?;
    let sample = Sample::new(&source)?;
    let acknowledgements = node.topic::<u64>(ACKNOWLEDGEMENTS)?.subscriber().open()?;
    let topic = node.topic::<[u8]>(TOPIC)?.header::<Header>();
    let publisher = topic.publisher().reliable().budget_bytes(BUDGET_BYTES).open()?;
    if publisher.subscribers() != SUBSCRIBERS {
        let found = publisher.subscribers();
        return Err(Failure::Demo(format!("{SUBSCRIBERS} subscribers should be attached, and {found} are")));
    }
    let mut outlet = TopicOutlet { publisher, acknowledgements };
    outlet.stream_file(plan, &source)?;
    outlet.await_acknowledgements()?;
    send_stages(plan, &sample, &mut outlet)?;
    Report::Finished.send()?;
    wait_for_dismissal()
}

struct TopicOutlet {
    publisher: Publisher<[u8], Header>,
    acknowledgements: Subscriber<u64>,
}

impl TopicOutlet {
    /// Reads the file right into the memory that subscribers will read.
    fn stream_file(&mut self, plan: &Plan, source: &Source) -> Result<(), Failure> {
        for sequence in 0..plan.messages() {
            let bytes = plan.message_bytes(sequence);
            let mut message = self.publisher.loan_slice_within(bytes, PATIENCE)?;
            *message.header_mut() = Header {
                sequence,
                total: plan.messages(),
                bytes: bytes as u64,
                sent_nanoseconds: now_nanoseconds(),
            };
            source.read_at(sequence * MESSAGE_BYTES as u64, &mut message)?;
            message.publish()?;
        }
        Ok(())
    }
}

impl Outlet for TopicOutlet {
    fn send(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure> {
        let mut message = self.publisher.loan_slice_within(payload.len(), PATIENCE)?;
        *message.header_mut() = header;
        message.copy_from_slice(payload);
        Ok(message.publish()?)
    }

    fn await_acknowledgements(&mut self) -> Result<(), Failure> {
        for _ in 0..SURVIVORS {
            self.acknowledgements.wait(PATIENCE)?;
        }
        Ok(())
    }
}
