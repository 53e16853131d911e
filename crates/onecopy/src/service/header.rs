//! What goes before requests and responses in their rings, for the two libraries to read. Nothing in it is trusted.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Before a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct RequestHeader {
    /// Number of the call, which no other call of this client has had.
    pub(super) id: u64,
    /// When the answer is of no use any more: nanoseconds of CLOCK_MONOTONIC, which all processes share; 0 for never.
    pub(super) deadline: u64,
    /// Where the client keeps the word that has the call's number for as long as somebody waits for an answer.
    pub(super) interest: u64,
    /// [`ONE_WAY`].
    pub(super) flags: u64,
}

/// In [`RequestHeader::flags`]: no answer is wanted.
pub(super) const ONE_WAY: u64 = 1;

/// Before a response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct ResponseHeader {
    /// [`RequestHeader::id`] of what it answers.
    pub(super) id: u64,
    /// A [`Status`] as a number.
    pub(super) status: u64,
}

/// What a response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Here is the answer, or the last of several.
    Last = 0,
    /// Here is one answer of several.
    Item = 1,
    /// No more answers.
    End = 2,
    /// The server could not do it; the payload is a text that says why.
    Failed = 3,
    /// The server let the request go without an answer.
    Unanswered = 4,
    /// The deadline had passed before the server came to it.
    TooLate = 5,
}

impl ResponseHeader {
    /// `None` for a number that no status has.
    pub(super) fn status(self) -> Option<Status> {
        [Status::Last, Status::Item, Status::End, Status::Failed, Status::Unanswered, Status::TooLate]
            .into_iter()
            .find(|status| *status as u64 == self.status)
    }
}

/// Now, as [`RequestHeader::deadline`] counts.
pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The clock starts near 0 when the machine does.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
