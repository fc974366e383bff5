//! What the engine promises, through its door.

mod cuts;
mod many;
mod model;
mod promises;
mod property;
mod steps;

use bytes::Bytes;

use super::{Command, Decision, Engine, Entry, Expiration, View};
use crate::model::{Key, UnixMillis};

const NOW: UnixMillis = UnixMillis::from_millis(1_700_000_000_000);

fn key(text: &str) -> Key {
    Key::parse(text.to_owned()).unwrap()
}

fn set(text: &str, value: &[u8]) -> Command {
    Command::Set {
        key: key(text),
        value: Bytes::copy_from_slice(value),
        expiration: Expiration::Default,
        condition: None,
        return_previous: false,
    }
}

/// Rules on `commands` and applies what was ruled.
fn run<'c>(engine: &mut Engine, commands: &'c [Command], atomic: bool) -> Decision<'c> {
    engine.ready();
    let decision = engine.decide(commands, atomic, NOW, u64::MAX);
    for mutation in &decision.mutations {
        engine.apply(mutation);
    }
    decision
}

fn value(engine: &mut Engine, key: &str) -> Option<Bytes> {
    engine.get(key, View::Full, NOW).map(|entry: Entry| entry.value)
}
