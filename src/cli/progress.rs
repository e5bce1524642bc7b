//! What a person sees on stderr while the program waits: drawn on a terminal, and only there.

use super::error::Error;
use super::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A line that changes in place; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    /// One thing is waited for.
    pub(super) fn wait(out: &Output) -> Self {
        Self::new(out, ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})")
    }

    /// This many things are waited for, or read; `unit` as in `answers`.
    pub(super) fn count(out: &Output, total: u64, unit: &str) -> Self {
        Self::new(out, ProgressBar::new(total), &format!("{{bar:30}} {{pos}}/{{len}} {unit} {{msg}}"))
    }

    /// A file of this many bytes is read.
    pub(super) fn bytes(out: &Output, total: u64) -> Self {
        Self::new(out, ProgressBar::new(total), "{bar:30} {percent}% {msg} ({eta})")
    }

    fn new(out: &Output, bar: ProgressBar, template: &str) -> Self {
        /// Fast enough to show that the program lives.
        const TICK: Duration = Duration::from_millis(120);
        if !out.is_watched() {
            return Self(None);
        }
        // The templates are this file's; one that is damaged is not worth failing for.
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        Self(Some(bar))
    }

    /// Says what is waited for.
    pub(super) fn say(&self, message: impl Into<String>) {
        if let Some(bar) = &self.0 {
            bar.set_message(message.into());
        }
    }

    /// So much is done.
    pub(super) fn at(&self, position: u64) {
        if let Some(bar) = &self.0 {
            bar.set_position(position);
        }
    }

    /// Prints while the line is away, so that the two do not mix.
    pub(super) fn beside(&self, out: &Output, print: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        match &self.0 {
            None => print(),
            Some(bar) => bar.suspend(|| print().and_then(|()| out.flush())),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
