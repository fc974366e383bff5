//! `wal`: looks at and repairs the log of a server that does not run.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::args::{DataDir, Wal};
use super::exit::Exit;
use super::failure::{Failure, Outcome, printable};
use super::json::{base64, unsigned};
use super::output::{self, Output};
use crate::model::{Cause, Change, Fact, Mutation};
use crate::wal::{self, Item, Verified};

pub(super) fn run(command: Wal, output: Output) -> Outcome {
    match command {
        Wal::Verify(place) => verify(existing(&place)?, output),
        Wal::Dump { place, values } => dump(existing(&place)?, values),
        Wal::Repair { place, truncate: (segment, offset), accept_loss } => {
            let repaired = wal::repair(existing(&place)?, segment, offset, accept_loss)?;
            let (saved_as, cut) = (repaired.saved_as.display(), repaired.cut_bytes);
            match output {
                Output::Json => output::json(&json!({
                    "savedAs": saved_as.to_string(),
                    "cutBytes": unsigned(cut),
                })),
                Output::Text => output::line(&format!(
                    "{cut} bytes are cut off; what was there is kept as {}",
                    printable(&saved_as.to_string())
                )),
            }
        }
    }
}

/// The directory, if it is one: a name mistyped is not a log damaged.
fn existing(place: &DataDir) -> Outcome<&Path> {
    if place.data_dir.is_dir() {
        return Ok(&place.data_dir);
    }
    let name = place.data_dir.display().to_string();
    Err(Failure::new(Exit::Usage, format!("there is no directory {}", printable(&name))))
}

fn verify(dir: &Path, output: Output) -> Outcome {
    let verified = wal::verify(dir)?;
    match output {
        Output::Json => output::json(&verified_json(&verified)),
        Output::Text => output::line(&verified_text(&verified)),
    }
}

fn verified_json(verified: &Verified) -> Value {
    json!({
        "segments": unsigned(verified.segments),
        "snapshotRecords": verified.snapshot_records.map(unsigned),
        "records": unsigned(verified.records),
        "bytes": unsigned(verified.bytes),
        "lastSegment": verified.last_segment,
        "lastOffset": unsigned(verified.last_offset),
        "lastSequence": unsigned(verified.last_sequence),
        "tornBytes": unsigned(verified.torn_bytes),
        "fenceSegment": verified.fence_segment,
        "fenceOffset": unsigned(verified.fence_offset),
        "closedCleanly": verified.closed_cleanly,
        "wallTime": output::moment(verified.wall),
    })
}

