//! No room for more.

/// The reader state of this process ran out of room.
///
/// ```
/// use onecopy_memory::hold::{CHAIN_BLOCKS_MAX, HoldError};
/// use onecopy_memory::layout::HELD_PER_BLOCK;
///
/// // It says how many are held, and what to do.
/// let told = HoldError::TooManyHeld.to_string();
/// assert!(told.starts_with(&(CHAIN_BLOCKS_MAX * HELD_PER_BLOCK).to_string()));
/// assert!(told.ends_with("drop some, or copy() what is to be kept"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// One subscriber holds as many messages of one publisher as can be told to it.
    #[error("65535 messages of one publisher are held already: drop some, or copy() what is to be kept")]
    TooManyHeld,
    /// All lines of the process's reader segment are in use.
    #[error("this process has a million subscriptions and blocks of held messages already: drop some")]
    TableFull,
}
