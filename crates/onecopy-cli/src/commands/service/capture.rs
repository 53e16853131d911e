//! What a command writes, kept within bounds: all of its output up to a limit, and the end of what it says
//! about itself.

use std::collections::VecDeque;

/// Kept of what a command writes to standard error: a screen's worth, of which the end tells most. Half of
/// what fits into an error response, so that the exit code fits beside it.
const TAIL_BYTES_MAX: usize = 2048;

/// The output of a command, which is to become a response.
#[derive(Debug)]
pub(super) struct Capture {
    bytes: Vec<u8>,
    bytes_max: usize,
}

/// The output was larger than may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Capture {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let fits = self.bytes.len().checked_add(bytes.len()).is_some_and(|length| length <= self.bytes_max);
        if !fits || self.bytes.try_reserve(bytes.len()).is_err() {
            return Err(TooLarge);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The end of what a command writes to standard error.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let kept = bytes.len().min(TAIL_BYTES_MAX);
        let surplus = (self.bytes.len() + kept).saturating_sub(TAIL_BYTES_MAX);
        self.is_cut |= surplus > 0 || kept < bytes.len();
        self.bytes.drain(..surplus);
        self.bytes.extend(&bytes[bytes.len() - kept..]);
    }

    /// As text, without the end of the last line; beginning with an ellipsis if more came before.
    pub(super) fn text(&self) -> String {
        let bytes: Vec<u8> = self.bytes.iter().copied().collect();
        // The cut may have gone through a character: what is left of it has the form of its middle.
        let middle = bytes.iter().take_while(|byte| self.is_cut && **byte & 0b1100_0000 == 0b1000_0000);
        let text = String::from_utf8_lossy(bytes.get(middle.count()..).unwrap_or_default());
        // Replacement characters are longer than the bytes that they stand for.
        let surplus = text.len().saturating_sub(TAIL_BYTES_MAX);
        let end = &text[text.ceil_char_boundary(surplus)..];
        let ellipsis = if self.is_cut || surplus > 0 { "…" } else { "" };
        format!("{ellipsis}{}", end.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_beyond_the_limit_is_refused() {
        let mut capture = Capture::new(4);
        assert_eq!(capture.push(b"abc"), Ok(()));
        assert_eq!(capture.push(b"de"), Err(TooLarge));
        assert_eq!(capture.push(b"d"), Ok(()));
        assert_eq!(capture.bytes(), b"abcd");
    }

    #[test]
    fn the_end_is_kept() {
        let mut tail = Tail::default();
        tail.push(b"first\n");
        assert_eq!(tail.text(), "first");
        for number in 0..1000 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.starts_with('…') && text.ends_with("\nline 999"), "{text}");
        assert_eq!(tail.bytes.len(), TAIL_BYTES_MAX);
        tail.push(&[b'x'; 3 * TAIL_BYTES_MAX]);
        assert_eq!(tail.text(), format!("…{}", "x".repeat(TAIL_BYTES_MAX)));
    }

    #[test]
    fn a_cut_character_is_left_out() {
        let mut tail = Tail::default();
        tail.push("é".repeat(TAIL_BYTES_MAX).as_bytes());
        tail.push(b"!");
        assert_eq!(tail.text(), format!("…{}!", "é".repeat(TAIL_BYTES_MAX / 2 - 1)));
    }

    #[test]
    fn bytes_that_are_no_text_take_no_more_room() {
        let mut tail = Tail::default();
        tail.push(&[0xff; TAIL_BYTES_MAX]);
        let text = tail.text();
        assert!(text.starts_with("…\u{fffd}") && text.len() <= TAIL_BYTES_MAX + "…".len(), "{}", text.len());
    }
}
