//! Memory lent to the user for one message (or a batch) until it is published. Large messages are written where
//! subscribers will read them; small ones into a buffer of the publisher, since storing them into the slot costs less
//! than any sharing would.

use std::ops::{Deref, DerefMut};

use crate::error::Error;
use crate::payload::{Payload, PlainData};
use crate::publisher::Publisher;

/// One message being written: derefs to the payload. Dropped without [`Loan::publish`], it was never there.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let mut publisher = node.topic::<[u8]>("log")?.header::<u64>().publisher().open()?;
/// let mut line = publisher.loan_slice(7)?;
/// line.copy_from_slice(b"started");
/// *line.header_mut() = 42;
/// line.publish()?;
/// # Ok(()) }
/// ```
///
/// What comes as bytes can be read straight into it, whatever the payload:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// use std::io::Read;
///
/// # let mut recording: &[u8] = &[1; 1920];
/// let mut publisher = node.topic::<[f32]>("microphone")?.header::<u64>().publisher().open()?;
/// let mut samples = publisher.loan_slice(480)?;
/// recording.read_exact(samples.as_bytes_mut())?;
/// // A checksum, for those who will keep them.
/// let sum = samples.as_bytes().iter().map(|byte| u64::from(*byte)).sum();
/// # assert_eq!(sum, 1920);
/// *samples.header_mut() = sum;
/// samples.publish()?;
/// # Ok(()) }
/// ```
pub struct Loan<'p, P: Payload + ?Sized, H: PlainData = ()> {
    publisher: &'p mut Publisher<P, H>,
}

impl<'p, P: Payload + ?Sized, H: PlainData> Loan<'p, P, H> {
    /// The publisher has set up the draft.
    #[inline]
    pub(crate) fn new(publisher: &'p mut Publisher<P, H>) -> Self {
        Self { publisher }
    }

    /// The user header, to be written. It keeps its value from message to message.
    pub fn header_mut(&mut self) -> &mut H {
        &mut self.publisher.draft.header
    }

    /// The payload's bytes, to be written.
    #[inline]
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        self.publisher.draft.payload_mut::<P>()
    }

    /// The payload's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.publisher.draft.payload::<P>()
    }

    /// Hands the message to all subscribers. Costs the same for one or a hundred of them, and for any size.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a child process that inherited the publisher.
    #[inline]
    pub fn publish(self) -> Result<(), Error> {
        self.publisher.publish_draft(1)
    }
}

impl<P: Payload + ?Sized, H: PlainData> Deref for Loan<'_, P, H> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        P::from_bytes(self.as_bytes()).expect("a loan has the payload's length and alignment")
    }
}

impl<P: Payload + ?Sized, H: PlainData> DerefMut for Loan<'_, P, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P {
        P::from_bytes_mut(self.as_bytes_mut()).expect("a loan has the payload's length and alignment")
    }
}

impl<P: Payload + ?Sized, H: PlainData> Drop for Loan<'_, P, H> {
    #[inline]
    fn drop(&mut self) {
        self.publisher.discard_draft();
    }
}

/// Several messages being written: derefs to a slice of them. Dropped without [`Batch::publish`], they were
/// never there.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let topic = node.topic::<u64>("counter")?.header::<u64>();
/// let (mut publisher, mut subscriber) = (topic.publisher().open()?, topic.subscriber().open()?);
/// let mut batch = publisher.loan_batch(16)?;
/// for (number, place) in batch.iter_mut().enumerate() {
///     *place = number as u64;
/// }
/// *batch.header_mut() = 42;
/// batch.publish()?;
/// let first = subscriber.receive()?.ok_or("all of them are there")?;
/// assert_eq!((*first, *first.header()), (0, 42));
/// # Ok(()) }
/// ```
pub struct Batch<'p, T: PlainData, H: PlainData = ()> {
    publisher: &'p mut Publisher<T, H>,
}

impl<'p, T: PlainData, H: PlainData> Batch<'p, T, H> {
    /// The publisher has set up the draft.
    #[inline]
    pub(crate) fn new(publisher: &'p mut Publisher<T, H>) -> Self {
        Self { publisher }
    }

    /// The user header, which all messages of the batch share.
    pub fn header_mut(&mut self) -> &mut H {
        &mut self.publisher.draft.header
    }

    /// Hands all messages to all subscribers at once.
    ///
    /// # Errors
    ///
    /// [`Error::Forked`] in a child process that inherited the publisher.
    #[inline]
    pub fn publish(self) -> Result<(), Error> {
        let count = self.len();
        self.publisher.publish_draft(count as u64)
    }
}

impl<T: PlainData, H: PlainData> Deref for Batch<'_, T, H> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        <[T]>::from_bytes(self.publisher.draft.payload::<[T]>())
            .expect("a batch has its messages' length and alignment")
    }
}

impl<T: PlainData, H: PlainData> DerefMut for Batch<'_, T, H> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.publisher.draft.payload_mut::<[T]>();
        <[T]>::from_bytes_mut(bytes).expect("a batch has its messages' length and alignment")
    }
}

impl<T: PlainData, H: PlainData> Drop for Batch<'_, T, H> {
    #[inline]
    fn drop(&mut self) {
        self.publisher.discard_draft();
    }
}
