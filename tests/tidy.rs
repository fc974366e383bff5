//! The rules of the house: who may import whom, how long a file may be, what a room says of itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the source has failed")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may name. What is not listed here may name nothing.
const LAW: [(&str, &[&str]); 14] = [
    ("model", &[]),
    ("wire", &[]),
    ("telemetry", &[]),
    ("engine", &["model"]),
    ("wal", &["model"]),
    ("store", &["engine", "wal", "model", "telemetry"]),
    ("service", &["store", "wire", "model", "telemetry"]),
    ("gateway", &["service", "wire", "telemetry"]),
    ("server", &["telemetry"]),
    ("config", &["gateway", "server", "store", "service", "wal", "telemetry", "model"]),
    (
        "app",
        &["config", "gateway", "server", "service", "store", "telemetry", "wire", "wal", "model"],
    ),
    ("client", &["wire"]),
    ("cli", &["app", "client", "config", "service", "wire", "wal", "model", "telemetry"]),
    ("main", &["cli"]),
];

/// A file longer than this is two.
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `dir` whose name ends with `ending`, with its text; there is at least one.
fn files(dir: &Path, ending: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    walk(dir, ending, &mut found);
    assert!(!found.is_empty(), "no {ending} under {}", dir.display());
    found
}

fn walk(dir: &Path, ending: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// The room a source file belongs to: the first folder below `src`, or its own name.
fn room(path: &Path) -> String {
    let below = path.strip_prefix(root().join("src")).unwrap();
    let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The names that stand directly behind `crate::` or `pykv::`, alone or in braces.
fn named(text: &str) -> Vec<String> {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    let code = text.lines().map(code).collect::<Vec<_>>().join(" ");
    let word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    let mut names = Vec::new();
    for rest in ["crate::", "pykv::"].iter().flat_map(|mark| code.split(mark).skip(1)) {
        match rest.strip_prefix('{') {
            None => names.push(word(rest)),
            Some(list) => {
                let end = list.find(';').unwrap_or(list.len());
                names.extend(list[..end].split(',').map(word));
            }
        }
    }
    names
}

/// What is wrong with one source file.
fn breaches(room: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = LAW.iter().find(|(name, _)| *name == room) else {
        return vec![format!("the room {room} is not in the law")];
    };
    let known = |name: &String| LAW.iter().any(|(room, _)| room == name);
    let lawful = |name: &String| name == room || allowed.contains(&name.as_str());
    let unlawful = named(text).into_iter().filter(known).filter(|name| !lawful(name));
    unlawful.map(|name| format!("{room} must not name {name}")).collect()
}

#[test]
fn every_room_imports_only_what_it_may() {
    for (path, text) in files(&root().join("src"), ".rs") {
        let room = room(&path);
        if room == "lib" {
            continue;
        }
        assert_eq!(breaches(&room, &text), [""; 0], "{}", path.display());
    }
}

#[test]
fn a_breach_of_the_law_of_imports_is_seen() {
    let check =
        |room, text, expected: &[&str]| assert_eq!(breaches(room, text), expected, "{text}");
    check("engine", "use crate::model::Key;", &[]);
    check("engine", "use crate::wal::Log;", &["engine must not name wal"]);
    check("engine", "use crate::{model, wal};", &["engine must not name wal"]);
    check("engine", "use crate::{\n    model::Key,\n    wal,\n};", &["engine must not name wal"]);
    check("wal", "// crate::engine is elsewhere", &[]);
    check("cellar", "", &["the room cellar is not in the law"]);
}

#[test]
fn files_are_short() {
    let mut texts = files(&root().join("src"), ".rs");
    texts.extend(files(&root().join("tests"), ".rs"));
    texts.extend(files(&root().join("tests"), ".py"));
    texts.extend(files(&root().join("proto/pykv"), ".proto").into_iter().filter(|(path, _)| {
        // A schema is one contract and reads from top to bottom.
        !path.ends_with("key_value_service.proto") && !path.ends_with("admin_service.proto")
    }));
    for (path, text) in texts {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn every_room_says_what_it_is() {
    for (path, text) in files(&root().join("src"), "mod.rs") {
        let depth = path.strip_prefix(root().join("src")).unwrap().components().count();
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
        // Rooms inside rooms may be brief.
        if depth > 2 {
            continue;
        }
        let mut from = 0;
        for sign in ["# How it works", "# Why", "# Invariants", "# Not here"] {
            let at = text[from..].find(sign);
            assert!(at.is_some(), "{} has no \"{sign}\" where it belongs", path.display());
            from += at.unwrap_or_default();
        }
    }
}

#[test]
fn every_source_file_begins_with_its_job() {
    for (path, text) in files(&root().join("src"), ".rs") {
        assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
    }
}
