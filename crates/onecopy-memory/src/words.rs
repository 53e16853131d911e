//! Small payloads, moved in and out of shared memory word by word, because the other side may be at the same words.

use crate::sync::{AtomicU64, Ordering};

/// Copies as much out of `words` as `bytes` has room for; straight code where the length is known at compile time.
#[inline(always)]
pub(crate) fn load_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    let (whole, rest) = bytes.as_chunks_mut::<8>();
    // Cut to one length before the loop: else it has the shorter of the two, which nobody knows at compile time.
    let count = whole.len().min(words.len());
    let (first, others) = if count == whole.len() { words.split_at(whole.len()) } else { (words, &[][..]) };
    for (bytes, word) in whole.iter_mut().zip(first) {
        *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
    }
    if let (false, Some(word)) = (rest.is_empty(), others.first()) {
        let last = word.load(Ordering::Relaxed).to_ne_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// Copies `bytes` into `words`.
///
/// # Panics
///
/// If there are not enough words.
#[inline(always)]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    for (word, bytes) in words[..whole.len()].iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}
