//! The grammar of the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::import::Import;
use super::output::Output;
use super::policy::SpecFlags;
use super::snapshot::Snapshot;
use crate::config::Flags;

/// A durable, multi-tenant, in-memory key-value service over gRPC.
#[derive(Debug, Parser)]
#[command(name = "pykv", version, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where help shows what holds for every command.
const GLOBAL: &str = "Options of every command";

/// What holds for every command.
#[derive(Clone, Debug, Args)]
pub(super) struct Global {
    /// The server to talk to
    #[arg(short, long, global = true, env = "PYKV_SERVER", value_name = "URL", help_heading = GLOBAL)]
    #[arg(default_value = "http://127.0.0.1:8000")]
    pub(super) server: String,
    /// What the output and the errors look like
    #[arg(short, long, global = true, env = "PYKV_OUTPUT", value_enum, help_heading = GLOBAL)]
    #[arg(default_value = "text")]
    output: Output,
    /// The same as --output json
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Show the token in this file
    #[arg(long, global = true, env = "PYKV_TOKEN_FILE", value_name = "FILE", help_heading = GLOBAL)]
    pub(super) token_file: Option<PathBuf>,
    /// Trust the authorities in this file instead of the system's, with an https:// server
    #[arg(long, global = true, env = "PYKV_CA_FILE", value_name = "FILE", help_heading = GLOBAL)]
    pub(super) ca_file: Option<PathBuf>,
    /// Show the certificate in this file
    #[arg(long, global = true, env = "PYKV_CERT_FILE", value_name = "FILE", help_heading = GLOBAL)]
    #[arg(requires = "key_file")]
    pub(super) cert_file: Option<PathBuf>,
    /// The key to that certificate
    #[arg(long, global = true, env = "PYKV_KEY_FILE", value_name = "FILE", help_heading = GLOBAL)]
    #[arg(requires = "cert_file")]
    pub(super) key_file: Option<PathBuf>,
    /// How long to wait for the connection, and for an answer
    #[arg(long, global = true, env = "PYKV_TIMEOUT", value_name = "LENGTH", help_heading = GLOBAL)]
    #[arg(default_value = "5s", value_parser = length)]
    pub(super) timeout: Duration,
}

impl Global {
    pub(super) fn output(&self) -> Output {
        if self.json { Output::Json } else { self.output }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the server
    Serve(Serve),
    /// Write the value of a key to standard output, as it is
    ///
    /// Exits with 1 if there is no entry.
    Get(Get),
    /// Write a value
    ///
    /// Exits with 1 if the condition does not hold.
    Set(Set),
    /// Delete an entry
    ///
    /// Exits with 1 if there was none, or the condition does not hold.
    #[command(visible_alias = "del")]
    Delete(Delete),
    /// See and change namespaces
    #[command(subcommand, visible_alias = "ns")]
    Namespaces(Namespaces),
    /// Copy namespaces out of a running server, and back
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Bring the entries of an original log into a running server
    Import(Import),
    /// Show what the server holds and what it did
    Stats(Stats),
    /// Ask whether the server is well
    ///
    /// Exits with 69 if it is not, or is not there.
    Health(Health),
    /// Look at and repair the log of a server that does not run
    #[command(subcommand)]
    Wal(Wal),
    /// Show or check the configuration a server would run with
    #[command(subcommand)]
    Config(Config),
    /// Make tokens by which a server knows its callers
    #[command(subcommand)]
    Token(Token),
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make a token, and the entry for the server's file of tokens
    ///
    /// Tells the token once; the entry has its digest only.
    New(NewToken),
}

#[derive(Debug, Args)]
pub(super) struct NewToken {
    /// Whom it is for, as logs will call him
    #[arg(long, value_name = "NAME")]
    pub(super) name: String,
    /// Namespaces, with commas between them: names, beginnings with a "*" behind, or "*" for all
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "*")]
    pub(super) namespaces: Vec<String>,
    /// What he may do there: reader, writer, owner or admin
    #[arg(long, value_name = "ROLE")]
    pub(super) role: String,
    /// How long the token is good for, such as 90d [default: for ever]
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    pub(super) expires: Option<Duration>,
    /// Append the entry to this file, which is made if it is not there, instead of telling it
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) settings: ConfigFlags,
    /// Print the configuration that would be in force, as a file that says the same, and do not serve
    #[arg(long)]
    pub(super) print_config: bool,
}

