//! Genome files for tests, made as they are needed.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

pub(crate) mod simulation;

use std::fs::File;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use noodles_core::Position;
use noodles_sam::Header;
use noodles_sam::alignment::RecordBuf;
use noodles_sam::alignment::io::Write as _;
use noodles_sam::alignment::record::cigar::op::{Kind, Op};
use noodles_sam::alignment::record::data::field::Tag;
use noodles_sam::alignment::record::{Flags, MappingQuality};
use noodles_sam::alignment::record_buf::data::field::Value;
use noodles_sam::alignment::record_buf::{Cigar, Data, QualityScores, Sequence};
use noodles_sam::header::record::value::Map;
use noodles_sam::header::record::value::map::{self, ReferenceSequence};

/// A folder with files.
pub(crate) struct Folder {
    directory: tempfile::TempDir,
}

impl Folder {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// All names in it, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// An alignment, as one would write it in SAM.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) flags: u16,
    /// Number of the sequence; none if unmapped.
    pub(crate) sequence: Option<usize>,
    pub(crate) position: usize,
    pub(crate) quality: u8,
    pub(crate) cigar: String,
    pub(crate) bases: Vec<u8>,
    /// Whether it has an SA tag.
    pub(crate) is_in_pieces: bool,
}

impl Line {
    /// An unmapped read.
    pub(crate) fn unmapped(name: &str, bases: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            flags: 4,
            sequence: None,
            position: 0,
            quality: 0,
            cigar: String::new(),
            bases: bases.to_vec(),
            is_in_pieces: false,
        }
    }

    /// A read on the first sequence, quality 60.
    pub(crate) fn mapped(name: &str, flags: u16, position: usize, cigar: &str, bases: &[u8]) -> Self {
        Self {
            sequence: Some(0),
            position,
            quality: 60,
            cigar: cigar.to_owned(),
            flags,
            ..Self::unmapped(name, bases)
        }
    }

    fn record(&self) -> RecordBuf {
        let mut builder = RecordBuf::builder()
            .set_name(self.name.as_str())
            .set_flags(Flags::from(self.flags))
            .set_sequence(Sequence::from(self.bases.clone()))
            .set_quality_scores(QualityScores::from(vec![30; self.bases.len()]));
        if let Some(sequence) = self.sequence {
            let cigar: Cigar = operations(&self.cigar).into_iter().collect();
            builder = builder
                .set_reference_sequence_id(sequence)
                .set_alignment_start(Position::new(self.position).unwrap())
                .set_cigar(cigar);
            if let Some(quality) = MappingQuality::new(self.quality) {
                builder = builder.set_mapping_quality(quality);
            }
        }
        if self.is_in_pieces {
            let pieces = (Tag::OTHER_ALIGNMENTS, Value::from("sq1,1,+,10M,60,0;"));
            builder = builder.set_data([pieces].into_iter().collect::<Data>());
        }
        builder.build()
    }
}

pub(crate) fn operations(text: &str) -> Vec<Op> {
    let mut operations = Vec::new();
    let mut length = 0;
    for character in text.chars() {
        let kind = match character {
            'M' => Kind::Match,
            'I' => Kind::Insertion,
            'D' => Kind::Deletion,
            'N' => Kind::Skip,
            'S' => Kind::SoftClip,
            'H' => Kind::HardClip,
            digit => {
                length = length * 10 + digit.to_digit(10).unwrap() as usize;
                continue;
            }
        };
        operations.push(Op::new(kind, length));
        length = 0;
    }
    operations
}

/// How blocks are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// When they are full, in the middle of a record: as noodles does.
    Full,
    /// Between records, after so many: as htslib does.
    Every(usize),
}

/// A header with these sequences, sorted by coordinate or not.
pub(crate) fn header(sequences: &[(&str, usize)], is_sorted: bool) -> Header {
    use noodles_sam::header::record::value::map::header::{sort_order::COORDINATE, tag::SORT_ORDER};
    let mut first = Map::<map::Header>::default();
    if is_sorted {
        first.other_fields_mut().insert(SORT_ORDER, COORDINATE.into());
    }
    let mut builder = Header::builder().set_header(first);
    for &(name, length) in sequences {
        builder = builder
            .add_reference_sequence(name, Map::<ReferenceSequence>::new(NonZero::new(length).unwrap()));
    }
    builder.build()
}

pub(crate) fn write_bam(path: &Path, header: &Header, lines: &[Line], blocks: Blocks) {
    let mut writer = noodles_bam::io::Writer::new(File::create(path).unwrap());
    writer.write_header(header).unwrap();
    if blocks != Blocks::Full {
        writer.get_mut().flush().unwrap();
    }
    for (number, line) in lines.iter().enumerate() {
        writer.write_alignment_record(header, &line.record()).unwrap();
        if matches!(blocks, Blocks::Every(count) if number % count == count - 1) {
            writer.get_mut().flush().unwrap();
        }
    }
    writer.try_finish().unwrap();
}

pub(crate) fn write_cram(path: &Path, header: &Header, lines: &[Line], reference: &Path) {
    let reader = noodles_fasta::io::indexed_reader::Builder::default().build_from_path(reference).unwrap();
    let bases =
        noodles_fasta::Repository::new(noodles_fasta::repository::adapters::IndexedReader::new(reader));
    let mut writer = noodles_cram::io::writer::Builder::default()
        .set_reference_sequence_repository(bases)
        .build_from_path(path)
        .unwrap();
    writer.write_header(header).unwrap();
    for line in lines {
        writer.write_alignment_record(header, &line.record()).unwrap();
    }
    writer.try_finish(header).unwrap();
}

pub(crate) fn write_fasta(path: &Path, sequences: &[(&str, &[u8])]) {
    let mut file = File::create(path).unwrap();
    for (name, bases) in sequences {
        writeln!(file, ">{name} something about it").unwrap();
        for line in bases.chunks(60) {
            file.write_all(line).unwrap();
            file.write_all(b"\n").unwrap();
        }
    }
}

/// Numbers without order, the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    pub(crate) fn base(&mut self) -> u8 {
        b"ACGT"[self.below(4)]
    }

    pub(crate) fn bases(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.base()).collect()
    }
}
