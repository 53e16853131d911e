//! A request at its server, and the answers to it.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Exchanges;
use super::answers::{AnswerMemory, Answers};
use super::error::RespondError;
use super::header::{ONE_WAY, RequestHeader, ResponseHeader, Status, now_ns};
use super::interest::Interest;
use super::letter::Letter;
use super::link::{SharedLink, lock};
use super::outgoing::{self, Outgoing};
use super::reception::Received;
use crate::error::LoanError;
use crate::limits::FAILURE_TEXT_BYTES_MAX;
use crate::payload::{Payload, PlainData, slice_bytes};
use crate::sender::Sender;

/// A request to be answered: derefs to the payload. Large ones stay in the client's memory, and are held
/// there until this is dropped. Dropped without an answer, it tells the client so.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, u64>("square")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let numbers = client.call(&3)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// // Several answers: each is sent, and then the end.
/// for number in 0..*request {
///     request.send(&number)?;
/// }
/// request.finish()?;
/// let mut sum = 0;
/// while let Some(number) = numbers.next(Duration::from_secs(1))? {
///     sum += *number;
/// }
/// assert_eq!(sum, 3);
/// # Ok(()) }
/// ```
///
/// What a server may want to know before it begins, or write down:
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use onecopy::service::CallOptions;
///
/// let service = node.service::<u64, u64>("square")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let soon = CallOptions::new().deadline(Duration::from_secs(60));
/// let _call = client.call_with(&3, soon)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// assert!(!request.is_one_way() && !request.is_cancelled());
/// assert!(request.time_left().is_some_and(|left| left <= Duration::from_secs(60)));
/// let asked = format!("process {} asks {:?}", request.client_pid(), request.as_bytes());
/// assert!(asked.ends_with("asks [3, 0, 0, 0, 0, 0, 0, 0]"));
/// # Ok(()) }
/// ```
pub struct Request<Req: Payload + ?Sized, Res: Payload + ?Sized> {
    pub(super) content: Letter<RequestHeader>,
    interest: Option<Interest>,
    pub(super) link: SharedLink,
    answers: Mutex<Answers>,
    payload: Exchanges<Req, Res>,
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Request<Req, Res> {
    pub(super) fn new(Received { content, interest, link }: Received) -> Self {
        let answers = Mutex::new(Answers::new(content.header.flags & ONE_WAY != 0));
        Self { content, interest, link, answers, payload: PhantomData }
    }

    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.content.bytes()
    }

    /// Whether nobody waits for the answer any more: the client cancelled the call, or has ended. Looks at a
    /// word of the client's memory, so it may be asked as often as one likes.
    pub fn is_cancelled(&self) -> bool {
        self.is_unwanted() || self.link.is_dead(&mut self.link.sender().writer)
    }

    /// Whether the client has said that it does not wait.
    #[inline]
    fn is_unwanted(&self) -> bool {
        self.interest.as_ref().is_some_and(|interest| !interest.is_in(self.content.header.id))
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
        self.link.pid
    }

    /// Sends a copy of `response`: the answer, or the last of several. Never blocks. That nobody waits for it
    /// any more is no error.
    ///
    /// # Errors
    ///
    /// [`RespondError::Loan`] if the client takes no answers and its ring or all memory is full; other clients are not
    /// concerned. [`RespondError::Finished`] after the last answer, or if none is wanted.
    #[inline]
    pub fn respond(&self, response: &Res) -> Result<(), RespondError> {
        self.send_copy(response, Status::Last)
    }

    /// Sends a copy of `item`: one answer of several. [`Self::finish`] or [`Self::respond`] ends them. Never blocks.
    ///
    /// # Errors
    ///
    /// [`LoanError::Full`] if the client is slow, and has a few hundred answers to this call before it, or
    /// large ones that take their share of memory: see [`Self::send_within`]. [`RespondError::Cancelled`],
    /// [`RespondError::PeerDied`] and [`RespondError::Receive`] if nobody takes the rest; else as for
    /// [`Self::respond`].
    pub fn send(&self, item: &Res) -> Result<(), RespondError> {
        self.send_copy(item, Status::Item)
    }

