//! Histories of a region: who asked for what, when, and what came of it; and whether there is an order of all that a
//! single copy of the region could have gone through.

mod checker;
mod search;

use std::fmt;

pub(crate) use checker::check;
pub(crate) use search::is_linearizable;

/// One call, from just before it was made to just after it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) process: u32,
    pub(crate) invoked_ns: u64,
    pub(crate) responded_ns: u64,
    pub(crate) outcome: Outcome,
}

/// What was called, and what it gave. Values are numbers, each written once only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// `read`, or `lock` dropped without a commit.
    Read { version: u64, value: u64 },
    /// `write`.
    Wrote { version: u64, value: u64 },
    /// `update`, or `lock` with a commit: it saw `before`.
    Updated { version: u64, before: u64, value: u64 },
    /// `compare_and_set` that did.
    Set { version: u64, expected: u64, value: u64 },
    /// `compare_and_set` that did not.
    Conflict { version: u64, expected: u64 },
}

impl Outcome {
    /// The version that it made, or found.
    pub(crate) fn version(&self) -> u64 {
        match self {
            Self::Read { version, .. }
            | Self::Wrote { version, .. }
            | Self::Updated { version, .. }
            | Self::Set { version, .. }
            | Self::Conflict { version, .. } => *version,
        }
    }

    /// The value that it made current, if any.
    pub(crate) fn made(&self) -> Option<u64> {
        match self {
            Self::Wrote { value, .. } | Self::Updated { value, .. } | Self::Set { value, .. } => Some(*value),
            Self::Read { .. } | Self::Conflict { .. } => None,
        }
    }
}

/// Between processes, an operation is a line of numbers.
impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, version, first, second) = match self.outcome {
            Outcome::Read { version, value } => (0, version, value, 0),
            Outcome::Wrote { version, value } => (1, version, value, 0),
            Outcome::Updated { version, before, value } => (2, version, before, value),
            Outcome::Set { version, expected, value } => (3, version, expected, value),
            Outcome::Conflict { version, expected } => (4, version, expected, 0),
        };
        let Self { process, invoked_ns, responded_ns, .. } = self;
        write!(formatter, "{process} {invoked_ns} {responded_ns} {kind} {version} {first} {second}")
    }
}

impl Operation {
    pub(crate) fn parse(line: &str) -> Self {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        let [process, invoked_ns, responded_ns, kind, version, first, second] = numbers[..] else {
            panic!("no operation: {line}")
        };
        let outcome = match kind {
            0 => Outcome::Read { version, value: first },
            1 => Outcome::Wrote { version, value: first },
            2 => Outcome::Updated { version, before: first, value: second },
            3 => Outcome::Set { version, expected: first, value: second },
            4 => Outcome::Conflict { version, expected: first },
            _ => panic!("no operation: {line}"),
        };
        Self { process: process as u32, invoked_ns, responded_ns, outcome }
    }
}
