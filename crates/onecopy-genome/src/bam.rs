//! A BAM file: its header, and single alignments read from where an index says they are.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use noodles_bam::RecordRef;
use noodles_sam::Header;

use crate::bgzf::{self, Block, BlockReader};
use crate::error::GenomeError;

/// Bytes of an alignment's fixed part.
const FIXED_BYTES: usize = 32;
/// What a CRAM file begins with.
const CRAM_BEGIN: &[u8; 4] = b"CRAM";
/// What the blocks of a BAM file begin with.
const GZIP_BEGIN: &[u8] = &[0x1f, 0x8b];
/// An alignment larger than that is taken for damage.
const ALIGNMENT_BYTES_MAX: usize = 512 << 20;

/// What a BAM file says before its alignments.
pub struct BamHeader {
    header: Header,
    first_record: u64,
}

impl BamHeader {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// If the file is no BAM file, or ends within its header.
    pub fn read(path: &Path) -> Result<Self, GenomeError> {
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        let mut begin = [0; CRAM_BEGIN.len()];
        let bytes = file.read_at(&mut begin, 0).map_err(GenomeError::file("read", path))?;
        if begin == *CRAM_BEGIN {
            let what = "it is a CRAM file, and reads are found by name in BAM files only: `samtools view -b` makes one of it";
            return Err(GenomeError::Unsupported { path: path.to_owned(), what });
        }
        if bytes >= GZIP_BEGIN.len() && !begin.starts_with(GZIP_BEGIN) {
            let what = "no BAM file begins like that";
            return Err(GenomeError::Malformed { path: path.to_owned(), offset: 0, what });
        }
        let mut reader = noodles_bam::io::Reader::new(std::io::BufReader::new(file));
        let header = reader.read_header().map_err(GenomeError::unreadable("BAM", path))?;
        let first_record = u64::from(reader.get_ref().virtual_position());
        Ok(Self { header, first_record })
    }

    /// The header as noodles has it.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Virtual offset of the first alignment, or of the end of the last block before it.
    pub(crate) fn first_record(&self) -> u64 {
        self.first_record
    }
}

/// Reads alignments anywhere in a BAM file.
///
/// The blocks' checksums are compared. A block stays at hand for the next alignment, so those that lie together (both
/// ends of a pair in a file sorted by name) cost one block.
pub struct AlignmentReader {
    blocks: BlockReader,
    block: Block,
    has_block: bool,
    /// Where in the block what comes next begins.
    within: usize,
    alignment: Vec<u8>,
}

