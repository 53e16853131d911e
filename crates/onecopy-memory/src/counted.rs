//! Numbers of things in sentences: errors and commands talk to people, to whom one message is not "1 messages".

use std::fmt;

/// A number of things, such as "1 message" or "2 messages"; from [`counted`].
///
/// See [`counted`] for an example.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a, N> {
    number: N,
    one: &'a str,
    many: Option<&'a str>,
}

/// A number with the word for what is counted; `one` is the word for one, and of most words several end in an s.
///
/// ```
/// use onecopy_memory::counted::counted;
///
/// assert_eq!(counted(1, "open file").to_string(), "1 open file");
/// assert_eq!(counted(3_u64, "open file").to_string(), "3 open files");
/// assert_eq!(counted(2, "process").plural("processes").to_string(), "2 processes");
/// ```
pub fn counted<N>(number: N, one: &str) -> Counted<'_, N> {
    Counted { number, one, many: None }
}

impl<'a, N> Counted<'a, N> {
    /// The word for several, where that is not the word for one and an s.
    #[must_use]
    pub fn plural(self, many: &'a str) -> Self {
        Self { many: Some(many), ..self }
    }
}

impl<N: fmt::Display + PartialEq + From<u8>> fmt::Display for Counted<'_, N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, one, many } = self;
        match many {
            _ if *number == N::from(1) => write!(formatter, "{number} {one}"),
            Some(many) => write!(formatter, "{number} {many}"),
            None => write!(formatter, "{number} {one}s"),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn only_one_is_singular() {
        let said = [0, 1, 2, 11, 21].map(|number| counted(number, "message").to_string());
        assert_eq!(said, ["0 messages", "1 message", "2 messages", "11 messages", "21 messages"]);
        let said = [1_usize, 10].map(|number| counted(number, "process").plural("processes").to_string());
        assert_eq!(said, ["1 process", "10 processes"]);
    }
}
