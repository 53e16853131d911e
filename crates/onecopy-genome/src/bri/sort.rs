//! Names in order, however many: they are gathered up to a budget of memory, sorted, and put aside in a
//! temporary file when there are more. In the end all that was put aside is merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};

use super::NAME_BYTES_MAX;
use super::names::Names;
use super::run::{Run, Sorted};
use super::write::{BriWriter, write_sorted};
use crate::error::GenomeError;

/// Sorts names.
pub(super) struct Sorter {
    run: Run,
    budget_bytes: usize,
    threads: NonZero<usize>,
    /// Where runs are put aside.
    folder: PathBuf,
    spilled: Vec<File>,
}

impl Sorter {
    pub(super) fn new(budget_bytes: usize, threads: NonZero<usize>, folder: &Path) -> Self {
        Self { run: Run::default(), budget_bytes, threads, folder: folder.to_owned(), spilled: Vec::new() }
    }

    /// How often memory did not suffice.
    pub(super) fn spills(&self) -> usize {
        self.spilled.len()
    }

    pub(super) fn add(&mut self, names: &Names) -> Result<(), GenomeError> {
        if !self.run.has_room(names, self.budget_bytes) && !self.run.is_empty() {
            self.spill()?;
        }
        self.run.add(names);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), GenomeError> {
        let sorted = self.run.sort(self.threads);
        let written = tempfile::tempfile_in(&self.folder).and_then(|file| {
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            for place in 0..sorted.len() {
                let name = sorted.name(place);
                for alignment in sorted.alignments(place) {
                    writer.write_all(&[name.len() as u8])?;
                    writer.write_all(name)?;
                    writer.write_all(&alignment.to_le_bytes())?;
                }
            }
            let mut file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.rewind()?;
            Ok(file)
        });
        self.spilled.push(written.map_err(GenomeError::file("put names aside in", &self.folder))?);
        self.run.clear();
        Ok(())
    }

    /// Writes the index of all names to `path`, whole or not at all. Gives its size.
    pub(super) fn finish(self, path: &Path) -> Result<u64, GenomeError> {
        let sorted = self.run.sort(self.threads);
        if self.spilled.is_empty() {
            return write_sorted(&sorted, path, self.threads);
        }
        let mut writer = BriWriter::create(&self.folder).map_err(GenomeError::file("write", path))?;
        merge(&sorted, self.spilled, |name, alignment| writer.push(name, alignment))
            .map_err(GenomeError::file("merge names in", &self.folder))?;
        writer.finish(path).map_err(GenomeError::file("write", path))
    }
}

/// Merges what was put aside with what is in memory.
fn merge(
    last: &Sorted<'_>,
    spilled: Vec<File>,
    mut consume: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<()> {
    let mut sources: Vec<Source<'_>> =
        spilled.into_iter().map(|file| Source::File(BufReader::with_capacity(256 << 10, file))).collect();
    sources.push(Source::Memory { sorted: last, next: (0, 0) });
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
    /// `next` is a place, and which of its alignments.
    Memory {
        sorted: &'a Sorted<'a>,
        next: (usize, usize),
    },
}

impl Source<'_> {
    /// The next name, in the memory of an earlier one.
    fn next(&mut self, mut name: Vec<u8>) -> io::Result<Option<(Vec<u8>, u64)>> {
        name.clear();
        match self {
            Self::Memory { sorted, next: (place, record) } => {
                if *place == sorted.len() {
                    return Ok(None);
                }
                let alignments = sorted.alignments(*place);
                let alignment = alignments[*record];
                name.extend_from_slice(sorted.name(*place));
                *record += 1;
                if *record == alignments.len() {
                    (*place, *record) = (*place + 1, 0);
                }
                Ok(Some((name, alignment)))
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
    use super::super::BriView;
    use super::super::names::Name;
    use super::*;

    fn names(of: &[(&str, u64)]) -> Names {
        let mut names = Names::default();
        for &(name, alignment) in of {
            names.names.push(Name { start: names.text.len() as u32, first: names.alignments.len() as u32 });
            names.text.extend(name.bytes().chain([0]));
            names.alignments.push(alignment);
        }
        names
    }

    fn sorted(budget_bytes: usize, threads: usize, pieces: &[Names]) -> (Vec<(String, u64)>, usize) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(budget_bytes, NonZero::new(threads).unwrap(), folder.path());
        for piece in pieces {
            sorter.add(piece).unwrap();
        }
        let spills = sorter.spills();
        let path = folder.path().join("index");
        let bytes = sorter.finish(&path).unwrap();
        let index = std::fs::read(path).unwrap();
        assert_eq!(index.len() as u64, bytes);
        let index = BriView::new(&index).unwrap();
        index.verify(u64::MAX).unwrap();
        let record = |record| {
            let name = index.name(record).unwrap().to_vec();
            (String::from_utf8(name).unwrap(), index.alignment(record))
        };
        ((0..index.len()).map(record).collect(), spills)
    }

    /// Names that differ late, repeat, and begin with others; in pieces.
    fn pieces() -> Vec<Names> {
        let name = |number: u64| match number % 5 {
            0 => format!("run:{}", number % 61),
            1 => format!("run:{}:{}", number % 61, number % 7),
            2 => format!("run:a long part that many have in common:{}", number % 997),
            3 => format!("run:a long part that many have in common:and then some:{}", number % 1999),
            _ => "run:a long part that many have in common".to_owned(),
        };
        (0..50_u64)
            .map(|piece| {
                let numbers = piece * 600..(piece + 1) * 600;
                let texts: Vec<String> = numbers.clone().map(|number| name(number * 7919)).collect();
                names(&texts.iter().map(String::as_str).zip(numbers).collect::<Vec<_>>())
            })
            .collect()
    }

    #[test]
    fn any_budget_and_any_number_of_threads_give_the_same_order() {
        let pieces = pieces();
        let mut expected: Vec<(String, u64)> = pieces
            .iter()
            .flat_map(|piece| {
                let texts = piece.text.split(|&byte| byte == 0);
                texts.map(|text| String::from_utf8(text.to_vec()).unwrap()).zip(piece.alignments.clone())
            })
            .collect();
        expected.sort();
        for threads in [1, 2, 3, 16] {
            let (found, spills) = sorted(usize::MAX, threads, &pieces);
            assert_eq!(spills, 0);
            assert!(found == expected, "{threads} threads");
        }
        for budget_bytes in [0, 100_000, 1_000_000] {
            let (found, spills) = sorted(budget_bytes, 2, &pieces);
            assert!(spills > 0);
            assert!(found == expected, "{budget_bytes} bytes");
        }
    }

    #[test]
    fn names_that_are_the_beginning_of_others_come_first() {
        let unsorted = [("abcdefghi", 1), ("abc", 2), ("", 3), ("abcdefgh", 4), ("abc", 5), ("a\x7f", 6)];
        let (found, _) = sorted(usize::MAX, 1, &[names(&unsorted)]);
        let expected = [("", 3), ("abc", 2), ("abc", 5), ("abcdefgh", 4), ("abcdefghi", 1), ("a\x7f", 6)];
        assert!(found.iter().map(|(name, alignment)| (name.as_str(), *alignment)).eq(expected));
        assert_eq!(sorted(usize::MAX, 2, &[]).0, []);
    }
}
