//! The names and places of the records in a piece of a BAM file's inflated content. A record may begin in one
//! piece and end in the next; whoever reads a piece without knowing the one before assumes that it begins
//! with a record, and is believed only if it turns out so.

use std::ffi::CStr;

use super::NAME_BYTES_MAX;

/// Bytes of a record before its name, with the four that hold its length.
const HEAD_BYTES: usize = 36;
/// Where the length of the name stands, counted from the record's length.
const NAME_LENGTH_AT: usize = 12;
/// A record larger than that is taken for damage: reads of a hundred million bases are not in sight.
const RECORD_BYTES_MAX: u32 = 512 << 20;

/// The names of the records in a piece, and where the records are.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The names as an index has them: end to end, each with a NUL, without repetitions that follow one another.
    pub(super) text: Vec<u8>,
    pub(super) names: Vec<Name>,
    /// Virtual offsets of the records, in the order of the file.
    pub(super) alignments: Vec<u64>,
    /// How many bytes all of the names begin with.
    pub(super) common_bytes: usize,
}

/// A name, and the records that have it, up to those of the next name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    /// Where it begins in the text.
    pub(super) start: u32,
    /// Its first record.
    pub(super) first: u32,
}

impl Names {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.names.clear();
        self.alignments.clear();
        self.common_bytes = 0;
    }

    /// The first name, as far as all others begin like it.
    pub(super) fn common(&self) -> &[u8] {
        &self.text[..self.common_bytes]
    }

    /// Adds a record; `name` is without its NUL.
    fn push(&mut self, name: &[u8], alignment: u64) {
        let record = self.alignments.len() as u32;
        self.alignments.push(alignment);
        match self.names.last() {
            None => self.common_bytes = name.len(),
            Some(last) => {
                if self.text[last.start as usize..self.text.len() - 1] == *name {
                    return;
                }
                self.common_bytes = common_bytes(self.common(), name);
            }
        }
        self.names.push(Name { start: self.text.len() as u32, first: record });
        self.text.extend_from_slice(name);
        self.text.push(0);
    }
}

/// How many bytes two texts begin with alike.
pub(super) fn common_bytes(one: &[u8], other: &[u8]) -> usize {
    // Nearly always all of the first.
    if other.starts_with(one) {
        return one.len();
    }
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

/// How far a walk over records has come. The default is: to the beginning of a record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Walk {
    /// Bytes that belong to a record whose name is known.
    skip: u64,
    /// The beginning of a record that did not suffice to read its name.
    head: Vec<u8>,
    /// The virtual offset of that record.
    head_offset: u64,
}

impl Walk {
    /// A walk that has so many bytes to go to the first record.
    pub(super) fn to_first_record(skip: u64) -> Self {
        Self { skip, ..Self::default() }
    }

    pub(super) fn is_between_records(&self) -> bool {
        self.skip == 0 && self.head.is_empty()
    }

    /// Adds the records that begin in `content`, or whose name ends there. `offset_at` gives virtual offsets,
    /// of places that only go forward.
    pub(super) fn over(
        &mut self,
        content: &[u8],
        mut offset_at: impl FnMut(usize) -> u64,
        names: &mut Names,
    ) -> Result<(), &'static str> {
        let mut position = 0;
        if !self.head.is_empty() {
            position = self.complete_head(content, names)?;
        }
        let skipped = self.skip.min((content.len() - position) as u64);
        self.skip -= skipped;
        position += skipped as usize;
        while position < content.len() {
            let rest = &content[position..];
            let offset = offset_at(position);
            if rest.len() < head_bytes(rest) {
                self.head.extend_from_slice(rest);
                self.head_offset = offset;
                return Ok(());
            }
            let (name, record_bytes) = parse(rest)?;
            names.push(name, offset);
            self.skip = record_bytes.saturating_sub(rest.len() as u64);
            position += record_bytes.min(rest.len() as u64) as usize;
        }
        Ok(())
    }

    /// Gives how many bytes of `content` it took.
    fn complete_head(&mut self, content: &[u8], names: &mut Names) -> Result<usize, &'static str> {
        let mut taken = 0;
        while self.head.len() < head_bytes(&self.head) {
            let missing = head_bytes(&self.head) - self.head.len();
            let part = &content[taken..content.len().min(taken + missing)];
            if part.is_empty() {
                return Ok(taken);
            }
            self.head.extend_from_slice(part);
            taken += part.len();
        }
        let (name, record_bytes) = parse(&self.head)?;
        names.push(name, self.head_offset);
        self.skip = record_bytes - self.head.len() as u64;
        self.head.clear();
        Ok(taken)
    }
}

