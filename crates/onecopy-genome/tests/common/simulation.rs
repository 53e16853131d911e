//! Two assemblies that are known base by base, and reads that lie on both. The alignments are made from what
//! is known, so whatever a conversion gets wrong is its own fault.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{Blocks, Folder, Line, Random, header, write_bam, write_cram, write_fasta};

/// Bases of a read.
pub(crate) const READ_BASES: usize = 120;
/// The first base of the second assembly's segment that is turned round, and its length, both in the first.
pub(crate) const TURNED: (usize, usize) = (6000, 3000);
const GENOME_BASES: usize = 20_000;

/// What is known.
pub(crate) struct Simulation {
    pub(crate) first: Vec<u8>,
    pub(crate) second: Vec<u8>,
    /// For each base of the first assembly, where it is in the second and whether it is turned round.
    pub(crate) places: Vec<Option<(usize, bool)>>,
    first_lines: Vec<Line>,
    second_lines: Vec<Line>,
}

/// The files of a simulation.
pub(crate) struct Files {
    pub(crate) first: PathBuf,
    pub(crate) second: PathBuf,
    pub(crate) first_reference: PathBuf,
    pub(crate) second_reference: PathBuf,
}

pub(crate) fn complement(base: u8) -> u8 {
    match base {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' => b'A',
        other => other,
    }
}

pub(crate) fn reverse_complement(bases: &[u8]) -> Vec<u8> {
    bases.iter().rev().map(|&base| complement(base)).collect()
}

