//! Bytes that claim to be an index of read names and the table beside it. Whatever opens answers every
//! question with records within bounds, or with an error.

#![no_main]
#![forbid(unsafe_code)]

use libfuzzer_sys::fuzz_target;
use onecopy_genome::bri::BriView;
use onecopy_genome::{Lookup, LookupSize, LookupWriter};

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
    let Some((mut entries, mut buckets)) = lookup_of(&index) else {
        assert!(!is_sound);
        return;
    };
    ask(&index, &entries, &buckets, &names, is_sound);
    // What somebody has changed.
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        for part in [&mut entries, &mut buckets] {
            let len = part.len().max(1);
            if let Some(byte) = part.get_mut(at % len) {
                *byte ^= change[2];
            }
        }
    }
    ask(&index, &entries, &buckets, &names, false);
}

fn lookup_of(index: &BriView<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut names, mut size, mut record) = (Vec::new(), LookupSize::default(), 0);
    while record < index.len() {
        let records = index.same_name(record).ok()?;
        record = records.end;
        let name = index.name(records.start).ok()?;
        let alignments: Vec<u64> = index.alignments(records).collect();
        size.add(name, alignments.len());
        names.push((name, alignments));
    }
    let (mut entries, mut buckets) = (vec![0; size.entries_bytes()], vec![0; size.buckets_bytes()]);
    let mut writer = LookupWriter::new(&mut entries);
    names.iter().try_for_each(|(name, alignments)| writer.push(name, alignments)).ok()?;
    writer.finish(&mut buckets).ok()?;
    Some((entries, buckets))
}

fn ask(index: &BriView<'_>, entries: &[u8], buckets: &[u8], names: &[&[u8]], is_sound: bool) {
    let lookup = Lookup::new(entries, buckets);
    assert!(!is_sound || lookup.is_ok());
    for &name in names {
        let bisected = index.find(name);
        if let Ok(records) = &bisected {
            assert!(records.end <= index.len());
        }
        let found = lookup.as_ref().map(|lookup| lookup.find(name));
        if is_sound {
            let (Ok(records), Ok(Ok(found))) = (bisected, found) else { panic!("a name is lost") };
            assert!(!found.is_empty() && found.iter().eq(index.alignments(records)));
        }
    }
    if let Ok(lookup) = &lookup {
        let _ = lookup.find_all(names.iter().copied(), |found| assert!(8 * found.len() <= entries.len()));
        let _ = lookup.iter().take_while(Result::is_ok).count();
    }
}