/// Bytes needed to read the name of the record that begins here, as far as one can tell.
fn head_bytes(record: &[u8]) -> usize {
    HEAD_BYTES + record.get(NAME_LENGTH_AT).map_or(0, |&length| usize::from(length))
}

/// The name of a record and the bytes of the whole.
fn parse(record: &[u8]) -> Result<(&[u8], u64), &'static str> {
    let length = record.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let name_end = head_bytes(record);
    if u64::from(length) + 4 < name_end as u64 {
        return Err("an alignment is shorter than its own header");
    }
    if length > RECORD_BYTES_MAX {
        return Err("an alignment of more than 512 MiB");
    }
    // The format's own length counts the NUL, but the name ends at the first one.
    let field = record.get(HEAD_BYTES..name_end).ok_or("an alignment is shorter than its own header")?;
    let name =
        CStr::from_bytes_until_nul(field).map_err(|_| "the name of an alignment has no end")?.to_bytes();
    debug_assert!(name.len() <= NAME_BYTES_MAX);
    Ok((name, u64::from(length) + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str, rest_bytes: usize) -> Vec<u8> {
        let mut bytes = ((32 + name.len() + 1 + rest_bytes) as u32).to_le_bytes().to_vec();
        bytes.resize(HEAD_BYTES, 7);
        bytes[NAME_LENGTH_AT] = name.len() as u8 + 1;
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.resize(bytes.len() + rest_bytes, 9);
        bytes
    }

    fn found(names: &Names) -> Vec<(&[u8], u64)> {
        let ends = names.names.iter().skip(1).map(|name| (name.start, name.first));
        let ends = ends.chain([(names.text.len() as u32, names.alignments.len() as u32)]);
        let of_name = |(name, end): (&Name, (u32, u32))| {
            let text = &names.text[name.start as usize..end.0 as usize - 1];
            let alignments = &names.alignments[name.first as usize..end.1 as usize];
            alignments.iter().map(move |&alignment| (text, alignment))
        };
        names.names.iter().zip(ends).flat_map(of_name).collect()
    }

    #[test]
    fn pieces_of_any_size_give_the_same_records() {
        let stream = [record("a", 0), record("a", 100), record("", 3), record("long name", 1000)].concat();
        let mut whole = Names::default();
        let mut walk = Walk::default();
        walk.over(&stream, |position| position as u64, &mut whole).unwrap();
        assert!(walk.is_between_records());
        let expected: [(&[u8], u64); 4] = [(b"a", 0), (b"a", 38), (b"", 176), (b"long name", 216)];
        assert_eq!(found(&whole), expected);
        assert_eq!((whole.text.as_slice(), whole.common_bytes), (&b"a\0\0long name\0"[..], 0));
        for piece in [1, 2, 3, 7, 35, 36, 37, 38, 64, 500] {
            let (mut names, mut walk) = (Names::default(), Walk::default());
            for (index, part) in stream.chunks(piece).enumerate() {
                walk.over(part, |position| (index * piece + position) as u64, &mut names).unwrap();
            }
            assert!(walk.is_between_records());
            assert_eq!(found(&names), expected, "{piece}");
        }
    }

    #[test]
    fn what_cannot_be_a_record_is_refused() {
        let mut short = record("name", 0);
        short[0] -= 1;
        let mut large = record("name", 0);
        large[3] = 0x7f;
        let mut endless = record("name", 5);
        endless[40] = b'x';
        for bytes in [short, large, endless] {
            assert!(Walk::default().over(&bytes, |_| 0, &mut Names::default()).is_err());
        }
    }
}
