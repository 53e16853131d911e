//! Reads by name and positions of one assembly in another. Unlike the other subjects there are no two processes that
//! take turns on two cores: what counts is the time of whole operations with all cores, and what processes
//! cost together.
//!
//! | row | what it is |
//! |---|---|
//! | `index-build` | the index of 1.5 million alignments, in seconds; of samtools: reading through the same file, `view -c` |
//! | `index-build-peak` | the most memory that took, in a process of its own |
//! | `open-shared` | from a connected node to an index ready for use; `payload` is the size of what is shared |
//! | `lookup`, `lookup-together` | random names to the place of their first alignment, one call for each, or one call for all |
//! | `lookup-bisected` | the same without the table, as programs do that know only the public format |
//! | `fetch` | lookup of random names and all their alignments, counted in alignments |
//! | `fetch-one` | lookup of random names, and for each one of its alignments |
//! | `pss` | proportional memory of all processes that use the shared index, each of which has read all of it |
//! | `convert`, `convert-right`, `convert-misled` | positions a second; how many of those that exist in both assemblies are right, in per cent; how many were wrong with the support of more than 80 % of at least 5 reads, away from insertions and deletions |

mod convert;
mod data;
mod indexer;
mod reader;

use std::num::NonZero;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use onecopy::Node;
use onecopy_genome::bri::{BriView, BuildOptions};
use onecopy_genome::{AlignmentReader, GenomeError, NameIndex, Reads, SharedIndex};

use crate::job::{Peer, Row, Unit};
use crate::options::CommonOptions;
use crate::probe::Regime;
use crate::report::{Record, Report};
use crate::samples::Summary;

pub(crate) use indexer::serve as serve_indexer;
pub(crate) use reader::{READER, serve as serve_reader};

/// The command line of this subject.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// Where the data are, or will be made
    #[arg(long, value_name = "FOLDER", default_value = "target/genome")]
    data: PathBuf,
    /// Only the rows that begin like this: index-build, open-shared, lookup, fetch, pss or convert
    #[arg(long, value_name = "ROW")]
    only: Option<String>,
    /// Only make the data: it takes minutes, and needs nobody to be quiet meanwhile
    #[arg(long)]
    only_data: bool,
}

/// Names looked up in a round.
const LOOKUPS: usize = 1_000_000;
const FETCHES: usize = 20_000;
/// Processes that use the index at once.
const PROCESSES: [usize; 2] = [1, 16];

/// Measures and reports.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let data = data::Data::open_or_make(&options.data)?;
    if options.only_data {
        data::large(&options.data)?;
        return Ok(());
    }
    let rounds = if options.common.quick { 3 } else { 7 };
    let mut bench = Bench { report: Report::new(options.common.json.as_deref(), &[Peer::Samtools])?, rounds };
    let wants = |row: &str| options.only.as_deref().is_none_or(|only| row.starts_with(only));
    let index = options.data.join("bench.bri");
    if wants("index-build") {
        bench.index_build(&data, &index)?;
    } else {
        BuildOptions::default().build(&data.second, &index, |_, _| {})?;
    }
    let folder = tempfile::tempdir()?;
    let node = Node::builder().directory(folder.path()).name("bench").open()?;
    let published = onecopy_genome::share(&node, &data.second, &index, |_, _| {})?;
    if wants("open-shared") {
        bench.open_shared(&node, &data.second, published.catalog().content_bytes)?;
        let (large, large_index) = data::large(&options.data)?;
        let published = onecopy_genome::share(&node, &large, &large_index, |_, _| {})?;
        bench.open_shared(&node, &large, published.catalog().content_bytes)?;
    }
    let names = random_names(&index)?;
    if wants("lookup") {
        bench.lookup(&node, &data, &index, &names)?;
    }
    if wants("fetch") {
        bench.fetch(&node, &data, &names, &options.data)?;
        bench.fetch_one(&node, &data, &names)?;
    }
    for processes in PROCESSES.into_iter().filter(|_| wants("pss")) {
        let bytes = reader::proportional_bytes(folder.path(), &data.second, processes)?;
        bench.add("pss", Peer::Onecopy, 0, processes, Unit::Mebibytes, bytes as f64 / f64::from(1 << 20))?;
    }
    if wants("convert") {
        convert::measure(&mut bench, &node, &data, options)?;
    }
    bench.report.finish()
}

