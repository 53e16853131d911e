//! Indexes of read names: what is written, told by a reader that shares nothing with the one under test; and
//! what is made of files that are not what they should be.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{Blocks, Folder, Line, Random, header, write_bam};
use onecopy_genome::bri::{BriView, BuildOptions};
use onecopy_genome::{GenomeError, IndexFault, Lookup, LookupSize, LookupWriter, NameIndex, Reads};

/// Reads of all sizes in no order: names that begin alike, that recur, and that contain each other.
fn lines(count: usize) -> Vec<Line> {
    let mut random = Random(4711);
    (0..count)
        .map(|_| {
            let number = random.below(count);
            let name = match number % 5 {
                0 => format!("run:1:{number}"),
                1 => format!("run:1:{number}:"),
                2 => format!("r{}", number % 100),
                3 => "x".repeat(1 + number % 250),
                _ => format!("run:{}", number / 2),
            };
            let bases = random.below(300);
            Line::unmapped(&name, &random.bases(bases))
        })
        .collect()
}

fn options(threads: usize, memory_bytes: usize) -> BuildOptions {
    BuildOptions { threads: NonZero::new(threads).unwrap(), memory_bytes }
}

/// The index as the format tells, from noodles' reading of the file.
fn expected(bam: &Path) -> Vec<u8> {
    let mut reader = noodles_bam::io::Reader::new(fs::File::open(bam).unwrap());
    reader.read_header().unwrap();
    let mut places: BTreeMap<Vec<u8>, Vec<u64>> = BTreeMap::new();
    let mut record = noodles_bam::Record::default();
    loop {
        let place = u64::from(reader.get_ref().virtual_position());
        if reader.read_record(&mut record).unwrap() == 0 {
            break;
        }
        places.entry(record.name().unwrap().to_vec()).or_default().push(place);
    }
    let (mut names, mut records, mut count) = (Vec::new(), Vec::new(), 0_u64);
    for (name, places) in &places {
        for place in places {
            records.extend((names.len() as u64).to_le_bytes());
            records.extend(place.to_le_bytes());
            count += 1;
        }
        names.extend(name);
        names.push(0);
    }
    let header = [1_u64, names.len() as u64, count].map(u64::to_le_bytes).concat();
    [header, names, records].concat()
}

#[test]
fn an_index_is_what_the_format_says_for_any_threads_memory_and_blocks() {
    let folder = Folder::new();
    let lines = lines(20_000);
    for blocks in [Blocks::Full, Blocks::Every(1), Blocks::Every(97)] {
        let bam = folder.path("reads.bam");
        write_bam(&bam, &header(&[("one", 1000)], false), &lines, blocks);
        let expected = expected(&bam);
        for (threads, memory) in [(1, usize::MAX), (3, usize::MAX), (2, 100_000), (1, 1)] {
            let index = folder.path("index");
            let report = options(threads, memory).build(&bam, &index, |_, _| {}).unwrap();
            assert_eq!(report.records, 20_000);
            assert_eq!(report.spills > 0, memory < usize::MAX);
            assert!(fs::read(&index).unwrap() == expected, "{blocks:?}, {threads} threads, {memory} bytes");
        }
    }
    // Nothing is left of what was put aside.
    assert_eq!(folder.names(), ["index", "index.owner", "reads.bam"]);
}

#[test]
fn a_file_without_alignments_has_an_empty_index() {
    let folder = Folder::new();
    let bam = folder.path("reads.bam");
    write_bam(&bam, &header(&[], false), &[], Blocks::Full);
    let (mut index, report) = NameIndex::open_or_build(&bam, None, &options(2, 1000), |_, _| {}).unwrap();
    assert_eq!((report.as_ref().unwrap().bytes, report.unwrap().records), (24, 0));
    let mut found = Vec::new();
    index.find(b"anything", &mut found).unwrap();
    assert_eq!(found, []);
}

#[test]
fn reads_are_found_with_all_their_alignments() {
    let folder = Folder::new();
    let bam = folder.path("reads.bam");
    let lines = lines(3000);
    write_bam(&bam, &header(&[("one", 1000)], false), &lines, Blocks::Full);
    let (index, _) = NameIndex::open_or_build(&bam, None, &options(1, 1 << 20), |_, _| {}).unwrap();
    let bytes = fs::read(folder.path("reads.bam.bri")).unwrap();
    let view = BriView::new(&bytes).unwrap();
    view.verify(fs::metadata(&bam).unwrap().len()).unwrap();
    let (entries, buckets) = lookup_of(&view);
    let lookup = Lookup::new(&entries, &buckets).unwrap();
    assert_eq!(lookup.iter().count(), view.count_names().unwrap() as usize);

    let mut reads = Reads::open(&bam, index).unwrap();
    let mut counts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for line in &lines {
        counts.entry(&line.name).or_default().push(line.bases.len());
    }
    for (name, bases) in &counts {
        let mut found = Vec::new();
        let count = reads.get(name.as_bytes(), |record| {
            found.push(record.sequence().len());
            Ok::<_, GenomeError>(())
        });
        assert_eq!((count.unwrap(), &found), (bases.len(), bases), "{name}");
        let records = view.find(name.as_bytes()).unwrap();
        assert_eq!(records.end - records.start, bases.len() as u64);
        assert!(lookup.find(name.as_bytes()).unwrap().iter().eq(view.alignments(records)), "{name}");
    }
    let mut together = Vec::new();
    lookup
        .find_all(counts.keys().map(|name| name.as_bytes()), |alignments| together.push(alignments.len()))
        .unwrap();
    assert!(together.iter().eq(counts.values().map(Vec::len).collect::<Vec<_>>().iter()));
    for absent in ["", "run", "run:1:", "zzz", "run:1:5\0run:1:6", "x\0"] {
        assert_eq!(reads.get(absent.as_bytes(), |_| Ok::<_, GenomeError>(())).unwrap(), 0, "{absent:?}");
        assert!(view.find(absent.as_bytes()).unwrap().is_empty());
        assert!(lookup.find(absent.as_bytes()).unwrap().is_empty());
    }
}