fn verified_text(verified: &Verified) -> String {
    let torn = match verified.torn_bytes {
        0 => "none".to_owned(),
        bytes => format!("{bytes} bytes, which the next start puts aside"),
    };
    let snapshot = match verified.snapshot_records {
        None => "none".to_owned(),
        Some(records) => format!("{records} records"),
    };
    let place = |segment, offset| format!("{segment}:{offset}");
    let rows = [
        ("snapshot", snapshot),
        ("segments", verified.segments.to_string()),
        ("records", verified.records.to_string()),
        ("size", output::size(verified.bytes)),
        ("end", place(verified.last_segment, verified.last_offset)),
        ("durable to", place(verified.fence_segment, verified.fence_offset)),
        ("closed", if verified.closed_cleanly { "in order" } else { "not in order" }.to_owned()),
        ("torn tail", torn),
        ("last written", output::moment(verified.wall)),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    format!("the log is whole\n{}", output::table(&[], usize::MAX, rows))
}

fn dump(dir: &Path, values: bool) -> Outcome {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let looked = wal::dump(dir, &mut |item| {
        // There is no way to stop a dump; what nobody reads is at least not made.
        if written.is_ok() {
            written = writeln!(out, "{}", item_json(&item, values));
        }
    });
    let written = written.and_then(|()| out.flush());
    written.map_err(|error| output::of_stdout(&error))?;
    Ok(looked?)
}

/// Shape: where the record is, and under `fact` what it says; values as their length unless asked for.
fn item_json(item: &Item<'_>, values: bool) -> Value {
    json!({
        "file": if item.in_snapshot { "snapshot" } else { "segment" },
        "segment": item.segment,
        "offset": unsigned(item.offset),
        "sequence": unsigned(item.sequence),
        "time": output::moment(item.wall),
        "fact": fact(&item.fact, values),
    })
}

fn fact(fact: &Fact<'_>, values: bool) -> Value {
    match fact {
        Fact::Changed { namespace, mutations } => {
            let mutations: Vec<_> = mutations.iter().map(|m| mutation(m, values)).collect();
            json!({"changed": {"namespace": namespace.0, "mutations": mutations}})
        }
        Fact::Defined(definition) => json!({"defined": {
            "namespace": definition.id.0,
            "name": definition.name.as_str(),
            "autoCreated": definition.auto_created,
            "revision": unsigned(definition.revision),
            "versionFloor": unsigned(definition.version_floor.0),
        }}),
        Fact::Dropped { namespace, version } => {
            json!({"dropped": {"namespace": namespace.0, "version": unsigned(version.0)}})
        }
        Fact::Reserved { namespace, through } => {
            json!({"reserved": {"namespace": namespace.0, "through": unsigned(through.0)}})
        }
        Fact::Reached { namespace, version } => {
            json!({"reached": {"namespace": namespace.0, "version": unsigned(version.0)}})
        }
        Fact::Settings(text) => {
            let mut fields = Map::new();
            put_value(&mut fields, text, values);
            json!({"settings": fields})
        }
    }
}

fn mutation(mutation: &Mutation<'_>, values: bool) -> Value {
    let change = match &mutation.change {
        Change::Set { key, value, deadline, written } => {
            let mut fields = Map::new();
            fields.insert("key".into(), key.as_ref().into());
            put_value(&mut fields, value, values);
            fields.insert("expireTime".into(), deadline.map(output::moment).into());
            fields.insert("updateTime".into(), output::moment(*written).into());
            json!({"set": fields})
        }
        Change::Touch { key, deadline } => {
            json!({"touch": {"key": key, "expireTime": deadline.map(output::moment)}})
        }
        Change::Remove { key, cause } => {
            let cause = match cause {
                Cause::Deleted => "deleted",
                Cause::Expired => "expired",
                Cause::Evicted => "evicted",
            };
            json!({"remove": {"key": key, "cause": cause}})
        }
        Change::Clear => json!({"clear": {}}),
    };
    json!({"version": unsigned(mutation.version.0), "change": change})
}

fn put_value(fields: &mut Map<String, Value>, value: &[u8], values: bool) {
    fields.insert("valueBytes".into(), value.len().into());
    if values {
        fields.insert("value".into(), base64(value).into());
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::model::{NamespaceId, UnixMillis, Version};

    fn item(fact: Fact<'_>) -> Item<'_> {
        let wall = UnixMillis::from_millis(1_500);
        Item { segment: 7, in_snapshot: false, offset: 64, sequence: 1, wall, fact }
    }

    #[test]
    fn a_dump_shows_values_only_when_asked_to() {
        let set = Change::Set {
            key: Cow::Borrowed("k\n"),
            value: Cow::Borrowed(b"secret"),
            deadline: None,
            written: UnixMillis::ZERO,
        };
        let remove = Change::Remove { key: Cow::Borrowed("x"), cause: Cause::Evicted };
        let mutations = [
            Mutation { version: Version(1), change: set },
            Mutation { version: Version(2), change: remove },
        ];
        let changed = || Fact::Changed {
            namespace: NamespaceId(3),
            mutations: Cow::Borrowed(&mutations[..]),
        };
        let line = item_json(&item(changed()), false).to_string();
        assert!(!line.contains('\n'), "one line each: {line}");
        assert!(!line.contains(&base64(b"secret")), "{line}");
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["time"], "1970-01-01T00:00:01.500Z");
        let written = &json["fact"]["changed"]["mutations"];
        assert_eq!(written[0]["change"]["set"]["key"], "k\n");
        assert_eq!(written[0]["change"]["set"]["valueBytes"], 6);
        assert_eq!(written[1]["change"]["remove"]["cause"], "evicted");

        let json = item_json(&item(changed()), true);
        let set = &json["fact"]["changed"]["mutations"][0]["change"]["set"];
        assert_eq!(set["value"], base64(b"secret"));
    }

    #[test]
    fn settings_that_were_kept_are_values_too() {
        let settings = || Fact::Settings(Cow::Borrowed(b"{}"));
        assert_eq!(item_json(&item(settings()), false)["fact"]["settings"]["valueBytes"], 2);
        assert_eq!(item_json(&item(settings()), true)["fact"]["settings"]["value"], base64(b"{}"));
    }
}
