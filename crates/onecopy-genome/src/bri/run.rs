//! Names in memory, and how they get in order. What is sorted are not the names but sixteen bytes for each,
//! of which eight are the name's first behind what all names begin with; only names that have those in common
//! are looked at again. Names that are in order for long stretches, as in a file sorted by name, are hardly
//! sorted at all.

use std::num::NonZero;

use super::names::{Name, Names, common_bytes};

/// Text of one run at most: places in it are 32 bits.
const TEXT_BYTES_MAX: usize = u32::MAX as usize / 2;
/// Records of one run at most, for the same reason.
const RECORDS_MAX: usize = u32::MAX as usize / 2;
/// For each name: itself (8 bytes), what is sorted (16), and as much again while it is sorted.
const BYTES_PER_NAME: usize = 40;
/// Bytes of a name that are sorted at once.
const KEY_BYTES: usize = 8;
/// So few names are compared as they are.
const FEW: usize = 16;

/// Names in memory, in the order in which they came.
#[derive(Default)]
pub(super) struct Run {
    text: Vec<u8>,
    names: Vec<Name>,
    alignments: Vec<u64>,
    /// How many bytes all of the names begin with.
    common_bytes: usize,
}

/// A name's key, and below it its number, which tells equal names apart by the order of the file.
type Place = u128;

/// The names of a run in order.
pub(super) struct Sorted<'a> {
    run: &'a Run,
    places: Vec<Place>,
}

impl Run {
    /// Bytes it takes, with what sorting it will take.
    pub(super) fn bytes(&self) -> usize {
        self.text.len() + self.names.len() * BYTES_PER_NAME + self.alignments.len() * size_of::<u64>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether these names can be added without exceeding a budget, or what a run can hold.
    pub(super) fn has_room(&self, names: &Names, budget_bytes: usize) -> bool {
        let more =
            names.text.len() + names.names.len() * BYTES_PER_NAME + names.alignments.len() * size_of::<u64>();
        self.bytes().saturating_add(more) <= budget_bytes
            && self.text.len() + names.text.len() <= TEXT_BYTES_MAX
            && self.alignments.len() + names.alignments.len() <= RECORDS_MAX
    }

    pub(super) fn add(&mut self, names: &Names) {
        if names.names.is_empty() {
            return;
        }
        self.common_bytes = match self.is_empty() {
            true => names.common_bytes,
            false => common_bytes(&self.text[..self.common_bytes], names.common()),
        };
        let (start, first) = (self.text.len() as u32, self.alignments.len() as u32);
        self.text.extend_from_slice(&names.text);
        self.alignments.extend_from_slice(&names.alignments);
        let moved = |name: &Name| Name { start: start + name.start, first: first + name.first };
        self.names.extend(names.names.iter().map(moved));
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.names.clear();
        self.alignments.clear();
    }

    fn name(&self, number: u32) -> &[u8] {
        let end = self.names.get(number as usize + 1).map_or(self.text.len(), |next| next.start as usize);
        &self.text[self.names[number as usize].start as usize..end - 1]
    }

    fn alignments(&self, number: u32) -> &[u64] {
        let next = self.names.get(number as usize + 1);
        let end = next.map_or(self.alignments.len(), |next| next.first as usize);
        &self.alignments[self.names[number as usize].first as usize..end]
    }

    pub(super) fn sort(&self, threads: NonZero<usize>) -> Sorted<'_> {
        let mut places = vec![0; self.names.len()];
        let part_len = places.len().div_ceil(threads.get()).max(1);
        on_threads(places.chunks_mut(part_len).zip((0..).step_by(part_len)), |(part, first)| {
            for (place, number) in part.iter_mut().zip(first..) {
                *place = self.place(number, self.common_bytes);
            }
            part.sort();
        });
        // Finds the parts in order, and merges them.
        places.sort();
        on_threads(at_keys(&mut places, part_len).into_iter(), |part| self.refine(part, self.common_bytes));
        Sorted { run: self, places }
    }

    fn place(&self, number: u32, from: usize) -> Place {
        u128::from(key(&self.name(number)[from..])) << 64 | u128::from(number)
    }

    /// Puts names in order that are sorted by their key at `from`, but no further.
    fn refine(&self, places: &mut [Place], from: usize) {
        for alike in places.chunk_by_mut(|one, other| one >> 64 == other >> 64) {
            let [first, _, ..] = alike else { continue };
            // The names end within the key: they are the same.
            if (*first >> 64) as u64 & 0xff == 0 {
                continue;
            }
            let from = from + KEY_BYTES;
            if alike.len() <= FEW {
                alike.sort_by(|&one, &other| {
                    self.name(number(one))[from..]
                        .cmp(&self.name(number(other))[from..])
                        .then(number(one).cmp(&number(other)))
                });
                continue;
            }
            for place in &mut *alike {
                *place = self.place(number(*place), from);
            }
            alike.sort();
            self.refine(alike, from);
        }
    }
}

impl<'a> Sorted<'a> {
    /// How many names, of which some may be equal.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// A name by its place in the order.
    pub(super) fn name(&self, place: usize) -> &'a [u8] {
        self.run.name(number(self.places[place]))
    }

    /// The virtual offsets of its records, in the order of the file.
    pub(super) fn alignments(&self, place: usize) -> &'a [u64] {
        self.run.alignments(number(self.places[place]))
    }

    /// Whether the name in this place is the one before as well.
    pub(super) fn is_repeated(&self, place: usize) -> bool {
        place > 0 && self.name(place - 1) == self.name(place)
    }
}

/// The number of a name in a run.
fn number(place: Place) -> u32 {
    place as u32
}

/// The first eight bytes as a number with the order of the text; shorter texts as if NULs followed, which no
/// name holds.
fn key(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; KEY_BYTES];
    bytes[..text.len()].copy_from_slice(text);
    u64::from_be_bytes(bytes)
}

/// Divides sorted places into parts of about this length, none of which ends between equal keys.
fn at_keys(places: &mut [Place], part_len: usize) -> Vec<&mut [Place]> {
    let mut parts = Vec::new();
    let mut rest = places;
    while rest.len() > part_len {
        let last = rest[part_len - 1] >> 64;
        let len = part_len + rest[part_len..].partition_point(|&place| place >> 64 == last);
        let (part, behind) = rest.split_at_mut(len);
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts
}

/// Does the work for each, the last one on this thread, the others on one each.
fn on_threads<Part: Send>(parts: impl Iterator<Item = Part>, work: impl Fn(Part) + Sync) {
    std::thread::scope(|scope| {
        let mut parts = parts.peekable();
        while let Some(part) = parts.next() {
            match parts.peek() {
                Some(_) => drop(scope.spawn(|| work(part))),
                None => work(part),
            }
        }
    });
}
