//! What a dataset says of itself: how large its content is and where, its hash, its sections. Written before the
//! dataset is sealed; read once, checked, and kept in private memory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use zerocopy::{FromBytes, IntoBytes};

use super::file::{FileIdentity, FileReference};
use super::sections::{Section, Sections};
use super::{DatasetError, SectionSpec};
use crate::layout::{
    CONTENT_ALIGNMENT, CONTENT_BYTES_MAX, DATASET_HEADER_OFFSET, DatasetHeader, FLAG_FILE, FLAG_HASHED,
    FORMAT_VERSION, HEADER_BYTES, MAGIC, PATH_BYTES_MAX, SECTION_ENTRIES_OFFSET, SECTIONS_MAX, SectionEntry,
    SegmentKind,
};

/// BLAKE3 of a content.
///
/// See [`Catalog`] for an example.
pub type ContentHash = [u8; 32];

/// What a dataset says of itself.
///
/// ```
/// use onecopy_memory::dataset::{DatasetDraft, SealedDataset, Sections};
///
/// let sealed = DatasetDraft::create(5, Sections::default())?.seal(Some([7; 32]))?;
/// let received = SealedDataset::open(sealed.descriptor().try_clone_to_owned()?)?;
/// let catalog = received.catalog();
/// assert_eq!((catalog.content_bytes, catalog.hash), (5, Some([7; 32])));
/// assert!(catalog.file.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    /// Bytes of the content.
    pub content_bytes: u64,
    /// BLAKE3 of the content, if its publisher took it.
    pub hash: Option<ContentHash>,
    /// Named parts of the content.
    pub sections: Sections,
    /// The file that the content is; otherwise it is in memory.
    pub file: Option<FileReference>,
    /// Where in the segment the content lies, if it is there.
    pub(super) content_offset: usize,
}

impl Catalog {
    /// Of a content in memory.
    pub(super) fn of_memory(content_bytes: usize, sections: Sections) -> Result<Self, DatasetError> {
        let mut catalog = Self::new(content_bytes as u64, sections, None)?;
        catalog.content_offset = catalog.bytes().next_multiple_of(CONTENT_ALIGNMENT);
        Ok(catalog)
    }