    /// Like [`Self::send`], but waits for the client to take earlier answers.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, u64>("count")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let numbers = client.call(&10_000)?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// let counting = std::thread::spawn(move || {
    ///     for number in 0..*request {
    ///         request.send_within(&number, Duration::from_secs(10))?;
    ///     }
    ///     request.finish()
    /// });
    /// let mut sum = 0;
    /// while let Some(number) = numbers.next(Duration::from_secs(10))? {
    ///     sum += *number;
    /// }
    /// counting.join().map_err(|_| "it panicked")??;
    /// assert_eq!(sum, (0..10_000).sum());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`LoanError::Timeout`] after `timeout`, else as for [`Self::send`].
    pub fn send_within(&self, item: &Res, timeout: Duration) -> Result<(), RespondError> {
        let sent = self.send(item);
        if !is_for_want_of_space(&sent) {
            return sent;
        }
        let deadline = Instant::now().checked_add(timeout);
        let try_again = || {
            let sent = self.send(item);
            (!is_for_want_of_space(&sent)).then_some(sent)
        };
        self.link.send_when_possible(deadline, try_again).unwrap_or(Err(LoanError::Timeout.into()))
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
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// # use onecopy::service::CallError;
    /// let service = node.service::<u64, u64>("square")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let call = client.call(&3)?;
    /// server.wait(Duration::from_secs(1))?.ok_or("it was sent")?.fail("not today")?;
    /// assert!(matches!(call.wait(Duration::from_secs(1)), Err(CallError::Failed(reason)) if reason == "not today"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`].
    pub fn fail(&self, reason: &str) -> Result<(), RespondError> {
        let reason = &reason[..reason.floor_char_boundary(FAILURE_TEXT_BYTES_MAX)];
        self.send_text(Status::Failed, reason)
    }

    fn send_copy(&self, response: &Res, status: Status) -> Result<(), RespondError> {
        self.send_bytes(response.to_bytes(), status)
    }

    /// Sends a copy of a response's bytes.
    pub(super) fn send_bytes(&self, bytes: &[u8], status: Status) -> Result<(), RespondError> {
        let chunk_bytes = |sender: &Sender| outgoing::chunk_bytes::<Res, ResponseHeader>(sender, bytes.len());
        self.send_with(status, 0, chunk_bytes, |sender, header| {
            outgoing::send::<Res, _>(sender, header, bytes)
        })
    }

    fn send_text(&self, status: Status, text: &str) -> Result<(), RespondError> {
        self.send_with(
            status,
            0,
            |_| 0,
            |sender, header| outgoing::send::<[u8], _>(sender, header, text.as_bytes()),
        )
    }

    fn send_with(
        &self,
        status: Status,
        lent_bytes: usize,
        chunk_bytes: impl FnOnce(&Sender) -> usize,
        send: impl FnOnce(&mut Sender, &ResponseHeader) -> Result<(), LoanError>,
    ) -> Result<(), RespondError> {
        let is_last = status != Status::Item;
        let mut answers = lock(&self.answers);
        if answers.are_over {
            return Err(RespondError::Finished);
        }
        // Answers that nobody waits for would only take the room of others.
        if self.is_unwanted() {
            answers.are_over = is_last;
            return if is_last { Ok(()) } else { Err(RespondError::Cancelled) };
        }
        let mut sender = self.link.sender();
        if self.link.is_dead(&mut sender.writer) {
            answers.are_over = is_last;
            return if is_last { Ok(()) } else { Err(self.link.ending()) };
        }
        let header = ResponseHeader { id: self.content.header.id, status: status as u64 };
        if is_last {
            send(&mut sender, &header)?;
            answers.are_over = true;
        } else {
            let memory = AnswerMemory { chunk_bytes: chunk_bytes(&sender), lent_bytes };
            if !answers.has_room(self.interest.as_ref(), &mut sender, memory) {
                return Err(LoanError::Full.into());
            }
            send(&mut sender, &header)?;
            answers.sent(memory.chunk_bytes);
        }
        answers.lent_bytes -= lent_bytes;
        Ok(())
    }

    fn take_loan(&self, bytes: usize) -> Result<ResponseLoan<'_, Req, Res>, RespondError> {
        let mut answers = lock(&self.answers);
        let mut sender = self.link.sender();
        let chunk_bytes = outgoing::chunk_bytes::<Res, ResponseHeader>(&sender, bytes);
        let taken = if answers.may_lend(self.interest.as_ref(), &mut sender, chunk_bytes) {
            Outgoing::take::<Res, ResponseHeader>(&mut sender, bytes)
        } else {
            Err(LoanError::Full)
        };
        let outgoing = match taken {
            Ok(outgoing) => outgoing,
            // Whoever waits for room that nobody will make waits for ever.
            Err(_) if self.is_unwanted() => return Err(RespondError::Cancelled),
            Err(_) if self.link.is_dead(&mut sender.writer) => return Err(self.link.ending()),
            Err(error) => return Err(error.into()),
        };
        answers.lent_bytes += outgoing.chunk_bytes();
        Ok(ResponseLoan { request: self, outgoing: Some(outgoing) })
    }
}

