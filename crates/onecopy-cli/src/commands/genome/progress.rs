//! A bar on standard error, if that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shows how far something has come. Gone when dropped.
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Of a known number of bytes.
    pub(super) fn of_bytes(what: &'static str, bytes: u64) -> Self {
        Self::new(what, Some(bytes), "{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    }

    /// Of things whose number is not known.
    pub(super) fn of_things(what: &'static str) -> Self {
        Self::new(what, None, "{spinner} {human_pos} {msg}, {per_sec}")
    }

    fn new(what: &'static str, length: Option<u64>, template: &str) -> Self {
        // indicatif shows nothing where standard error is no terminal.
        let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self { bar }
    }

    pub(super) fn set(&self, position: u64) {
        self.bar.set_position(position);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
