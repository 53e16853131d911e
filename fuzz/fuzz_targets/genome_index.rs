//! Bytes that claim to be an index of read names and the table beside it. Whatever opens answers every question with records
//! within bounds, or with an error.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use onecopy_genome::LookupTable;
use onecopy_genome::bri::BriView;

const FILE_BYTES: u64 = 1 << 20;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<(u8, u64)>)| {
    let (names, changes, records) = input;
    // Most inputs fail at the header; behind the right one they get somewhere.
    check(&names, &changes);
    let mut bytes = [1, names.len() as u64 + 1, records.len() as u64].map(u64::to_le_bytes).concat();
    bytes.extend(&names);
    bytes.push(0);
    for (name, alignment) in &records {
        bytes.extend(u64::from(*name).to_le_bytes());
        bytes.extend(alignment.to_le_bytes());
    }
    check(&bytes, &changes);
});

fn check(bytes: &[u8], changes: &[u8]) {
    let Ok(index) = BriView::new(bytes) else { return };
    let is_sound = index.verify(FILE_BYTES).is_ok();
    let mut names = Vec::new();
    for record in 0..index.len() {
        match index.name(record) {
            Ok(name) => names.push(name),
            Err(_) => assert!(!is_sound),
        }
        assert!(!is_sound || index.check_alignment(record, FILE_BYTES).is_ok());
    }
    let count = index.count_names().unwrap_or(index.len()).min(index.len());
    let mut table = vec![0; LookupTable::bytes_for(count) as usize];
    let is_written = LookupTable::write(&index, &mut table).is_ok();
    assert!(!is_sound || is_written);
    ask(&index, &table, &names, is_sound);
    // A table that somebody has changed.
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % table.len();
        table[at] ^= change[2];
    }
    ask(&index, &table, &names, false);
}

fn ask(index: &BriView<'_>, table: &[u8], names: &[&[u8]], is_sound: bool) {
    let table = LookupTable::new(table, index);
    for &name in names {
        let bisected = index.find(name);
        if is_sound {
            assert!(bisected.as_ref().is_ok_and(|records| !records.is_empty()));
        }
        if let Ok(records) = &bisected {
            assert!(records.end <= index.len());
        }
        let Ok(table) = &table else { continue };
        let found = table.find(name, index);
        if let Ok(records) = &found {
            assert!(records.end <= index.len());
        }
        if is_sound {
            assert_eq!(found, bisected);
        }
    }
    if let Ok(table) = &table {
        let _ = table.find_all(names.iter().copied(), index, |records| assert!(records.end <= index.len()));
    }
}