/// Whether the client may still make it possible.
pub(super) fn is_for_want_of_space<R>(sent: &Result<R, RespondError>) -> bool {
    match sent {
        Err(RespondError::Loan(LoanError::Full)) => true,
        Err(RespondError::Loan(LoanError::Budget(budget))) => budget.requested_bytes <= budget.budget_bytes,
        _ => false,
    }
}

impl<Req: Payload + ?Sized, Res: PlainData> Request<Req, Res> {
    /// Memory for one response, to be written in place where the client will read it. It has the value of an
    /// earlier message, or zeros: write every field. Until it is sent or dropped, no other answer to that
    /// client can have it.
    ///
    /// If it does not fit a slot, the first that is lent for a request may be its only answer, and has all the
    /// memory that [`Self::respond`] has. From then on they are answers of a stream, and have a stream's share.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
    /// let service = node.service::<u64, [f32; 480]>("wave")?;
    /// let (server, client) = (service.server().open()?, service.client().open()?);
    /// let parts = client.call(&3)?;
    /// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
    /// for _ in 0..*request {
    ///     let mut part = request.loan()?;
    ///     part.fill(0.5);
    ///     part.send()?;
    /// }
    /// request.finish()?;
    /// let mut samples = 0;
    /// while let Some(part) = parts.next(Duration::from_secs(1))? {
    ///     samples += part.len();
    /// }
    /// assert_eq!(samples, 3 * 480);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Self::respond`], or for [`Self::send`] from the second on; [`RespondError::Cancelled`] and [`RespondError::PeerDied`] if there is no memory
    /// and nobody wants the answer.
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
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let service = node.service::<u64, [u8]>("zeros")?;
/// let (server, client) = (service.server().open()?, service.client().open()?);
/// let zeros = client.call(&1000)?;
/// let request = server.wait(Duration::from_secs(1))?.ok_or("it was sent")?;
/// let mut response = request.loan_slice(*request as usize)?;
/// response.fill(0);
/// response.respond()?;
/// assert_eq!(zeros.wait(Duration::from_secs(1))?.len(), 1000);
/// # Ok(()) }
/// ```
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
    pub fn respond(mut self) -> Result<(), RespondError> {
        self.send_as(Status::Last)
    }

    /// Sends it: one answer of several.
    ///
    /// # Errors
    ///
    /// As for [`Request::send`].
    pub fn send(mut self) -> Result<(), RespondError> {
        self.send_as(Status::Item)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.outgoing.as_ref().map(Outgoing::payload).unwrap_or_default()
    }

    /// Gives the memory back, unless it was sent.
    pub(super) fn discard(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            lock(&self.request.answers).lent_bytes -= outgoing.chunk_bytes();
            self.request.link.discard(outgoing);
        }
    }

    /// Leaves it as it is if there is no room for it.
    pub(super) fn send_as(&mut self, status: Status) -> Result<(), RespondError> {
        let Self { request, outgoing } = self;
        let chunk_bytes = outgoing.as_ref().map_or(0, Outgoing::chunk_bytes);
        request.send_with(
            status,
            chunk_bytes,
            |_| chunk_bytes,
            |sender, header| {
                // Other answers may have been sent since there was room for this one.
                sender.check_room(1)?;
                if let Some(outgoing) = outgoing.take() {
                    outgoing.publish(sender, header);
                }
                Ok(())
            },
        )
    }
}

impl<Req: Payload + ?Sized, Res: Payload + ?Sized> Deref for ResponseLoan<'_, Req, Res> {
    type Target = Res;

    fn deref(&self) -> &Res {
        Res::from_bytes(self.as_bytes()).expect("a loan has the payload's length and alignment")
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
        self.discard();
    }
}
