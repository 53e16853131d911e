//! What the messages hold: words that count up from the message's first word, so that a sender writes every byte anew
//! for every message, and a receiver that sums every byte knows whether it got all of them.

/// First word of the message that ends a measurement; no ordinary message gets this far.
pub(crate) const END: u64 = 1 << 62;

/// A message as its receiver saw it, after reading every byte of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// The first word
    pub(crate) first: u64,
    /// The sum of all words, wrapping
    pub(crate) sum: u64,
}

impl Received {
    /// Reads `words` in full.
    #[inline]
    pub(crate) fn read(words: &[u64]) -> Self {
        let first = words.first().copied().unwrap_or_default();
        Self { first, sum: words.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word)) }
    }
}

/// Stands for a message that is not whole; no message begins with it.
pub(crate) const TORN: u64 = u64::MAX;

impl Received {
    /// The first word of a message of `words`, or [`TORN`]. A register holds it, whoever passes it on: what
    /// goes through memory costs more or less with where the stack happens to be.
    #[inline(always)]
    pub(crate) fn first_if_whole(self, words: usize) -> u64 {
        if self.sum == sum(self.first, words) { self.first } else { TORN }
    }
}

/// Writes `words` in full.
#[inline]
pub(crate) fn fill(words: &mut [u64], first: u64) {
    for (word, value) in words.iter_mut().zip(first..) {
        *word = value;
    }
}

/// What the words of a message that begins with `first` add up to.
#[inline]
pub(crate) fn sum(first: u64, words: usize) -> u64 {
    let words = words as u64;
    words.wrapping_mul(first).wrapping_add(words * words.saturating_sub(1) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_tells_a_whole_message_from_a_torn_one() {
        let mut words = [0; 8];
        fill(&mut words, 41);
        assert_eq!(Received::read(&words), Received { first: 41, sum: sum(41, 8) });
        words[5] = 0;
        assert_ne!(Received::read(&words).sum, sum(41, 8));
    }
}
