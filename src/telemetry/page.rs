//! Prometheus text: families of samples, with their label values escaped.

use std::fmt::{Display, Write};

/// A text being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// How a family behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Cumulative buckets with a sum and a count.
    Histogram,
}

impl Page {
    /// Opens a family; its samples follow.
    pub(super) fn family(&mut self, name: &str, shape: Shape, help: &str) {
        let shape = match shape {
            Shape::Counter => "counter",
            Shape::Gauge => "gauge",
            Shape::Histogram => "histogram",
        };
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {shape}\n"));
    }

    /// One sample of the family opened last.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            self.escape(content);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    /// A family of one sample without labels.
    pub(super) fn single(&mut self, name: &str, shape: Shape, help: &str, value: impl Display) {
        self.family(name, shape, help);
        self.sample(name, &[], value);
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a String takes everything");
    }

    fn escape(&mut self, content: &str) {
        for character in content.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                plain => self.text.push(plain),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_value_cannot_end_its_quotes_or_its_line() {
        let mut page = Page::default();
        page.sample("a", &[("b", "x\"} 1\n\\"), ("c", "d")], 2);
        assert_eq!(page.into_text(), "a{b=\"x\\\"} 1\\n\\\\\",c=\"d\"} 2\n");
    }
}
