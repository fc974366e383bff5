//! Log lines: to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, registry};

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of words.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Puts another filter in the place of the one that lines pass through.
static SWAP: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

/// Sends log lines that pass `filter` to standard error. `filter` is a level such as `info`, or a
/// list such as `warn,pykv=info`.
///
/// Errors: the filter does not parse, or the process has a subscriber already; nothing changes.
pub fn trace(format: LogFormat, filter: &str) -> Result<(), String> {
    let (filter, swap) = reload::Layer::new(parse(filter)?);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let installed = registry().with(filter).with(lines).try_init();
    installed.map_err(|error| format!("cannot start logging: {error}"))?;
    // Only one subscriber can be installed, so this is the first.
    let _ = SWAP.set(swap);
    Ok(())
}

/// Says what is wrong with a filter.
///
/// Errors: the words for it.
pub fn check_filter(filter: &str) -> Result<(), String> {
    parse(filter).map(drop)
}

/// Lets other lines pass from now on; nothing where [`trace`] was not called.
///
/// Errors: as [`check_filter`]; nothing changes.
pub fn refilter(filter: &str) -> Result<(), String> {
    let filter = parse(filter)?;
    let swap = |swap: &Handle<_, _>| swap.reload(filter).map_err(|error| error.to_string());
    SWAP.get().map_or(Ok(()), swap)
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::try_new(filter)
        .map_err(|error| format!("cannot read the log filter \"{filter}\": {error}"))
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
