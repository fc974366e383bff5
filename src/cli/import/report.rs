//! What came of an import: counts, and everything that could not be brought in.

use std::fmt;

use serde_json::json;

use super::targets::Target;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, Outcome, printable};
use crate::cli::json::unsigned;
use crate::cli::output::{self, Output};

/// Problems told as text; the rest is counted.
const TOLD_MAX: usize = 20;

/// A report in the making. With JSON every problem is written when it is met, so that any number of
/// them takes no memory.
#[derive(Debug)]
pub(super) struct Report {
    output: Output,
    pub(super) lines: u64,
    pub(super) unusable: u64,
    pub(super) expired: u64,
    pub(super) written: u64,
    refused: u64,
    told: Vec<String>,
    /// Of a dry run: whether what has expired is known.
    dry: Option<bool>,
}

impl Report {
    pub(super) fn new(output: Output) -> Report {
        Report {
            output,
            lines: 0,
            unusable: 0,
            expired: 0,
            written: 0,
            refused: 0,
            told: Vec::new(),
            dry: None,
        }
    }

    /// Line `line` cannot be used, or what it wrote.
    pub(super) fn problem(&mut self, line: u64, problem: &dyn fmt::Display) -> Outcome {
        self.unusable += 1;
        self.tell("problem", line, "", &problem.to_string())
    }

    /// The server does not take the entry that line `line` wrote.
    pub(super) fn refused(&mut self, line: u64, reason: &str, message: &str) -> Outcome {
        self.refused += 1;
        self.tell("refusal", line, reason, message)
    }

    fn tell(&mut self, what: &str, line: u64, reason: &str, text: &str) -> Outcome {
        match self.output {
            Output::Json => {
                let told = json!({"line": unsigned(line), "reason": reason, "text": text});
                output::json(&json!({what: told}))
            }
            Output::Text => {
                if self.told.len() < TOLD_MAX {
                    self.told.push(format!("  line {line}: {}", printable(text)));
                }
                Ok(())
            }
        }
    }

    /// Nothing was written; `entries` would have been.
    pub(super) fn would_write(&mut self, entries: &[Target], knows_expired: bool) {
        self.written = entries.len() as u64;
        self.dry = Some(knows_expired);
    }

    /// Writes the summary. Errors: something was left out that should not have been.
    pub(super) fn finish(&self) -> Outcome {
        match self.output {
            Output::Json => output::json(&json!({"summary": {
                "dryRun": self.dry.is_some(),
                "lines": unsigned(self.lines),
                "unusable": unsigned(self.unusable),
                "expired": self.knows_expired().then(|| unsigned(self.expired)),
                "written": unsigned(self.written),
                "refused": unsigned(self.refused),
            }}))?,
            Output::Text => output::line(&self.text())?,
        }
        if self.unusable > 0 {
            let lines = if self.unusable == 1 { "line" } else { "lines" };
            let text = format!("{} {lines} could not be used", self.unusable);
            return Err(Failure::new(Exit::Damaged, text));
        }
        if self.refused > 0 {
            let entries = if self.refused == 1 { "entry was" } else { "entries were" };
            return Err(Failure::new(Exit::No, format!("{} {entries} refused", self.refused)));
        }
        Ok(())
    }

    fn knows_expired(&self) -> bool {
        self.dry.unwrap_or(true)
    }

    fn text(&self) -> String {
        let written = if self.dry.is_some() { "would be written" } else { "written" };
        let expired = match self.knows_expired() {
            true => self.expired.to_string(),
            false => "not known without a server".to_owned(),
        };
        let rows = [
            ("lines", self.lines.to_string()),
            ("unusable", self.unusable.to_string()),
            (written, self.written.to_string()),
            ("expired", expired),
            ("refused", self.refused.to_string()),
        ];
        let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
        let mut text = output::table(&[], usize::MAX, rows);
        for line in &self.told {
            text += &format!("\n{line}");
        }
        let untold = self.unusable + self.refused - self.told.len() as u64;
        if untold > 0 {
            text += &format!("\n  and {untold} more; --output json tells all of them");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_problems_are_told_and_all_are_counted() {
        let mut report = Report::new(Output::Text);
        for line in 1..=30 {
            report.problem(line, &"odd\x1b").unwrap();
        }
        report.refused(31, "NAMESPACE_QUOTA_EXCEEDED", "full").unwrap();
        let text = report.text();
        assert!(text.contains("line 20: odd\\u{1b}") && !text.contains("line 21"), "{text}");
        assert!(text.ends_with("and 11 more; --output json tells all of them"), "{text}");
        assert_eq!(report.finish().unwrap_err().code(), 65);
    }

    #[test]
    fn the_exit_says_what_was_left_out() {
        let mut report = Report::new(Output::Text);
        report.expired = 5;
        assert!(report.finish().is_ok(), "what has expired is not missed");
        report.refused(1, "", "full").unwrap();
        assert_eq!(report.finish().unwrap_err().code(), 1);
    }
}