/// What finds the names of an index.
fn lookup_of(view: &BriView<'_>) -> (Vec<u8>, Vec<u8>) {
    let names = || {
        let mut record = 0;
        std::iter::from_fn(move || {
            let records = (record < view.len()).then(|| view.same_name(record).unwrap())?;
            record = records.end;
            Some((view.name(records.start).unwrap(), view.alignments(records).collect::<Vec<_>>()))
        })
    };
    let mut size = LookupSize::default();
    names().for_each(|(name, alignments)| size.add(name, alignments.len()));
    let (mut entries, mut buckets) = (vec![0; size.entries_bytes()], vec![0; size.buckets_bytes()]);
    let mut writer = LookupWriter::new(&mut entries);
    names().for_each(|(name, alignments)| writer.push(name, &alignments).unwrap());
    writer.finish(&mut buckets).unwrap();
    (entries, buckets)
}

#[test]
fn a_name_may_have_any_number_of_alignments() {
    let crowd: Vec<u64> = (0..1000).collect();
    let names: [(&[u8], &[u64]); 4] =
        [(b"a", &crowd[..254]), (b"b", &crowd[..255]), (b"c", &crowd), (b"d", &[7])];
    let mut size = LookupSize::default();
    names.iter().for_each(|(name, alignments)| size.add(name, alignments.len()));
    let (mut entries, mut buckets) = (vec![0; size.entries_bytes()], vec![0; size.buckets_bytes()]);
    let mut writer = LookupWriter::new(&mut entries);
    names.iter().for_each(|(name, alignments)| writer.push(name, alignments).unwrap());
    writer.finish(&mut buckets).unwrap();
    let lookup = Lookup::new(&entries, &buckets).unwrap();
    for (name, alignments) in names {
        assert!(lookup.find(name).unwrap().iter().eq(alignments.iter().copied()));
    }
    // Whoever announces less than comes, or more, is told.
    let cut = 100;
    assert!(LookupWriter::new(&mut entries[..cut]).push(b"e", &crowd).is_err());
    assert!(LookupWriter::new(&mut entries).finish(&mut buckets).is_err());
}

fn small(folder: &Folder, name: &str, lines: &[Line]) -> std::path::PathBuf {
    let bam = folder.path(name);
    write_bam(&bam, &header(&[("one", 1000)], false), lines, Blocks::Every(10));
    bam
}

fn build(bam: &Path) -> Result<std::path::PathBuf, GenomeError> {
    let index = onecopy_genome::default_index_path(bam);
    options(2, 1 << 20).build(bam, &index, |_, _| {}).map(|_| index)
}

#[test]
fn a_truncated_bam_file_is_refused_wherever_it_ends() {
    let folder = Folder::new();
    let whole = fs::read(small(&folder, "whole.bam", &lines(200))).unwrap();
    for end in (0..whole.len()).step_by(37).chain([whole.len() - 28, whole.len() - 1]) {
        let bam = folder.write("cut.bam", &whole[..end]);
        let error = build(&bam).unwrap_err();
        assert!(
            matches!(error, GenomeError::Truncated { .. } | GenomeError::Unreadable { .. }),
            "{end}: {error}"
        );
        assert!(error.to_string().contains("cut.bam"));
    }
    // No index was made of any of them.
    assert_eq!(folder.names(), ["cut.bam", "whole.bam"]);
}

#[test]
fn a_damaged_bam_file_is_refused() {
    let folder = Folder::new();
    let whole = fs::read(small(&folder, "whole.bam", &lines(200))).unwrap();
    for at in (0..whole.len() - 28).step_by(41) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let bam = folder.write("damaged.bam", &bytes);
        if let Ok(index) = build(&bam) {
            // Only what nobody reads may have changed: the time and the system in a block's header.
            assert_eq!(
                fs::read(&index).unwrap(),
                fs::read(build(&folder.path("whole.bam")).unwrap()).unwrap()
            );
        }
    }
    let other = folder.write("other.bam", "not a BAM file at all, but text");
    assert!(build(&other).unwrap_err().to_string().contains("other.bam"));
    assert!(matches!(build(&folder.path("absent.bam")), Err(GenomeError::File { operation: "open", .. })));
}

