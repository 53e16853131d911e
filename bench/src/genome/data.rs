//! The data: an assembly of eight million bases, a second one that differs from it in known places, and reads
//! of the first aligned to both. Made once, with wgsim, minimap2 and samtools, which `cargo xtask bench
//! genome` installs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use onecopy_genome::bri::BuildOptions;

const BASES: usize = 8_000_000;
/// Pairs of reads of 150 bases: 28 reads on each base.
const PAIRS: usize = 750_000;
/// Written last: whoever finds it finds all the rest.
const TRUTH: &str = "truth.bin";

/// What there is.
pub(super) struct Data {
    pub(super) first: PathBuf,
    pub(super) second: PathBuf,
    pub(super) first_reference: PathBuf,
    pub(super) second_reference: PathBuf,
    /// For each base of the first assembly, its position in the second, from 1, or 0 if it has none.
    pub(super) truth: Vec<u32>,
}

impl Data {
    pub(super) fn open_or_make(folder: &Path) -> anyhow::Result<Self> {
        if !folder.join(TRUTH).exists() {
            eprintln!("making the data in {}, which takes some minutes", folder.display());
            make(folder)?;
        }
        let truth = std::fs::read(folder.join(TRUTH)).context("cannot read what is known about the data")?;
        let (words, _) = truth.as_chunks();
        Ok(Self {
            first: folder.join("first.bam"),
            second: folder.join("second.bam"),
            first_reference: folder.join("first.fa"),
            second_reference: folder.join("second.fa"),
            truth: words.iter().map(|&word| u32::from_le_bytes(word)).collect(),
        })
    }
}

fn make(folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut random = Random::new(20_261_121);
    let first: Vec<u8> = (0..BASES).map(|_| random.base()).collect();
    let (second, truth) = edit(&first, &mut random);
    write_fasta(&folder.join("first.fa"), &first)?;
    write_fasta(&folder.join("second.fa"), &second)?;
    let pairs = PAIRS.to_string();
    let simulate =
        ["-N", &pairs, "-1", "150", "-2", "150", "-d", "400", "-s", "50", "-e", "0.002", "-r", "0"];
    let files = ["-R", "0", "-S", "11", "first.fa", "ends1.fq", "ends2.fq"];
    let status = Command::new("wgsim")
        .args(simulate)
        .args(files)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("cannot start wgsim: `cargo xtask bench genome` installs it, with samtools")?;
    ensure!(status.success(), "wgsim ended with {status}");
    align(folder, "first.fa", &["sort", "-m", "1G", "-o", "first.bam", "-"])?;
    align(folder, "second.fa", &["sort", "-n", "-m", "1G", "-o", "second.bam", "-"])?;
    let status = Command::new("samtools").args(["index", "first.bam"]).current_dir(folder).status()?;
    ensure!(status.success(), "samtools index ended with {status}");
    for fastq in ["ends1.fq", "ends2.fq"] {
        std::fs::remove_file(folder.join(fastq))?;
    }
    let bytes: Vec<u8> = truth.iter().flat_map(|position| position.to_le_bytes()).collect();
    std::fs::write(folder.join(TRUTH), bytes).context("cannot write what is known about the data")
}

/// minimap2 into samtools.
fn align(folder: &Path, reference: &str, sort: &[&str]) -> anyhow::Result<()> {
    let mut aligner = Command::new("minimap2")
        .args(["-t", "1", "-ax", "sr", reference, "ends1.fq", "ends2.fq"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start minimap2: `cargo xtask bench genome` installs it")?;
    let alignments = aligner.stdout.take().context("minimap2 has no output")?;
    let sorted = Command::new("samtools")
        .args(sort)
        .current_dir(folder)
        .stdin(alignments)
        .stderr(Stdio::null())
        .status()?;
    let aligned = aligner.wait()?;
    ensure!(
        sorted.success() && aligned.success(),
        "minimap2 ended with {aligned}, samtools sort with {sorted}"
    );
    Ok(())
}

/// A BAM file with ten times as many names, and its index. Its reads have no bases: what is measured with it are names.
pub(super) fn large(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (bam, index) = (folder.join("large.bam"), folder.join("large.bam.bri"));
    if !index.exists() {
        write_large(&bam)?;
        BuildOptions::default().build(&bam, &index, |_, _| {})?;
    }
    Ok((bam, index))
}

fn write_large(bam: &Path) -> anyhow::Result<()> {
    let mut random = Random::new(5);
    let mut samtools = Command::new("samtools")
        .args(["view", "-1", "-o"])
        .args([bam, Path::new("-")])
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start samtools: `cargo xtask bench genome` installs it")?;
    let mut lines = BufWriter::new(samtools.stdin.take().context("samtools has no input")?);
    for pair in 0..10 * PAIRS {
        let place = random.below(BASES);
        let name = format!("chr1_{place}_{}_0:0:0_1:0:0_{pair:x}", place + 400);
        for flags in [77, 141] {
            writeln!(lines, "{name}\t{flags}\t*\t0\t0\t*\t*\t0\t0\t*\t*")?;
        }
    }
    lines.flush()?;
    drop(lines);
    let status = samtools.wait()?;
    ensure!(status.success(), "samtools ended with {status}");
    Ok(())
}

/// One base in a thousand changed, one place in ten thousand each with up to thirty bases more or fewer.
fn edit(first: &[u8], random: &mut Random) -> (Vec<u8>, Vec<u32>) {
    let mut second = Vec::with_capacity(first.len());
    let mut truth = vec![0; first.len()];
    let mut index = 0;
    while index < first.len() {
        let kind = random.below(10_000);
        if kind == 11 {
            index += 1 + random.below(30);
            continue;
        }
        let changed = kind < 10;
        second.push(if changed { other_base(first[index], random) } else { first[index] });
        truth[index] = second.len() as u32;
        index += 1;
        if kind == 10 {
            for _ in 0..=random.below(30) {
                second.push(random.base());
            }
        }
    }
    (second, truth)
}

fn other_base(base: u8, random: &mut Random) -> u8 {
    loop {
        match random.base() {
            other if other != base => return other,
            _ => {}
        }
    }
}

fn write_fasta(path: &Path, bases: &[u8]) -> anyhow::Result<()> {
    let mut file =
        BufWriter::new(File::create(path).with_context(|| format!("cannot write {}", path.display()))?);
    writeln!(file, ">chr1")?;
    for line in bases.chunks(80) {
        file.write_all(line)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}

/// Numbers without order (SplitMix64), the same in every run.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(word ^ (word >> 31)) * limit as u128) >> 64) as usize
    }

    fn base(&mut self) -> u8 {
        b"ACGT"[self.below(4)]
    }
}