impl AlignmentReader {
    /// Opens a BAM file.
    ///
    /// # Errors
    ///
    /// If it can't be opened.
    pub fn open(path: &Path) -> Result<Self, GenomeError> {
        let file = File::open(path).map_err(GenomeError::file("open", path))?;
        Ok(Self {
            blocks: BlockReader::new(file, path)?,
            block: Block::default(),
            has_block: false,
            within: 0,
            alignment: Vec::new(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.blocks.path()
    }

    /// Its size when it was opened.
    pub fn file_bytes(&self) -> u64 {
        self.blocks.file_bytes()
    }

    /// The alignment at a virtual offset.
    ///
    /// # Errors
    ///
    /// If there is none, or the file is truncated or damaged there.
    pub fn read(&mut self, virtual_offset: u64) -> Result<RecordRef<'_>, GenomeError> {
        self.seek(virtual_offset)?;
        let path = self.blocks.path().to_owned();
        self.next()?
            .ok_or(GenomeError::Truncated { path, what: "it ends before an alignment that should be there" })
    }

    /// Goes to a virtual offset.
    pub(crate) fn seek(&mut self, virtual_offset: u64) -> Result<(), GenomeError> {
        let offset = virtual_offset >> 16;
        if !self.has_block || self.block.offset != offset {
            self.within = 0;
            if !self.load(offset)? {
                let what = "it ends before an alignment that should be there";
                return Err(GenomeError::Truncated { path: self.blocks.path().to_owned(), what });
            }
        }
        self.within = (virtual_offset & 0xffff) as usize;
        if self.within > self.block.content.len() {
            return Err(self.malformed("no alignment begins there: the block is shorter"));
        }
        Ok(())
    }

    /// The virtual offset of what comes next.
    pub(crate) fn position(&self) -> u64 {
        if self.within == self.block.content.len() {
            bgzf::virtual_offset(self.block.next_offset, 0)
        } else {
            bgzf::virtual_offset(self.block.offset, self.within as u16)
        }
    }

    /// The alignment that comes next. None at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<RecordRef<'_>>, GenomeError> {
        self.alignment.clear();
        if !self.take(4)? {
            return match self.alignment.is_empty() {
                true => Ok(None),
                false => Err(self.cut_off()),
            };
        }
        let length = self.alignment.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
        if !(FIXED_BYTES..=ALIGNMENT_BYTES_MAX).contains(&length) {
            return Err(self.malformed("no alignment begins there: its length can't be"));
        }
        self.alignment.clear();
        if !self.take(length)? {
            return Err(self.cut_off());
        }
        if !is_consistent(&self.alignment) {
            return Err(self.malformed("the parts of an alignment don't add up to its length"));
        }
        Ok(RecordRef::new(&self.alignment))
    }

    /// Appends so many bytes of what comes next, over as many blocks as it takes. False if the file ends before.
    fn take(&mut self, bytes: usize) -> Result<bool, GenomeError> {
        loop {
            let rest = &self.block.content[self.within..];
            let part = &rest[..rest.len().min(bytes - self.alignment.len())];
            self.alignment.extend_from_slice(part);
            self.within += part.len();
            if self.alignment.len() == bytes {
                return Ok(true);
            }
            let next = self.block.next_offset;
            self.within = 0;
            if !self.load(next)? {
                return Ok(false);
            }
        }
    }

    /// False at the end of the file.
    fn load(&mut self, offset: u64) -> Result<bool, GenomeError> {
        self.has_block = false;
        self.has_block = self.blocks.read(offset, &mut self.block)?;
        if !self.has_block {
            self.block.content.clear();
        }
        Ok(self.has_block)
    }

    fn cut_off(&self) -> GenomeError {
        GenomeError::Truncated { path: self.blocks.path().to_owned(), what: "it ends within an alignment" }
    }

    fn malformed(&self, what: &'static str) -> GenomeError {
        GenomeError::Malformed { path: self.blocks.path().to_owned(), offset: self.block.offset, what }
    }
}

/// Whether name, CIGAR, bases and qualities fit into an alignment: noodles relies on it.
fn is_consistent(alignment: &[u8]) -> bool {
    let Some(fixed) = alignment.first_chunk::<FIXED_BYTES>() else { return false };
    let name_bytes = usize::from(fixed[8]);
    let operations = usize::from(u16::from_le_bytes([fixed[12], fixed[13]]));
    let bases = u32::from_le_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]) as usize;
    let needed = FIXED_BYTES + name_bytes + 4 * operations + bases.div_ceil(2) + bases;
    name_bytes > 0 && needed <= alignment.len() && alignment.get(FIXED_BYTES + name_bytes - 1) == Some(&0)
}

/// A file as it was when it was opened, to be compared with how it is in the end.
#[derive(Debug)]
pub(crate) struct Unchanged {
    path: PathBuf,
    state: State,
}

/// What changes with a file's content, other than the content.
#[derive(Debug, PartialEq, Eq)]
struct State {
    bytes: u64,
    modified: std::time::SystemTime,
    inode: u64,
}

impl Unchanged {
    pub(crate) fn now(path: &Path) -> Result<Self, GenomeError> {
        Ok(Self { path: path.to_owned(), state: State::of(path)? })
    }

    /// Fails if the file was written to or replaced since [`now`](Self::now).
    pub(crate) fn check(&self) -> Result<(), GenomeError> {
        if State::of(&self.path)? == self.state {
            Ok(())
        } else {
            Err(GenomeError::Changed { path: self.path.clone() })
        }
    }
}

impl State {
    fn of(path: &Path) -> Result<Self, GenomeError> {
        use std::os::unix::fs::MetadataExt;
        let read = || {
            let metadata = std::fs::metadata(path)?;
            Ok(Self { bytes: metadata.len(), modified: metadata.modified()?, inode: metadata.ino() })
        };
        read().map_err(GenomeError::file("look at", path))
    }
}