#[test]
fn an_index_of_another_file_is_refused() {
    let folder = Folder::new();
    let mut lines = lines(500);
    let bam = small(&folder, "reads.bam", &lines);
    let index = build(&bam).unwrap();
    lines[250].bases.push(b'A');
    let other = small(&folder, "other.bam", &lines);
    // Known by the identity, though nearly all reads are in the same places.
    let error = NameIndex::open_file(&other, &index).unwrap_err();
    assert!(matches!(error, GenomeError::IndexOfAnother { .. }), "{error}");
    assert!(error.to_string().contains("onecopy genome index"), "{error}");

    // Of an index that came without a note, by its alignments.
    fs::remove_file(folder.path("reads.bam.bri.owner")).unwrap();
    NameIndex::open_file(&bam, &index).unwrap();
    let foreign = small(&folder, "foreign.bam", &lines[..400]);
    let error = NameIndex::open_file(&foreign, &index).unwrap_err();
    assert!(matches!(error, GenomeError::IndexOfAnother { .. }), "{error}");
}

#[test]
fn a_note_about_an_index_that_was_replaced_does_not_count() {
    let folder = Folder::new();
    let bam = small(&folder, "reads.bam", &lines(500));
    let other = small(&folder, "other.bam", &lines(300));
    let (index, other_index) = (build(&bam).unwrap(), build(&other).unwrap());
    fs::copy(other_index, &index).unwrap();
    let error = NameIndex::open_file(&bam, &index).unwrap_err();
    assert!(matches!(error, GenomeError::IndexOfAnother { .. }), "{error}");
}

#[test]
fn a_truncated_or_damaged_index_is_refused() {
    let folder = Folder::new();
    let bam = small(&folder, "reads.bam", &lines(50));
    let whole = fs::read(build(&bam).unwrap()).unwrap();
    for end in 0..whole.len() {
        let index = folder.write("cut.bri", &whole[..end]);
        let error = NameIndex::open_file(&bam, &index).unwrap_err();
        assert!(matches!(error, GenomeError::Index { .. }), "{end}: {error}");
        assert!(BriView::new(&whole[..end]).is_err());
    }
    let mut version = whole.clone();
    version[0] = 2;
    assert_eq!(BriView::new(&version).unwrap_err(), IndexFault::Version { found: 2 });
    let mut enormous = whole.clone();
    enormous[16..24].fill(0xff);
    assert!(matches!(BriView::new(&enormous).unwrap_err(), IndexFault::Size { .. }));
}

#[test]
fn offsets_out_of_range_are_errors_where_they_are_met() {
    let folder = Folder::new();
    let bam = small(&folder, "reads.bam", &[Line::unmapped("one", b"A"), Line::unmapped("two", b"C")]);
    let whole = fs::read(build(&bam).unwrap()).unwrap();
    let records = whole.len() - 32;
    for (at, is_name) in [(records, true), (records + 8, false)] {
        let mut bytes = whole.clone();
        bytes[at + 6] = 0x7f;
        let index = folder.write("wild.bri", &bytes);
        assert!(NameIndex::open_file(&bam, &index).is_err());
        let view = BriView::new(&bytes).unwrap();
        assert_eq!(view.find(b"one").is_err(), is_name);
        assert!(view.verify(fs::metadata(&bam).unwrap().len()).is_err());
    }
}

#[test]
fn an_index_that_changes_while_in_use_is_an_error() {
    let folder = Folder::new();
    let bam = small(&folder, "reads.bam", &lines(2000));
    let path = build(&bam).unwrap();
    let mut index = NameIndex::open_file(&bam, &path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(100).unwrap();
    let error = index.find(b"run:1:5", &mut Vec::new()).unwrap_err();
    assert!(matches!(error, GenomeError::Changed { .. }), "{error}");
}

#[test]
fn a_bam_file_that_changes_while_in_use_is_an_error() {
    let folder = Folder::new();
    let lines = lines(3000);
    let bam = small(&folder, "reads.bam", &lines);
    let index = NameIndex::open_file(&bam, &build(&bam).unwrap()).unwrap();
    let mut reads = Reads::open(&bam, index).unwrap();
    let bytes = fs::metadata(&bam).unwrap().len();
    let file = OpenOptions::new().write(true).open(&bam).unwrap();
    file.write_all_at(&vec![0x55; bytes as usize / 2], bytes / 4).unwrap();
    file.set_len(bytes * 3 / 4).unwrap();
    let outcomes = lines.iter().map(|line| reads.get(line.name.as_bytes(), |_| Ok::<_, GenomeError>(())));
    let (right, wrong): (Vec<_>, Vec<_>) = outcomes.partition(Result::is_ok);
    assert!(!right.is_empty() && !wrong.is_empty(), "{bytes} {:?}", wrong.first());
    for error in wrong {
        let error = error.unwrap_err();
        assert!(
            matches!(
                error,
                GenomeError::Malformed { .. } | GenomeError::Changed { .. } | GenomeError::Truncated { .. }
            ),
            "{error}"
        );
    }
}