    /// Of a content that is a file.
    pub(super) fn of_file(file: FileReference, sections: Sections) -> Result<Self, DatasetError> {
        if file.path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(DatasetError::Impossible { reason: "its file's path is longer than any" });
        }
        Self::new(file.identity.bytes, sections, Some(file))
    }

    fn new(
        content_bytes: u64,
        sections: Sections,
        file: Option<FileReference>,
    ) -> Result<Self, DatasetError> {
        if content_bytes > CONTENT_BYTES_MAX {
            return Err(DatasetError::TooLarge { bytes: content_bytes });
        }
        if sections.content_bytes() > content_bytes {
            return Err(DatasetError::Impossible { reason: "its sections end beyond its content" });
        }
        Ok(Self { content_bytes, hash: None, sections, file, content_offset: 0 })
    }

    fn path_bytes(&self) -> &[u8] {
        self.file.as_ref().map_or(&[], |file| file.path.as_os_str().as_bytes())
    }

    /// Bytes of everything in front of the content.
    fn bytes(&self) -> usize {
        let sections = self.sections.as_slice();
        let texts: usize = sections.iter().map(|section| section.name.len() + section.type_name.len()).sum();
        SECTION_ENTRIES_OFFSET + size_of_val_entries(sections.len()) + texts + self.path_bytes().len()
    }

    /// Bytes of the whole segment.
    pub(super) fn segment_bytes(&self) -> Result<usize, DatasetError> {
        if self.file.is_some() {
            return Ok(self.bytes());
        }
        let total = usize::try_from(self.content_bytes)
            .ok()
            .and_then(|content| content.checked_add(self.content_offset))
            .filter(|total| isize::try_from(*total).is_ok());
        total.ok_or(DatasetError::TooLarge { bytes: self.content_bytes })
    }

    /// Everything in front of the content, as it stands in the segment.
    pub(super) fn encode(&self) -> Result<Vec<u8>, DatasetError> {
        let sections = self.sections.as_slice();
        let texts_offset = SECTION_ENTRIES_OFFSET + size_of_val_entries(sections.len());
        let mut texts = Vec::new();
        let mut entries = Vec::with_capacity(sections.len());
        for section in sections {
            entries.push(SectionEntry {
                offset: section.offset,
                bytes: section.bytes,
                element_bytes: section.element_bytes,
                alignment_bytes: section.alignment_bytes,
                layout_hash: section.layout_hash,
                text_offset: (texts_offset + texts.len()) as u64,
                // Checked to be short when the sections were made.
                name_bytes: section.name.len() as u32,
                type_bytes: section.type_name.len() as u32,
                reserved: 0,
            });
            texts.extend_from_slice(section.name.as_bytes());
            texts.extend_from_slice(section.type_name.as_bytes());
        }
        let mut header = DatasetHeader {
            content_offset: self.content_offset as u64,
            content_bytes: self.content_bytes,
            flags: self.hash.map_or(0, |_| FLAG_HASHED),
            section_count: sections.len() as u64,
            hash: self.hash.unwrap_or_default(),
            ..DatasetHeader::default()
        };
        if let Some(FileReference { identity, .. }) = &self.file {
            header.flags |= FLAG_FILE;
            header.device = identity.device;
            header.inode = identity.inode;
            header.modified_s = identity.modified_s;
            header.modified_ns = identity.modified_ns;
            header.path_offset = (texts_offset + texts.len()) as u64;
            header.path_bytes = self.path_bytes().len() as u64;
        }
        texts.extend_from_slice(self.path_bytes());
        let total_bytes = self.segment_bytes()? as u64;
        // A SegmentHeader, as it is when all its words are plain.
        let segment: [u64; HEADER_BYTES / 8] =
            [MAGIC, FORMAT_VERSION, SegmentKind::Dataset as u64, total_bytes, 0, 0, 0, 0];
        let mut encoded = Vec::with_capacity(self.bytes());
        encoded.extend_from_slice(segment.as_bytes());
        encoded.extend_from_slice(header.as_bytes());
        encoded.extend_from_slice(entries.as_bytes());
        encoded.extend_from_slice(&texts);
        Ok(encoded)
    }

    /// Reads and checks what stands in a segment whose own header was checked. Takes as long as there are sections,
    /// however large the content is.
    pub(super) fn decode(segment: &[u8]) -> Result<Self, DatasetError> {
        let impossible = |reason| DatasetError::Impossible { reason };
        let (header, rest) = segment
            .get(DATASET_HEADER_OFFSET..)
            .and_then(|bytes| DatasetHeader::read_from_prefix(bytes).ok())
            .ok_or(impossible("its header is cut off"))?;
        let count = usize::try_from(header.section_count).ok().filter(|count| *count <= SECTIONS_MAX);
        let count = count.ok_or(impossible("it has more sections than any dataset"))?;
        let (entries, _) = <[SectionEntry]>::ref_from_prefix_with_elems(rest, count)
            .map_err(|_| impossible("its list of sections is cut off"))?;
        let sections = entries.iter().map(|entry| decode_section(segment, entry));
        let sections = Sections::checked(sections.collect::<Result<_, _>>()?, header.content_bytes)?;
        let file = (header.flags & FLAG_FILE != 0).then(|| decode_file(segment, &header)).transpose()?;
        let content_offset = match &file {
            Some(_) if header.content_offset == 0 => 0,
            Some(_) => return Err(impossible("its content is both a file and in memory")),
            None => content_offset(segment, &header).ok_or(impossible("its content is not in its memory"))?,
        };
        let hash = (header.flags & FLAG_HASHED != 0).then_some(header.hash);
        let catalog = Self::new(header.content_bytes, sections, file)?;
        Ok(Self { hash, content_offset, ..catalog })
    }
}

fn size_of_val_entries(count: usize) -> usize {
    count * size_of::<SectionEntry>()
}

