//! Bytes that claim to be a list of positions, plain or compressed, converted between two small assemblies. Whatever is
//! taken for a list has one row for each of its positions, in the table or among those without a place, in its order;
//! anything else is an error, and no file.

#![no_main]
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;

use libfuzzer_sys::fuzz_target;
use onecopy_genome::{Convert, Format, NameIndex};

mod assemblies;
use assemblies::common::Folder;

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
    let Some(file) = packed(&list, packing) else { return };
    // What looks like an interval that no input of the fuzzer's should take the time for.
    if format == Format::Bed && positions(format, &list) > POSITIONS_MAX {
        return;
    }
    let folder = assemblies::folder();
    folder.write("list", &file);
    let convert = Convert { format, ..assemblies::convert(&folder) };
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
