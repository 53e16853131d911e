//! Bytes that claim to be the content of a BAM file: what is in its blocks, and the blocks themselves. An index is
//! built of it or an error told; what is indexed can be fetched.

#![no_main]
#![forbid(unsafe_code)]

use std::io::Write;
use std::num::NonZero;

use libfuzzer_sys::fuzz_target;
use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{AlignmentReader, GenomeError, NameIndex, Reads};

fuzz_target!(|input: (Vec<u8>, Vec<u8>, u8)| {
    let (content, raw, name_bytes) = input;
    let Ok(folder) = tempfile::tempdir() else { return };
    let bam = folder.path().join("fuzz.bam");
    // A header without sequences, and the content as alignments.
    let header = [&b"BAM\x01"[..], &[0; 8]].concat();
    let mut writer = noodles_bgzf::io::Writer::new(Vec::new());
    if writer.write_all(&header).and_then(|()| writer.write_all(&content)).is_err() {
        return;
    }
    let Ok(whole) = writer.finish() else { return };
    for bytes in [&whole, &raw] {
        if std::fs::write(&bam, bytes).is_err() {
            return;
        }
        check(&bam, &content[..content.len().min(usize::from(name_bytes))]);
    }
});

fn check(bam: &std::path::Path, name: &[u8]) {
    let threads = NonZero::<usize>::MIN;
    let options = BuildOptions { threads, memory_bytes: 1 << 20 };
    let index = bam.with_extension("bri");
    if let Ok(report) = options.build(bam, &index, |_, _| {}) {
        assert_eq!(std::fs::metadata(&index).map(|file| file.len()).ok(), Some(report.bytes));
        if let Ok(index) = NameIndex::open_file(bam, &index)
            && let Ok(mut reads) = Reads::open(bam, index)
        {
            let _ = reads.get(name, |record| {
                let _ =
                    (record.cigar().iter().count(), record.data().iter().count(), record.sequence().len());
                Ok::<_, GenomeError>(())
            });
        }
    }
    if let Ok(mut alignments) = AlignmentReader::open(bam) {
        for offset in [0, 4, 12, 0xffff] {
            let _ = alignments.read(offset).map(|record| record.flags());
        }
    }
}
