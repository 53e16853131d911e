//! Two small assemblies with reads on both, and a conversion between them, of which a target changes what it is about.

use std::fs;
use std::num::NonZero;
use std::sync::OnceLock;

use onecopy_genome::bri::BuildOptions;
use onecopy_genome::{Convert, Format, NameIndex};

#[path = "../../../crates/onecopy-genome/tests/common/mod.rs"]
#[allow(unused_imports, reason = "the crate's tests use all of it")]
pub(crate) mod common;

use common::{Blocks, Folder, Line, header, write_bam, write_fasta};

/// A folder with all files that a conversion needs, their indexes among them, and a list of one position.
pub(crate) fn folder() -> Folder {
    static FILES: OnceLock<Vec<(String, Vec<u8>)>> = OnceLock::new();
    let folder = Folder::new();
    for (name, content) in FILES.get_or_init(make) {
        folder.write(name, content);
    }
    folder
}

/// The conversion of the files in a folder.
pub(crate) fn convert(folder: &Folder) -> Convert {
    Convert {
        first: folder.path("first.bam"),
        second: folder.path("second.bam"),
        first_reference: folder.path("first.fa"),
        second_reference: folder.path("second.fa"),
        positions: folder.path("list"),
        format: Format::Text,
        prefix: folder.path("out"),
        threads: NonZero::<usize>::MIN,
        has_evidence: false,
    }
}

fn make() -> Vec<(String, Vec<u8>)> {
    let folder = Folder::new();
    let sequences = [("a", 40), ("b", 4)];
    let read =
        |name: &str, flags: u16, position: usize| Line::mapped(name, flags, position, "10M", b"ACGTACGTAC");
    for (assembly, reads) in [
        ("first", [read("one", 0, 1), read("two", 0, 8), read("three", 0, 21)]),
        ("second", [read("two", 16, 9), read("one", 0, 3), read("four", 0, 21)]),
    ] {
        write_fasta(&folder.path(&format!("{assembly}.fa")), &[("a", &[b'A'; 40]), ("b", b"acgt")]);
        let bam = folder.path(&format!("{assembly}.bam"));
        write_bam(&bam, &header(&sequences, assembly == "first"), &reads, Blocks::Full);
    }
    folder.write("list", "a:5\n");
    // The first conversion makes the indexes.
    let convert = convert(&folder);
    let (index, _) =
        NameIndex::open_or_build(&convert.second, None, &BuildOptions::default(), |_, _| {}).unwrap();
    assert_eq!(convert.run(index, |_| {}).unwrap().converted, 1);
    let names = folder.names().into_iter().filter(|name| !name.starts_with("out"));
    names.map(|name| (name.clone(), fs::read(folder.path(&name)).unwrap())).collect()
}
