//! A request at its server, and the answers to it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use onecopy_memory::board::PeerWord;
use onecopy_memory::wait::Woken;

use super::error::RespondError;
use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::link::{Link, SharedLink, lock};
use super::outgoing::{self, Outgoing};
use crate::content::Content;
use crate::error::LoanError;
use crate::limits::FAILURE_TEXT_BYTES_MAX;
use crate::payload::{Payload, PlainData, slice_bytes};

/// A request to be answered: derefs to the payload. Large ones stay in the client's memory, and are held there until this
/// is dropped. Dropped without an answer, it tells the client so.
pub struct Request<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    content: Content<RequestHeader>,
    interest: Option<PeerWord>,
    link: SharedLink,
    /// The last answer was sent.
    answered: Mutex<bool>,
    payload: PhantomData<fn() -> (Box<Req>, Box<Res>)>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Request<Req, Res> {
    pub(super) fn new(content: Content<RequestHeader>, interest: Option<PeerWord>, link: SharedLink) -> Self {
        let answered = Mutex::new(content.header.flags & ONE_WAY != 0);
        Self { content, interest, link, answered, payload: PhantomData }
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Whether nobody waits for the answer any more: the client cancelled the call, or has ended. Looks at a word of the
    /// client's memory, so it may be asked as often as one likes.
    pub fn is_cancelled(&self) -> bool {
        self.interest.as_ref().is_some_and(|word| word.load() != self.content.header.id)
            || lock(&self.link).is_dead()
    }

    /// Whether the client wants no answer.
    pub fn is_one_way(&self) -> bool {
        self.content.header.flags & ONE_WAY != 0
    }

    /// How long the answer is of use; `None` without a deadline.
    pub fn time_left(&self) -> Option<Duration> {
        match self.content.header.deadline {
            0 => None,
            deadline => Some(Duration::from_nanos(deadline.saturating_sub(now_ns()))),
        }
    }

    /// The client's process.
    pub fn client_pid(&self) -> u32 {
        lock(&self.link).pid
    }

    /// Sends a copy of `response`: the answer, or the last of several. Never blocks.
    ///
    /// # Errors
    ///
    /// [`RespondError::PeerDied`]; [`RespondError::Loan`] if the client takes no answers and its ring or all memory is
    /// full; [`RespondError::Finished`] after the last answer, or if none is wanted.
    #[inline]
    pub fn respond(&self, response: &Res) -> Result<(), RespondError> {
        self.send_copy(response, Status::Last)
    }

    /// Sends a copy of `item`: one answer of several. [`Self::finish`] or [`Self::respond`] ends them.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`]. A client that is slow makes it [`LoanError::Full`]: see [`Self::send_within`].
    pub fn send(&self, item: &Res) -> Result<(), RespondError> {
        self.send_copy(item, Status::Item)
    }

    /// Like [`Self::send`], but waits for the client to take earlier answers.
    ///
    /// # Errors
    ///
    /// [`LoanError::Timeout`] after `timeout`, else as for [`Self::respond`].
    pub fn send_within(&self, item: &Res, timeout: Duration) -> Result<(), RespondError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.send(item) {
                Err(RespondError::Loan(LoanError::Full | LoanError::Budget(_))) => {}
                other => return other,
            }
            let mut link = lock(&self.link);
            let woken = link.sender.writer.wait_for_readers(deadline, |writer| writer.has_room(1));
            if woken == Woken::TimedOut {
                return Err(LoanError::Timeout.into());
            }
        }
    }

    /// Ends several answers, or says that there is none.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub fn finish(&self) -> Result<(), RespondError> {
        self.send_text(Status::End, "")
    }

    /// Answers that it could not be done, and why.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub fn fail(&self, reason: &str) -> Result<(), RespondError> {
        let reason = &reason[..reason.floor_char_boundary(FAILURE_TEXT_BYTES_MAX)];
        self.send_text(Status::Failed, reason)
    }

    fn send_copy(&self, response: &Res, status: Status) -> Result<(), RespondError> {
        self.send_with(status, |link, header| {
            outgoing::send::<Res, _>(&mut link.sender, header, response.to_bytes())
        })
    }

    fn send_text(&self, status: Status, text: &str) -> Result<(), RespondError> {
        self.send_with(status, |link, header| {
            outgoing::send::<[u8], _>(&mut link.sender, header, text.as_bytes())
        })
    }

    fn send_with(
        &self,
        status: Status,
        send: impl FnOnce(&mut Link, &ResponseHeader) -> Result<(), LoanError>,
    ) -> Result<(), RespondError> {
        let mut answered = lock(&self.answered);
        if *answered {
            return Err(RespondError::Finished);
        }
        let mut link = lock(&self.link);
        if link.parted {
            return Err(RespondError::PeerDied { pid: link.pid });
        }
        let header = ResponseHeader { id: self.content.header.id, status: status as u64 };
        send(&mut link, &header)?;
        *answered = status != Status::Item;
        Ok(())
    }

    fn take_loan(&self, bytes: usize) -> Result<ResponseLoan<'_, Req, Res>, RespondError> {
        let mut link = lock(&self.link);
        if link.parted {
            return Err(RespondError::PeerDied { pid: link.pid });
        }
        let outgoing = Outgoing::take::<Res, ResponseHeader>(&mut link.sender, bytes)?;
        Ok(ResponseLoan { request: self, outgoing: Some(outgoing) })
    }
}

