//! Log lines: to standard error, as text for people or JSON for machines.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::fmt;

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Sends log lines of `level` and above to standard error. `level` is a name such as `info`, or a
/// list of filters such as `warn,pykv=info`.
///
/// Errors: the filter does not parse, or the process has a subscriber already; nothing changes.
pub fn trace(format: LogFormat, level: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(level)
        .map_err(|error| format!("cannot read the log level \"{level}\": {error}"))?;
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr);
    let installed = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    installed.map_err(|error| format!("cannot start logging: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_does_not_parse_is_refused_by_name() {
        let error = trace(LogFormat::Json, "pykv=loud").unwrap_err();
        assert!(error.contains("pykv=loud"), "{error}");
    }
}
