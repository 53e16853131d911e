//! Names of topics: up to 255 bytes of UTF-8 in levels separated by `/`, such as `robot/arm/pose`.
//!
//! A name is refused rather than repaired, so that two programs which write the same name always mean the same
//! topic; the error says what to write instead.

use thiserror::Error;

use crate::limits::MAX_TOPIC_NAME_BYTES;

/// What is wrong with the name of a topic.
///
/// ```
/// use onecopy::topic_name::{TopicNameError, check};
///
/// match check("/robot/arm") {
///     Err(TopicNameError::OuterSlash { suggestion, .. }) => assert_eq!(suggestion, "robot/arm"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TopicNameError {
    /// There is no character in it.
    #[error("a topic name is empty; write at least one level, such as \"camera\"")]
    Empty,
    /// It has more than [`MAX_TOPIC_NAME_BYTES`].
    #[error(
        "the topic name that begins with {start:?} has {bytes} bytes; write at most {MAX_TOPIC_NAME_BYTES} bytes of UTF-8"
    )]
    TooLong {
        /// Its first characters.
        start: String,
        /// Its length in bytes.
        bytes: usize,
    },
    /// It starts or ends with `/`.
    #[error("the topic name {name:?} starts or ends with a slash; write {suggestion:?}")]
    OuterSlash {
        /// The name.
        name: String,
        /// The same without it.
        suggestion: String,
    },
    /// It has two slashes in a row.
    #[error("the topic name {name:?} has an empty level between two slashes; write {suggestion:?}")]
    EmptyLevel {
        /// The name.
        name: String,
        /// The same without it.
        suggestion: String,
    },
    /// It has no level at all, only slashes.
    #[error("the topic name {name:?} has slashes only; write at least one level, such as \"camera\"")]
    OnlySlashes {
        /// The name.
        name: String,
    },
    /// It has a control character (NUL, newline, escape, …), which would garble lists and terminals.
    #[error("the topic name {name:?} has the control character {character:?}; write {suggestion:?}")]
    ControlCharacter {
        /// The name.
        name: String,
        /// The first such character.
        character: char,
        /// The same without it.
        suggestion: String,
    },
}

/// Checks the name of a topic.
///
/// # Errors
///
/// A [`TopicNameError`] that says what is wrong and what to write instead.
///
/// ```
/// use onecopy::topic_name;
///
/// assert!(topic_name::check("robot/arm/pose").is_ok());
/// assert!(topic_name::check("/robot").unwrap_err().to_string().contains("write \"robot\""));
/// ```
pub fn check(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > MAX_TOPIC_NAME_BYTES {
        return Err(TopicNameError::TooLong { start: name.chars().take(24).collect(), bytes: name.len() });
    }
    if let Some(character) = name.chars().find(|character| character.is_control()) {
        let cleaned: String = name.chars().filter(|character| !character.is_control()).collect();
        let suggestion = without_empty_levels(&cleaned);
        return Err(TopicNameError::ControlCharacter { name: name.to_owned(), character, suggestion });
    }
    check_levels(name)
}

fn check_levels(name: &str) -> Result<(), TopicNameError> {
    if name.split('/').all(|level| !level.is_empty()) {
        return Ok(());
    }
    let (name, suggestion) = (name.to_owned(), without_empty_levels(name));
    if name.chars().all(|character| character == '/') {
        Err(TopicNameError::OnlySlashes { name })
    } else if name.starts_with('/') || name.ends_with('/') {
        Err(TopicNameError::OuterSlash { name, suggestion })
    } else {
        Err(TopicNameError::EmptyLevel { name, suggestion })
    }
}

fn without_empty_levels(name: &str) -> String {
    let levels: Vec<&str> = name.split('/').filter(|level| !level.is_empty()).collect();
    if levels.is_empty() { "camera".to_owned() } else { levels.join("/") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_what_to_write_instead() {
        for (name, suggestion) in
            [("/a", "a"), ("a/", "a"), ("a//b", "a/b"), ("a\0b", "ab"), ("\n", "camera"), ("//a///b/", "a/b")]
        {
            let message = check(name).unwrap_err().to_string();
            assert!(message.ends_with(&format!("write {suggestion:?}")), "{message}");
        }
        assert_eq!(check(""), Err(TopicNameError::Empty));
        assert!(matches!(check("//"), Err(TopicNameError::OnlySlashes { .. })));
    }

    #[test]
    fn length_is_counted_in_bytes() {
        assert_eq!(check(&"x".repeat(255)), Ok(()));
        assert!(matches!(check(&"x".repeat(256)), Err(TopicNameError::TooLong { bytes: 256, .. })));
        assert!(matches!(check(&"é".repeat(128)), Err(TopicNameError::TooLong { bytes: 256, .. })));
    }

    proptest! {
        #[test]
        fn what_passes_has_only_whole_levels(name in "[a/é\u{1}]{0,12}") {
            let sound = !name.is_empty()
                && !name.contains('\u{1}')
                && name.split('/').all(|level| !level.is_empty());
            prop_assert_eq!(check(&name).is_ok(), sound);
        }
    }
}
