//! Names in order, however many: they are gathered up to a budget of memory, sorted with all processors, and put aside
//! in a temporary file when there are more. In the end all that was put aside is merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rayon::slice::ParallelSliceMut;

use super::NAME_BYTES_MAX;
use super::names::Names;
use crate::error::GenomeError;

/// Text of one run at most: places in it are 32 bits.
const RUN_TEXT_BYTES_MAX: usize = u32::MAX as usize / 2;

/// Sorts names.
pub(super) struct Sorter {
    run: Run,
    budget_bytes: usize,
    /// Where runs are put aside.
    folder: PathBuf,
    spilled: Vec<File>,
}

/// Names in memory.
#[derive(Default)]
struct Run {
    text: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    /// The eight bytes of the name behind what all names begin with: most comparisons end here.
    key: u64,
    name: u32,
    name_bytes: u8,
    offset: u64,
}

impl Sorter {
    pub(super) fn new(budget_bytes: usize, folder: &Path) -> Self {
        Self { run: Run::default(), budget_bytes, folder: folder.to_owned(), spilled: Vec::new() }
    }

    /// How often memory did not suffice.
    pub(super) fn spills(&self) -> usize {
        self.spilled.len()
    }

    pub(super) fn add(&mut self, names: &Names) -> Result<(), GenomeError> {
        let base = self.run.text.len();
        let is_full = self.run.bytes() + names.text.len() + names.records.len() * size_of::<Entry>()
            > self.budget_bytes
            || base + names.text.len() > RUN_TEXT_BYTES_MAX;
        if is_full && !self.run.entries.is_empty() {
            self.spill()?;
            return self.add(names);
        }
        self.run.text.extend_from_slice(&names.text);
        self.run.entries.extend(names.records.iter().map(|record| Entry {
            key: 0,
            name: base as u32 + record.name,
            name_bytes: record.name_bytes,
            offset: record.offset,
        }));
        Ok(())
    }

    fn spill(&mut self) -> Result<(), GenomeError> {
        self.run.sort();
        let written = tempfile::tempfile_in(&self.folder).and_then(|file| {
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            for entry in &self.run.entries {
                writer.write_all(&[entry.name_bytes])?;
                writer.write_all(self.run.name(entry))?;
                writer.write_all(&entry.offset.to_le_bytes())?;
            }
            let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        });
        self.spilled.push(written.map_err(GenomeError::file("put names aside in", &self.folder))?);
        self.run.text.clear();
        self.run.entries.clear();
        Ok(())
    }

    /// Gives names and virtual offsets in order, equal names in the order of the file.
    pub(super) fn finish(
        mut self,
        mut consume: impl FnMut(&[u8], u64) -> io::Result<()>,
    ) -> Result<(), GenomeError> {
        self.run.sort();
        let folder = self.folder;
        let merged = if self.spilled.is_empty() {
            self.run.entries.iter().try_for_each(|entry| consume(self.run.name(entry), entry.offset))
        } else {
            merge(&self.run, self.spilled, consume)
        };
        merged.map_err(GenomeError::file("merge names in", &folder))
    }
}

impl Run {
    fn bytes(&self) -> usize {
        self.text.len() + self.entries.len() * size_of::<Entry>()
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.text[entry.name as usize..][..usize::from(entry.name_bytes)]
    }

    fn sort(&mut self) {
        let Some(first) = self.entries.first() else { return };
        let first = self.name(first);
        let common = self.entries.iter().fold(first.len(), |common, entry| {
            let name = self.name(entry);
            if name.get(..common) == Some(&first[..common]) {
                return common;
            }
            name.iter().zip(first).take_while(|(left, right)| left == right).count()
        });
        let text = &self.text;
        for entry in &mut self.entries {
            let name = &text[entry.name as usize..][..usize::from(entry.name_bytes)];
            entry.key = key(&name[common..]);
        }
        let tail = |entry: &Entry| &text[entry.name as usize..][common..usize::from(entry.name_bytes)];
        self.entries.par_sort_unstable_by(|left, right| match left.key.cmp(&right.key) {
            Ordering::Equal => tail(left).cmp(tail(right)).then(left.offset.cmp(&right.offset)),
            unequal => unequal,
        });
    }
}

/// The first eight bytes as a number with the order of the text; shorter texts as if NULs followed, which no name holds.
fn key(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..text.len()].copy_from_slice(text);
    u64::from_be_bytes(bytes)
}

