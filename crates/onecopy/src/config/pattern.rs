//! Patterns of names. A name has levels, as `robot/arm/pose` has three; a pattern is matched level by level.
//!
//! | in a pattern | stands for |
//! |---|---|
//! | `**` as a whole level | any number of levels, also none: `robot/**` is `robot` and everything below it |
//! | `*` in a level | any characters of that level, also none: `robot/*` is one level below, `cam-*` begins so |
//! | anything else | itself; no other character is special, and none can be escaped |
//!
//! Matching takes time in proportion to the two lengths multiplied, whatever the pattern.

use std::fmt;

use thiserror::Error;

use crate::topic_name::{self, TopicNameError};

/// Matches names; see the module.
///
/// ```
/// use onecopy::config::NamePattern;
///
/// let below: NamePattern = "robot/**".parse()?;
/// assert!(below.matches("robot/arm/pose") && below.matches("robot"));
/// let children: NamePattern = "robot/*".parse()?;
/// assert!(children.matches("robot/arm") && !children.matches("robot/arm/pose"));
/// assert_eq!(children.as_str(), "robot/*");
/// # Ok::<(), onecopy::config::PatternError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern(String);

/// Why a text is no pattern.
///
/// ```
/// use onecopy::config::{NamePattern, PatternError};
///
/// let parsed = "robot/arm**".parse::<NamePattern>();
/// assert!(matches!(parsed, Err(PatternError::StarsWithinLevel { level }) if level == "arm**"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    /// No name has such levels.
    #[error("{0}; a pattern has levels like a name")]
    Name(#[from] TopicNameError),
    /// `**` with something beside it in its level.
    #[error(
        "the level {level:?} has `**` and something else; write `*` for any characters within a level, or `**` alone for any levels"
    )]
    StarsWithinLevel {
        /// The level.
        level: String,
    },
}

