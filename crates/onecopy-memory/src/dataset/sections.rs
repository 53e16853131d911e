//! The parts of a dataset's content: names, types, and where they lie. Offsets are found here when a dataset
//! is made, and checked here when one was received.

use super::DatasetError;
use crate::layout::{CONTENT_ALIGNMENT, CONTENT_BYTES_MAX, LINE_BYTES, SECTION_TEXT_BYTES_MAX, SECTIONS_MAX};

/// A part of a dataset's content.
///
/// See [`Sections`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it is called; no two of a dataset are called the same.
    pub name: String,
    /// The name of its elements' type.
    pub type_name: String,
    /// Size of an element.
    pub element_bytes: u64,
    /// Alignment of an element.
    pub alignment_bytes: u64,
    /// Hash of the description of the element's type.
    pub layout_hash: u64,
    /// Where it starts within the content.
    pub offset: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Section {
    /// How many elements it has.
    pub fn len(&self) -> u64 {
        self.bytes.checked_div(self.element_bytes).unwrap_or(0)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Where it ends within the content.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.bytes)
    }
}

/// A part that is to be.
///
/// See [`Sections`] for an example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionSpec {
    /// What it is called.
    pub name: String,
    /// The name of its elements' type.
    pub type_name: String,
    /// Size of an element.
    pub element_bytes: u64,
    /// Alignment of an element.
    pub alignment_bytes: u64,
    /// Hash of the description of the element's type.
    pub layout_hash: u64,
    /// How many elements.
    pub len: u64,
}

/// All parts of a content, in the order in which they lie there. Whatever is in it has been checked.
///
/// ```
/// use onecopy_memory::dataset::{DatasetError, SectionSpec, Sections};
/// use onecopy_memory::layout::{LINE_BYTES, SECTION_TEXT_BYTES_MAX};
///
/// let spec = |name: &str, element_bytes, len| SectionSpec {
///     name: name.to_owned(),
///     type_name: "bytes".to_owned(),
///     element_bytes,
///     alignment_bytes: 8,
///     layout_hash: 1,
///     len,
/// };
/// let sections = Sections::lay_out(&[spec("keys", 8, 3), spec("values", 16, 3)])?;
/// // Each starts at a cache line.
/// let values = sections.find("values").ok_or("it was laid out")?;
/// assert_eq!((values.offset, values.len(), values.is_empty()), (LINE_BYTES as u64, 3, false));
/// assert_eq!((values.end(), sections.content_bytes()), (64 + 48, 64 + 48));
/// assert_eq!(sections.as_slice().iter().map(|section| section.bytes).sum::<u64>(), 24 + 48);
///
/// let long_name = "x".repeat(SECTION_TEXT_BYTES_MAX + 1);
/// let refused = Sections::lay_out(&[spec(&long_name, 8, 3)]);
/// assert!(matches!(refused, Err(DatasetError::Section { section, .. }) if section == long_name));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections {
    list: Vec<Section>,
    /// Number of the section in `list`, in the order of names.
    by_name: Vec<usize>,
}

impl Sections {
    /// Lays the parts out one behind the other, each at the start of a cache line at least.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Section`] names the first that can't be; [`DatasetError::TooLarge`].
    pub fn lay_out(specs: &[SectionSpec]) -> Result<Self, DatasetError> {
        let mut list = Vec::with_capacity(specs.len());
        let mut end = 0_u64;
        for spec in specs {
            let SectionSpec { name, type_name, element_bytes, alignment_bytes, layout_hash, len } =
                spec.clone();
            let bytes = len.checked_mul(element_bytes).filter(|bytes| *bytes <= CONTENT_BYTES_MAX);
            let bytes = bytes.ok_or(DatasetError::TooLarge { bytes: u64::MAX })?;
            let alignment = alignment_bytes.clamp(LINE_BYTES as u64, CONTENT_ALIGNMENT as u64);
            let offset = end.next_multiple_of(alignment);
            end = offset.saturating_add(bytes);
            list.push(Section {
                name,
                type_name,
                element_bytes,
                alignment_bytes,
                layout_hash,
                offset,
                bytes,
            });
        }
        if end > CONTENT_BYTES_MAX {
            return Err(DatasetError::TooLarge { bytes: end });
        }
        Self::checked(list, end)
    }

    /// Takes parts as they are, if they can be those of a content of so many bytes.
    ///
    /// See [`SectionSpec::at`] for an example.
    ///
    /// # Errors
    ///
    /// [`DatasetError::Section`] names the first that can't.
    pub fn checked(list: Vec<Section>, content_bytes: u64) -> Result<Self, DatasetError> {
        if list.len() > SECTIONS_MAX {
            return Err(DatasetError::Impossible { reason: "it has more sections than any dataset" });
        }
        let mut end = 0;
        for section in &list {
            let refuse = |reason| DatasetError::Section { section: section.name.clone(), reason };
            check_text(&section.name).map_err(refuse)?;
            check_text(&section.type_name).map_err(refuse)?;
            check_place(section, end, content_bytes).map_err(refuse)?;
            end = section.end();
        }
        let mut by_name: Vec<usize> = (0..list.len()).collect();
        let name = |index: &usize| list.get(*index).map(|section| section.name.as_str());
        by_name.sort_by(|one, other| name(one).cmp(&name(other)));
        for pair in by_name.windows(2) {
            if let [one, other] = pair
                && name(one) == name(other)
            {
                let section = name(one).unwrap_or_default().to_owned();
                return Err(DatasetError::Section { section, reason: "another has the same name" });
            }
        }
        Ok(Self { list, by_name })
    }

    /// The part of that name.
    pub fn find(&self, name: &str) -> Option<&Section> {
        let name_of = |index: &usize| self.list.get(*index).map_or("", |section| section.name.as_str());
        let found = self.by_name.binary_search_by(|index| name_of(index).cmp(name)).ok()?;
        self.list.get(*self.by_name.get(found)?)
    }

    /// All of them, as they lie.
    pub fn as_slice(&self) -> &[Section] {
        &self.list
    }

    /// Bytes of a content that ends with the last of them.
    pub fn content_bytes(&self) -> u64 {
        self.list.last().map_or(0, Section::end)
    }
}

fn check_text(text: &str) -> Result<(), &'static str> {
    match text.len() {
        0 => Err("its name, or its type's, is empty"),
        1..=SECTION_TEXT_BYTES_MAX if text.chars().any(char::is_control) => {
            Err("its name, or its type's, has control characters")
        }
        1..=SECTION_TEXT_BYTES_MAX => Ok(()),
        _ => Err("its name, or its type's, is longer than 255 bytes"),
    }
}

fn check_place(section: &Section, earliest: u64, content_bytes: u64) -> Result<(), &'static str> {
    let Section { element_bytes, alignment_bytes, offset, bytes, .. } = *section;
    if !alignment_bytes.is_power_of_two() || alignment_bytes > CONTENT_ALIGNMENT as u64 {
        return Err("its alignment is no power of two, or more than a page");
    }
    if element_bytes == 0 || !element_bytes.is_multiple_of(alignment_bytes) {
        return Err("its elements have no size, or none that their alignment allows");
    }
    if !bytes.is_multiple_of(element_bytes) {
        return Err("it ends within an element");
    }
    if !offset.is_multiple_of(alignment_bytes) {
        return Err("it starts where its elements are not aligned");
    }
    if offset < earliest {
        return Err("it overlaps the one before it");
    }
    match offset.checked_add(bytes) {
        Some(end) if end <= content_bytes => Ok(()),
        _ => Err("it ends beyond the content"),
    }
}
