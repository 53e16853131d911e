//! The description of what a topic carries, by which two programs find out that they mean the same bytes.
//!
//! Two programs that were compiled apart share no compiler's idea of a type, so they compare a description: the
//! type's name without its modules (the same type may live in different modules of two programs), its size
//! and its alignment. A hash of it lies in the header of every segment.

use std::fmt;

use onecopy_memory::counted::counted;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_ALIGN_BYTES, MAX_ELEMENT_BYTES, MAX_TYPE_NAME_BYTES};

/// A type as others see it.
///
/// See [`TypeDescription::of`] for an example.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TypeDescription {
    /// Its name, without the modules of any part of it.
    pub name: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its alignment in bytes.
    pub align_bytes: u64,
}

/// What is wrong with a description that came from outside.
///
/// ```
/// use onecopy::payload_type::{TypeDescription, TypeDescriptionError};
///
/// let told = TypeDescription { name: "Pose".to_owned(), size_bytes: 24, align_bytes: 3 };
/// assert!(matches!(told.validate(), Err(TypeDescriptionError::Align { align_bytes: 3, .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TypeDescriptionError {
    /// The name is empty, too long, or has control characters.
    #[error(
        "the name of a type must have 1 to {MAX_TYPE_NAME_BYTES} bytes and no control characters, and has {}",
        counted(*bytes, "byte")
    )]
    Name {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The alignment is no power of two, or more than [`MAX_ALIGN_BYTES`].
    #[error(
        "type {name:?} claims an alignment of {}; it must be a power of two of at most {MAX_ALIGN_BYTES}",
        counted(*align_bytes, "byte")
    )]
    Align {
        /// The type.
        name: String,
        /// What it claims.
        align_bytes: u64,
    },
    /// The size is no multiple of the alignment, or more than [`MAX_ELEMENT_BYTES`].
    #[error(
        "type {name:?} claims a size of {}; it must be a multiple of its alignment and at most {MAX_ELEMENT_BYTES}",
        counted(*size_bytes, "byte")
    )]
    Size {
        /// The type.
        name: String,
        /// What it claims.
        size_bytes: u64,
    },
}

impl TypeDescription {
    /// The description of `T`.
    ///
    /// ```
    /// use onecopy::payload_type::TypeDescription;
    ///
    /// let description = TypeDescription::of::<Option<std::num::NonZeroU32>>();
    /// assert_eq!(description.name, "Option<NonZero<u32>>");
    /// assert_eq!((description.size_bytes, description.align_bytes), (4, 4));
    /// ```
    pub fn of<T>() -> Self {
        Self {
            name: abbreviated(without_modules(std::any::type_name::<T>())),
            size_bytes: size_of::<T>() as u64,
            align_bytes: align_of::<T>() as u64,
        }
    }

    /// Checks a description that came from outside.
    ///
    /// ```
    /// use onecopy::payload_type::{TypeDescription, TypeDescriptionError};
    ///
    /// let told = TypeDescription { name: "u64".to_owned(), size_bytes: 9, align_bytes: 8 };
    /// assert!(matches!(told.validate(), Err(TypeDescriptionError::Size { size_bytes: 9, .. })));
    /// ```
    ///
    /// # Errors
    ///
    /// The first of name, alignment and size that no type could have.
    pub fn validate(&self) -> Result<(), TypeDescriptionError> {
        let bytes = self.name.len();
        if bytes == 0 || bytes > MAX_TYPE_NAME_BYTES || self.name.chars().any(char::is_control) {
            return Err(TypeDescriptionError::Name { bytes });
        }
        let (name, align_bytes, size_bytes) = (&self.name, self.align_bytes, self.size_bytes);
        if !align_bytes.is_power_of_two() || align_bytes > MAX_ALIGN_BYTES {
            return Err(TypeDescriptionError::Align { name: name.clone(), align_bytes });
        }
        if !size_bytes.is_multiple_of(align_bytes) || size_bytes > MAX_ELEMENT_BYTES {
            return Err(TypeDescriptionError::Size { name: name.clone(), size_bytes });
        }
        Ok(())
    }

    fn hash_into(&self, hasher: &mut blake3::Hasher) {
        // The length in front keeps names apart from what follows them.
        hasher.update(&(self.name.len() as u64).to_le_bytes());
        hasher.update(self.name.as_bytes());
        hasher.update(&self.size_bytes.to_le_bytes());
        hasher.update(&self.align_bytes.to_le_bytes());
    }
}

