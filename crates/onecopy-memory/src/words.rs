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
    let (pairs, rest) = bytes.as_chunks_mut::<16>();
    let (first, others) = words.split_at(2 * pairs.len());
    // One length for both: where that of `bytes` is known at compile time, the loop is no loop.
    let first = &first.as_chunks::<2>().0[..pairs.len()];
    for (bytes, words) in pairs.iter_mut().zip(first) {
        *bytes = load_pair(words);
    }
    for (bytes, word) in rest.chunks_mut(8).zip(others) {
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
    // SAFETY: reads the 16 bytes of `words`, which are mapped for as long as they are borrowed; the instruction asks for no
    // alignment. That another process may be writing them is no race to the compiler, which does not look into it. Of a
    // vector's 16 bytes any are valid as bytes.
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
    for (word, bytes) in words[..whole.len()].iter().zip(whole) {
        word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        words[whole.len()].store(u64::from_ne_bytes(last), Ordering::Relaxed);
    }
}
