//! What becomes of messages that a subscriber is too slow for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What happens when a subscriber is slower than a publisher.
///
/// ```
/// use onecopy::Delivery;
///
/// // As `topic list` shows it.
/// assert_eq!(Delivery::Overwrite.to_string(), "overwrite");
/// assert_eq!(Delivery::Reliable.to_string(), "reliable");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Delivery {
    /// The oldest messages are overwritten, and the subscriber is told how many it lost.
    Overwrite,
    /// The publisher finds its ring full, and waits or gives up.
    Reliable,
}

impl fmt::Display for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Overwrite => "overwrite",
            Self::Reliable => "reliable",
        })
    }
}
