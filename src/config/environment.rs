//! Which variables are ours: settings, what the command line reads itself, what Kubernetes adds, and
//! the words of the original product.

use super::complaint::{Heap, Note, Source};
use super::settings::{self, PREFIX};
use super::source::Written;
use super::suggest;
use super::value::Raw;

/// Variables that the command line reads before there is a configuration, one that cargo hands on from
/// the build, and those of the project's own test programme.
const OTHERS: [&str; 12] = [
    "PYKV_TOKEN_FILE",
    "PYKV_CA_FILE",
    "PYKV_CERT_FILE",
    "PYKV_KEY_FILE",
    "PYKV_SERVER",
    "PYKV_NAMESPACE",
    "PYKV_OUTPUT",
    "PYKV_TIMEOUT",
    "PYKV_CONFIG",
    "PYKV_TARGET",
    "PYKV_BIN",
    "PYKV_SEEDS",
];

/// What the environment says, the original's words first so that ours outweigh them.
pub(super) fn written(
    vars: impl Iterator<Item = (String, String)>,
    complaints: &mut Heap,
    notes: &mut Vec<Note>,
) -> Vec<Written> {
    // The order of the environment is nobody's choice: sorted, the same words give the same text.
    let mut vars: Vec<_> = vars.collect();
    vars.sort();
    let mut written = Vec::new();
    // An empty one of theirs is what a template leaves of a value that nobody gave.
    for (name, text) in vars.iter().filter(|(_, text)| !text.is_empty()) {
        classic(name, text, &mut written, notes);
    }
    for (name, text) in vars.into_iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if OTHERS.contains(&name.as_str()) || is_service_link(&name, &text) {
            continue;
        }
        let source = Source::Variable(name.clone());
        match settings::all().find(|setting| setting.variable() == name) {
            Some(setting) => {
                written.push(Written { source, key: setting.key.into(), raw: Raw::Text(text) });
            }
            None => {
                let known: Vec<_> = settings::all().map(settings::Setting::variable).collect();
                let near = suggest::near(&name, known.iter().map(String::as_str));
                complaints.add(&source, format!("is not a setting{near}"));
            }
        }
    }
    written
}

/// Whether Kubernetes made this variable for a service whose name begins with "pykv": it does so in
/// every pod of the namespace, and it must not keep the server from starting.
fn is_service_link(name: &str, text: &str) -> bool {
    let docker_link = || {
        let (_, rest) = name.rsplit_once("_PORT_")?;
        let (port, protocol) = rest.split_once('_')?;
        let protocol = protocol.split('_').next()?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        Some(is_port && ["TCP", "UDP", "SCTP"].contains(&protocol))
    };
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && text.contains("://"))
        || docker_link().unwrap_or(false)
}

/// What a word of the original product means here, and what to tell about it.
///
/// Shape: `PORT`, `STORE_CAPACITY`, `LOG_FILE`, `COMPACTION_INTERVAL`, `MAX_LOG_SIZE` and
/// `CLEANUP_INTERVAL`; the intervals are whole seconds. With them the variables of OpenTelemetry.
fn classic(name: &str, text: &str, written: &mut Vec<Written>, notes: &mut Vec<Note>) {
    let seconds = || if text.parse::<u64>().is_ok() { format!("{text}s") } else { text.to_owned() };
    let (key, value, note) = match name {
        // Which address goes with the port depends on what else is written: see `resolve`.
        "PORT" => (PORT, text.to_owned(), None),
        "STORE_CAPACITY" => (
            "default_policy.max_keys",
            text.to_owned(),
            Some("the original's one limit for all is a limit for each namespace here"),
        ),
        "LOG_FILE" => (
            "data_dir",
            parent(text),
            Some("its directory holds the log; the original's file itself is not read"),
        ),
        "COMPACTION_INTERVAL" => ("compaction_interval", seconds(), None),
        "MAX_LOG_SIZE" => ("max_wal_entries", text.to_owned(), None),
        "CLEANUP_INTERVAL" => ("cleanup_interval", seconds(), None),
        // What every program that sends traces reads.
        "OTEL_EXPORTER_OTLP_ENDPOINT" | "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => {
            ("traces.endpoint", text.to_owned(), None)
        }
        _ => return,
    };
    let source = Source::Variable(name.to_owned());
    if key != PORT {
        let more = note.map(|note| format!("; {note}")).unwrap_or_default();
        let text = format!("understood as {key} = {value:?}{more}");
        notes.push(Note { source: source.to_string(), text });
    }
    written.push(Written { source, key: key.into(), raw: Raw::Text(value) });
}

/// Stands for the original's `PORT`; no setting has this key.
pub(super) const PORT: &str = "PORT";

/// The directory of a path; what names none is in the present one.
fn parent(path: &str) -> String {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) => "/".into(),
        Some((directory, _)) => directory.into(),
        None => ".".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_adds_are_not_taken_for_settings() {
        for (name, text) in [
            ("PYKV_SERVICE_HOST", "10.0.0.1"),
            ("PYKV_SERVICE_PORT", "8000"),
            ("PYKV_SERVICE_PORT_GRPC", "8000"),
            ("PYKV_HEADLESS_SERVICE_HOST", "10.0.0.1"),
            ("PYKV_PORT", "tcp://10.0.0.1:8000"),
            ("PYKV_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
            ("PYKV_PORT_8000_TCP_PROTO", "tcp"),
            ("PYKV_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ] {
            assert!(is_service_link(name, text), "{name}");
        }
        for (name, text) in [("PYKV_PORT", "8000"), ("PYKV_LISTEN", "[::1]:1"), ("PYKV_X", "")] {
            assert!(!is_service_link(name, text), "{name}");
        }
    }

    #[test]
    fn the_directory_of_a_path_is_found() {
        let check = |path, expected: &str| assert_eq!(parent(path), expected, "{path}");
        check("data/wal.log", "data");
        check("/var/lib/pykv/wal.log", "/var/lib/pykv");
        check("/wal.log", "/");
        check("wal.log", ".");
    }
}