/// The settings. Each also has a variable and a place in the file; see `pykv config print`.
#[derive(Debug, Default, Args)]
pub(super) struct ConfigFlags {
    /// Read settings from this file
    #[arg(long, env = "PYKV_CONFIG", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Listen on this address; port 0 takes a free one [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Keep the log in this directory [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Serve metrics, probes, reflection and administration on this address instead
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Know callers by the tokens in this file
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<String>,
    /// Encrypt connections with the certificates in this file
    #[arg(long, value_name = "FILE")]
    tls_cert_file: Option<String>,
    /// The key to the certificate
    #[arg(long, value_name = "FILE")]
    tls_key_file: Option<String>,
    /// Take certificates of callers that these authorities vouch for
    #[arg(long, value_name = "FILE")]
    tls_client_ca_file: Option<String>,
    /// Listen beyond this machine although nobody has to prove who they are
    #[arg(long)]
    insecure_allow_anonymous: bool,
    /// Listen beyond this machine without TLS
    #[arg(long)]
    insecure_allow_plaintext: bool,
    /// Threads that serve [default: one for each processor]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Most bytes over all namespaces [default: half of the memory]
    #[arg(long, value_name = "BYTES")]
    max_total_bytes: Option<String>,
    /// How safe a write is where its namespace does not say: sync, async or memory [default: sync]
    #[arg(long, value_name = "WORD")]
    durability: Option<String>,
    /// Refuse all writes
    #[arg(long)]
    read_only: bool,
    /// What to log, such as "info,pykv=debug" [default: info]
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
    /// What a log line looks like: text or json [default: text]
    #[arg(long, value_name = "WORD")]
    log_format: Option<String>,
    /// Give any setting its value, such as limits.max_streams=100; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

impl ConfigFlags {
    /// What was written, as the configuration takes it. Nothing is checked here, so that all
    /// complaints come together.
    pub(super) fn flags(&self) -> Flags {
        let mut flags = Flags::default();
        for (key, value) in &self.set {
            flags.set(&format!("--set {key}"), key, value);
        }
        let texts = [
            ("--listen", "listen", &self.listen),
            ("--admin-listen", "admin_listen", &self.admin_listen),
            ("--tokens-file", "tokens_file", &self.tokens_file),
            ("--tls-cert-file", "tls.cert_file", &self.tls_cert_file),
            ("--tls-key-file", "tls.key_file", &self.tls_key_file),
            ("--tls-client-ca-file", "tls.client_ca_file", &self.tls_client_ca_file),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--workers", "workers", &self.workers),
            ("--max-total-bytes", "max_total_bytes", &self.max_total_bytes),
            ("--durability", "default_policy.durability", &self.durability),
            ("--log-filter", "log_filter", &self.log_filter),
            ("--log-format", "log_format", &self.log_format),
        ];
        for (flag, key, text) in texts {
            if let Some(text) = text {
                flags.set(flag, key, text);
            }
        }
        let truths = [
            (
                "--insecure-allow-anonymous",
                "insecure_allow_anonymous",
                self.insecure_allow_anonymous,
            ),
            (
                "--insecure-allow-plaintext",
                "insecure_allow_plaintext",
                self.insecure_allow_plaintext,
            ),
            ("--read-only", "read_only", self.read_only),
        ];
        for (flag, key, _) in truths.into_iter().filter(|(.., truth)| *truth) {
            flags.set(flag, key, "true");
        }
        flags
    }
}

#[derive(Debug, Args)]
pub(super) struct InNamespace {
    /// The namespace
    #[arg(short, long, env = "PYKV_NAMESPACE", default_value = "default", value_name = "NAME")]
    pub(super) namespace: String,
}

#[derive(Debug, Args)]
pub(super) struct Get {
    #[command(flatten)]
    pub(super) place: InNamespace,
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub(super) key: String,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    pub(super) place: InNamespace,
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub(super) key: String,
    /// The value; "-" reads standard input
    #[arg(allow_hyphen_values = true, required_unless_present = "file", conflicts_with = "file")]
    pub(super) value: Option<String>,
    /// Read the value from this file
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Expire this long after the write, such as 5m [default: as the namespace says]
    #[arg(long, value_name = "LENGTH", value_parser = length)]
    pub(super) ttl: Option<Duration>,
    /// Leave the expiry of the entry as it is
    #[arg(long, conflicts_with = "ttl")]
    pub(super) keep_ttl: bool,
    #[command(flatten)]
    pub(super) condition: Condition,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
pub(super) struct Condition {
    /// Only if there is no entry
    #[arg(long)]
    pub(super) if_absent: bool,
    /// Only if there is an entry
    #[arg(long)]
    pub(super) if_present: bool,
    /// Only if the entry has this version
    #[arg(long, value_name = "N")]
    pub(super) if_version: Option<i64>,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    pub(super) place: InNamespace,
    /// The key
    #[arg(allow_hyphen_values = true)]
    pub(super) key: String,
    /// Only if the entry has this version
    #[arg(long, value_name = "N")]
    pub(super) if_version: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Namespaces {
    /// List namespaces
    #[command(visible_alias = "ls")]
    List {
        /// Only names that start with this
        #[arg(long, default_value = "", hide_default_value = true)]
        prefix: String,
    },
    /// Make a namespace
    Create {
        /// Its name: 1 to 128 of A-Z a-z 0-9 . _ : -
        name: String,
        #[command(flatten)]
        spec: Box<SpecFlags>,
    },
    /// Describe a namespace
    Get {
        /// Its name
        name: String,
    },
    /// Change a namespace; what is not named stays as it is
    Update {
        /// Its name
        name: String,
        #[command(flatten)]
        spec: Box<SpecFlags>,
        /// Let the server's default policy decide this again, such as max_keys; may be repeated
        #[arg(long, value_name = "FIELD")]
        reset: Vec<String>,
        /// Only if the namespace has this etag
        #[arg(long, default_value = "", hide_default_value = true)]
        etag: String,
        /// Make it if it is not there
        #[arg(long)]
        allow_missing: bool,
    },
    /// Delete a namespace
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name
        name: String,
        /// Delete its entries too
        #[arg(long)]
        force: bool,
    },
    /// Delete every entry of a namespace
    Clear {
        /// Its name
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// Of one namespace only
    #[arg(short, long, value_name = "NAME")]
    pub(super) namespace: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Health {
    /// What to ask about: readiness, liveness, or the full name of a service
    #[arg(long, default_value = "readiness", value_name = "NAME")]
    pub(super) service: String,
}

#[derive(Debug, Args)]
pub(super) struct DataDir {
    /// The directory of the log
    #[arg(long, env = "PYKV_DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub(super) data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(super) enum Wal {
    /// Read everything and tell whether it is whole; changes nothing
    Verify(DataDir),
    /// Write every record as a line of JSON; changes nothing
    Dump {
        #[command(flatten)]
        place: DataDir,
        /// With the values, as base64 [default: only how many bytes]
        #[arg(long)]
        values: bool,
    },
    /// Cut a damaged file of the log; the original is kept beside it
    Repair {
        #[command(flatten)]
        place: DataDir,
        /// Where to cut, as `pykv wal verify` tells it
        #[arg(long, value_name = "SEGMENT:OFFSET", value_parser = cut)]
        truncate: (u32, u64),
        /// Give up acknowledged writes behind the cut
        #[arg(long)]
        accept_loss: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Write the settings in force as a file, with their meanings and defaults
    Print(ConfigFlags),
    /// Tell everything that is wrong with the settings
    Check(ConfigFlags),
}

/// A length of time with its unit.
pub(super) fn length(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(length) if length > Duration::ZERO => Ok(length),
        Ok(_) => Err("must be above zero".to_owned()),
        Err(_) => Err("must be a length of time with its unit, such as 30s or 1h30m".to_owned()),
    }
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "must be KEY=VALUE".to_owned())
}

fn cut(text: &str) -> Result<(u32, u64), String> {
    let numbers = text
        .split_once(':')
        .and_then(|(segment, offset)| Some((segment.parse().ok()?, offset.parse().ok()?)));
    numbers.ok_or_else(|| "must be SEGMENT:OFFSET, two numbers".to_owned())
}
