//! A conversion as a whole: what goes in, and how threads share the work.

use std::num::NonZero;
use std::path::PathBuf;

use noodles_sam::Header;

use super::chunk::Chunk;
use super::first::{FirstFile, FirstReader};
use super::format::Format;
use super::output::Output;
use super::positions::{Positions, Query};
use super::reference::Reference;
use super::second::SecondReader;
use super::vote::{Outcome, Reason, code, decide};
use crate::bam::{BamHeader, Unchanged};
use crate::error::GenomeError;
use crate::name_index::NameIndex;
use crate::ordered;

/// Positions that a thread answers together: enough that those who need the same block of the second file meet, few
/// enough that their reads fit into memory at a thousandfold coverage.
const BATCH_POSITIONS: usize = 4096;

/// What to convert, and with what.
///
/// ```no_run
/// use std::num::NonZero;
/// use onecopy_genome::bri::BuildOptions;
/// use onecopy_genome::{Convert, Format, NameIndex};
///
/// # fn main() -> Result<(), onecopy_genome::GenomeError> {
/// let convert = Convert {
///     first: "old.bam".into(),
///     second: "new.bam".into(),
///     first_reference: "old.fa".into(),
///     second_reference: "new.fa".into(),
///     positions: "sites.vcf.gz".into(),
///     format: Format::Vcf,
///     prefix: "moved".into(),
///     threads: NonZero::<usize>::MIN,
///     has_evidence: false,
/// };
/// let (index, _) = NameIndex::open_or_build(&convert.second, None, &BuildOptions::default(), |_, _| {})?;
/// let report = convert.run(index, |done| eprintln!("{done} positions"))?;
/// println!("{} in moved.txt and moved.vcf, {} in moved.unmapped.txt", report.converted, report.unmapped);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Convert {
    /// Reads on the first reference: BAM or CRAM, sorted by coordinate.
    pub first: PathBuf,
    /// The same reads on the second reference: BAM, in any order.
    pub second: PathBuf,
    /// The first reference, FASTA.
    pub first_reference: PathBuf,
    /// The second reference, FASTA.
    pub second_reference: PathBuf,
    /// The positions.
    pub positions: PathBuf,
    /// How they are written; what is not [`Format::Text`] is also written in this format.
    pub format: Format,
    /// The beginning of the names of the files that are written.
    pub prefix: PathBuf,
    /// How many threads.
    pub threads: NonZero<usize>,
    /// Whether to write how many reads decided.
    pub has_evidence: bool,
}

/// What came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ConvertReport {
    /// Positions with a place in the second reference.
    pub converted: u64,
    /// Positions without.
    pub unmapped: u64,
    /// Indexes of coordinates and references that were missing, and were made.
    pub built: Vec<PathBuf>,
}

/// Everything that threads read.
struct Inputs {
    first: FirstFile,
    first_reference: Reference,
    second: PathBuf,
    second_header: Header,
    second_reference: Reference,
    index: NameIndex,
}

/// A thread's own open files.
struct Worker<'a> {
    inputs: &'a Inputs,
    first: FirstReader<'a>,
    second: SecondReader<'a>,
}

impl Convert {
    /// Converts. `index` is that of [`second`](Self::second). `progress` is called with the positions that are done.
    ///
    /// Files get their names when all is done; a failure leaves those of an earlier run as they were.
    ///
    /// # Errors
    ///
    /// If a file can't be read, is damaged, does not fit the others or changes meanwhile, or a line of the
    /// positions makes no sense. Positions that have no place are no error: they are listed with the reason.
    pub fn run(&self, index: NameIndex, mut progress: impl FnMut(u64)) -> Result<ConvertReport, GenomeError> {
        let unchanged = [&self.first, &self.second, &self.first_reference, &self.second_reference]
            .map(|path| Unchanged::now(path));
        let unchanged = unchanged.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut report = ConvertReport::default();
        let inputs = self.open(index, &mut report)?;
        let mut positions = Positions::open(&self.positions, self.format)?;
        let mut output = Output::create(&self.prefix, self.format, self.has_evidence, &inputs.second_header)?;
        let mut done = 0;
        while let Some(chunk) = Chunk::read(&mut positions, inputs.first.header())? {
            let (mut batches, mut answers) = (chunk.batches(BATCH_POSITIONS), chunk.answers());
            ordered::run(
                self.threads,
                || Ok(batches.next()),
                || Worker::start(&inputs),
                |worker, numbers| Ok((numbers, worker.answer(&chunk.queries(numbers))?)),
                |(numbers, outcomes)| {
                    answers.put(numbers, outcomes);
                    while let Some((query, outcome)) = answers.next() {
                        report.count(&outcome);
                        output.answer(query, &outcome)?;
                    }
                    done += numbers.len() as u64;
                    progress(done);
                    Ok(())
                },
            )?;
        }
        for file in &unchanged {
            file.check()?;
        }
        output.finish()?;
        Ok(report)
    }