/// The rows as they come.
struct Bench {
    report: Report,
    rounds: usize,
}

impl Bench {
    fn add(
        &mut self,
        bench: &'static str,
        peer: Peer,
        payload: usize,
        readers: usize,
        unit: Unit,
        mean: f64,
    ) -> anyhow::Result<()> {
        let row = Row { bench, payload, readers, unit };
        self.report.add(Record::new(&row, peer, Regime::Any, &Summary { mean, percentiles: None }))
    }

    /// The median time of several rounds.
    fn time(&self, mut once: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..self.rounds {
            let begin = Instant::now();
            once()?;
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().context("no rounds")
    }

    fn index_build(&mut self, data: &data::Data, index: &std::path::Path) -> anyhow::Result<()> {
        for threads in [1, 2] {
            let threads = NonZero::new(threads).context("no threads")?;
            let build = BuildOptions { threads, ..BuildOptions::default() };
            let time = self.time(|| Ok(build.build(&data.second, index, |_, _| {}).map(drop)?))?;
            self.add("index-build", Peer::Onecopy, 0, threads.get(), Unit::Seconds, time.as_secs_f64())?;
            let peak = indexer::peak_bytes(&data.second, index, threads)? as f64 / f64::from(1 << 20);
            self.add("index-build-peak", Peer::Onecopy, 0, threads.get(), Unit::Mebibytes, peak)?;
        }
        let time = self.time(|| {
            let output = Command::new("samtools").args(["view", "-c"]).arg(&data.second).output();
            ensure!(output.context("cannot start samtools")?.status.success(), "samtools failed");
            Ok(())
        })?;
        self.add("index-build", Peer::Samtools, 0, 1, Unit::Seconds, time.as_secs_f64())
    }

    fn open_shared(&mut self, node: &Node, bam: &std::path::Path, bytes: u64) -> anyhow::Result<()> {
        let time = self.time(|| {
            SharedIndex::open(node, bam)?.context("the index is not shared")?;
            Ok(())
        })?;
        self.add(
            "open-shared",
            Peer::Onecopy,
            bytes as usize,
            1,
            Unit::Milliseconds,
            time.as_secs_f64() * 1e3,
        )
    }

    fn lookup(
        &mut self,
        node: &Node,
        data: &data::Data,
        index: &std::path::Path,
        names: &[Vec<u8>],
    ) -> anyhow::Result<()> {
        // Where they are read from is not to be random as well.
        let mut text = Vec::new();
        let ends: Vec<usize> = names
            .iter()
            .take(LOOKUPS)
            .map(|name| {
                text.extend_from_slice(name);
                text.len()
            })
            .collect();
        let each = || ends.iter().scan(0, |from, &end| Some(&text[std::mem::replace(from, end)..end]));
        let shared = SharedIndex::open(node, &data.second)?.context("the index is not shared")?;
        let lookup = shared.lookup()?;
        let rate = |time: Duration| ends.len() as f64 / time.as_secs_f64();
        // What is found is used: a lookup that nobody looks at could be half of one.
        let known = |place: Option<u64>| place.context("a name is missing");
        let mut sums = Vec::new();
        let one = self.time(|| {
            let find = |sum: u64, name| Ok(sum.wrapping_add(known(lookup.find(name)?.first())?));
            sums.push(each().try_fold(0, find));
            Ok(())
        })?;
        self.add("lookup", Peer::Onecopy, 0, 1, Unit::PerSecond, rate(one))?;
        let together = self.time(|| {
            let (mut sum, mut missing) = (0_u64, 0);
            lookup.find_all(each(), |found| match found.first() {
                Some(place) => sum = sum.wrapping_add(place),
                None => missing += 1,
            })?;
            ensure!(missing == 0, "{missing} names are missing");
            sums.push(Ok(sum));
            Ok(())
        })?;
        self.add("lookup-together", Peer::Onecopy, 0, 1, Unit::PerSecond, rate(together))?;
        let bytes = std::fs::read(index)?;
        let view = BriView::new(&bytes)?;
        let bisected = self.time(|| {
            let find = |sum: u64, name| {
                let records = view.find(name)?;
                Ok(sum.wrapping_add(known((!records.is_empty()).then(|| view.alignment(records.start)))?))
            };
            sums.push(each().try_fold(0, find));
            Ok(())
        })?;
        self.add("lookup-bisected", Peer::Onecopy, 0, 1, Unit::PerSecond, rate(bisected))?;
        let sums = sums.into_iter().collect::<anyhow::Result<Vec<u64>>>()?;
        ensure!(sums.windows(2).all(|pair| pair[0] == pair[1]), "three ways of looking find different reads");
        Ok(())
    }

    fn fetch(
        &mut self,
        node: &Node,
        data: &data::Data,
        names: &[Vec<u8>],
        folder: &std::path::Path,
    ) -> anyhow::Result<()> {
        let shared = SharedIndex::open(node, &data.second)?.context("the index is not shared")?;
        let mut reads = Reads::open(&data.second, NameIndex::of_shared(shared))?;
        let names = &names[..FETCHES.min(names.len())];
        let mut alignments = 0;
        let time = self.time(|| {
            alignments = 0;
            for name in names {
                alignments += reads.get(name, |_| Ok::<_, GenomeError>(()))?;
            }
            Ok(())
        })?;
        self.add("fetch", Peer::Onecopy, 0, 1, Unit::PerSecond, alignments as f64 / time.as_secs_f64())?;
        let list = folder.join("names.txt");
        std::fs::write(&list, names.join(&b'\n'))?;
        let begin = Instant::now();
        let output = Command::new("samtools")
            .args(["view", "-c", "-N"])
            .args([&list, &data.second])
            .output()
            .context("cannot start samtools")?;
        let counted: usize =
            String::from_utf8_lossy(&output.stdout).trim().parse().context("samtools failed")?;
        ensure!(counted == alignments, "samtools finds {counted} alignments, and this finds {alignments}");
        let rate = counted as f64 / begin.elapsed().as_secs_f64();
        self.add("fetch", Peer::Samtools, 0, 1, Unit::PerSecond, rate)
    }

    /// One alignment for each name: the other end of a pair, which lies beside it, does not come for nothing.
    fn fetch_one(&mut self, node: &Node, data: &data::Data, names: &[Vec<u8>]) -> anyhow::Result<()> {
        let shared = SharedIndex::open(node, &data.second)?.context("the index is not shared")?;
        let mut index = NameIndex::of_shared(shared);
        let mut reader = AlignmentReader::open(&data.second)?;
        let names = &names[..FETCHES.min(names.len())];
        let mut found = Vec::new();
        let time = self.time(|| {
            for (number, name) in names.iter().enumerate() {
                found.clear();
                index.find(name, &mut found)?;
                let alignment =
                    reader.read(*found.get(number % found.len().max(1)).context("a name is missing")?)?;
                ensure!(alignment.name().is_some_and(|known| *known == name[..]), "another read is there");
            }
            Ok(())
        })?;
        let rate = names.len() as f64 / time.as_secs_f64();
        self.add("fetch-one", Peer::Onecopy, 0, 1, Unit::PerSecond, rate)
    }
}

/// The names of an index in no order, the same in every run.
fn random_names(index: &std::path::Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(index)?;
    let view = BriView::new(&bytes)?;
    let mut names = Vec::new();
    let mut record = 0;
    while record < view.len() {
        names.push(view.name(record)?.to_vec());
        record = view.same_name(record)?.end;
    }
    let mut random = data::Random::new(3);
    for end in (1..names.len()).rev() {
        names.swap(end, random.below(end + 1));
    }
    // A name that stands for both ends of a pair is looked up as often as those.
    Ok([names.as_slice(), names.as_slice()].concat())
}