impl std::str::FromStr for NamePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        topic_name::check(text)?;
        match text.split('/').find(|level| level.contains("**") && *level != "**") {
            Some(level) => Err(PatternError::StarsWithinLevel { level: level.to_owned() }),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl NamePattern {
    /// Whether it matches the whole of `name`.
    pub fn matches(&self, name: &str) -> bool {
        let pattern: Vec<&str> = self.0.split('/').collect();
        let levels: Vec<&str> = name.split('/').collect();
        matches_with(&pattern, &levels, |level| *level == "**", |level, found| level_matches(level, found))
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn level_matches(pattern: &str, level: &str) -> bool {
    matches_with(pattern.as_bytes(), level.as_bytes(), |byte| *byte == b'*', |one, other| one == other)
}

/// Whether a pattern with wildcards for any number of items matches all of `items`.
///
/// When something does not fit, only the last wildcard passed has to take one item more: whatever an earlier one could
/// take more, the last one can take as well.
fn matches_with<T>(
    pattern: &[T],
    items: &[T],
    is_wildcard: impl Fn(&T) -> bool,
    fits: impl Fn(&T, &T) -> bool,
) -> bool {
    let (mut at, mut item) = (0, 0);
    // Behind the last wildcard, and the first item that it has not taken.
    let mut retry = None;
    loop {
        match (pattern.get(at), items.get(item)) {
            (Some(part), _) if is_wildcard(part) => {
                at += 1;
                retry = Some((at, item));
            }
            (Some(part), Some(found)) if fits(part, found) => (at, item) = (at + 1, item + 1),
            (None, None) => return true,
            _ => match retry {
                Some((behind, taken)) if taken < items.len() => {
                    (at, item) = (behind, taken + 1);
                    retry = Some((behind, taken + 1));
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<NamePattern>().unwrap().matches(name)
    }

    #[test]
    fn levels_are_matched_as_the_table_says() {
        let cases = [
            ("robot/arm", &["robot/arm"][..], &["robot", "robot/arm/x", "robot/arms"][..]),
            ("robot/*", &["robot/arm", "robot/é"], &["robot", "robot/arm/pose", "robots/arm"]),
            ("robot/**", &["robot", "robot/arm", "robot/arm/pose"], &["robots", "a/robot"]),
            ("**", &["a", "a/b/c"], &[]),
            ("*", &["a"], &["a/b"]),
            ("**/status", &["status", "a/status", "a/b/status"], &["a/status/b", "astatus"]),
            ("a/**/b/*/c", &["a/b/x/c", "a/b/b/x/c", "a/x/y/b/z/c"], &["a/b/c", "a/b/x/y/c"]),
            ("**/a/**", &["a", "b/a", "a/b", "b/a/b"], &["b", "ab"]),
            ("cam-*/raw", &["cam-/raw", "cam-1/raw"], &["cam/raw", "cam-1/x/raw"]),
            ("*-left-*", &["a-left-b", "-left-", "x-left-left-y"], &["left", "-left"]),
            ("a.b", &["a.b"], &["axb"]),
        ];
        for (pattern, yes, no) in cases {
            yes.iter().for_each(|name| assert!(matches(pattern, name), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!matches(pattern, name), "{pattern} {name}"));
        }
    }

    #[test]
    fn what_can_match_no_name_is_told_with_what_to_write() {
        for (text, hint) in [
            ("", "at least one level"),
            ("/robot", "write \"robot\""),
            ("robot/", "write \"robot\""),
            ("robot//arm", "write \"robot/arm\""),
            ("robot/arm**", "`**` alone"),
            ("***", "`**` alone"),
        ] {
            let error = text.parse::<NamePattern>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    /// Every way that the wildcards could be taken, one after the other.
    fn is_matched_somehow(pattern: &[&str], levels: &[&str]) -> bool {
        fn level(pattern: &[char], found: &[char]) -> bool {
            match (pattern.split_first(), found.split_first()) {
                (None, None) => true,
                (Some(('*', rest)), _) => (0..=found.len()).any(|taken| level(rest, &found[taken..])),
                (Some((one, rest)), Some((other, left))) => one == other && level(rest, left),
                _ => false,
            }
        }
        let characters = |text: &str| text.chars().collect::<Vec<_>>();
        match (pattern.split_first(), levels.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => {
                (0..=levels.len()).any(|taken| is_matched_somehow(rest, &levels[taken..]))
            }
            (Some((one, rest)), Some((other, left))) => {
                level(&characters(one), &characters(other)) && is_matched_somehow(rest, left)
            }
            _ => false,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_match_is_found_exactly_if_there_is_one(
            pattern in "(\\*\\*|[ab*]{1,3})(/(\\*\\*|[ab]?\\*?[ab]?\\*?b?)){0,4}",
            name in "[ab]{1,3}(/[ab]{1,3}){0,4}",
        ) {
            if let Ok(parsed) = pattern.parse::<NamePattern>() {
                let levels: Vec<&str> = name.split('/').collect();
                let expected = is_matched_somehow(&pattern.split('/').collect::<Vec<_>>(), &levels);
                prop_assert_eq!(parsed.matches(&name), expected);
            }
        }

        #[test]
        fn a_name_without_stars_matches_itself_alone(name in "[a-zé.?]{1,4}(/[a-z]{1,4}){0,3}", other in "[a-z]{1,4}") {
            let pattern: NamePattern = name.parse().unwrap();
            prop_assert!(pattern.matches(&name));
            let below = format!("{}/{}", name, other);
            prop_assert!(!pattern.matches(&below));
        }
    }

    #[test]
    fn the_worst_pattern_is_matched_at_once() {
        let pattern = format!("{}b", "a*".repeat(120));
        let name = "a".repeat(255);
        assert!(!matches(&pattern, &name));
        let pattern = format!("{}/b", "**/a/".repeat(50).trim_end_matches('/'));
        let name = "a/".repeat(127) + "a";
        assert!(!matches(&pattern, &name));
    }
}