impl Simulation {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let mut first = random.bases(GENOME_BASES);
        first[3000..3010].fill(b'N');
        let (second, places) = edit(&first, &mut random);
        let mut simulation =
            Self { first, second, places, first_lines: Vec::new(), second_lines: Vec::new() };
        for number in 0..GENOME_BASES / 6 {
            let start = random.below(GENOME_BASES - READ_BASES);
            simulation.add_read(&format!("read:{number}"), start, random.below(2) == 1, &mut random);
        }
        simulation.first_lines.sort_by_key(|line| line.position);
        // By name, as `samtools sort -n` would have it, or in any order: it must not matter.
        simulation.second_lines.sort_by_key(|line| (line.name.len(), line.name.clone()));
        simulation
    }

    /// A read of the first assembly, both ends of the pair being the same piece.
    fn add_read(&mut self, name: &str, start: usize, is_reverse: bool, random: &mut Random) {
        let end = if random.below(2) == 0 { 0x41 } else { 0x81 };
        let clip = random.below(4) * 5;
        let bases = &self.first[start..start + READ_BASES];
        let strand = |is_reverse: bool| if is_reverse { 0x10 } else { 0 };
        let cigar = match clip {
            0 => format!("{READ_BASES}M"),
            // A hard clip takes the bases away.
            5 => format!("5H{}M", READ_BASES - 5),
            clip => format!("{}M{clip}S", READ_BASES - clip),
        };
        let (aligned, kept) = if clip == 5 { (start + 5, &bases[5..]) } else { (start, bases) };
        self.first_lines.push(Line::mapped(name, end | strand(is_reverse), aligned + 1, &cigar, kept));

        let Some((position, cigar, is_turned)) = self.align_to_second(start) else { return };
        let bases = if is_turned { reverse_complement(bases) } else { bases.to_vec() };
        self.second_lines.push(Line::mapped(
            name,
            end | strand(is_reverse != is_turned),
            position + 1,
            &cigar,
            &bases,
        ));
    }

    /// Position and CIGAR of a read on the second assembly, in the direction of that.
    fn align_to_second(&self, start: usize) -> Option<(usize, String, bool)> {
        let mut places = self.places[start..start + READ_BASES].to_vec();
        let middle = places[READ_BASES / 2].or_else(|| places.iter().flatten().next().copied())?;
        let is_turned = middle.1;
        if is_turned {
            places.reverse();
        }
        // What lies beyond a breakpoint is clipped.
        let is_near = |place: &Option<(usize, bool)>| {
            place.is_some_and(|(at, turned)| turned == is_turned && at.abs_diff(middle.0) < 2 * READ_BASES)
        };
        let from = places.iter().position(is_near)?;
        let to = places.iter().rposition(is_near)? + 1;
        let mut operations: Vec<(char, usize)> = vec![('S', from)];
        let mut previous: Option<usize> = None;
        for place in &places[from..to] {
            match (place, previous) {
                (Some((at, _)), Some(before)) if *at > before + 1 => {
                    operations.push(('D', at - before - 1));
                    operations.push(('M', 1));
                }
                (Some(_), _) => operations.push(('M', 1)),
                (None, _) => operations.push(('I', 1)),
            }
            previous = place.map(|(at, _)| at).or(previous);
        }
        operations.push(('S', READ_BASES - to));
        let cigar = operations.chunk_by(|left, right| left.0 == right.0).filter_map(|same| {
            let length: usize = same.iter().map(|operation| operation.1).sum();
            (length > 0).then(|| format!("{length}{}", same[0].0))
        });
        Some((places[from]?.0, cigar.collect(), is_turned))
    }

    pub(crate) fn write(&self, folder: &Folder) -> Files {
        let files = Files {
            first: folder.path("first.bam"),
            second: folder.path("second.bam"),
            first_reference: folder.path("first.fa"),
            second_reference: folder.path("second.fa"),
        };
        let lower = self
            .first
            .iter()
            .enumerate()
            .map(|(index, base)| if index / 100 % 2 == 0 { base.to_ascii_lowercase() } else { *base });
        write_fasta(&files.first_reference, &[("one", &lower.collect::<Vec<u8>>())]);
        write_fasta(&files.second_reference, &[("other", b"ACGT"), ("two", &self.second)]);
        write_bam(&files.first, &self.first_header(), &self.first_lines, Blocks::Full);
        let header = header(&[("other", 4), ("two", self.second.len())], false);
        let lines: Vec<Line> =
            self.second_lines.iter().cloned().map(|line| Line { sequence: Some(1), ..line }).collect();
        write_bam(&files.second, &header, &lines, Blocks::Every(50));
        files
    }

    /// The first file again, as CRAM.
    pub(crate) fn write_cram(&self, folder: &Folder, files: &Files) -> PathBuf {
        let path = folder.path("first.cram");
        // Without clips: a hard clip is no affair of CRAM's.
        let index = noodles_fasta::fs::index(&files.first_reference).unwrap();
        noodles_fasta::fai::fs::write(folder.path("first.fa.fai"), &index).unwrap();
        write_cram(&path, &self.first_header(), &self.first_lines, &files.first_reference);
        path
    }

    fn first_header(&self) -> noodles_sam::Header {
        header(&[("one", self.first.len())], true)
    }

    /// Positions with reads in both assemblies, from 1.
    pub(crate) fn coverage(&self) -> Vec<usize> {
        let mut coverage = vec![0; self.first.len()];
        let in_second: HashSet<&str> = self.second_lines.iter().map(|line| line.name.as_str()).collect();
        for line in &self.first_lines {
            if in_second.contains(line.name.as_str()) {
                let mut at = line.position - 1;
                for operation in super::operations(&line.cigar) {
                    if operation.kind().consumes_reference() {
                        coverage[at..at + operation.len()].iter_mut().for_each(|count| *count += 1);
                        at += operation.len();
                    }
                }
            }
        }
        coverage
    }
}

/// The second assembly: single bases changed, pieces inserted and deleted, and a segment turned round.
fn edit(first: &[u8], random: &mut Random) -> (Vec<u8>, Vec<Option<(usize, bool)>>) {
    let mut second = Vec::new();
    let mut places = vec![None; first.len()];
    let (turned, turned_bases) = TURNED;
    let mut index = 0;
    while index < first.len() {
        if index == turned {
            for source in (turned..turned + turned_bases).rev() {
                places[source] = Some((second.len(), true));
                // One in fifty differs, and one in fifty of all shows the same letter as the first: a real difference.
                let base = match random.below(50) {
                    0 => random.base(),
                    1 => first[source],
                    _ => complement(first[source]),
                };
                second.push(base);
            }
            index += turned_bases;
            continue;
        }
        let until_turned = if index < turned { turned - index } else { usize::MAX };
        match random.below(400) {
            0 => second.extend(random.bases(1 + random.0 as usize % 12)),
            1 if until_turned > 12 => index += 1 + random.below(12),
            kind => {
                places[index] = Some((second.len(), false));
                second.push(if kind < 12 { random.base() } else { first[index] });
                index += 1;
            }
        }
    }
    (second, places)
}
