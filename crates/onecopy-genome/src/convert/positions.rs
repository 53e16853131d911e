//! The positions to convert, from a list of `chrom:pos`, a VCF or a BED file; plain, or compressed with bgzip.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::format::Format;
use super::lines::Lines;
use crate::error::GenomeError;

/// The last position that an alignment in BAM or CRAM can lie on.
const POSITION_MAX: u64 = i32::MAX as u64;
/// Characters of a line's part that an error shows.
const SHOWN_CHARACTERS: usize = 60;

/// A position of the first reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) sequence: Arc<str>,
    /// From 1.
    pub(super) position: u64,
    /// The name of the variant or of the interval, if it has one.
    pub(super) name: Option<Box<str>>,
    /// The single-base alleles of a variant besides the reference's, on the first reference's strand.
    pub(super) alleles: Box<[u8]>,
}

/// Reads positions from a file.
pub(super) struct Positions {
    lines: Lines,
    format: Format,
    /// The rest of a line: its next position, and the last one.
    interval: Option<(Query, u64)>,
    /// Names of sequences, to be shared by the positions that are taken together.
    sequences: HashSet<Arc<str>>,
}

/// What a line says: the positions of a sequence from the first to the last; none if the last comes before.
struct Line<'a> {
    sequence: &'a str,
    first: u64,
    last: u64,
    name: Option<&'a str>,
    alleles: Box<[u8]>,
}

impl Positions {
    pub(super) fn open(path: &Path, format: Format) -> Result<Self, GenomeError> {
        Ok(Self { lines: Lines::open(path)?, format, interval: None, sequences: HashSet::new() })
    }

    /// The next positions, at most so many, and with hardly more bytes of names and alleles than that. Empty
    /// at the end.
    pub(super) fn take(&mut self, count: usize, text_bytes: usize) -> Result<Vec<Query>, GenomeError> {
        self.sequences.clear();
        let (mut queries, mut bytes) = (Vec::new(), 0);
        while queries.len() < count
            && bytes < text_bytes
            && let Some(query) = self.next()?
        {
            bytes +=
                query.sequence.len() + query.name.as_ref().map_or(0, |name| name.len()) + query.alleles.len();
            queries.push(query);
        }
        Ok(queries)
    }

    fn next(&mut self) -> Result<Option<Query>, GenomeError> {
        loop {
            if let Some((query, last)) = &mut self.interval {
                if query.position < *last {
                    let next = query.clone();
                    query.position += 1;
                    return Ok(Some(next));
                }
                let (query, last) = self.interval.take().unzip();
                return Ok(query.filter(|query| Some(query.position) == last));
            }
            let Some(line) = self.lines.next()? else { return Ok(None) };
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let parsed = match self.format {
                Format::Text => parse_text(line),
                Format::Vcf => parse_vcf(line),
                Format::Bed if line.starts_with("track") || line.starts_with("browser") => continue,
                Format::Bed => parse_bed(line),
            };
            match parsed {
                Ok(Line { sequence, first, last, name, alleles }) if first <= last => {
                    let sequence = shared(&mut self.sequences, sequence);
                    let query = Query { sequence, position: first, name: name.map(Box::from), alleles };
                    self.interval = Some((query, last));
                }
                Ok(_) => {}
                Err(what) => return Err(self.lines.fault(what)),
            }
        }
    }
}

/// The same name for all positions of a sequence.
fn shared(sequences: &mut HashSet<Arc<str>>, sequence: &str) -> Arc<str> {
    if let Some(known) = sequences.get(sequence) {
        return Arc::clone(known);
    }
    let sequence: Arc<str> = sequence.into();
    sequences.insert(Arc::clone(&sequence));
    sequence
}

fn parse_text(line: &str) -> Result<Line<'_>, String> {
    // Names of sequences may hold colons.
    let (sequence, position) = line.trim().rsplit_once(':').ok_or("not chrom:pos, such as chr1:12345")?;
    let position = parse_position(position)?;
    let sequence = check_sequence(sequence)?;
    Ok(Line { sequence, first: position, last: position, name: None, alleles: Box::default() })
}

fn parse_vcf(line: &str) -> Result<Line<'_>, String> {
    let mut fields = line.split('\t');
    let (Some(sequence), Some(position), Some(name), Some(_), Some(alternates)) =
        (fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("fewer columns than CHROM, POS, ID, REF and ALT: is it VCF, with tabs?".to_owned());
    };
    let alleles = alternates.split(',').filter_map(|allele| match *allele.as_bytes() {
        [base] if base.is_ascii_alphabetic() => Some(base.to_ascii_uppercase()),
        _ => None,
    });
    let name = (name != ".").then_some(name);
    let position = parse_position(position)?;
    let sequence = check_sequence(sequence)?;
    Ok(Line { sequence, first: position, last: position, name, alleles: alleles.collect() })
}

