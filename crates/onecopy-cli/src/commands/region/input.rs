//! Where a command gets a value from: an argument, or standard input.

use clap::Args;

use crate::failure::Failure;
use crate::input::Input;
use crate::signals::Signals;

/// A value on the command line, or not.
#[derive(Debug, Args)]
pub(super) struct ValueArguments {
    /// The value, just as it stands here, instead of standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    text: Option<String>,
}

impl ValueArguments {
    /// Whether standard input is not needed.
    pub(super) fn is_given(&self) -> bool {
        self.text.is_some()
    }

    /// The value; waits for the end of standard input if there is no argument.
    pub(super) fn read(&self, signals: &Signals) -> Result<Vec<u8>, Failure> {
        if let Some(text) = &self.text {
            return Ok(text.clone().into_bytes());
        }
        let mut value = Vec::new();
        if Input::new(signals).whole(&mut value)? { Ok(value) } else { Err(Failure::Interrupted) }
    }
}
