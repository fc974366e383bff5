//! The command line: verbs for people and scripts.
//!
//! # How it works
//! [`main`] reads the arguments by the grammar of `args`, runs one verb, and turns what came of it
//! into words and an [`Exit`] code. Verbs that talk to a server share a [`Session`]; those of the
//! log read files of a server that does not run.
//!
//! # Why
//! A script can only go by three things: the exit code, standard output and standard error. So the
//! codes are few and mean the same everywhere; standard output has nothing but the answer, and every
//! error is one sentence on standard error, with `--output json` as JSON.
//!
//! # Invariants
//! A closed pipe is not an error. Text of others never reaches a terminal with control characters in
//! it, except the value that `get` was asked for. Nothing is printed in the form of a debugger.
//!
//! # Not here
//! What settings mean: `config`. How a server is put together: `app`. Connections: `client`.

mod args;
mod entries;
mod exit;
mod failure;
mod import;
mod json;
mod namespaces;
mod output;
mod policy;
mod serve;
mod server;
mod snapshot;
mod token;
mod wal;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::client::{Client, Identity};
use crate::config;
use args::{Cli, Command, Global, Token};
use failure::{Failure, Outcome};
use output::Output;

pub use exit::{Exit, of_wal};

/// Runs what the arguments of the process ask for.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os()))
}

fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such errors too; a closed pipe is nothing to complain about.
            let _ = error.print();
            return u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
        }
    };
    let output = cli.global.output();
    match dispatch(cli) {
        Ok(()) => Exit::Done.code(),
        Err(failure) => {
            let text = match output {
                Output::Text => failure.text(),
                Output::Json => failure.json(),
            };
            let _ = io::stderr().write_all(text.as_bytes());
            failure.code()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let output = cli.global.output();
    let Global { server, token_file, ca_file, cert_file, key_file, timeout, .. } = cli.global;
    let shown = Shown { token_file, ca_file, cert_file, key_file };
    let session = Session { server, shown, timeout, output };
    match cli.command {
        Command::Serve(flags) => serve::serve(flags),
        Command::Config(command) => serve::config(&command, output),
        Command::Token(Token::New(args)) => token::new(&args, output),
        Command::Wal(command) => wal::run(command, output),
        Command::Get(args) => block_on(entries::get(&session, args)),
        Command::Set(args) => block_on(entries::set(&session, args)),
        Command::Delete(args) => block_on(entries::delete(&session, args)),
        Command::Namespaces(command) => block_on(namespaces::run(&session, command)),
        Command::Import(args) => block_on(import::run(&session, args)),
        Command::Snapshot(command) => block_on(snapshot::run(&session, command)),
        Command::Stats(args) => block_on(server::stats(&session, args)),
        Command::Health(args) => block_on(server::health(&session, args)),
    }
}

/// What a verb needs to talk to a server.
#[derive(Debug)]
struct Session {
    server: String,
    shown: Shown,
    timeout: Duration,
    output: Output,
}

/// Where it is written what is shown to a server, and which servers are trusted.
#[derive(Debug)]
struct Shown {
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
}

impl Shown {
    fn identity(&self) -> Outcome<Identity> {
        let secret = |path: &PathBuf| read(path, config::secret_bytes);
        let token = self.token_file.as_ref().map(|path| read(path, config::secret_text));
        let token = token.transpose()?.map(|text| text.trim().to_owned());
        let authorities = self.ca_file.as_ref().map(|path| read(path, config::public_bytes));
        let certificate = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Some((read(cert, config::public_bytes)?, secret(key)?)),
            (None | Some(_), None) | (None, Some(_)) => None,
        };
        Ok(Identity { token, authorities: authorities.transpose()?, certificate })
    }
}

fn read<T>(path: &Path, how: impl Fn(&Path) -> Result<T, String>) -> Outcome<T> {
    how(path).map_err(|text| Failure::new(Exit::Usage, format!("{}: {text}", path.display())))
}

impl Session {
    async fn dial(&self) -> Outcome<Client> {
        Ok(Client::dial(&self.server, &self.shown.identity()?, self.timeout).await?)
    }

    /// What comes of `answer`, which is not waited for longer than `--timeout`: for the messages of a
    /// stream, which as a whole takes as long as it takes.
    async fn within<T>(&self, answer: impl Future<Output = T>) -> Outcome<T> {
        tokio::time::timeout(self.timeout, answer).await.map_err(|_| self.silent())
    }

    fn silent(&self) -> Failure {
        let timeout = humantime::format_duration(self.timeout);
        Failure::new(Exit::Temporary, format!("the server was silent for {timeout}"))
    }
}

fn block_on(verb: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Exit::Io, "cannot start", &error))?;
    runtime.block_on(verb)
}
