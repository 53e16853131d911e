//! A value as it was read: one version of it, whole, whatever is written meanwhile.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use onecopy_memory::region::HeldValue;

use super::error::RegionError;
use crate::content::InlineBytes;
use crate::payload::Payload;

/// A value of a region: derefs to it. Small ones were copied out; large ones stay where they are, and are held there
/// until this is dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let notes = node.region_bytes("notes")?.open_or_create(b"first")?;
/// let now = notes.read()?;
/// notes.write_text("second")?;
/// // What was read stays as it was.
/// assert_eq!((now.as_text()?, now.version()), ("first", 1));
/// # Ok(()) }
/// ```
///
/// Of a large one, nothing was copied until somebody does:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let node = onecopy::Node::builder().directory(directory.path()).open()?;
/// let map = node.region_slice::<f32>("map")?.capacity(10_000).open_or_create(&[0.5; 10_000])?;
/// let heights = map.read()?;
/// assert!(heights.is_held());
/// let file = heights.as_bytes().to_vec();
/// drop(heights);
/// assert_eq!(file.len(), 10_000 * size_of::<f32>());
/// # Ok(()) }
/// ```
pub struct Value<P: Payload + ?Sized> {
    version: u64,
    content: Content,
    payload: PhantomData<fn() -> Box<P>>,
}

// As for received messages: moving some lines is cheaper than an allocation.
#[allow(clippy::large_enum_variant)]
enum Content {
    Small(InlineBytes),
    Held(HeldValue),
}

impl<P: Payload + ?Sized> Value<P> {
    #[inline]
    pub(super) fn small(version: u64, bytes: InlineBytes) -> Result<Self, RegionError> {
        Self::checked(version, Content::Small(bytes))
    }

    pub(super) fn held(value: HeldValue) -> Result<Self, RegionError> {
        Self::checked(value.version(), Content::Held(value))
    }

    #[inline]
    fn checked(version: u64, content: Content) -> Result<Self, RegionError> {
        let value = Self { version, content, payload: PhantomData };
        let bytes = value.as_bytes();
        if P::EXACT_BYTES.is_none_or(|exact| exact == bytes.len()) && P::from_bytes(bytes).is_some() {
            Ok(value)
        } else {
            Err(RegionError::Misfit { version, bytes: bytes.len() })
        }
    }

    /// Which value it is: how often the region had been written, counting its first value as 1.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The value's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.content {
            Content::Small(bytes) => bytes.bytes(),
            Content::Held(value) => value.bytes(),
        }
    }

    /// Whether the value is held in the region's memory, rather than copied out of it.
    pub fn is_held(&self) -> bool {
        matches!(self.content, Content::Held(_))
    }
}

impl Value<[u8]> {
    /// The value as text.
    ///
    /// # Errors
    ///
    /// [`RegionError::NotText`].
    pub fn as_text(&self) -> Result<&str, RegionError> {
        std::str::from_utf8(self.as_bytes()).map_err(|_| RegionError::NotText { version: self.version })
    }
}

impl<P: Payload + ?Sized> Deref for Value<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        P::from_bytes(self.as_bytes()).expect("length and alignment were checked when the value was read")
    }
}

impl<P: Payload + ?Sized + fmt::Debug> fmt::Debug for Value<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Value").field("version", &self.version).field("value", &&**self).finish()
    }
}
