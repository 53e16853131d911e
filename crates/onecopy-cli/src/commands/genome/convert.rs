//! `onecopy genome convert`: positions of one assembly in another.

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{Convert, Format};
use serde::Serialize;

use super::opening::IndexArguments;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Counter;
use crate::scope::Scope;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
The same reads are aligned to both assemblies. For each position, the reads of BAM1 that cover it are looked up by name in
BAM2, and each votes for the place where the base that lies on the position lies there. Reads that are unmapped, of
mapping quality 0, secondary, supplementary, or in several pieces (SA) have no vote. The place with the most votes wins; of
places with as many, the one that comes first in BAM2's header and then on its chromosome.

PREFIX.txt has a line for each position that has a place, in the order of the input:
  Ref1_chr Ref1_pos Ref1_base Ref2_chr Ref2_pos Ref2_base code
Bases are those of the references, in upper case. Codes:
  0  the same base
  1  the complement, and the assembly is turned round there: the same base
  2  another base
  3  another base, and the assembly is turned round there
With --evidence also: reads for the place, reads for any place, and the place with the second most reads.

PREFIX.unmapped.txt has a line for each position that has none, with the reason: unknown-chromosome, past-end, not-covered,
no-usable-read, deleted-in-reads, reads-not-in-second, reads-not-usable-in-second, no-base-in-second.

Examples:
  onecopy genome convert -b old.bam -B new.bam -r old.fa -R new.fa -s positions.txt -o moved
  onecopy genome convert -b old.cram -B new.bam -r old.fa -R new.fa -s sites.vcf.gz --format vcf -o moved --evidence";

/// Convert positions of one assembly to another, by reads aligned to both
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// Reads on the first assembly: BAM or CRAM, sorted by coordinate
    #[arg(short = 'b', long, value_name = "BAM1")]
    first: PathBuf,
    /// The same reads on the second assembly: BAM, in any order
    #[arg(short = 'B', long, value_name = "BAM2")]
    second: PathBuf,
    /// The first assembly: FASTA, not compressed
    #[arg(short = 'r', long, value_name = "REF1")]
    first_reference: PathBuf,
    /// The second assembly: FASTA, not compressed
    #[arg(short = 'R', long, value_name = "REF2")]
    second_reference: PathBuf,
    /// The positions, plain or compressed with bgzip
    #[arg(short = 's', long, value_name = "POSITIONS")]
    positions: PathBuf,
    /// Beginning of the names of the files to write
    #[arg(short = 'o', long, value_name = "PREFIX")]
    output: PathBuf,
    /// How many threads; as many as there are processors unless told otherwise. The result is the same for any number
    #[arg(short, long, value_name = "THREADS")]
    threads: Option<NonZero<usize>>,
    /// How the positions are written; VCF and BED are also written, as PREFIX.vcf or PREFIX.bed
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: FormatArgument,
    /// Add columns that tell how many reads decided
    #[arg(long)]
    evidence: bool,
    /// Tell what was done as a JSON object on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    index: IndexArguments,
}

/// How positions are written down.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FormatArgument {
    /// chrom:pos, counted from 1
    Text,
    /// Variant Call Format
    Vcf,
    /// Intervals counted from 0, each of whose bases is a position
    Bed,
}

#[derive(Serialize)]
struct Done {
    converted: u64,
    unmapped: u64,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let threads = super::threads(arguments.threads);
    let options = BuildOptions { threads, ..BuildOptions::default() };
    let index = arguments.index.open(&arguments.second, &options, scope)?;
    let convert = Convert {
        first: arguments.first.clone(),
        second: arguments.second.clone(),
        first_reference: arguments.first_reference.clone(),
        second_reference: arguments.second_reference.clone(),
        positions: arguments.positions.clone(),
        format: match arguments.format {
            FormatArgument::Text => Format::Text,
            FormatArgument::Vcf => Format::Vcf,
            FormatArgument::Bed => Format::Bed,
        },
        prefix: arguments.output.clone(),
        threads,
        has_evidence: arguments.evidence,
    };
    let counter = Counter::new("positions")?;
    let report = convert.run(index, |done| counter.show(done));
    counter.clear();
    let report = report?;
    for path in &report.built {
        eprintln!("onecopy: {} had no index, so one was made", path.display());
    }
    if arguments.json {
        let mut output = Output::new();
        output.json_document(&Done { converted: report.converted, unmapped: report.unmapped })?;
        return output.flush();
    }
    let converted = counted(report.converted, "position");
    eprintln!("onecopy: {converted} converted, {} without a place", report.unmapped);
    Ok(())
}