impl<Req: Payload + ?Sized, Res: PlainData> Request<Req, Res> {
    /// Memory for one response, to be written in place where the client will read it. It has the value of an earlier
    /// message, or zeros: write every field.
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub fn loan(&self) -> Result<ResponseLoan<'_, Req, Res>, RespondError> {
        self.take_loan(size_of::<Res>())
    }
}

impl<Req: Payload + ?Sized, T: PlainData> Request<Req, [T]> {
    /// Memory for one response of `len` elements; see [`Request::loan`].
    ///
    /// # Errors
    ///
    /// As for [`Request::respond`].
    pub fn loan_slice(&self, len: usize) -> Result<ResponseLoan<'_, Req, [T]>, RespondError> {
        self.take_loan(slice_bytes::<T>(len)?)
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for Request<Req, Res> {
    type Target = Req;

    #[inline]
    fn deref(&self) -> &Req {
        self.content.payload()
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for Request<Req, Res> {
    fn drop(&mut self) {
        // To a client that is gone, or does not wait, it makes no difference.
        let _ = self.send_text(Status::Unanswered, "");
    }
}

impl<Req: Payload + ?Sized + fmt::Debug, Res: Payload + ?Sized> fmt::Debug for Request<Req, Res> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Request").field(&&**self).finish()
    }
}

/// A response being written: derefs to the payload. Dropped without [`ResponseLoan::respond`], it was never there.
pub struct ResponseLoan<'r, Req: Payload + ?Sized, Res: Payload + ?Sized> {
    request: &'r Request<Req, Res>,
    outgoing: Option<Outgoing>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> ResponseLoan<'_, Req, Res> {
    /// Sends it: the answer, or the last of several.
    ///
    /// # Errors
    ///
    /// As for [`Request::respond`].
    pub fn respond(self) -> Result<(), RespondError> {
        self.send_as(Status::Last)
    }

    /// Sends it: one answer of several.
    ///
    /// # Errors
    ///
    /// As for [`Request::respond`].
    pub fn send(self) -> Result<(), RespondError> {
        self.send_as(Status::Item)
    }

    fn send_as(mut self, status: Status) -> Result<(), RespondError> {
        let request = self.request;
        request.send_with(status, |link, header| {
            // Other answers may have been sent since there was room for this one.
            link.sender.check_room(1)?;
            if let Some(outgoing) = self.outgoing.take() {
                outgoing.publish(&mut link.sender, header);
            }
            Ok(())
        })
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for ResponseLoan<'_, Req, Res> {
    type Target = Res;

    fn deref(&self) -> &Res {
        let bytes = self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default();
        Res::from_bytes(bytes).expect("a loan has the payload's length and alignment")
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> DerefMut for ResponseLoan<'_, Req, Res> {
    fn deref_mut(&mut self) -> &mut Res {
        let bytes = self.outgoing.as_mut().map(Outgoing::payload_mut).unwrap_or_default();
        Res::from_bytes_mut(bytes).expect("a loan has the payload's length and alignment")
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Drop for ResponseLoan<'_, Req, Res> {
    fn drop(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.discard(&mut lock(&self.request.link).sender);
        }
    }
}
