//! How far a long operation on bytes has come, on standard error if that is a terminal.

use indicatif::{ProgressDrawTarget, ProgressStyle};
use onecopy::dataset::Progress;

use crate::failure::Failure;

/// A bar with bytes, their speed, and the time that is left.
pub(crate) struct ProgressBar {
    bar: indicatif::ProgressBar,
}

impl ProgressBar {
    pub(crate) fn new() -> Result<Self, Failure> {
        let bar = indicatif::ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{bar:30} {bytes:>11} of {total_bytes}  {bytes_per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).map_err(std::io::Error::other);
        bar.set_style(style.map_err(Failure::system("lay out a progress bar"))?);
        Ok(Self { bar })
    }

    pub(crate) fn show(&self, progress: Progress) {
        // Setting it draws the bar.
        if self.bar.length() != Some(progress.total_bytes) {
            self.bar.set_length(progress.total_bytes);
        }
        self.bar.set_position(progress.done_bytes);
    }

    /// Takes it off the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// How many things are done, of a number that is not known.
pub(crate) struct Counter {
    bar: indicatif::ProgressBar,
}

impl Counter {
    pub(crate) fn new(of: &'static str) -> Result<Self, Failure> {
        let bar = indicatif::ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("{msg}: {human_pos}  {per_sec}").map_err(std::io::Error::other);
        bar.set_style(style.map_err(Failure::system("lay out a progress bar"))?);
        bar.set_message(of);
        Ok(Self { bar })
    }

    pub(crate) fn show(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Takes it off the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