/// Drops every path in front of a name: `a::b::Foo<c::Bar>` becomes `Foo<Bar>`.
fn without_modules(path: &str) -> String {
    let mut name = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once("::") {
        name.push_str(before);
        let kept = name
            .trim_end_matches(|character: char| character.is_alphanumeric() || "_{}#".contains(character));
        name.truncate(kept.len());
        rest = after;
    }
    name.push_str(rest);
    name
}

/// A name that is too long keeps its start, and a hash tells it from others that start alike.
fn abbreviated(name: String) -> String {
    if name.len() <= MAX_TYPE_NAME_BYTES {
        return name;
    }
    let hash = blake3::hash(name.as_bytes()).to_hex();
    let suffix = format!("…#{}", hash.get(..16).unwrap_or_default());
    let start = &name[..name.floor_char_boundary(MAX_TYPE_NAME_BYTES - suffix.len())];
    format!("{start}{suffix}")
}

/// Whether a message is one value, or a number of them that differs from message to message.
///
/// ```
/// use onecopy::payload_type::{PayloadKind, PayloadType};
///
/// assert_eq!(PayloadType::value::<f32>().kind, PayloadKind::Value);
/// assert_eq!(PayloadType::slice::<f32>().kind, PayloadKind::Slice);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PayloadKind {
    /// One element a message.
    Value,
    /// Any number of elements a message.
    Slice,
}

/// What a topic carries: its messages, and the user's header of each.
///
/// ```
/// use onecopy::payload_type::PayloadType;
///
/// // Two programs mean the same if both describe it in the same words.
/// let (one, other) = (PayloadType::value::<[f32; 3]>(), PayloadType::value::<[f64; 3]>());
/// assert_eq!(one.to_string(), "[f32; 3] (12 bytes, aligned to 4)");
/// assert_ne!(one.layout_hash(), other.layout_hash());
/// assert_ne!(one.layout_hash(), one.clone().with_header::<u64>().layout_hash());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PayloadType {
    /// One element a message or many.
    pub kind: PayloadKind,
    /// The type of an element.
    pub element: TypeDescription,
    /// The type of the user's header of each message; the unit type where there is none.
    pub header: TypeDescription,
}

impl PayloadType {
    /// Messages of one `T` each, without a header.
    pub fn value<T>() -> Self {
        Self {
            kind: PayloadKind::Value,
            element: TypeDescription::of::<T>(),
            header: TypeDescription::of::<()>(),
        }
    }

    /// Messages of any number of `T`, without a header.
    ///
    /// ```
    /// use onecopy::payload_type::PayloadType;
    ///
    /// assert_eq!(PayloadType::slice::<u8>().to_string(), "[u8] (slices of 1-byte elements, aligned to 1)");
    /// ```
    pub fn slice<T>() -> Self {
        Self {
            kind: PayloadKind::Slice,
            element: TypeDescription::of::<T>(),
            header: TypeDescription::of::<()>(),
        }
    }

    /// The same messages, each with a header of type `H`.
    #[must_use]
    pub fn with_header<H>(self) -> Self {
        Self { header: TypeDescription::of::<H>(), ..self }
    }

    /// Checks a description that came from outside.
    ///
    /// ```
    /// use onecopy::payload_type::PayloadType;
    ///
    /// let mut told = PayloadType::slice::<u8>().with_header::<u64>();
    /// assert!(told.validate().is_ok());
    /// told.header.align_bytes = 3;
    /// assert!(told.validate().is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the element's or the header's description.
    pub fn validate(&self) -> Result<(), TypeDescriptionError> {
        self.element.validate()?;
        self.header.validate()
    }

