//! Bytes that claim to be a list of positions, plain or compressed, converted between two small assemblies. Whatever is
//! taken for a list has one row for each of its positions, in the table or among those without a place, in its order;
//! anything else is an error, and no file.

#![no_main]
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;
use std::num::NonZero;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{Convert, Format, NameIndex};

#[path = "../../crates/onecopy-genome/tests/common/mod.rs"]
#[allow(unused_imports, reason = "the crate's tests use all of it")]
mod common;

use common::{Blocks, Folder, Line, header, write_bam, write_fasta};

/// Positions in the intervals of a list at most: more take time, and nothing comes of them that fewer don't show.
const POSITIONS_MAX: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Packing {
    AsItIs,
    Compressed,
    /// Compressed, and cut off so many bytes before the end.
    CutOff(u16),
}

fuzz_target!(|input: (u8, Option<u16>, Vec<u8>)| {
    let (kind, cut_off, list) = input;
    let format = [Format::Text, Format::Vcf, Format::Bed][usize::from(kind >> 1) % 3];
    let packing = match (kind & 1, cut_off) {
        (0, _) => Packing::AsItIs,
        (_, None | Some(0)) => Packing::Compressed,
        (_, Some(bytes)) => Packing::CutOff(bytes),
    };
    let folder = Folder::new();
    for (name, content) in files() {
        folder.write(name, content);
    }
    let Some(file) = packed(&list, packing) else { return };
    // What looks like an interval that no input of the fuzzer's should take the time for.
    if format == Format::Bed && positions(format, &list) > POSITIONS_MAX {
        return;
    }
    let convert = convert(&folder, format);
    folder.write("list", &file);
    let index = NameIndex::open_file(&convert.second, &folder.path("second.bam.bri")).unwrap();
    let Ok(report) = convert.run(index, |_| {}) else {
        assert!(!folder.path("out.txt").exists() && !folder.path("out.unmapped.txt").exists());
        return;
    };
    assert!(!matches!(packing, Packing::CutOff(_)), "a list that was cut off passed for a whole one");
    let (table, unmapped) = (rows(&folder, "out.txt", 7), rows(&folder, "out.unmapped.txt", 3));
    assert_eq!((table.len() as u64, unmapped.len() as u64), (report.converted, report.unmapped));
    // Blocks that somebody else compressed hold what we don't know.
    if packing == Packing::AsItIs && list.starts_with(&[0x1f, 0x8b]) {
        return;
    }
    assert_eq!(report.converted + report.unmapped, positions(format, &list));
    if format != Format::Bed {
        assert_order(&list, &table);
        assert_order(&list, &unmapped);
    }
});

/// The list as it lies in its file. None if nothing is left of what tells that it is compressed.
fn packed(list: &[u8], packing: Packing) -> Option<Vec<u8>> {
    if packing == Packing::AsItIs {
        return Some(list.to_vec());
    }
    let mut writer = noodles_bgzf::io::Writer::new(Vec::new());
    writer.write_all(list).ok()?;
    let mut bytes = writer.finish().ok()?;
    if let Packing::CutOff(before) = packing {
        bytes.truncate(bytes.len().checked_sub(usize::from(before)).filter(|&kept| kept >= 2)?);
    }
    Some(bytes)
}

/// How many positions a list has that is one.
fn positions(format: Format, list: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(list);
    let lines = text.split('\n').filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    match format {
        Format::Text | Format::Vcf => lines.count() as u64,
        Format::Bed => lines
            .filter(|line| !line.starts_with("track") && !line.starts_with("browser"))
            .map(|line| {
                let mut numbers =
                    line.split_ascii_whitespace().skip(1).take(2).map_while(|text| text.parse::<u64>().ok());
                numbers.next().and_then(|start| numbers.next()?.checked_sub(start)).unwrap_or(0)
            })
            .fold(0, u64::saturating_add),
    }
}

/// The rows of a table without its headings, by name and position.
fn rows(folder: &Folder, name: &str, columns: usize) -> Vec<(String, u64)> {
    let text = fs::read_to_string(folder.path(name)).unwrap();
    let rows = text.strip_suffix('\n').unwrap().split('\n').skip(1);
    rows.map(|row| {
        let row: Vec<&str> = row.split('\t').collect();
        assert_eq!(row.len(), columns, "{row:?}");
        (row[0].to_owned(), row[1].parse().unwrap())
    })
    .collect()
}

/// Fails if rows come in another order than the lines that they answer.
fn assert_order(list: &[u8], rows: &[(String, u64)]) {
    let text = String::from_utf8_lossy(list);
    let mut lines = text.split('\n');
    for (name, position) in rows {
        let answers = |line: &str| {
            line.trim_start().starts_with(name.trim_start()) && line.contains(&position.to_string())
        };
        assert!(lines.any(answers), "{name}:{position} is not in its place");
    }
}

fn convert(folder: &Folder, format: Format) -> Convert {
    Convert {
        first: folder.path("first.bam"),
        second: folder.path("second.bam"),
        first_reference: folder.path("first.fa"),
        second_reference: folder.path("second.fa"),
        positions: folder.path("list"),
        format,
        prefix: folder.path("out"),
        threads: NonZero::<usize>::MIN,
        has_evidence: false,
    }
}

/// All files that a conversion needs but the list, with their names; made once.
fn files() -> &'static [(String, Vec<u8>)] {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = Folder::new();
        let sequences = [("a", 40), ("b", 4)];
        let read = |name: &str, flags: u16, position: usize| {
            Line::mapped(name, flags, position, "10M", b"ACGTACGTAC")
        };
        for (assembly, reads) in [
            ("first", [read("one", 0, 1), read("two", 0, 8), read("three", 0, 21)]),
            ("second", [read("two", 16, 9), read("one", 0, 3), read("four", 0, 21)]),
        ] {
            write_fasta(&folder.path(&format!("{assembly}.fa")), &[("a", &[b'A'; 40]), ("b", b"acgt")]);
            let bam = folder.path(&format!("{assembly}.bam"));
            write_bam(&bam, &header(&sequences, assembly == "first"), &reads, Blocks::Full);
        }
        // The first conversion makes the indexes.
        let convert = convert(&folder, Format::Text);
        folder.write("list", "a:5\n");
        let options = BuildOptions::default();
        let (index, _) = NameIndex::open_or_build(&convert.second, None, &options, |_, _| {}).unwrap();
        assert_eq!(convert.run(index, |_| {}).unwrap().converted, 1);
        let names = folder.names().into_iter().filter(|name| !name.starts_with("out") && name != "list");
        names.map(|name| (name.clone(), fs::read(folder.path(&name)).unwrap())).collect()
    })
}
