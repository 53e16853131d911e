//! `onecopy genome index`: an index of the read names of a BAM file.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::default_index_path;
use serde::Serialize;

use super::opening;
use crate::failure::Failure;
use crate::output::Output;
use crate::values::parse_mebibytes;
use onecopy::counted;

const AFTER_LONG_HELP: &str = "\
The index has the public format bri, version 1: the distinct names, then for each alignment the place of its name and its
virtual offset in the BAM file. Beside it, in FILE.owner, stands of which BAM file it is, so that it is never used
with another. The file gets its name when it is complete; a run that is killed leaves the one before.

The BAM file may be sorted in any way. It must be complete: an index of half a file would hide the other half.

Examples:
  onecopy genome index reads.bam
  onecopy genome index reads.bam -o /scratch/reads.bri --memory 4096";

/// Index a BAM file by the names of its reads
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The BAM file
    bam: PathBuf,
    /// The index; BAM.bri unless told otherwise
    #[arg(short, long, short_alias = 'i', value_name = "FILE")]
    output: Option<PathBuf>,
    /// Threads that decompress; as many as there are processors unless told otherwise
    #[arg(short, long, value_name = "COUNT")]
    threads: Option<NonZero<usize>>,
    /// Memory for names, in MiB; more names are sorted in temporary files beside the index
    #[arg(long, value_name = "MIB", default_value = "512", value_parser = parse_mebibytes)]
    memory: usize,
    /// Tell what was made as a JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Made<'a> {
    index: &'a str,
    records: u64,
    bytes: u64,
    spills: usize,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let options = BuildOptions { threads: super::threads(arguments.threads), memory_bytes: arguments.memory };
    let path = arguments.output.clone().unwrap_or_else(|| default_index_path(&arguments.bam));
    let begin = Instant::now();
    let report = opening::build(&arguments.bam, &path, &options)?;
    let seconds = begin.elapsed().as_secs_f64();
    if !arguments.json {
        let alignments = counted(report.records, "alignment");
        eprintln!("onecopy: {} has {alignments}, made in {seconds:.2} s", path.display());
        return Ok(());
    }
    let index = path.display().to_string();
    let mut output = Output::new();
    output.json_document(&Made {
        index: &index,
        records: report.records,
        bytes: report.bytes,
        spills: report.spills,
        seconds,
    })?;
    output.flush()
}
