//! `get`, `set` and `delete`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::json;

use super::Session;
use super::args::{Condition, Delete, Get, Set};
use super::exit::Exit;
use super::failure::{Failure, Outcome, printable};
use super::json;
use super::output::{self, Output};
use super::policy::wire_length;
use crate::model::VALUE_BYTES_HARD_MAX;
use crate::wire::v1 as wire;

pub(super) async fn get(session: &Session, args: Get) -> Outcome {
    let (client, output) = (session.dial().await?, session.output);
    let view = match output {
        Output::Text => wire::EntryView::Value,
        Output::Json => wire::EntryView::Full,
    };
    let missing = no_entry(&args.key, &args.place.namespace);
    let request =
        wire::GetRequest { namespace: args.place.namespace, key: args.key, view: view.into() };
    let entry = client.key_value().get(client.request(request)).await?.into_inner().entry;
    match output {
        Output::Json => output::json(&json!({"entry": json::entry(entry.as_ref())}))?,
        Output::Text => {
            if let Some(entry) = &entry {
                output::raw(&entry.value)?;
                // A person wants the prompt on a line of its own; a program wants the bytes.
                if output::is_terminal() && !entry.value.ends_with(b"\n") {
                    output::raw(b"\n")?;
                }
            }
        }
    }
    entry.map(drop).ok_or(missing)
}

pub(super) async fn set(session: &Session, args: Set) -> Outcome {
    let value = value(args.value.as_deref(), args.file.as_deref())?;
    let policy = match args.ttl {
        Some(ttl) => {
            let ttl = wire_length(ttl)
                .map_err(|text| Failure::new(Exit::Usage, format!("the time to live {text}")))?;
            Some(wire::expiration::Policy::Ttl(ttl))
        }
        None => args.keep_ttl.then_some(wire::expiration::Policy::Keep(true)),
    };
    let request = wire::SetRequest {
        namespace: args.place.namespace.clone(),
        key: args.key.clone(),
        value: value.into(),
        expiration: policy.map(|policy| wire::Expiration { policy: Some(policy) }),
        condition: condition(&args.condition),
        return_previous: false,
    };
    let client = session.dial().await?;
    let answer = client.key_value().set(client.request(request)).await?.into_inner();
    match session.output {
        Output::Json => output::json(&json!({
            "applied": answer.applied,
            "entry": json::entry(answer.entry.as_ref()),
        }))?,
        Output::Text if answer.applied => output::line(&version(answer.entry.as_ref()))?,
        Output::Text => {}
    }
    if answer.applied {
        return Ok(());
    }
    Err(condition_failed("written", &args.key, answer.entry.as_ref()))
}

pub(super) async fn delete(session: &Session, args: Delete) -> Outcome {
    let condition = Condition { if_absent: false, if_present: false, if_version: args.if_version };
    let missing = no_entry(&args.key, &args.place.namespace);
    let request = wire::DeleteRequest {
        namespace: args.place.namespace,
        key: args.key.clone(),
        condition: self::condition(&condition),
        return_previous: false,
    };
    let client = session.dial().await?;
    let answer = client.key_value().delete(client.request(request)).await?.into_inner();
    match session.output {
        Output::Json => output::json(&json!({
            "deleted": answer.deleted,
            "entry": json::entry(answer.entry.as_ref()),
        }))?,
        Output::Text if answer.deleted => output::line("deleted")?,
        Output::Text => {}
    }
    match &answer.entry {
        _ if answer.deleted => Ok(()),
        Some(entry) => Err(condition_failed("deleted", &args.key, Some(entry))),
        None => Err(missing),
    }
}

fn condition(flags: &Condition) -> Option<wire::Condition> {
    let test = if flags.if_absent {
        wire::condition::Test::IfAbsent(true)
    } else if flags.if_present {
        wire::condition::Test::IfPresent(true)
    } else {
        wire::condition::Test::IfVersion(flags.if_version?)
    };
    Some(wire::Condition { test: Some(test) })
}

fn version(entry: Option<&wire::Entry>) -> String {
    entry.map_or_else(|| "written".to_owned(), |entry| format!("version {}", entry.version))
}

fn no_entry(key: &str, namespace: &str) -> Failure {
    let (key, namespace) = (printable(key), printable(namespace));
    Failure::new(Exit::No, format!("there is no entry \"{key}\" in namespace \"{namespace}\""))
}

fn condition_failed(verb: &str, key: &str, entry: Option<&wire::Entry>) -> Failure {
    let key = printable(key);
    let text = match entry {
        Some(entry) => format!("\"{key}\" was not {verb}: it has version {}", entry.version),
        None => format!("\"{key}\" was not {verb}: there is no entry"),
    };
    Failure::new(Exit::No, text)
}

/// The value to write: the argument, or what standard input or a file holds.
fn value(argument: Option<&str>, file: Option<&Path>) -> Outcome<Vec<u8>> {
    match (argument, file) {
        (Some("-"), None) => read(io::stdin().lock(), "standard input"),
        (Some(text), None) => Ok(text.as_bytes().to_vec()),
        (_, Some(path)) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| {
                Failure::caused(Exit::Io, &format!("cannot read {name}"), &error)
            })?;
            read(file, &name)
        }
        // The grammar asks for one of the two.
        (None, None) => Ok(Vec::new()),
    }
}

/// Everything in `source`, up to what any namespace takes.
fn read(source: impl Read, name: &str) -> Outcome<Vec<u8>> {
    let most = u64::try_from(VALUE_BYTES_HARD_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    source
        .take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::caused(Exit::Io, &format!("cannot read {name}"), &error))?;
    if bytes.len() > VALUE_BYTES_HARD_MAX {
        let text =
            format!("{name} has more than {VALUE_BYTES_HARD_MAX} bytes, the most a value may");
        return Err(Failure::new(Exit::Usage, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_whole_and_one_that_no_namespace_takes_is_refused() {
        assert_eq!(value(Some("a"), None), Ok(b"a".to_vec()));
        assert_eq!(read(&[0_u8, 255][..], "x"), Ok(vec![0, 255]));
        assert_eq!(read(io::repeat(0).take(3 << 20), "x").map(|bytes| bytes.len()), Ok(3 << 20));
        assert_eq!(read(io::repeat(0), "x").unwrap_err().code(), 2);
        let missing = value(None, Some(Path::new("/nowhere/x"))).unwrap_err();
        assert_eq!(missing.code(), 74);
        assert!(missing.text().starts_with("pykv: cannot read /nowhere/x: "), "{missing:?}");
    }

    #[test]
    fn a_condition_is_sent_only_if_there_is_one() {
        let none = Condition { if_absent: false, if_present: false, if_version: None };
        assert_eq!(condition(&none), None);
        let version = Condition { if_version: Some(5), ..none };
        let test = Some(wire::condition::Test::IfVersion(5));
        assert_eq!(condition(&version), Some(wire::Condition { test }));
    }

    #[test]
    fn what_stood_in_the_way_is_told_without_obeying_it() {
        let failure = condition_failed("written", "k\x1b", None);
        assert_eq!(failure.text(), "pykv: \"k\\u{1b}\" was not written: there is no entry\n");
        assert_eq!(failure.code(), 1);
    }
}
