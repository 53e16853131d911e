//! `onecopy genome get`: the alignments of reads, by name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{BamHeader, GenomeError, Reads, SamLines};

use super::opening::IndexArguments;
use crate::failure::Failure;
use crate::scope::Scope;

const AFTER_LONG_HELP: &str = "\
All alignments of each read go to standard output as lines of SAM: both ends of a pair, secondary and supplementary ones.
Reads come in the order of the names, alignments of a read in the order of the file. Names that are not in the file are told
on standard error, and the exit code is then 9; the others are printed all the same.

Examples:
  onecopy genome get reads.bam A00123:45:HXX:1:1101:1000:2000
  onecopy genome get --header reads.bam -f names.txt | samtools view -b -o subset.bam
  cut -f1 hits.tsv | onecopy genome get reads.bam -";

/// Bytes of a line in a list of names at most: far more than the 254 that a name in a BAM file can have, so a longer
/// one shows that it is no such list.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// Print the alignments of reads, by name
#[derive(Debug, Args)]
#[command(after_long_help = AFTER_LONG_HELP)]
pub(crate) struct Arguments {
    /// The BAM file
    bam: PathBuf,
    /// Names of reads; - reads more of them from standard input, one a line
    #[arg(required_unless_present = "file", value_name = "NAME")]
    names: Vec<String>,
    /// A file with names, one a line; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the header first, which makes the output a SAM file
    #[arg(long)]
    header: bool,
    #[command(flatten)]
    index: IndexArguments,
}

pub(crate) fn run(arguments: &Arguments, scope: &Scope) -> Result<(), Failure> {
    let index = arguments.index.open(&arguments.bam, &BuildOptions::default(), scope)?;
    let header = BamHeader::read(&arguments.bam)?;
    let mut getter = Getter {
        bam: &arguments.bam,
        reads: Reads::open(&arguments.bam, index)?,
        lines: SamLines::new(BufWriter::with_capacity(64 << 10, io::stdout().lock()), &header),
        missing: 0,
    };
    if arguments.header {
        getter.lines.header().map_err(Failure::output)?;
    }
    for name in &arguments.names {
        if name == "-" {
            getter.get_all(io::stdin().lock(), "standard input")?;
        } else {
            getter.get(name.as_bytes())?;
        }
    }
    match &arguments.file {
        None => {}
        Some(path) if path.as_os_str() == "-" => getter.get_all(io::stdin().lock(), "standard input")?,
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(Failure::system(format!("open {name}")))?;
            getter.get_all(BufReader::new(file), &name)?;
        }
    }
    getter.lines.flush().map_err(Failure::output)?;
    match getter.missing {
        0 => Ok(()),
        count => Err(Failure::NoRead { count, bam: arguments.bam.display().to_string() }),
    }
}

/// Prints the alignments of one name after the other.
struct Getter<'a, Sink: Write> {
    bam: &'a Path,
    reads: Reads,
    lines: SamLines<'a, Sink>,
    missing: u64,
}

impl<Sink: Write> Getter<'_, Sink> {
    fn get(&mut self, name: &[u8]) -> Result<(), Failure> {
        let Self { reads, lines, bam, .. } = self;
        let count = reads.get(name, |record| {
            lines.alignment(record).map_err(|source| match source.kind() {
                // The alignment's own fault, not that of who reads the output.
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    Failure::Genome(GenomeError::Unreadable {
                        path: bam.to_path_buf(),
                        format: "BAM",
                        source,
                    })
                }
                _ => Failure::output(source),
            })
        })?;
        if count == 0 {
            self.missing += 1;
            eprintln!("onecopy: no read {}", String::from_utf8_lossy(name));
        }
        Ok(())
    }

    fn get_all(&mut self, mut names: impl BufRead, source: &str) -> Result<(), Failure> {
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let read = names.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
            let bytes = read.map_err(Failure::system(format!("read {source}")))?;
            if bytes == 0 {
                break;
            }
            if bytes as u64 > LINE_BYTES_MAX {
                let what = format!("it is longer than {LINE_BYTES_MAX} bytes, and no read has such a name");
                return Err(GenomeError::Line { path: PathBuf::from(source), line: number, what }.into());
            }
            let name = line.strip_suffix(b"\n").unwrap_or(&line);
            let name = name.strip_suffix(b"\r").unwrap_or(name);
            if !name.is_empty() {
                self.get(name)?;
            }
        }
        Ok(())
    }
}