fn content_offset(segment: &[u8], header: &DatasetHeader) -> Option<usize> {
    let offset = usize::try_from(header.content_offset).ok()?;
    let bytes = usize::try_from(header.content_bytes).ok()?;
    let aligned = offset.is_multiple_of(CONTENT_ALIGNMENT) && offset >= SECTION_ENTRIES_OFFSET;
    (aligned && offset.checked_add(bytes)? <= segment.len()).then_some(offset)
}

fn decode_section(segment: &[u8], entry: &SectionEntry) -> Result<Section, DatasetError> {
    let cut_off = DatasetError::Impossible { reason: "the name of a section is not in its memory" };
    let name_end = entry.text_offset.checked_add(u64::from(entry.name_bytes));
    let type_end = name_end.and_then(|end| end.checked_add(u64::from(entry.type_bytes)));
    let (Some(name_end), Some(type_end)) = (name_end, type_end) else { return Err(cut_off) };
    let text = |start: u64, end: u64| {
        let range = usize::try_from(start).ok()?..usize::try_from(end).ok()?;
        // The limit first: a claimed length must not cost time.
        let bytes =
            segment.get(range).filter(|bytes| bytes.len() <= 2 * crate::layout::SECTION_TEXT_BYTES_MAX)?;
        Some(std::str::from_utf8(bytes).ok()?.to_owned())
    };
    let (Some(name), Some(type_name)) = (text(entry.text_offset, name_end), text(name_end, type_end)) else {
        return Err(cut_off);
    };
    Ok(Section {
        name,
        type_name,
        element_bytes: entry.element_bytes,
        alignment_bytes: entry.alignment_bytes,
        layout_hash: entry.layout_hash,
        offset: entry.offset,
        bytes: entry.bytes,
    })
}

fn decode_file(segment: &[u8], header: &DatasetHeader) -> Result<FileReference, DatasetError> {
    let path = usize::try_from(header.path_offset).ok().and_then(|offset| {
        let bytes = usize::try_from(header.path_bytes).ok().filter(|bytes| *bytes <= PATH_BYTES_MAX)?;
        segment.get(offset..offset.checked_add(bytes)?)
    });
    let path = path.map(|path| Path::new(OsStr::from_bytes(path)));
    // Whoever reads it may be anywhere else than its publisher was.
    let path = path.filter(|path| path.is_absolute() && !path.as_os_str().as_bytes().contains(&0));
    let path = path.ok_or(DatasetError::Impossible { reason: "it has no path of its file" })?;
    Ok(FileReference {
        path: path.to_owned(),
        identity: FileIdentity {
            device: header.device,
            inode: header.inode,
            bytes: header.content_bytes,
            modified_s: header.modified_s,
            modified_ns: header.modified_ns,
        },
    })
}

/// A part whose place in a file its user knows.
impl SectionSpec {
    /// The part that starts at `offset` of the content.
    ///
    /// ```
    /// use onecopy_memory::dataset::{SectionSpec, Sections};
    ///
    /// // A file that has three numbers behind a header of 16 bytes.
    /// let (name, type_name) = ("keys".to_owned(), "u64".to_owned());
    /// let spec = SectionSpec { name, type_name, element_bytes: 8, alignment_bytes: 8, layout_hash: 1, len: 3 };
    /// let keys = spec.at(16)?;
    /// assert_eq!((keys.len(), keys.end()), (3, 40));
    /// // A file that is shorter has not got them.
    /// assert!(Sections::checked(vec![keys.clone()], 39).is_err());
    /// assert_eq!(Sections::checked(vec![keys.clone()], 40)?.as_slice(), [keys]);
    /// # Ok::<(), onecopy_memory::dataset::DatasetError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DatasetError::TooLarge`] if its size is no number.
    pub fn at(self, offset: u64) -> Result<Section, DatasetError> {
        let Self { name, type_name, element_bytes, alignment_bytes, layout_hash, len } = self;
        let bytes = len.checked_mul(element_bytes).ok_or(DatasetError::TooLarge { bytes: u64::MAX })?;
        Ok(Section { name, type_name, element_bytes, alignment_bytes, layout_hash, offset, bytes })
    }
}
