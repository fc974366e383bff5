//! What is wrong with what was written, and what became of words that mean something else here.

use std::fmt;

/// One thing that is wrong, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where: `pykv.toml:12 (limits.max_streams)`, `variable PYKV_LISTEN`, `flag --listen`.
    pub source: String,
    /// What is wrong with it.
    pub text: String,
}

/// Everything that is wrong; never empty where it is returned as an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaints(pub Vec<Complaint>);

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not valid")
    }
}

impl std::error::Error for Complaints {}

/// Something an operator should know about a setting that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Where it was written.
    pub source: String,
    /// What became of it.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.text)
    }
}

/// Complaints as they come up.
#[derive(Debug, Default)]
pub(super) struct Heap(Vec<(Source, String)>);

impl Heap {
    pub(super) fn add(&mut self, source: &Source, text: impl Into<String>) {
        self.0.push((source.clone(), text.into()));
    }

    /// Errors: all of them, in the order of their sources and of the lines of a file.
    pub(super) fn none_or_all(mut self) -> Result<(), Complaints> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_by(|(one, _), (other, _)| one.cmp(other));
        let complaint =
            |(source, text): (Source, String)| Complaint { source: source.to_string(), text };
        Err(Complaints(self.0.into_iter().map(complaint).collect()))
    }
}

/// Where something was written; in the order in which one source outweighs the other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// In a file as a whole.
    File(String),
    /// On a line of a file.
    Line { file: String, line: usize, key: Option<String> },
    /// In the environment.
    Variable(String),
    /// On the command line.
    Flag(String),
    /// Nowhere: settings that were each valid do not fit together.
    Together(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(file) => f.write_str(file),
            Source::Line { file, line, key: None } => write!(f, "{file}:{line}"),
            Source::Line { file, line, key: Some(key) } => write!(f, "{file}:{line} ({key})"),
            Source::Variable(name) => write!(f, "variable {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
            Source::Together(keys) => f.write_str(keys),
        }
    }
}
