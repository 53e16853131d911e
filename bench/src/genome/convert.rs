//! The conversion: how fast, and how right.

use std::fmt::Write as _;
use std::num::NonZero;
use std::time::Instant;

use anyhow::Context;
use onecopy::Node;
use onecopy_genome::{Convert, Format, NameIndex, SharedIndex};

use super::data::{Data, Random};
use super::{Bench, Options};
use crate::job::{Peer, Unit};

const POSITIONS: usize = 200_000;
/// Positions nearer to an insertion or deletion than this may be misled by where an aligner puts it.
const INDEL_ADJACENT: usize = 5;

/// Adds the rows.
pub(super) fn measure(bench: &mut Bench, node: &Node, data: &Data, options: &Options) -> anyhow::Result<()> {
    let mut random = Random::new(17);
    let mut chosen: Vec<usize> = (0..POSITIONS).map(|_| 1 + random.below(data.truth.len())).collect();
    // As lists of variants are.
    chosen.sort_unstable();
    let mut positions = String::new();
    for position in chosen {
        writeln!(positions, "chr1:{position}")?;
    }
    let list = options.data.join("positions.txt");
    std::fs::write(&list, positions)?;
    let convert = Convert {
        first: data.first.clone(),
        second: data.second.clone(),
        first_reference: data.first_reference.clone(),
        second_reference: data.second_reference.clone(),
        positions: list,
        format: Format::Text,
        prefix: options.data.join("converted"),
        threads: NonZero::new(2).context("no threads")?,
        has_evidence: true,
    };
    let shared = SharedIndex::open(node, &data.second)?.context("the index is not shared")?;
    let begin = Instant::now();
    convert.run(NameIndex::of_shared(shared), |_| {})?;
    let rate = POSITIONS as f64 / begin.elapsed().as_secs_f64();
    bench.add("convert", Peer::Onecopy, 0, 2, Unit::PerSecond, rate)?;
    judge(bench, data, options)
}

fn judge(bench: &mut Bench, data: &Data, options: &Options) -> anyhow::Result<()> {
    let (mut existing, mut right, mut misled) = (0_u64, 0_u64, 0_u64);
    let unmapped = std::fs::read_to_string(options.data.join("converted.unmapped.txt"))?;
    for line in unmapped.lines().skip(1) {
        existing += u64::from(data.truth[number(line, 1)? as usize - 1] != 0);
    }
    let converted = std::fs::read_to_string(options.data.join("converted.txt"))?;
    for line in converted.lines().skip(1) {
        let (at, found) = (number(line, 1)? as usize - 1, number(line, 4)?);
        let (support, reads) = (number(line, 7)?, number(line, 8)?);
        let known = u64::from(data.truth[at]);
        existing += u64::from(known != 0);
        if found == known {
            right += 1;
        } else if support >= 5 && 5 * support > 4 * reads && !is_near_indel(&data.truth, at) {
            eprintln!("misled: {line}, which is at {known}");
            misled += 1;
        }
    }
    let percent = 100.0 * right as f64 / existing.max(1) as f64;
    bench.add("convert-right", Peer::Onecopy, 0, 2, Unit::Percent, percent)?;
    bench.add("convert-misled", Peer::Onecopy, 0, 2, Unit::Positions, misled as f64)
}

fn number(line: &str, column: usize) -> anyhow::Result<u64> {
    let field = line.split('\t').nth(column).with_context(|| format!("no column {column}: {line}"))?;
    field.parse().with_context(|| format!("not a number: {field}"))
}

fn is_near_indel(truth: &[u32], at: usize) -> bool {
    let near = &truth[at.saturating_sub(INDEL_ADJACENT)..truth.len().min(at + INDEL_ADJACENT + 1)];
    near.windows(2).any(|pair| pair[1] != pair[0] + 1 || pair[0] == 0)
}
