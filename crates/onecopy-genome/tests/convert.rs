//! Conversions between two assemblies that are known base by base.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::num::NonZero;

use common::simulation::{Files, Simulation, TURNED, complement};
use common::{Blocks, Folder, Line, header, write_bam, write_fasta};
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{Convert, ConvertReport, Format, GenomeError, NameIndex};

fn convert(files: &Files, folder: &Folder, positions: &str) -> Convert {
    Convert {
        first: files.first.clone(),
        second: files.second.clone(),
        first_reference: files.first_reference.clone(),
        second_reference: files.second_reference.clone(),
        positions: folder.write("positions", positions),
        format: Format::Text,
        prefix: folder.path("out"),
        threads: NonZero::new(2).unwrap(),
        has_evidence: false,
    }
}

fn run(convert: &Convert) -> Result<ConvertReport, GenomeError> {
    let options = BuildOptions::default();
    let (index, _) = NameIndex::open_or_build(&convert.second, None, &options, |_, _| {})?;
    convert.run(index, |_| {})
}

fn table(folder: &Folder, name: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(folder.path(name)).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// All positions of the first assembly, from the last to the first, so that order is not that of the reads.
fn all_positions(simulation: &Simulation) -> String {
    (1..=simulation.first.len()).rev().map(|position| format!("one:{position}\n")).collect()
}

#[test]
fn every_position_that_reads_cover_in_both_is_converted_right() {
    let (folder, simulation) = (Folder::new(), Simulation::new(20_261_125));
    let files = simulation.write(&folder);
    let report = run(&convert(&files, &folder, &all_positions(&simulation))).unwrap();
    assert_eq!(report.built.len(), 3, "{report:?}");
    let rows = table(&folder, "out.txt");
    assert_eq!(rows[0], ["Ref1_chr", "Ref1_pos", "Ref1_base", "Ref2_chr", "Ref2_pos", "Ref2_base", "code"]);
    assert_eq!(rows.len() as u64 - 1, report.converted);
    let mut previous = usize::MAX;
    let mut codes = HashMap::new();
    for row in &rows[1..] {
        let at: usize = row[1].parse().unwrap();
        assert!(at < previous, "in the order of the input");
        previous = at;
        let (place, is_turned) = simulation.places[at - 1].unwrap_or_else(|| panic!("{at} has no place"));
        let (first, second) = (simulation.first[at - 1], simulation.second[place]);
        let same = if is_turned { complement(first) == second } else { first == second };
        let code = match (same, is_turned) {
            (true, false) => "0",
            (true, true) => "1",
            (false, false) => "2",
            (false, true) => "3",
        };
        let base = |base: u8| char::from(base).to_string();
        let expected =
            ["one", &at.to_string(), &base(first), "two", &(place + 1).to_string(), &base(second), code];
        assert_eq!(row, &expected);
        *codes.entry(code).or_insert(0) += 1;
    }
    assert!(codes.len() == 4 && codes.values().all(|&count| count > 20), "{codes:?}");
    let converted: Vec<usize> = rows[1..].iter().map(|row| row[1].parse().unwrap()).collect();
    // What has no row has a reason: few reads, or no base in the second.
    let coverage = simulation.coverage();
    let is_edge = |at: usize| [TURNED.0, TURNED.0 + TURNED.1].iter().any(|edge| at.abs_diff(*edge) < 60);
    for at in 1..=simulation.first.len() {
        if coverage[at - 1] > 12 && simulation.places[at - 1].is_some() && !is_edge(at) {
            assert!(
                converted.binary_search_by(|other| at.cmp(other)).is_ok(),
                "{at} has {} reads",
                coverage[at - 1]
            );
        }
    }
    let unmapped = table(&folder, "out.unmapped.txt");
    assert_eq!(unmapped.len() as u64 - 1, report.unmapped);
    assert_eq!(report.converted + report.unmapped, simulation.first.len() as u64);
}

#[test]
fn threads_and_evidence_and_a_cram_file_change_nothing_in_the_result() {
    let (folder, simulation) = (Folder::new(), Simulation::new(7));
    let mut files = simulation.write(&folder);
    let positions = all_positions(&simulation);
    let one_thread = Convert { threads: NonZero::<usize>::MIN, ..convert(&files, &folder, &positions) };
    run(&one_thread).unwrap();
    let expected =
        (fs::read(folder.path("out.txt")).unwrap(), fs::read(folder.path("out.unmapped.txt")).unwrap());
    run(&Convert { threads: NonZero::new(5).unwrap(), ..one_thread.clone() }).unwrap();
    assert!(fs::read(folder.path("out.txt")).unwrap() == expected.0);
    assert!(fs::read(folder.path("out.unmapped.txt")).unwrap() == expected.1);

    run(&Convert { has_evidence: true, ..one_thread.clone() }).unwrap();
    for (row, without) in
        table(&folder, "out.txt").iter().zip(String::from_utf8(expected.0.clone()).unwrap().lines())
    {
        assert_eq!(row[..7].join("\t"), without);
        assert_eq!(row.len(), 12);
        if let (Ok(support), Ok(reads)) = (row[7].parse::<u64>(), row[8].parse::<u64>()) {
            let runner_up: u64 = row[11].parse().unwrap();
            assert!(support > 0 && support >= runner_up && support + runner_up <= reads, "{row:?}");
        }
    }

    files.first = simulation.write_cram(&folder, &files);
    let report = run(&convert(&files, &folder, &positions)).unwrap();
    assert_eq!(report.built, [files.first.clone()]);
    assert!(fs::read(folder.path("out.txt")).unwrap() == expected.0);
    assert!(fs::read(folder.path("out.unmapped.txt")).unwrap() == expected.1);
}

/// Two assemblies that are the same, and the reads given.
fn small(folder: &Folder, first: &[Line], second: &[Line]) -> Files {
    let files = Files {
        first: folder.path("first.bam"),
        second: folder.path("second.bam"),
        first_reference: folder.path("first.fa"),
        second_reference: folder.path("second.fa"),
    };
    write_fasta(&files.first_reference, &[("sq0", &[b'A'; 100]), ("sq1", b"acgtn")]);
    write_fasta(&files.second_reference, &[("sq0", &[b'A'; 100]), ("sq1", b"acgtn")]);
    let sequences = [("sq0", 100), ("sq1", 5)];
    write_bam(&files.first, &header(&sequences, true), first, Blocks::Full);
    write_bam(&files.second, &header(&sequences, false), second, Blocks::Full);
    files
}

/// A read of ten bases.
fn read(name: &str, flags: u16, position: usize) -> Line {
    Line::mapped(name, flags, position, "10M", b"AAAAAAAAAA")
}

fn reasons(folder: &Folder) -> Vec<String> {
    table(folder, "out.unmapped.txt")
        .iter()
        .skip(1)
        .map(|row| format!("{}:{} {}", row[0], row[1], row[2]))
        .collect()
}

#[test]
fn positions_without_a_place_have_a_reason() {
    let folder = Folder::new();
    let first = [
        Line { quality: 0, ..read("doubtful", 0, 1) },
        Line { cigar: "5M10D5M".to_owned(), ..read("gap", 0, 21) },
        read("alone", 0, 41),
        read("elsewhere-doubtful", 0, 61),
        read("clipped", 0, 81),
    ];
    let second = [
        read("gap", 0, 21),
        Line { quality: 0, ..read("elsewhere-doubtful", 0, 61) },
        Line { cigar: "5S5M".to_owned(), ..read("clipped", 0, 86) },
    ];
    let files = small(&folder, &first, &second);
    let positions = "sq0:5\nsq0:28\nsq0:45\nsq0:65\nsq0:82\nsq0:99\nsq0:101\nsq9:1\nsq0:88\n";
    let report = run(&convert(&files, &folder, positions)).unwrap();
    assert_eq!((report.converted, report.unmapped), (1, 8));
    let expected = [
        "sq0:5 no-usable-read",
        "sq0:28 deleted-in-reads",
        "sq0:45 reads-not-in-second",
        "sq0:65 reads-not-usable-in-second",
        "sq0:82 no-base-in-second",
        "sq0:99 not-covered",
        "sq0:101 past-end",
        "sq9:1 unknown-chromosome",
    ];
    assert_eq!(reasons(&folder), expected);
}

#[test]
fn only_certain_whole_primary_reads_vote_and_each_with_its_own_end() {
    let folder = Folder::new();
    let names =
        ["secondary", "supplementary", "in-pieces", "unmapped", "first-end", "last-end", "unknown-quality"];
    let flags = [0x100, 0x800, 0, 4, 0x41, 0x81, 0];
    let line = |number: usize, position: usize| Line {
        quality: if number == 6 { 255 } else { 60 },
        is_in_pieces: number == 2,
        ..read(names[number], flags[number], position)
    };
    let first: Vec<Line> = (0..7).map(|number| line(number, 11)).collect();
    // Each end is also there as the other one, and that one elsewhere.
    let mut second = vec![read("first-end", 0x81, 71), read("last-end", 0x41, 71)];
    second.extend((0..7).map(|number| line(number, 31 + number)));
    let files = small(&folder, &first, &second);
    let convert = Convert { has_evidence: true, ..convert(&files, &folder, "sq0:15\n") };
    run(&convert).unwrap();
    // The first end, the last end and the one of unknown quality: three places with a vote each; the first in
    // order wins.
    let rows = table(&folder, "out.txt");
    assert_eq!(rows[1], ["sq0", "15", "A", "sq0", "39", "A", "0", "1", "3", "sq0", "40", "1"]);
}

#[test]
fn a_name_that_stands_for_several_reads_is_settled_by_length_then_by_order() {
    let folder = Folder::new();
    let first = [read("twice", 0, 11)];
    let longer = Line::mapped("twice", 0, 51, "12M", b"AAAAAAAAAAAA");
    let files = small(&folder, &first, &[longer, read("twice", 0, 31), read("twice", 0, 71)]);
    run(&convert(&files, &folder, "sq0:15\n")).unwrap();
    assert_eq!(table(&folder, "out.txt")[1][3..5], ["sq0", "35"]);
}

#[test]
fn variants_and_intervals_are_lifted() {
    let folder = Folder::new();
    let turned = Line::mapped("turned", 0x10, 31, "10M", b"TTTTTTTTTT");
    let files = small(&folder, &[read("turned", 0, 11)], &[turned]);
    let vcf = "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\nsq0\t15\trs1\tA\tG,<DEL>\n";
    run(&Convert { format: Format::Vcf, ..convert(&files, &folder, vcf) }).unwrap();
    let lifted = fs::read_to_string(folder.path("out.vcf")).unwrap();
    let last = lifted.lines().last().unwrap();
    // The second reference shows A there too, though it is turned round: a difference. G is C on its strand.
    assert_eq!(last, "sq0\t36\trs1\tA\tT,C\t.\t.\tREF1=sq0:15:A;CODE=3;SUPPORT=1;READS=1");
    assert!(lifted.starts_with("##fileformat=VCFv4.3\n##contig=<ID=sq0,length=100>\n"));

    run(&Convert { format: Format::Bed, ..convert(&files, &folder, "sq0\t14\t16\tname\nsq0\t13\t14\n") })
        .unwrap();
    let lifted = fs::read_to_string(folder.path("out.bed")).unwrap();
    assert_eq!(lifted, "sq0\t35\t36\tname\t1\t-\nsq0\t34\t35\tname\t1\t-\nsq0\t36\t37\tsq0:14\t1\t-\n");
}

#[test]
fn lower_case_and_unknown_bases_are_bases() {
    let folder = Folder::new();
    let line = |name: &str| Line { sequence: Some(1), ..Line::mapped(name, 0, 1, "5M", b"NNNNN") };
    let files = small(&folder, &[line("read")], &[line("read")]);
    run(&convert(&files, &folder, "sq1:1\nsq1:5\n")).unwrap();
    let rows = table(&folder, "out.txt");
    assert_eq!(rows[1], ["sq1", "1", "A", "sq1", "1", "A", "0"]);
    assert_eq!(rows[2], ["sq1", "5", "N", "sq1", "5", "N", "0"]);
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = Folder::new();
    let files = small(&folder, &[read("read", 0, 1)], &[read("read", 0, 1)]);
    let error = |convert: &Convert| run(convert).unwrap_err();
    let good = convert(&files, &folder, "sq0:5\n");

    let shorter = folder.path("shorter.fa");
    write_fasta(&shorter, &[("sq0", &[b'A'; 99])]);
    let found = error(&Convert { first_reference: shorter.clone(), ..good.clone() });
    assert!(matches!(found, GenomeError::ForeignReference { .. }), "{found}");
    let found = error(&Convert { second_reference: shorter, ..good.clone() });
    assert!(matches!(found, GenomeError::ForeignReference { .. }), "{found}");

    let unsorted = folder.path("unsorted.bam");
    write_bam(&unsorted, &header(&[("sq0", 100)], false), &[read("b", 0, 9), read("a", 0, 1)], Blocks::Full);
    let found = error(&Convert { first: unsorted, ..good.clone() });
    assert!(matches!(found, GenomeError::NotSorted { .. }), "{found}");
    // One that only says that it is.
    let liar = folder.path("liar.bam");
    write_bam(&liar, &header(&[("sq0", 100)], true), &[read("b", 0, 9), read("a", 0, 1)], Blocks::Full);
    let found = error(&Convert { first: liar, ..good.clone() });
    assert!(found.to_string().contains("liar.bam"), "{found}");

    let compressed = folder.write("compressed.fa", [0x1f, 0x8b, 8, 4]);
    let found = error(&Convert { first_reference: compressed, ..good.clone() });
    assert!(matches!(found, GenomeError::Unsupported { .. }), "{found}");

    run(&good).unwrap();
    let before = fs::read(folder.path("out.txt")).unwrap();
    folder.write("positions", "sq0:5\nnonsense\n");
    let found = error(&good);
    assert!(matches!(found, GenomeError::Line { line: 2, .. }), "{found}");
    assert_eq!(fs::read(folder.path("out.txt")).unwrap(), before, "what was there before is still there");

    let bytes = fs::read(&files.first_reference).unwrap();
    fs::write(&files.first_reference, &bytes[..60]).unwrap();
    let found = error(&good);
    assert!(matches!(found, GenomeError::Truncated { .. }), "{found}");
}

#[test]
fn an_index_of_coordinates_of_another_file_is_an_error_and_no_crash() {
    let (folder, simulation) = (Folder::new(), Simulation::new(3));
    let files = simulation.write(&folder);
    run(&convert(&files, &folder, "one:100\n")).unwrap();
    let lines: Vec<Line> =
        (0..4000).map(|number| read(&format!("a-longer-name:{number}"), 0, 1 + number * 4)).collect();
    write_bam(&files.first, &header(&[("one", simulation.first.len())], true), &lines, Blocks::Every(3));
    let outcome = run(&convert(&files, &folder, "one:15000\n"));
    assert!(matches!(outcome, Err(GenomeError::ForeignCoordinates { .. })), "{outcome:?}");
}

#[test]
fn a_damaged_index_of_bases_is_refused_by_its_name() {
    let folder = Folder::new();
    let files = small(&folder, &[read("read", 0, 1)], &[read("read", 0, 1)]);
    let good = convert(&files, &folder, "sq0:5\n");
    run(&good).unwrap();
    let whole = fs::read(folder.path("first.fa.fai")).unwrap();
    let numbers = |length: &str, start: &str, bases: &str, width: &str| {
        format!("sq0\t{length}\t{start}\t{bases}\t{width}\nsq1\t5\t112\t5\t6\n").into_bytes()
    };
    let damaged = [
        b"not an index\n".to_vec(),
        whole[..whole.len() - 5].to_vec(),
        numbers("100", "5", "0", "0"),
        numbers("100", "5", "60", "0"),
        numbers("100", "18446744073709551615", "60", "61"),
        numbers("18446744073709551615", "5", "1", "18446744073709551615"),
        numbers("-1", "5", "60", "61"),
        // What could be, if it were another file's.
        numbers("100", "5", "1", "1"),
        numbers("100", "6", "60", "61"),
        numbers("100", "5", "60", "60"),
    ];
    for bytes in damaged {
        fs::write(folder.path("first.fa.fai"), &bytes).unwrap();
        let said = String::from_utf8_lossy(&bytes).into_owned();
        let error = run(&good).expect_err(&said);
        assert!(
            matches!(
                error,
                GenomeError::SideIndex { .. }
                    | GenomeError::Truncated { .. }
                    | GenomeError::Malformed { .. }
                    | GenomeError::ForeignReference { .. }
            ),
            "{said}: {error}"
        );
        assert!(error.to_string().contains("first.fa"), "{said}: {error}");
    }
    // As the message says.
    fs::remove_file(folder.path("first.fa.fai")).unwrap();
    assert_eq!(run(&good).unwrap().built, [files.first_reference]);
    assert_eq!(fs::read(folder.path("first.fa.fai")).unwrap(), whole);
}

#[test]
fn a_damaged_index_of_coordinates_is_refused_by_its_name() {
    let folder = Folder::new();
    let files = small(&folder, &[read("read", 0, 1)], &[read("read", 0, 1)]);
    let good = convert(&files, &folder, "sq0:5\n");
    run(&good).unwrap();
    let whole = fs::read(folder.path("first.bam.bai")).unwrap();
    // Sequences, bins of the first, the number of its first bin and the chunks of it, far too large.
    let enormous = [4, 8, 12, 16].map(|count| [&whole[..count], &[0xff; 4], &whole[count + 4..]].concat());
    let cut = [&b"BAD"[..], &whole[..7], &whole[..whole.len() / 2]].map(<[u8]>::to_vec);
    for bytes in cut.into_iter().chain(enormous) {
        fs::write(folder.path("first.bam.bai"), bytes).unwrap();
        let error = run(&good).unwrap_err();
        assert!(matches!(error, GenomeError::SideIndex { .. }), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("first.bam.bai is damaged: ")
                && said.ends_with("; remove it, and it is made again")
        );
    }
    fs::remove_file(folder.path("first.bam.bai")).unwrap();
    let promises = [14, 5, 0, 1, u32::MAX].map(u32::to_le_bytes).concat();
    let file = fs::File::create(folder.path("first.bam.csi")).unwrap();
    let mut blocks = noodles_bgzf::io::Writer::new(file);
    blocks.write_all(&[&b"CSI\x01"[..], &promises].concat()).unwrap();
    blocks.finish().unwrap();
    let error = run(&good).unwrap_err();
    assert!(error.to_string().contains("first.bam.csi is damaged: it ends before"), "{error}");
}

#[test]
fn a_file_that_changes_during_a_conversion_is_told_and_nothing_is_written() {
    let (folder, simulation) = (Folder::new(), Simulation::new(9));
    let files = simulation.write(&folder);
    let positions = all_positions(&simulation);
    let good = Convert { threads: NonZero::<usize>::MIN, ..convert(&files, &folder, &positions) };
    run(&good).unwrap();
    let before = fs::read(folder.path("out.txt")).unwrap();
    for changed in [&files.first, &files.second, &files.first_reference, &files.second_reference] {
        let whole = fs::read(changed).unwrap();
        let index = BuildOptions::default();
        let (index, _) = NameIndex::open_or_build(&files.second, None, &index, |_, _| {}).unwrap();
        // A copy in its place, as a download that was started again leaves one.
        let mut replace = Some(folder.path("copy"));
        let outcome = good.run(index, |_| {
            if let Some(copy) = replace.take() {
                fs::write(&copy, &whole).unwrap();
                fs::rename(&copy, changed).unwrap();
            }
        });
        assert!(replace.is_none());
        let error = outcome.unwrap_err();
        assert!(matches!(&error, GenomeError::Changed { path } if path == changed), "{error}");
        assert_eq!(fs::read(folder.path("out.txt")).unwrap(), before);
        run(&good).unwrap();
    }
    // The bytes themselves, in the middle of it: an error of whatever kind, and no result.
    let index = NameIndex::open_file(&files.second, &folder.path("second.bam.bri")).unwrap();
    let bytes = fs::metadata(&files.second).unwrap().len();
    let outcome = good.run(index, |_| {
        let file = fs::OpenOptions::new().write(true).open(&files.second).unwrap();
        file.set_len(bytes / 3).unwrap();
    });
    assert!(outcome.is_err());
    assert_eq!(fs::read(folder.path("out.txt")).unwrap(), before);
}

#[test]
fn a_cram_file_as_the_second_is_refused_with_advice() {
    let (folder, simulation) = (Folder::new(), Simulation::new(7));
    let files = simulation.write(&folder);
    let cram = simulation.write_cram(&folder, &files);
    let error = NameIndex::open_or_build(&cram, None, &BuildOptions::default(), |_, _| {}).unwrap_err();
    assert!(matches!(error, GenomeError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("samtools view -b"), "{error}");
    assert!(!folder.path("first.cram.bri").exists());
}
