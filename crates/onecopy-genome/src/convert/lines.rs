//! The lines of a list that somebody wrote: plain text, or compressed with bgzip, from a file or a pipe. A line has a
//! longest length, so a list without ends of lines, or a small file that inflates to more than there is memory, ends in
//! an error that names the line; so does what is no text.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use noodles_bgzf as bgzf;

use crate::bgzf::END_MARKER;
use crate::error::GenomeError;

/// Bytes of a line at most: a variant with the genotypes of half a million people, each as long as a hundred
/// bytes, fits.
const LINE_BYTES_MAX: usize = 64 << 20;
/// What files begin with that gzip or bgzip made.
const GZIP_BEGIN: &[u8] = &[0x1f, 0x8b];
/// Which of the flags behind that says that there are extra fields; bgzip's tell the size of a block.
const HAS_EXTRA_FIELDS: u8 = 4;

/// Reads a list line by line.
pub(super) struct Lines {
    source: Source,
    path: PathBuf,
    /// The line that was read last, from 1.
    number: u64,
    line: Vec<u8>,
}

enum Source {
    Plain(BufReader<File>),
    Compressed(bgzf::io::Reader<Tail>),
}

/// A file being read, and the last bytes that were read of it: a file that was cut off between two blocks shows it
/// nowhere else.
struct Tail {
    file: BufReader<File>,
    last: [u8; END_MARKER.len()],
}

impl Lines {
    pub(super) fn open(path: &Path) -> Result<Self, GenomeError> {
        let mut file = BufReader::new(File::open(path).map_err(GenomeError::file("open", path))?);
        let begin = file.fill_buf().map_err(GenomeError::file("read", path))?;
        if begin.starts_with(GZIP_BEGIN) && begin.get(3).is_some_and(|flags| flags & HAS_EXTRA_FIELDS == 0) {
            let what =
                "it is compressed with gzip, and lists are read plain or compressed with bgzip: `gunzip` it";
            return Err(GenomeError::Unsupported { path: path.to_owned(), what });
        }
        let source = if begin.starts_with(GZIP_BEGIN) {
            Source::Compressed(bgzf::io::Reader::new(Tail { file, last: [0; END_MARKER.len()] }))
        } else {
            Source::Plain(file)
        };
        Ok(Self { source, path: path.to_owned(), number: 0, line: Vec::new() })
    }

    /// The next line, without its end. None behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<&str>, GenomeError> {
        self.number += 1;
        self.line.clear();
        match &mut self.source {
            Source::Plain(file) => {
                read_line(file, &mut self.line).map_err(GenomeError::file("read", &self.path))?;
            }
            Source::Compressed(blocks) => {
                read_line(blocks, &mut self.line)
                    .map_err(GenomeError::unreadable("text compressed with bgzip", &self.path))?;
                if self.line.is_empty() && blocks.get_ref().last != END_MARKER {
                    let what = "the block that ends a complete file is missing";
                    return Err(GenomeError::Truncated { path: self.path.clone(), what });
                }
            }
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.len() > LINE_BYTES_MAX {
            let what = format!(
                "it is longer than {} MiB: is it a list? Of VCF the first five columns are enough",
                LINE_BYTES_MAX >> 20
            );
            return Err(self.fault(what));
        }
        match std::str::from_utf8(&self.line) {
            Ok(line) => Ok(Some(line.trim_end_matches(['\n', '\r']))),
            Err(error) => {
                let byte = error.valid_up_to() + 1;
                Err(self.fault(format!("it is no text: its byte {byte} is none of UTF-8")))
            }
        }
    }

    /// The error that says what is wrong with the line that was read last.
    pub(super) fn fault(&self, what: String) -> GenomeError {
        GenomeError::Line { path: self.path.clone(), line: self.number, what }
    }
}

/// Reads up to the end of the line, or one byte more than a line may have. Nothing at the end of the list.
fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<()> {
    from.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line).map(drop)
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        let kept = bytes.min(self.last.len());
        self.last.rotate_left(kept);
        let from = self.last.len() - kept;
        self.last[from..].copy_from_slice(&buffer[bytes - kept..bytes]);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(content: &[u8]) -> Result<Lines, GenomeError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        std::fs::write(&path, content).unwrap();
        Lines::open(&path)
    }

    fn read(content: &[u8]) -> Result<Vec<String>, String> {
        let mut lines = open(content).map_err(|error| error.to_string())?;
        let mut all = Vec::new();
        while let Some(line) = lines.next().map_err(|error| error.to_string())? {
            all.push(line.to_owned());
        }
        Ok(all)
    }

    fn compressed(content: &[u8]) -> Vec<u8> {
        let mut writer = bgzf::io::Writer::new(Vec::new());
        writer.write_all(content).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn ends_of_lines_are_no_part_of_them() {
        for content in [&b"one\r\n\ntwo"[..], b"one\n\ntwo\n"] {
            assert_eq!(read(content).unwrap(), ["one", "", "two"]);
            assert_eq!(read(&compressed(content)).unwrap(), ["one", "", "two"]);
        }
        assert!(read(b"").unwrap().is_empty());
        assert!(read(&END_MARKER).unwrap().is_empty());
    }

    #[test]
    fn a_line_without_end_is_an_error_and_is_not_kept_as_a_whole() {
        // A megabyte of blocks that inflate to a thousand times as much.
        let begin = compressed(b"chr1:5\n");
        let block = compressed(&[b'A'; 60_000]);
        let mut bomb = begin[..begin.len() - END_MARKER.len()].to_vec();
        for _ in 0..(1 << 30) / 60_000 {
            bomb.extend_from_slice(&block[..block.len() - END_MARKER.len()]);
        }
        bomb.extend_from_slice(&END_MARKER);
        assert!(bomb.len() < 4 << 20);
        let mut lines = open(&bomb).unwrap();
        assert_eq!(lines.next().unwrap(), Some("chr1:5"));
        let error = lines.next().unwrap_err().to_string();
        assert!(error.contains("list, line 2: it is longer than 64 MiB"), "{error}");
        assert_eq!(lines.line.len(), LINE_BYTES_MAX + 1);
    }

    #[test]
    fn what_is_no_text_is_named_by_its_line() {
        for content in [&b"chr1:5\nchr1\xff:6\n"[..], b"\nab\xe2\x82"] {
            for content in [content.to_vec(), compressed(content)] {
                let error = read(&content).unwrap_err();
                assert!(error.contains("list, line 2: it is no text: its byte "), "{error}");
            }
        }
    }

    #[test]
    fn what_gzip_made_is_told_from_what_bgzip_made() {
        // What `gzip` makes of an empty file.
        let gzipped = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let error = read(&gzipped).unwrap_err();
        assert!(error.contains("list cannot be used here: it is compressed with gzip"), "{error}");
    }

    #[test]
    fn a_compressed_list_that_was_cut_off_or_damaged_is_an_error_wherever() {
        let random: Vec<u8> = (0..200_000_u32).map(|n| b'a' + (n.wrapping_mul(n) >> 7) as u8 % 26).collect();
        let whole = compressed(&random);
        assert_eq!(read(&whole).unwrap().len(), 1);
        for end in (3..whole.len()).step_by(97).chain(whole.len() - 2 * END_MARKER.len()..whole.len()) {
            let error = read(&whole[..end]).unwrap_err();
            assert!(error.contains("list is truncated") || error.contains("list cannot be read"), "{error}");
        }
        let mut damaged = whole;
        damaged[100] ^= 0x55;
        let error = read(&damaged).unwrap_err();
        assert!(error.ends_with("list cannot be read as text compressed with bgzip"), "{error}");
    }
}
