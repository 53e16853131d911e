//! Small payloads, moved in and out of shared memory word by word, because the other side may be at the same words.

use crate::sync::{AtomicU64, Ordering};

/// Copies as much out of `words` as `bytes` has room for; straight code where the length is known at compile time.
#[inline(always)]
pub(crate) fn load_bytes(words: &[AtomicU64], bytes: &mut [u8]) {
    if bytes.len().div_ceil(8) <= words.len() {
        load_whole(words, bytes);
    } else {
        load_whole(words, &mut bytes[..words.len() * 8]);
    }
}

/// Copies `bytes.len()` bytes out of `words`, of which there are enough.
#[inline(always)]
fn load_whole(words: &[AtomicU64], bytes: &mut [u8]) {
    let (lines, bytes) = bytes.as_chunks_mut::<64>();
    let (line_words, words) = words.split_at(8 * lines.len());
    // One length for both: where that of `bytes` is known at compile time, the loop is no loop.
    let line_words = &line_words.as_chunks::<8>().0[..lines.len()];
    for (bytes, words) in lines.iter_mut().zip(line_words) {
        *bytes = load_line(words);
    }
    let (pairs, rest) = bytes.as_chunks_mut::<16>();
    let (first, others) = words.split_at(2 * pairs.len());
    let first = &first.as_chunks::<2>().0[..pairs.len()];
    for (bytes, words) in pairs.iter_mut().zip(first) {
        *bytes = load_pair(words);
    }
    if !rest.is_empty() {
        load_rest(others, rest);
    }
}

#[inline(always)]
fn load_rest(words: &[AtomicU64], bytes: &mut [u8]) {
    for (bytes, word) in bytes.chunks_mut(8).zip(words) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[..bytes.len()]);
    }
}

/// Two words at once: whoever copies them on does so in pieces of this size, and a piece that was just stored in two
/// halves is not there before both have reached the cache. That the two may be of different times is nothing new to
/// those who read them: they look afterwards whether the words were written meanwhile.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
fn load_pair(words: &[AtomicU64; 2]) -> [u8; 16] {
    let pair: std::arch::x86_64::__m128i;
    // SAFETY: reads the 16 bytes of `words`, which are mapped for as long as they are borrowed; the
    // instruction asks for no alignment. That another process may be writing them is no race to the compiler,
    // which does not look into it. Of a vector's 16 bytes any are valid as bytes.
    unsafe {
        std::arch::asm!(
            "movdqu {pair}, [{words}]",
            pair = out(xmm_reg) pair,
            words = in(reg) words.as_ptr(),
            options(nostack, readonly, preserves_flags)
        );
        std::mem::transmute(pair)
    }
}

/// As much as a small type often has, by as few instructions.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[inline(always)]
fn load_line(words: &[AtomicU64; 8]) -> [u8; 64] {
    use std::arch::x86_64::__m128i;
    let (first, second, third, fourth): (__m128i, __m128i, __m128i, __m128i);
    // SAFETY: as in `load_pair`, for the 64 bytes of `words`.
    unsafe {
        std::arch::asm!(
            "movdqu {first}, [{words}]",
            "movdqu {second}, [{words} + 16]",
            "movdqu {third}, [{words} + 32]",
            "movdqu {fourth}, [{words} + 48]",
            first = out(xmm_reg) first,
            second = out(xmm_reg) second,
            third = out(xmm_reg) third,
            fourth = out(xmm_reg) fourth,
            words = in(reg) words.as_ptr(),
            options(nostack, readonly, preserves_flags)
        );
        std::mem::transmute([first, second, third, fourth])
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
#[inline(always)]
fn load_line(words: &[AtomicU64; 8]) -> [u8; 64] {
    let words = std::array::from_fn::<u64, 8, _>(|index| words[index].load(Ordering::Relaxed));
    zerocopy::transmute!(words)
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
#[inline(always)]
fn load_pair(words: &[AtomicU64; 2]) -> [u8; 16] {
    let pair = [words[0].load(Ordering::Relaxed), words[1].load(Ordering::Relaxed)];
    zerocopy::transmute!(pair)
}

/// Copies `bytes` into `words`.
///
/// # Panics
///
/// If there are not enough words.
#[inline(always)]
pub(crate) fn store_bytes(words: &[AtomicU64], bytes: &[u8]) {
    let (whole, rest) = bytes.as_chunks::<8>();
    // By words, not by more: what the user just wrote as words could not be loaded as more before it has
    // reached the cache.
    for (word, bytes) in words[..whole.len()].iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}
