//! Values that say themselves whether they are whole.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::common::pattern;

const HASH_BYTES: usize = 32;

/// How often it was counted, how often by whom, a word that follows from those, and many more that do.
pub(crate) type Tally<const WORDS: usize> = [u64; WORDS];
const COUNTS: usize = 4;

pub(crate) fn new_tally<const WORDS: usize>() -> Tally<WORDS> {
    let mut tally = [0; WORDS];
    sign(&mut tally);
    tally
}

fn rest_of(total: u64) -> impl Iterator<Item = u64> {
    (1..).map(move |index: u64| (total + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(index))
}

fn sign(tally: &mut [u64]) {
    let rest = rest_of(tally[0]);
    tally[COUNTS..].iter_mut().zip(rest).for_each(|(word, value)| *word = value);
}

/// One more, by `who`.
pub(crate) fn count<const WORDS: usize>(tally: &mut Tally<WORDS>, who: usize) {
    total_of(tally);
    tally[0] += 1;
    tally[who] += 1;
    sign(tally);
}

/// How often it was counted.
///
/// # Panics
///
/// If the value is torn.
pub(crate) fn total_of<const WORDS: usize>(tally: &Tally<WORDS>) -> u64 {
    let is_whole = tally[0] == tally[1..COUNTS].iter().sum()
        && tally[COUNTS..].iter().zip(rest_of(tally[0])).all(|(word, value)| *word == value);
    assert!(is_whole, "a tally is torn: {:?}", &tally[..8]);
    tally[0]
}

/// So many bytes or some more, with their hash in front.
pub(crate) fn bytes_with(seed: u64, len: usize) -> Vec<u8> {
    let rest: Vec<u8> = pattern(seed, len.saturating_sub(HASH_BYTES)).collect();
    let mut bytes = blake3::hash(&rest).as_bytes().to_vec();
    bytes.extend(rest);
    bytes
}

/// # Panics
///
/// If these are not such bytes.
pub(crate) fn check_bytes(bytes: &[u8]) {
    let (hash, rest) = bytes.split_at(HASH_BYTES);
    assert!(blake3::hash(rest).as_bytes() == hash, "{} bytes are torn", bytes.len());
}

/// Numbers that look random, the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Seeded by `ONECOPY_CHAOS_SEED`, or the process's number; it is in the test's output.
    pub(crate) fn from_environment() -> Self {
        let told = std::env::var("ONECOPY_CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = told.unwrap_or_else(|| u64::from(std::process::id()));
        println!("ONECOPY_CHAOS_SEED={seed}");
        Self::new(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }
}
