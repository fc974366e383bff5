//! How far something is, for whoever watches: on a terminal a bar, elsewhere nothing.

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::Output;

/// A bar on standard error; it is gone when dropped.
#[derive(Debug)]
pub(in crate::cli) struct Progress(ProgressBar);

impl Progress {
    /// Counts bytes, up to `total` if that is known. Programs see none of it.
    pub(in crate::cli) fn of_bytes(output: Output, total: Option<u64>) -> Progress {
        let template = match total {
            Some(_) => "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes} {bytes_per_sec} {elapsed}",
        };
        Progress::new(output, total, template)
    }

    /// Counts things, `total` of them.
    pub(in crate::cli) fn of_items(output: Output, total: u64) -> Progress {
        Progress::new(output, Some(total), "{pos} of {len} {wide_bar} {per_sec}, {eta} left")
    }

    fn new(output: Output, total: Option<u64>, template: &str) -> Progress {
        let bar = match (output, total) {
            (Output::Json, _) => ProgressBar::hidden(),
            // Both draw on standard error, and not at all where that is no terminal.
            (Output::Text, Some(total)) => ProgressBar::new(total),
            (Output::Text, None) => ProgressBar::new_spinner(),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// So many more.
    pub(in crate::cli) fn add(&self, count: usize) {
        self.0.inc(count as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_of_the_bars_are_right() {
        // One that does not parse would silently be replaced by a default.
        for template in [
            "{bytes} of {total_bytes} {wide_bar} {bytes_per_sec}, {eta} left",
            "{spinner} {bytes} {bytes_per_sec} {elapsed}",
            "{pos} of {len} {wide_bar} {per_sec}, {eta} left",
        ] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