/// BED counts from 0, and an interval ends before its end.
fn parse_bed(line: &str) -> Result<Line<'_>, String> {
    let mut fields = line.split_ascii_whitespace();
    let (Some(sequence), Some(start), Some(end)) = (fields.next(), fields.next(), fields.next()) else {
        return Err("fewer columns than chrom, start and end: is it BED?".to_owned());
    };
    let number =
        |text: &str| text.parse::<u64>().map_err(|_| format!("{} is not a number from 0", shown(text)));
    let (start, end) = (number(start)?, number(end)?);
    if start > end {
        return Err(format!("the interval ends at {end}, before its start at {start}"));
    }
    // Each of its bases is a position: numbers out of nowhere would keep us busy for ever.
    if end > POSITION_MAX {
        return Err(format!("the interval ends at {end}, and no alignment lies behind {POSITION_MAX}"));
    }
    let name = fields.next().filter(|&name| name != ".");
    let sequence = check_sequence(sequence)?;
    Ok(Line { sequence, first: start + 1, last: end, name, alleles: Box::default() })
}

/// A name that can stand in a column of the output.
fn check_sequence(text: &str) -> Result<&str, String> {
    if text.is_empty() {
        return Err("no name of a chromosome".to_owned());
    }
    if text.contains(char::is_control) {
        return Err(format!("{} is no name of a chromosome", shown(text)));
    }
    Ok(text)
}

fn parse_position(text: &str) -> Result<u64, String> {
    match text.trim().parse() {
        Ok(0) => Err("position 0: positions count from 1".to_owned()),
        Ok(position) => Ok(position),
        Err(_) => Err(format!("{} is not a position from 1", shown(text))),
    }
}

/// What an error shows of a part of a line, which may be as long as the line.
fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: Format, content: &[u8]) -> Result<Vec<(String, u64)>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        std::fs::write(&path, content).unwrap();
        let queries = Positions::open(&path, format)
            .unwrap()
            .take(usize::MAX, usize::MAX)
            .map_err(|error| error.to_string())?;
        Ok(queries.into_iter().map(|query| (query.sequence.to_string(), query.position)).collect())
    }

    fn pairs(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|&(name, position)| (name.to_owned(), position)).collect()
    }

    #[test]
    fn lists_are_read() {
        let text = b"chr1:5\n\n# remark\r\nHLA:A*01:7\r\nchr2:1";
        assert_eq!(read(Format::Text, text), Ok(pairs(&[("chr1", 5), ("HLA:A*01", 7), ("chr2", 1)])));
        let vcf = b"##fileformat=VCFv4.3\n#CHROM\tPOS\tID\tREF\tALT\nchr1\t9\t.\tA\tC,<DEL>\n";
        assert_eq!(read(Format::Vcf, vcf), Ok(pairs(&[("chr1", 9)])));
        let bed = b"track name=x\nchr1\t0\t3\tname\nchr2\t4\t4\nchr2\t0\t0\nchr2 9 10\n";
        assert_eq!(read(Format::Bed, bed), Ok(pairs(&[("chr1", 1), ("chr1", 2), ("chr1", 3), ("chr2", 10)])));
        let last = POSITION_MAX;
        let bed = format!("chr1\t{}\t{last}\nchr1\t{last}\t{last}\n", last - 1);
        assert_eq!(read(Format::Bed, bed.as_bytes()), Ok(pairs(&[("chr1", last)])));
    }

    #[test]
    fn no_more_is_taken_than_there_is_memory_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        std::fs::write(&path, "chr1\t0\t6\tname\nchr2\t0\t1\n").unwrap();
        let mut positions = Positions::open(&path, Format::Bed).unwrap();
        let mut taken = Vec::new();
        for (count, text_bytes) in [(2, 100), (100, 10), (100, 100), (100, 100)] {
            taken.push(positions.take(count, text_bytes).unwrap().len());
        }
        assert_eq!(taken, [2, 2, 3, 0]);
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named() {
        for (format, line) in [
            (Format::Text, "chr1"),
            (Format::Text, "chr1:0"),
            (Format::Text, "chr1:-3"),
            (Format::Text, "chr1:5-9"),
            (Format::Text, ":5"),
            (Format::Vcf, "chr1\t5"),
            (Format::Vcf, "chr1\tx\t.\tA\tC"),
            (Format::Bed, "chr1\t5"),
            (Format::Bed, "chr1\t5\t4"),
            (Format::Bed, "chr1\t-1\t4"),
            (Format::Text, "chr1\tand more:5"),
            (Format::Vcf, "chr\x011\t5\t.\tA\tC"),
            (Format::Bed, "chr1\t0\t2147483648"),
            (Format::Bed, "chr1\t0\t18446744073709551615"),
        ] {
            let error = read(format, format!("\n{line}\n").as_bytes()).unwrap_err();
            assert!(error.contains("list, line 2: "), "{line}: {error}");
        }
        let long = format!("chr1:{}\n", "é".repeat(1 << 20));
        let error = read(Format::Text, long.as_bytes()).unwrap_err();
        assert!(error.len() < 300 && error.ends_with("éé\"… is not a position from 1"), "{error}");
    }
}
