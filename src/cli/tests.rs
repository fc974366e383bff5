//! Promises of the grammar, and of commands that need no server.

use clap::{CommandFactory, Parser};

use super::args::{Cli, Command};
use super::*;

fn parsed(args: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("pykv").chain(args.iter().copied()))
}

fn code(args: &[&str]) -> u8 {
    dispatch(parsed(args).unwrap()).map_or_else(|failure| failure.code(), |()| 0)
}

#[test]
fn the_grammar_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn a_value_may_look_like_a_flag_and_flags_may_stand_anywhere() {
    let check = |args: &[&str], key: &str, value: Option<&str>, ttl: Option<u64>| {
        let Command::Set(set) = parsed(args).unwrap().command else { panic!("{args:?}") };
        assert_eq!(set.key, key, "{args:?}");
        assert_eq!(set.value.as_deref(), value, "{args:?}");
        assert_eq!(set.ttl, ttl.map(Duration::from_secs), "{args:?}");
    };
    check(&["set", "k", "v"], "k", Some("v"), None);
    check(&["set", "k", "-5"], "k", Some("-5"), None);
    check(&["set", "k", "-"], "k", Some("-"), None);
    check(&["set", "k", "--ttl", "5m", "v"], "k", Some("v"), Some(300));
    check(&["set", "--ttl=5m", "k", "v"], "k", Some("v"), Some(300));
    check(&["set", "k", "--file", "f", "--ttl", "5m"], "k", None, Some(300));
    check(&["set", "--", "--k", "--v"], "--k", Some("--v"), None);
}

#[test]
fn what_contradicts_itself_is_a_usage_error() {
    let wrong: [&[&str]; 11] = [
        &["set", "k"],
        &["set", "k", "v", "--file", "f"],
        &["set", "k", "v", "--ttl", "5"],
        &["set", "k", "v", "--ttl", "0s"],
        &["set", "k", "v", "--ttl", "5m", "--keep-ttl"],
        &["set", "k", "v", "--if-absent", "--if-present"],
        &["set", "k", "v", "--if-absent", "--if-version", "1"],
        &["namespaces", "create", "a", "--max-keys", "many"],
        &["wal", "repair", "--truncate", "1"],
        &["get", "k", "--output", "yaml"],
        &["frobnicate"],
    ];
    for args in wrong {
        assert_eq!(parsed(args).map(|_| ()).unwrap_err().exit_code(), 2, "{args:?}");
    }
}

#[test]
fn global_flags_may_follow_the_command() {
    let cli = parsed(&["get", "k", "-s", "http://x:1", "--json", "--timeout", "100ms"]).unwrap();
    assert_eq!(cli.global.server, "http://x:1");
    assert_eq!(cli.global.output(), Output::Json);
    assert_eq!(cli.global.timeout, Duration::from_millis(100));
    let cli = parsed(&["-o", "json", "stats"]).unwrap();
    assert_eq!(cli.global.output(), Output::Json);
    assert_eq!(parsed(&["stats"]).unwrap().global.output(), Output::Text);
}

#[test]
fn flags_of_the_server_reach_its_configuration() {
    let Command::Serve(serve) = parsed(&[
        "serve",
        "--listen",
        "0.0.0.0:1",
        "--insecure-allow-anonymous",
        "--insecure-allow-plaintext",
        "--admin-listen",
        "127.0.0.1:2",
        "--data-dir",
        "d",
        "--workers",
        "3",
        "--max-total-bytes",
        "1GiB",
        "--durability",
        "async",
        "--read-only",
        "--log-filter",
        "warn",
        "--log-format",
        "json",
        "--set",
        "limits.max_streams=9",
    ])
    .unwrap()
    .command
    else {
        panic!("not a serve")
    };
    let (config, _) =
        crate::config::load(serve.settings.flags(), None, std::iter::empty()).unwrap();
    let default = crate::config::Config::default();
    let mut expected = crate::config::Config {
        listen: "0.0.0.0:1".parse().unwrap(),
        security: crate::config::Security {
            admin_listen: Some("127.0.0.1:2".parse().unwrap()),
            allow_anonymous: true,
            allow_plaintext: true,
            ..crate::config::Security::default()
        },
        data_dir: "d".into(),
        workers: 3,
        log_filter: "warn".into(),
        log_format: crate::telemetry::LogFormat::Json,
        ..default
    };
    expected.store.total_bytes_max = 1 << 30;
    expected.store.default_rules.durability = crate::model::Durability::Async;
    expected.store.read_only = true;
    expected.limits.streams_max = 9;
    assert_eq!(config, expected);
}

#[test]
fn commands_end_with_the_code_for_what_happened() {
    // The port of a socket that is closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}");
    assert_eq!(code(&["health", "-s", &nobody]), 69);
    assert_eq!(code(&["get", "k", "-s", &nobody]), 69);
    assert_eq!(code(&["get", "k", "-s", "ftp://127.0.0.1:1"]), 2);
    assert_eq!(code(&["get", "k", "-s", "http://127.0.0.1:1", "--token-file", "/nowhere"]), 2);
    assert_eq!(code(&["set", "k", "--file", "/nowhere/f", "-s", &nobody]), 74);
    assert_eq!(code(&["wal", "verify", "--data-dir", "/nowhere"]), 2);
    assert_eq!(code(&["serve", "--listen", "here", "--workers", "0"]), 78);
    assert_eq!(code(&["config", "check", "--set", "colour=red"]), 78);
    assert_eq!(code(&["config", "check", "--config", "/nowhere/f"]), 78);
}