    fn open(&self, index: NameIndex, report: &mut ConvertReport) -> Result<Inputs, GenomeError> {
        let (first_reference, is_first_new) = Reference::open(&self.first_reference)?;
        let (second_reference, is_second_new) = Reference::open(&self.second_reference)?;
        let (first, is_index_new) = FirstFile::open(&self.first, &first_reference)?;
        let second_header = BamHeader::read(&self.second)?.header().clone();
        first_reference.check_header(first.header(), first.path())?;
        second_reference.check_header(&second_header, &self.second)?;
        let made = [
            (is_first_new, &self.first_reference),
            (is_second_new, &self.second_reference),
            (is_index_new, &self.first),
        ];
        report.built.extend(made.into_iter().filter(|(is_new, _)| *is_new).map(|(_, path)| path.clone()));
        Ok(Inputs {
            first,
            first_reference,
            second: self.second.clone(),
            second_header,
            second_reference,
            index,
        })
    }
}

impl ConvertReport {
    fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Converted { .. } => self.converted += 1,
            Outcome::Unmapped(_) => self.unmapped += 1,
        }
    }
}

impl<'a> Worker<'a> {
    fn start(inputs: &'a Inputs) -> Result<Self, GenomeError> {
        let second = SecondReader::open(&inputs.second, &inputs.second_header, inputs.index.clone())?;
        Ok(Self { inputs, first: inputs.first.reader()?, second })
    }

    fn answer(&mut self, queries: &[&Query]) -> Result<Vec<Outcome>, GenomeError> {
        let mut found = self.first.find(queries, &self.inputs.first_reference)?;
        let mut votes = self.second.votes(&mut found)?;
        queries
            .iter()
            .zip(&mut votes)
            .zip(&found.reasons)
            .map(|((query, votes), &reason)| self.outcome(query, votes, reason))
            .collect()
    }

    fn outcome(
        &self,
        query: &Query,
        votes: &mut [super::vote::Vote],
        reason: Reason,
    ) -> Result<Outcome, GenomeError> {
        let Some(winner) = decide(votes) else { return Ok(Outcome::Unmapped(reason)) };
        let Inputs { first_reference, second_reference, second_header, .. } = self.inputs;
        let foreign = |reference: &Reference, what: String| GenomeError::ForeignReference {
            reference: reference.path().to_owned(),
            alignments: self.inputs.second.clone(),
            what,
        };
        let first = first_reference.base(query.sequence.as_bytes(), query.position)?;
        let sequence = second_header.reference_sequences().get_index(winner.sequence).map(|(name, _)| name);
        let Some(name) = sequence else {
            let what =
                format!("a read lies on sequence {}, of which the header does not speak", winner.sequence);
            return Err(foreign(second_reference, what));
        };
        let second = second_reference.base(name, winner.position)?;
        let (Some(first_base), Some(second_base)) = (first, second) else {
            let what = format!(
                "a read lies on {}:{}, which is not there",
                String::from_utf8_lossy(name),
                winner.position
            );
            return Err(foreign(second_reference, what));
        };
        Ok(Outcome::Converted {
            first_base,
            second_base,
            code: code(first_base, second_base, winner.is_turned),
            winner,
        })
    }
}
