//! The two ways that are compared, and the measurement that is the same for both.

use rustix::time::{ClockId, clock_gettime};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::plan::{Plan, SAMPLE_BYTES, Stage};
use super::report::{Reception, Report};
use super::source::Source;
use crate::failure::Failure;

/// Travels with each message: as the topic's user header, or before the bytes in a socket.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    /// Number of the message within its stage.
    pub(super) sequence: u64,
    /// Messages of the stage.
    pub(super) total: u64,
    /// Bytes of the message.
    pub(super) bytes: u64,
    /// `CLOCK_MONOTONIC` before the first byte was written.
    pub(super) sent_nanoseconds: u64,
}

/// The sending end.
pub(super) trait Outlet {
    fn send(&mut self, header: Header, payload: &[u8]) -> Result<(), Failure>;
    /// Waits until all survivors have acknowledged once more.
    fn await_acknowledgements(&mut self) -> Result<(), Failure>;
}

/// The receiving end.
pub(super) trait Inlet {
    /// Waits for a message and lets `read` see it where it lies.
    fn receive(&mut self, read: &mut dyn FnMut(&Header, &[u8])) -> Result<(), Failure>;
    fn acknowledge(&mut self) -> Result<(), Failure>;
}

/// Bytes that measured messages are cut from, so that no file is read while the clock runs.
#[derive(Debug)]
pub(super) struct Sample {
    bytes: Vec<u8>,
}

impl Sample {
    pub(super) fn new(source: &Source) -> Result<Self, Failure> {
        let mut bytes = vec![0; SAMPLE_BYTES];
        source.read_at(0, &mut bytes)?;
        Ok(Self { bytes })
    }

    fn message(&self, stage: &Stage, sequence: u64) -> &[u8] {
        // A sample is a multiple of any message's size.
        let messages = (SAMPLE_BYTES / stage.message_bytes) as u64;
        &self.bytes[(sequence % messages) as usize * stage.message_bytes..][..stage.message_bytes]
    }

    /// What a subscriber of the stage must come to.
    pub(super) fn sum(&self, stage: &Stage) -> u64 {
        (0..stage.count).fold(0, |sum, sequence| add_words(sum, self.message(stage, sequence)))
    }
}

/// Sends all stages.
pub(super) fn send_stages(plan: &Plan, sample: &Sample, outlet: &mut impl Outlet) -> Result<(), Failure> {
    for (index, stage) in plan.stages().iter().enumerate() {
        Report::Started { stage: index, nanoseconds: now_nanoseconds() }.send()?;
        for sequence in 0..stage.count {
            let payload = sample.message(stage, sequence);
            let header = Header {
                sequence,
                total: stage.count,
                bytes: payload.len() as u64,
                sent_nanoseconds: now_nanoseconds(),
            };
            outlet.send(header, payload)?;
            if stage.paced {
                outlet.await_acknowledgements()?;
            }
        }
        outlet.await_acknowledgements()?;
    }
    Ok(())
}

/// Receives all stages.
pub(super) fn receive_stages(plan: &Plan, inlet: &mut impl Inlet) -> Result<(), Failure> {
    for (index, stage) in plan.stages().iter().enumerate() {
        let reception = receive_stage(stage, inlet)?;
        Report::Received { stage: index, reception }.send()?;
        inlet.acknowledge()?;
    }
    Ok(())
}

fn receive_stage(stage: &Stage, inlet: &mut impl Inlet) -> Result<Reception, Failure> {
    let mut reception = Reception { sum: 0, finished_nanoseconds: 0, latencies_nanoseconds: Vec::new() };
    for expected in 0..stage.count {
        let mut sequence = None;
        inlet.receive(&mut |header, payload| {
            sequence = Some(header.sequence);
            reception.sum = add_words(reception.sum, payload);
            if stage.paced {
                let latency = now_nanoseconds().saturating_sub(header.sent_nanoseconds);
                reception.latencies_nanoseconds.push(latency);
            }
        })?;
        check_sequence(sequence, expected)?;
        if stage.paced {
            inlet.acknowledge()?;
        }
    }
    reception.finished_nanoseconds = now_nanoseconds();
    Ok(reception)
}

pub(super) fn check_sequence(sequence: Option<u64>, expected: u64) -> Result<(), Failure> {
    if sequence == Some(expected) {
        return Ok(());
    }
    Err(Failure::Demo(format!("message {expected} was expected, and {sequence:?} came")))
}

/// Adds every word, so that all bytes are read at the speed of memory.
fn add_words(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
    rest.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// The clock that all processes share.
pub(super) fn now_nanoseconds() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
