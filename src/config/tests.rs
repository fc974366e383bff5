//! Promises of the whole room.

use std::io::Write;

use super::*;
use crate::model::{Durability, Eviction, Ttl};

type Vars = &'static [(&'static str, &'static str)];

fn vars(vars: Vars) -> impl Iterator<Item = (String, String)> {
    vars.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn loaded(text: &str, variables: Vars, flags: Vars) -> Result<(Config, Vec<Note>), Complaints> {
    let file = file(text);
    let mut all = Flags::default();
    for (key, text) in flags {
        all.set(&format!("--{key}"), key, text);
    }
    load(all, Some(file.path()), vars(variables))
}

/// Complaints as "source: text", the directory of the file cut off.
fn complaints(text: &str, variables: Vars, flags: Vars) -> Vec<String> {
    let complaints = loaded(text, variables, flags).unwrap_err();
    let short = |source: String| source.rsplit('/').next().unwrap_or_default().to_owned();
    let line = |source: String| match source.split_once(".toml") {
        Some((_, rest)) => format!("file{rest}"),
        None => source,
    };
    complaints.0.into_iter().map(|c| format!("{}: {}", line(short(c.source)), c.text)).collect()
}

#[test]
fn the_later_source_outweighs_the_earlier() {
    let text = "workers = 2\nread_only = true\n[default_policy]\nmax_keys = 5\n";
    let variables: Vars = &[("PYKV_WORKERS", "3"), ("PYKV_DEFAULT_POLICY_MAX_KEYS", "6")];
    let (config, notes) = loaded(text, variables, &[("workers", "4")]).unwrap();
    assert_eq!(config.workers, 4);
    assert_eq!(config.store.default_rules.keys_max, Some(6));
    assert!(config.store.read_only);
    assert_eq!(config.namespaces_max, 1000);
    assert_eq!(notes, []);
}

#[test]
fn every_complaint_comes_at_once_with_its_source() {
    let text = "listen = 7\nlistenn = \"x\"\n\n[limits]\nmax_streams = 0\n";
    let variables: Vars = &[
        ("PYKV_WORKERS", "many"),
        ("PYKV_LISTENN", "x"),
        ("PYKV_DEFAULT_RULES_KEYS_MAX", "5"),
        ("UNRELATED", "x"),
    ];
    assert_eq!(
        complaints(text, variables, &[("listen", "here"), ("colour", "red")]),
        [
            "file:1 (listen): must be a text, not 7",
            "file:2 (listenn): is not a setting; did you mean \"listen\"?",
            "file:5 (limits.max_streams): must be 1 to 100000, not 0",
            "variable PYKV_DEFAULT_RULES_KEYS_MAX: is not a setting",
            "variable PYKV_LISTENN: is not a setting; did you mean \"PYKV_LISTEN\"?",
            "variable PYKV_WORKERS: must be 1 to 1024, not \"many\"",
            "flag --colour: is not a setting",
            "flag --listen: must be an IP address and a port such as \"127.0.0.1:8000\", not \"here\"",
        ]
    );
}

#[test]
fn a_fault_of_the_syntax_does_not_hide_the_other_complaints() {
    let lines = complaints("workers = = 2\nread_only = 5\n", &[], &[]);
    assert!(lines.iter().any(|line| line.starts_with("file:1: ")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("file:2 (read_only)")), "{lines:?}");
}

#[test]
fn a_file_that_is_not_there_is_a_complaint() {
    let missing = Path::new("/nowhere/pykv.toml");
    let error = load(Flags::default(), Some(missing), vars(&[])).unwrap_err();
    assert_eq!(error.0[0].source, "/nowhere/pykv.toml");
    assert!(error.0[0].text.starts_with("cannot be read: "), "{error:?}");
}

#[test]
fn the_words_of_the_original_are_understood_and_said() {
    let variables: Vars = &[
        ("STORE_CAPACITY", "100"),
        ("LOG_FILE", "data/pykv/wal.log"),
        ("COMPACTION_INTERVAL", "300"),
        ("MAX_LOG_SIZE", "1000"),
        ("CLEANUP_INTERVAL", "60"),
        ("PORT", "9000"),
    ];
    let (config, notes) = loaded("", variables, &[]).unwrap();
    assert_eq!(config.store.default_rules.keys_max, Some(100));
    assert_eq!(config.data_dir, Path::new("data/pykv"));
    assert_eq!(config.store.compaction_interval, Duration::from_secs(300));
    assert_eq!(config.store.wal_records_max, 1000);
    assert_eq!(config.store.cleanup_interval, Duration::from_secs(60));
    assert_eq!(config.listen, "127.0.0.1:9000".parse().unwrap());
    let said: Vec<_> = notes.into_iter().map(|note| note.to_string()).collect();
    assert_eq!(said.len(), variables.len(), "{said:?}");
    assert!(said.iter().any(|note| {
        note == "variable STORE_CAPACITY: understood as default_policy.max_keys = \"100\"; the \
                 original's one limit for all is a limit for each namespace here"
    }));

    assert_eq!(
        complaints("", &[("COMPACTION_INTERVAL", "0"), ("PORT", "http")], &[]),
        [
            "variable COMPACTION_INTERVAL: must be 1s to 30days, not \"0s\"",
            "variable PORT: must be 1 to 65535, not \"http\"",
        ]
    );
}

#[test]
fn our_own_variables_outweigh_the_originals() {
    let variables: Vars = &[
        ("PORT", "9000"),
        ("PYKV_LISTEN", "127.0.0.1:9001"),
        ("STORE_CAPACITY", "100"),
        ("PYKV_DEFAULT_POLICY_MAX_KEYS", "unlimited"),
    ];
    let (config, _) = loaded("default_policy.max_keys = 7", variables, &[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:9001".parse().unwrap());
    assert_eq!(config.store.default_rules.keys_max, None);

    let (config, notes) = loaded("", &[("STORE_CAPACITY", ""), ("PORT", "")], &[]).unwrap();
    assert_eq!((config, notes), (Config::default(), Vec::new()));
}

#[test]
fn the_network_is_opened_only_on_purpose() {
    let refused = complaints("listen = \"0.0.0.0:8000\"", &[], &[]);
    assert_eq!(refused.len(), 2);
    assert!(refused[0].contains("--insecure-allow-anonymous"), "{refused:?}");
    assert!(refused[1].contains("--insecure-allow-plaintext"), "{refused:?}");
    for one in ["insecure_allow_anonymous", "insecure_allow_plaintext"] {
        let text = format!("{one} = true");
        let refused = complaints(&format!("listen = \"0.0.0.0:8000\"\n{text}"), &[], &[]);
        assert_eq!(refused.len(), 1, "{refused:?}");
        let (config, _) = loaded(&text, &[("PORT", "10000")], &[]).unwrap();
        assert_eq!(config.listen, "127.0.0.1:10000".parse().unwrap(), "{one}");
    }

    let flags: Vars = &[("insecure_allow_anonymous", "true"), ("insecure_allow_plaintext", "true")];
    assert!(loaded("listen = \"0.0.0.0:8000\"", &[], flags).is_ok());
    let (config, notes) = loaded("", &[("PORT", "10000")], flags).unwrap();
    assert_eq!(config.listen, "0.0.0.0:10000".parse().unwrap());
    assert_eq!(notes.len(), 1);
    assert!(loaded("listen = \"[::1]:0\"", &[], &[]).is_ok());
}

#[test]
fn settings_that_do_not_fit_together_are_refused() {
    let text = "[drain]\nnotice = \"10s\"\n[wal]\nmin_free_bytes = \"1 GiB\"\n";
    assert_eq!(
        complaints(text, &[], &[]),
        [
            "drain.notice, drain.timeout: together must be at most 24 s",
            "wal.resume_free_bytes, wal.min_free_bytes: writes cannot go on with less space than \
             they are refused with",
        ]
    );
}

#[test]
fn what_is_printed_reads_back_as_the_same_configuration() {
    let mut changed = Config {
        listen: "0.0.0.0:1".parse().unwrap(),
        security: Security {
            admin_listen: Some("0.0.0.0:2".parse().unwrap()),
            allow_anonymous: true,
            allow_plaintext: true,
            ..Security::default()
        },
        visitors: Visitors {
            origins: vec!["https://a".into(), "http://b:1".into()],
            hosts: vec!["kv".into(), "*".into()],
        },
        data_dir: "/a \"b\"/ü".into(),
        workers: 7,
        namespaces_max: 8,
        slow_threshold: Duration::from_micros(1500),
        log_filter: "warn,pykv=debug".into(),
        log_format: LogFormat::Json,
        wal_segment_bytes: (1 << 20) + 1,
        wal_free_bytes_min: 0,
        wal_free_bytes_resume: 9,
        ..Config::default()
    };
    changed.store.default_rules = Rules {
        keys_max: Some(1),
        bytes_max: Some(2 << 30),
        value_bytes_max: 3 << 20,
        ttl_default: Some(Ttl::from_millis(1).unwrap()),
        ttl_max: Some(Ttl::from_millis(3_600_000 * 24 * 400).unwrap()),
        eviction: Eviction::None,
        durability: Durability::Async,
        operations_per_second_max: Some(5.try_into().unwrap()),
        watch_history_events: 0,
    };
    changed.store.read_only = true;
    changed.limits.drain = Duration::from_secs(3);
    for config in [Config::default(), changed] {
        let (read, notes) = loaded(&config.to_toml(), &[], &[]).unwrap();
        assert_eq!(read, config);
        assert_eq!(notes, []);
    }
}

#[test]
fn every_setting_can_be_set_by_file_variable_and_flag() {
    let default = Config::default();
    for setting in settings::all() {
        let shown = (setting.show)(&default);
        let text = shown.trim_matches('"').to_owned();
        let by_variable = std::iter::once((setting.variable(), text.clone()));
        assert_eq!(load(Flags::default(), None, by_variable).unwrap().0, default);
        let mut flags = Flags::default();
        flags.set("--set", setting.key, &text);
        assert_eq!(load(flags, None, vars(&[])).unwrap().0, default, "{}", setting.key);
    }
}

#[test]
fn keys_and_variables_are_each_one_settings_own() {
    let mut keys: Vec<_> = settings::all().map(|setting| setting.key).collect();
    let mut variables: Vec<_> = settings::all().map(settings::Setting::variable).collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!((keys.len(), variables.len()), (count, count));
}
