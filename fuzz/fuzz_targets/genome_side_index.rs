//! Bytes that claim to be an index beside a genome file: of bases (.fai), of coordinates (.bai, .csi); made
//! up, or a true one that somebody changed. The conversion that uses it ends, with a result or an error.

#![no_main]
#![forbid(unsafe_code)]

use std::fs;
use std::io::Write;

use libfuzzer_sys::fuzz_target;
use onecopy_genome::NameIndex;

mod assemblies;

fuzz_target!(|input: (u8, Vec<(u16, u8)>, Vec<u8>)| {
    let (kind, changes, made_up) = input;
    let folder = assemblies::folder();
    let name =
        ["first.fa.fai", "second.fa.fai", "first.bam.bai", "first.bam.csi"][usize::from(kind >> 1) % 4];
    let mut bytes = made_up;
    if kind & 1 == 1 && name != "first.bam.csi" {
        bytes = fs::read(folder.path(name)).unwrap();
        for (at, change) in changes {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= change;
        }
    }
    if name == "first.bam.csi" {
        fs::remove_file(folder.path("first.bam.bai")).unwrap();
        // Most inputs would fail at the blocks, or at the first four bytes.
        let mut writer = noodles_bgzf::io::Writer::new(Vec::new());
        writer.write_all(&[&b"CSI\x01"[..], &bytes].concat()).unwrap();
        bytes = writer.finish().unwrap();
    }
    folder.write(name, &bytes);
    let convert = assemblies::convert(&folder);
    let index = NameIndex::open_file(&convert.second, &folder.path("second.bam.bri")).unwrap();
    if let Ok(report) = convert.run(index, |_| {}) {
        assert_eq!(report.converted + report.unmapped, 1);
    }
});