/// Merges what was put aside with what is in memory.
fn merge(
    last: &Run,
    spilled: Vec<File>,
    mut consume: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut sources: Vec<Source<'_>> =
        spilled.into_iter().map(|file| Source::File(BufReader::with_capacity(256 << 10, file))).collect();
    sources.push(Source::Memory { run: last, next: 0 });
    let mut heap = BinaryHeap::new();
    for (index, source) in sources.iter_mut().enumerate() {
        if let Some((name, offset)) = source.next(Vec::new())? {
            heap.push(Reverse((name, offset, index)));
        }
    }
    while let Some(Reverse((name, offset, index))) = heap.pop() {
        consume(&name, offset)?;
        if let Some((name, offset)) = sources[index].next(name)? {
            heap.push(Reverse((name, offset, index)));
        }
    }
    Ok(())
}

/// Names in order.
enum Source<'a> {
    File(BufReader<File>),
    Memory { run: &'a Run, next: usize },
}

impl Source<'_> {
    /// The next name, in the memory of an earlier one.
    fn next(&mut self, mut name: Vec<u8>) -> io::Result<Option<(Vec<u8>, u64)>> {
        name.clear();
        match self {
            Self::Memory { run, next } => {
                let Some(entry) = run.entries.get(*next) else { return Ok(None) };
                *next += 1;
                name.extend_from_slice(run.name(entry));
                Ok(Some((name, entry.offset)))
            }
            Self::File(file) => {
                let mut bytes = [0];
                if file.read(&mut bytes)? == 0 {
                    return Ok(None);
                }
                name.resize(usize::from(bytes[0]).min(NAME_BYTES_MAX), 0);
                file.read_exact(&mut name)?;
                let mut offset = [0; 8];
                file.read_exact(&mut offset)?;
                Ok(Some((name, u64::from_le_bytes(offset))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::NamedRecord;
    use super::*;

    fn names(of: &[(&str, u64)]) -> Names {
        let mut names = Names::default();
        for &(name, offset) in of {
            let start = names.text.len() as u32;
            names.text.extend(name.as_bytes());
            names.records.push(NamedRecord { name: start, name_bytes: name.len() as u8, offset });
        }
        names
    }

    fn sorted(budget_bytes: usize, pieces: &[Names]) -> (Vec<(String, u64)>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(budget_bytes, folder.path());
        for piece in pieces {
            sorter.add(piece).unwrap();
        }
        let spills = sorter.spills();
        let mut found = Vec::new();
        sorter
            .finish(|name, offset| {
                found.push((String::from_utf8(name.to_vec()).unwrap(), offset));
                Ok(())
            })
            .unwrap();
        (found, spills)
    }

    #[test]
    fn any_budget_gives_the_same_order() {
        let pieces: Vec<Names> = (0..50_u64)
            .map(|piece| {
                let name =
                    |index: u64| format!("run:{}:{}", (piece * 7919 + index * 104_729) % 61, index % 3);
                let texts: Vec<String> = (0..20).map(name).collect();
                let of: Vec<(&str, u64)> =
                    texts.iter().zip(0..).map(|(text, index)| (text.as_str(), piece * 20 + index)).collect();
                names(&of)
            })
            .collect();
        let (in_memory, spills) = sorted(usize::MAX, &pieces);
        assert_eq!((in_memory.len(), spills), (1000, 0));
        assert!(in_memory.is_sorted());
        for budget_bytes in [0, 2000, 10_000] {
            let (found, spills) = sorted(budget_bytes, &pieces);
            assert!(spills > 0);
            assert_eq!(found, in_memory);
        }
    }

    #[test]
    fn names_that_are_the_beginning_of_others_come_first() {
        let unsorted = [("abcdefghi", 1), ("abc", 2), ("", 3), ("abcdefgh", 4), ("abc", 0), ("a\x7f", 5)];
        let (found, _) = sorted(usize::MAX, &[names(&unsorted)]);
        let expected = [("", 3), ("abc", 0), ("abc", 2), ("abcdefgh", 4), ("abcdefghi", 1), ("a\x7f", 5)];
        assert!(found.iter().map(|(name, offset)| (name.as_str(), *offset)).eq(expected));
        assert_eq!(sorted(usize::MAX, &[]).0, []);
    }
}
