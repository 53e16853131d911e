//! The files that a conversion writes: the table, what has no place, and the same as VCF or BED.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use noodles_sam::Header;

use super::format::Format;
use super::positions::Query;
use super::vote::{Outcome, Reason, Winner, complement};
use crate::error::GenomeError;
use crate::files;

/// Writes answers in the order of the positions.
pub(super) struct Output<'a> {
    table: Sink,
    unmapped: Sink,
    /// The file in the format of the input.
    lifted: Option<(Sink, Format)>,
    has_evidence: bool,
    /// The second file's, which numbers the sequences.
    header: &'a Header,
}

/// A file on its way, and what it will be called.
struct Sink {
    writer: BufWriter<tempfile::NamedTempFile>,
    path: PathBuf,
}

impl Sink {
    fn create(path: PathBuf) -> Result<Self, GenomeError> {
        let file = tempfile::NamedTempFile::new_in(files::folder(&path))
            .map_err(GenomeError::file("write", &path))?;
        Ok(Self { writer: BufWriter::with_capacity(256 << 10, file), path })
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) -> Result<(), GenomeError> {
        self.writer
            .write_fmt(line)
            .and_then(|()| self.writer.write_all(b"\n"))
            .map_err(GenomeError::file("write", &self.path))
    }

    fn finish(self) -> Result<(), GenomeError> {
        let Self { writer, path } = self;
        let finished = writer.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| {
            let as_file: &File = file.as_file();
            files::make_ordinary(as_file)?;
            file.persist(&path).map_err(|error| error.error)
        });
        finished.map(drop).map_err(GenomeError::file("write", &path))
    }
}

impl<'a> Output<'a> {
    pub(super) fn create(
        prefix: &Path,
        format: Format,
        has_evidence: bool,
        header: &'a Header,
    ) -> Result<Self, GenomeError> {
        let mut table = Sink::create(files::beside(prefix, ".txt"))?;
        let evidence = if has_evidence { EVIDENCE_HEADINGS } else { "" };
        table.line(format_args!(
            "Ref1_chr\tRef1_pos\tRef1_base\tRef2_chr\tRef2_pos\tRef2_base\tcode{evidence}"
        ))?;
        let mut unmapped = Sink::create(files::beside(prefix, ".unmapped.txt"))?;
        unmapped.line(format_args!("Ref1_chr\tRef1_pos\treason"))?;
        let lifted = match format {
            Format::Text => None,
            Format::Bed => Some((Sink::create(files::beside(prefix, ".bed"))?, format)),
            Format::Vcf => {
                let mut sink = Sink::create(files::beside(prefix, ".vcf"))?;
                write_vcf_header(&mut sink, header)?;
                Some((sink, format))
            }
        };
        Ok(Self { table, unmapped, lifted, has_evidence, header })
    }

    pub(super) fn answer(&mut self, query: &Query, outcome: &Outcome) -> Result<(), GenomeError> {
        match outcome {
            Outcome::Unmapped(reason) => self.unmapped(query, *reason),
            Outcome::Converted { first_base, second_base, code, winner } => {
                self.converted(query, char::from(*first_base), char::from(*second_base), *code, winner)
            }
        }
    }

    fn unmapped(&mut self, query: &Query, reason: Reason) -> Result<(), GenomeError> {
        self.unmapped.line(format_args!("{}\t{}\t{}", query.sequence, query.position, reason.name()))
    }

    fn converted(
        &mut self,
        query: &Query,
        first_base: char,
        second_base: char,
        code: u8,
        winner: &Winner,
    ) -> Result<(), GenomeError> {
        let Query { sequence, position, .. } = query;
        let second = name(self.header, winner.sequence);
        let evidence = if self.has_evidence { self.evidence(winner) } else { String::new() };
        let place = winner.position;
        self.table.line(format_args!(
            "{sequence}\t{position}\t{first_base}\t{second}\t{place}\t{second_base}\t{code}{evidence}"
        ))?;
        let Some((sink, format)) = &mut self.lifted else { return Ok(()) };
        if *format == Format::Bed {
            let own_name = format!("{sequence}:{position}");
            let name = query.name.as_deref().unwrap_or(&own_name);
            let (strand, score) = (if winner.is_turned { '-' } else { '+' }, winner.support.min(1000));
            return sink.line(format_args!("{second}\t{}\t{place}\t{name}\t{score}\t{strand}", place - 1));
        }
        let identifier = query.name.as_deref().unwrap_or(".");
        let alternates = alternates(query, first_base, second_base, winner.is_turned);
        sink.line(format_args!(
            "{second}\t{place}\t{identifier}\t{second_base}\t{alternates}\t.\t.\t\
             REF1={sequence}:{position}:{first_base};CODE={code};SUPPORT={};READS={}",
            winner.support, winner.votes
        ))
    }

    fn evidence(&self, winner: &Winner) -> String {
        let (support, votes) = (winner.support, winner.votes);
        match winner.runner_up {
            None => format!("\t{support}\t{votes}\t.\t.\t0"),
            Some(other) => {
                let second = name(self.header, other.sequence);
                format!("\t{support}\t{votes}\t{second}\t{}\t{}", other.position, other.support)
            }
        }
    }

    pub(super) fn finish(self) -> Result<(), GenomeError> {
        self.table.finish()?;
        self.unmapped.finish()?;
        self.lifted.map_or(Ok(()), |(sink, _)| sink.finish())
    }
}

const EVIDENCE_HEADINGS: &str = "\tsupport\treads\trunner_up_chr\trunner_up_pos\trunner_up_support";

/// The name of a sequence.
fn name(header: &Header, sequence: usize) -> &str {
    // The number was looked up in this header.
    header
        .reference_sequences()
        .get_index(sequence)
        .and_then(|(name, _)| std::str::from_utf8(name).ok())
        .unwrap_or("?")
}

/// The alleles that the second reference does not show, on its own strand.
fn alternates(query: &Query, first_base: char, second_base: char, is_turned: bool) -> String {
    let mut alternates: Vec<char> = Vec::new();
    let first = u8::try_from(first_base).unwrap_or(b'N');
    for &allele in std::iter::once(&first).chain(&query.alleles) {
        let allele = char::from(if is_turned { complement(allele) } else { allele });
        if allele != second_base && !alternates.contains(&allele) {
            alternates.push(allele);
        }
    }
    if alternates.is_empty() {
        return ".".to_owned();
    }
    alternates.iter().map(char::to_string).collect::<Vec<_>>().join(",")
}

fn write_vcf_header(sink: &mut Sink, header: &Header) -> Result<(), GenomeError> {
    sink.line(format_args!("##fileformat=VCFv4.3"))?;
    for (sequence, map) in header.reference_sequences() {
        sink.line(format_args!(
            "##contig=<ID={},length={}>",
            String::from_utf8_lossy(sequence),
            map.length()
        ))?;
    }
    for (identifier, kind, meaning) in [
        ("REF1", "String", "Place and base in the first reference"),
        ("CODE", "Integer", "0 same, 1 same and turned round, 2 differs, 3 differs and turned round"),
        ("SUPPORT", "Integer", "Reads that agree on the place"),
        ("READS", "Integer", "Reads that have the base anywhere in the second reference"),
    ] {
        sink.line(format_args!("##INFO=<ID={identifier},Number=1,Type={kind},Description=\"{meaning}\">"))?;
    }
    sink.line(format_args!("#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"))
}
