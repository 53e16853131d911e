//! Alignments as lines of SAM.

use std::io::{self, Write};

use noodles_bam::RecordRef;
use noodles_sam::alignment::io::Write as _;

use crate::bam::BamHeader;

/// Writes alignments of one BAM file as text.
pub struct SamLines<'a, Sink: Write> {
    writer: noodles_sam::io::Writer<Sink>,
    header: &'a BamHeader,
}

impl<'a, Sink: Write> SamLines<'a, Sink> {
    /// Lines of the file with this header go to `sink`.
    pub fn new(sink: Sink, header: &'a BamHeader) -> Self {
        Self { writer: noodles_sam::io::Writer::new(sink), header }
    }

    /// Writes the header.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn header(&mut self) -> io::Result<()> {
        self.writer.write_header(self.header.header())
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// Those of the sink, and what can't be written because the alignment is damaged
    /// ([`InvalidData`](io::ErrorKind::InvalidData), [`InvalidInput`](io::ErrorKind::InvalidInput)).
    pub fn alignment(&mut self, record: &RecordRef<'_>) -> io::Result<()> {
        self.writer.write_alignment_record(self.header.header(), record)
    }

    /// Passes on what the sink holds back.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.get_mut().flush()
    }
}
