//! What may travel on a topic: plain data of a fixed size, or slices of it with a length per message. The checks are
//! zerocopy's traits, derived on the type; nothing of a payload is ever parsed or encoded.

use std::marker::PhantomData;

use onecopy_memory::layout::{INLINE_BYTES_MAX, LINE_BYTES};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::LoanError;
use crate::payload_type::{PayloadKind, PayloadType, TypeDescription};

/// Plain data: any bytes are a valid value, and every byte of a value is initialised. Implemented for every type that
/// derives zerocopy's four traits.
///
/// ```
/// use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C)]
/// struct Pose { x: f64, y: f64, heading: f64 }
///
/// fn travels<T: onecopy::PlainData>() {}
/// travels::<Pose>();
/// ```
pub trait PlainData: FromBytes + IntoBytes + Immutable + KnownLayout + Send + Sync + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Send + Sync + 'static> PlainData for T {}

/// Payload that messages up to this size carry inside the ring's slot if the length varies: two cache lines.
pub(crate) const SLICE_INLINE_BYTES: usize = 2 * LINE_BYTES - 16;

/// What a topic carries: `T`, or `[T]` with any length per message, for [`PlainData`] `T`.
///
/// Messages start on cache lines, so a payload may ask for an alignment of up to 64 bytes:
///
/// ```
/// use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C, align(64))]
/// struct Vector([f32; 32]);
///
/// fn open(node: &onecopy::Node) -> Result<(), onecopy::Error> {
///     node.topic::<Vector>("vectors")?.publisher().open()?;
///     Ok(())
/// }
/// # let _: fn(&onecopy::Node) -> Result<(), onecopy::Error> = open;
/// ```
///
/// The same program with more does not compile. The error is `E0080` (evaluation panicked): "a payload may be
/// aligned to 64 bytes, a cache line, at most".
///
/// ```compile_fail,E0080
/// use onecopy::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
///
/// #[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
/// #[repr(C, align(128))]
/// struct Vector([f32; 32]);
///
/// fn open(node: &onecopy::Node) -> Result<(), onecopy::Error> {
///     node.topic::<Vector>("vectors")?.publisher().open()?;
///     Ok(())
/// }
/// # let _: fn(&onecopy::Node) -> Result<(), onecopy::Error> = open;
/// ```
///
/// Sealed: implemented for just these two.
pub trait Payload: sealed::Sealed + 'static {
    #[doc(hidden)]
    const KIND: PayloadKind;
    /// Payload bytes up to which a message may travel inside a slot; 0 if the type's alignment rules that out.
    #[doc(hidden)]
    const INLINE_BYTES: usize;
    /// Size of a message, where all have the same.
    #[doc(hidden)]
    const EXACT_BYTES: Option<usize>;
    #[doc(hidden)]
    fn element() -> TypeDescription;
    /// The payload in `bytes`; `None` if length or alignment don't fit.
    #[doc(hidden)]
    fn from_bytes(bytes: &[u8]) -> Option<&Self>;
    #[doc(hidden)]
    fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut Self>;
    #[doc(hidden)]
    fn to_bytes(&self) -> &[u8];
}

/// Marks a type that carries `P` and `H` without owning either.
pub(crate) type Carries<P, H> = PhantomData<fn() -> (Box<P>, H)>;

/// The description of a topic with payload `P` and header `H`.
pub(crate) fn describe<P: Payload + ?Sized, H: PlainData>() -> PayloadType {
    PayloadType { kind: P::KIND, element: P::element(), header: TypeDescription::of::<H>() }
}

/// Whether a type's values are aligned well enough inside a slot and inside a [`crate::Message`].
const fn fits_words<T>() -> bool {
    align_of::<T>() <= align_of::<u64>()
}

/// Chunks start on cache lines, so a type that wants more can't be lent: better told by the compiler than by a panic.
const fn assert_alignment<T>() {
    assert!(align_of::<T>() <= LINE_BYTES, "a payload may be aligned to 64 bytes, a cache line, at most");
}

impl<T: PlainData> sealed::Sealed for T {}
impl<T: PlainData> sealed::Sealed for [T] {}

impl<T: PlainData> Payload for T {
    const KIND: PayloadKind = PayloadKind::Value;
    const INLINE_BYTES: usize = if fits_words::<T>() { size_of::<T>() } else { INLINE_BYTES_MAX + 1 };
    const EXACT_BYTES: Option<usize> = Some(size_of::<T>());

    fn element() -> TypeDescription {
        const { assert_alignment::<T>() };
        TypeDescription::of::<T>()
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        T::ref_from_bytes(bytes).ok()
    }

    #[inline]
    fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        T::mut_from_bytes(bytes).ok()
    }

    #[inline]
    fn to_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl<T: PlainData> Payload for [T] {
    const KIND: PayloadKind = PayloadKind::Slice;
    const INLINE_BYTES: usize = if fits_words::<T>() { SLICE_INLINE_BYTES } else { INLINE_BYTES_MAX + 1 };
    const EXACT_BYTES: Option<usize> = None;

    fn element() -> TypeDescription {
        const { assert_alignment::<T>() };
        TypeDescription::of::<T>()
    }

    #[inline]
    fn from_bytes(bytes: &[u8]) -> Option<&Self> {
        <[T]>::ref_from_bytes(bytes).ok()
    }

    #[inline]
    fn from_bytes_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        <[T]>::mut_from_bytes(bytes).ok()
    }

    #[inline]
    fn to_bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// Bytes of a message of `len` elements.
pub(crate) fn slice_bytes<T>(len: usize) -> Result<usize, LoanError> {
    // Beyond the address space there is no memory to lend: the budget's error names both sizes.
    len.checked_mul(size_of::<T>())
        .filter(|bytes| *bytes < isize::MAX as usize - 2 * LINE_BYTES)
        .ok_or(LoanError::TooLong { elements: len, element_bytes: size_of::<T>() })
}

mod sealed {
    pub trait Sealed {}
}