    /// A number that differs, but for a chance of 2⁻⁶⁴, between any two descriptions that differ.
    pub fn layout_hash(&self) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[match self.kind {
            PayloadKind::Value => 0,
            PayloadKind::Slice => 1,
        }]);
        self.element.hash_into(&mut hasher);
        self.header.hash_into(&mut hasher);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TypeDescription { name, size_bytes, align_bytes } = &self.element;
        match self.kind {
            PayloadKind::Value => {
                write!(formatter, "{name} ({}, aligned to {align_bytes}", counted(*size_bytes, "byte"))?;
            }
            PayloadKind::Slice => {
                write!(
                    formatter,
                    "[{name}] (slices of {size_bytes}-byte elements, aligned to {align_bytes}"
                )?;
            }
        }
        if self.header != TypeDescription::of::<()>() {
            let TypeDescription { name, size_bytes, align_bytes } = &self.header;
            let size = counted(*size_bytes, "byte");
            write!(formatter, "; header {name} of {size}, aligned to {align_bytes}")?;
        }
        formatter.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    mod inner {
        pub(super) struct Foo<T>(std::marker::PhantomData<T>);
        pub(super) struct Bar;
    }

    #[test]
    fn names_lose_their_modules() {
        assert_eq!(TypeDescription::of::<inner::Foo<inner::Bar>>().name, "Foo<Bar>");
        assert_eq!(TypeDescription::of::<[inner::Bar; 3]>().name, "[Bar; 3]");
        assert_eq!(TypeDescription::of::<(inner::Foo<u8>, &inner::Bar)>().name, "(Foo<u8>, &Bar)");
        assert_eq!(without_modules("a::b::Foo<c::Bar, d::e::Baz<f::G>>"), "Foo<Bar, Baz<G>>");
        assert_eq!(without_modules("a::main::{{closure}}::Local"), "Local");
        assert_eq!(without_modules("plain"), "plain");
    }

    #[test]
    fn every_description_of_a_type_is_valid() {
        type Wide<T> = (T, T, T, T);
        type Wider<T> = Wide<Wide<Wide<T>>>;
        let long = TypeDescription::of::<Wider<inner::Foo<inner::Foo<u64>>>>();
        assert!(long.name.len() <= 255 && long.name.contains("…#"), "{}", long.name);
        assert_eq!(long.validate(), Ok(()));
        assert_ne!(long.name, TypeDescription::of::<Wider<inner::Foo<inner::Foo<u32>>>>().name);
        assert_eq!(TypeDescription::of::<()>().validate(), Ok(()));
    }

    #[test]
    fn impossible_descriptions_are_refused() {
        let sound = TypeDescription::of::<u64>();
        let with = |change: fn(&mut TypeDescription)| {
            let mut changed = sound.clone();
            change(&mut changed);
            changed.validate().unwrap_err()
        };
        assert!(matches!(with(|t| t.name.clear()), TypeDescriptionError::Name { bytes: 0 }));
        assert!(matches!(with(|t| t.name = "x".repeat(256)), TypeDescriptionError::Name { bytes: 256 }));
        assert!(matches!(with(|t| t.align_bytes = 0), TypeDescriptionError::Align { .. }));
        assert!(matches!(with(|t| t.align_bytes = 3), TypeDescriptionError::Align { .. }));
        assert!(matches!(with(|t| t.align_bytes = 8192), TypeDescriptionError::Align { .. }));
        assert!(matches!(with(|t| t.size_bytes = 9), TypeDescriptionError::Size { .. }));
        assert!(matches!(with(|t| t.size_bytes = u64::MAX - 7), TypeDescriptionError::Size { .. }));
    }

    #[test]
    fn every_part_of_the_description_changes_the_hash() {
        let base = PayloadType::value::<u32>();
        let others = [
            PayloadType::slice::<u32>(),
            PayloadType::value::<f32>(),
            PayloadType::value::<[u32; 2]>(),
            base.clone().with_header::<u32>(),
        ];
        for other in &others {
            assert_ne!(base.layout_hash(), other.layout_hash(), "{other}");
        }
        assert_eq!(base.layout_hash(), PayloadType::value::<u32>().layout_hash());
    }

    #[test]
    fn displays_what_a_person_needs() {
        assert_eq!(PayloadType::value::<inner::Bar>().to_string(), "Bar (0 bytes, aligned to 1)");
        assert_eq!(
            PayloadType::value::<u8>().with_header::<bool>().to_string(),
            "u8 (1 byte, aligned to 1; header bool of 1 byte, aligned to 1)"
        );
        assert_eq!(
            PayloadType::slice::<u16>().with_header::<u64>().to_string(),
            "[u16] (slices of 2-byte elements, aligned to 2; header u64 of 8 bytes, aligned to 8)"
        );
    }

    proptest! {
        #[test]
        fn stripping_modules_never_panics(path in ".{0,64}") {
            without_modules(&path);
        }
    }
}
