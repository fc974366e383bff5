//! `token`: what a server knows its callers by.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::args::NewToken;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::output::{self, Output};
use crate::config;
use crate::model::UnixMillis;
use crate::service::Role;
use crate::service::access::{Grant, Pattern, Principal, Token};

pub(super) fn new(args: &NewToken, output: Output) -> Outcome {
    let principal = principal(args)?;
    let expires = args.expires.map(later);
    let token = Token::mint()
        .ok_or_else(|| Failure::new(Exit::Software, "the system gives no random bytes"))?;
    let entry = config::token_entry(&token, &principal, expires);
    if let Some(path) = &args.file {
        let failed = |text| Failure::new(Exit::Io, format!("{}: {text}", path.display()));
        config::append_secret(path, &format!("\n{entry}")).map_err(failed)?;
    }
    match output {
        Output::Json => output::json(&json!({ "token": token.secret(), "entry": entry })),
        Output::Text if args.file.is_some() => output::line(token.secret()),
        Output::Text => {
            output::line(token.secret())?;
            output::line(&format!(
                "\n# For tokens_file; the token itself is told this once.\n{entry}"
            ))
        }
    }
}

/// Everything wrong with it is told at once.
fn principal(args: &NewToken) -> Outcome<Principal> {
    let mut wrong = Vec::new();
    if args.name.is_empty() || args.name.len() > 128 || args.name.chars().any(char::is_control) {
        wrong.push("--name must have 1 to 128 bytes without control characters".to_owned());
    }
    let role = Role::NAMED.iter().find(|(name, _)| *name == args.role).map(|(_, role)| *role);
    if role.is_none() {
        wrong.push("--role must be reader, writer, owner or admin".to_owned());
    }
    let mut namespaces = Vec::new();
    for text in &args.namespaces {
        match Pattern::parse(text) {
            Ok(pattern) => namespaces.push(pattern),
            Err(error) => wrong.push(format!("--namespaces: {text:?} {error}")),
        }
    }
    match role {
        Some(role) if wrong.is_empty() => {
            let grants = vec![Grant { namespaces, role }];
            Ok(Principal { name: args.name.clone(), grants })
        }
        Some(_) | None => Err(Failure::new(Exit::Usage, wrong.join("; "))),
    }
}

#[expect(clippy::disallowed_methods, reason = "the end of a token is written down for people")]
fn later(length: Duration) -> UnixMillis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let millis = now.saturating_add(length).as_millis();
    UnixMillis::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}
