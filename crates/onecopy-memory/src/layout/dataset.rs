//! A dataset: its header, and the entries of its sections.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::region::ALIGNMENT_MAX;
use super::segment::{HEADER_BYTES, LINE_BYTES};

/// What a dataset is.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, Sections};
/// use onecopy_memory::layout::{DATASET_HEADER_OFFSET, DatasetHeader, FLAG_HASHED};
/// use std::{fs::File, os::unix::fs::FileExt};
/// use zerocopy::IntoBytes;
///
/// let sealed = DatasetDraft::create(5, Sections::default())?.seal(Some([7; 32]))?;
/// let file = File::from(sealed.descriptor().try_clone_to_owned()?);
/// let mut header = DatasetHeader::default();
/// file.read_exact_at(header.as_mut_bytes(), DATASET_HEADER_OFFSET as u64)?;
/// assert_eq!((header.content_bytes, header.flags, header.hash), (5, FLAG_HASHED, [7; 32]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DatasetHeader {
    /// Where the content starts in the segment, a multiple of [`CONTENT_ALIGNMENT`]; 0 where a file is the content.
    pub content_offset: u64,
    /// Bytes of the content.
    pub content_bytes: u64,
    /// [`FLAG_HASHED`], [`FLAG_FILE`].
    pub flags: u64,
    /// How many [`SectionEntry`]s follow.
    pub section_count: u64,
    /// BLAKE3 of the content, with [`FLAG_HASHED`].
    pub hash: [u8; 32],
    /// The file's device.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
    /// When the file was last modified: whole seconds since 1970.
    pub modified_s: i64,
    /// The rest of that in nanoseconds.
    pub modified_ns: u64,
    /// Where the file's path lies in the segment.
    pub path_offset: u64,
    /// Bytes of the file's path.
    pub path_bytes: u64,
    /// Keeps the header two lines long.
    pub reserved: [u64; 2],
}

/// The content's BLAKE3 is known.
pub const FLAG_HASHED: u64 = 1;
/// The content is a file.
pub const FLAG_FILE: u64 = 2;
/// Where a dataset's header starts in its segment.
pub const DATASET_HEADER_OFFSET: usize = HEADER_BYTES;
/// Where the entries of a dataset's sections start in its segment.
pub const SECTION_ENTRIES_OFFSET: usize = DATASET_HEADER_OFFSET + 2 * LINE_BYTES;
/// What a dataset's content is aligned to, and so the strictest alignment of a section: a page.
pub const CONTENT_ALIGNMENT: usize = ALIGNMENT_MAX;
/// Most sections of a dataset: opening looks at each of them, and is to take less than a millisecond.
pub const SECTIONS_MAX: usize = 1024;
/// Longest name of a section or of its type, in bytes.
pub const SECTION_TEXT_BYTES_MAX: usize = 255;
/// Longest path of a dataset's file, in bytes: what Linux takes in one call.
pub const PATH_BYTES_MAX: usize = 4096;
/// Largest content: like [`REGION_BYTES_MAX`](super::REGION_BYTES_MAX), far from overflowing any sum.
pub const CONTENT_BYTES_MAX: u64 = 1 << 46;

/// A named, typed part of a dataset's content. Entries are in the order of their offsets.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, SectionSpec, Sections};
/// use onecopy_memory::layout::{SECTION_ENTRIES_OFFSET, SectionEntry};
/// use std::{fs::File, os::unix::fs::FileExt};
/// use zerocopy::IntoBytes;
///
/// let (name, type_name) = ("keys".to_owned(), "u64".to_owned());
/// let spec = SectionSpec { name, type_name, element_bytes: 8, alignment_bytes: 8, layout_hash: 1, len: 3 };
/// let sealed = DatasetDraft::create(24, Sections::lay_out(&[spec])?)?.seal(None)?;
/// let file = File::from(sealed.descriptor().try_clone_to_owned()?);
/// let mut entry = SectionEntry::default();
/// file.read_exact_at(entry.as_mut_bytes(), SECTION_ENTRIES_OFFSET as u64)?;
/// assert_eq!((entry.offset, entry.bytes, entry.name_bytes), (0, 24, 4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionEntry {
    /// Where it starts within the content.
    pub offset: u64,
    /// Its size in bytes, a multiple of an element's.
    pub bytes: u64,
    /// Size of an element.
    pub element_bytes: u64,
    /// Alignment of an element.
    pub alignment_bytes: u64,
    /// Hash of the description of the element's type.
    pub layout_hash: u64,
    /// Where its name lies in the segment. The name of its type follows.
    pub text_offset: u64,
    /// Bytes of its name.
    pub name_bytes: u32,
    /// Bytes of the name of its type.
    pub type_bytes: u32,
    /// Keeps the entry one line long.
    pub reserved: u64,
}

const _: () = {
    use std::mem::{align_of, offset_of, size_of};
    assert!(size_of::<DatasetHeader>() == 2 * LINE_BYTES && align_of::<DatasetHeader>() == 8);
    assert!(offset_of!(DatasetHeader, hash) == 32 && offset_of!(DatasetHeader, device) == LINE_BYTES);
    assert!(size_of::<SectionEntry>() == LINE_BYTES && align_of::<SectionEntry>() == 8);
    assert!(SECTION_ENTRIES_OFFSET == 192 && CONTENT_ALIGNMENT.is_power_of_two());
};
