//! How a verb comes by its turn, and what it may say of namespaces.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::yield_now;

use super::commit::Ticket;
use super::namespace::Turn;
use super::shared::Shared;
use crate::model::NamespaceName;
use crate::store::Error;

/// Takes a turn in the namespace of this name; `None` if there is none, which a read takes for an
/// empty one.
pub(super) fn in_turn<T>(
    shared: &Shared,
    name: &NamespaceName,
    mut act: impl FnMut(&mut Turn<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    loop {
        let Some(namespace) = shared.find(name)? else { return Ok(None) };
        // One that was dropped since it was found has left the registry by now.
        if let Some(mut turn) = namespace.enter() {
            return act(&mut turn).map(Some);
        }
        std::thread::yield_now();
    }
}

/// The same for one that must exist.
pub(super) fn with_existing<T>(
    shared: &Shared,
    name: &NamespaceName,
    act: impl FnOnce(&mut Turn<'_>) -> T,
) -> Result<T, Error> {
    let namespace = shared.existing(name)?;
    let turn = namespace.enter();
    let missing = || Error::NamespaceNotFound(name.as_str().to_owned());
    turn.map(|mut turn| act(&mut turn)).ok_or_else(missing)
}

/// Takes a turn that needs the order of keys, once the namespace has it.
pub(super) async fn ordered<T>(
    shared: &Arc<Shared>,
    name: &NamespaceName,
    act: impl Fn(&mut Turn<'_>) -> T,
) -> Result<Option<T>, Error> {
    let mut is_admitted = false;
    loop {
        let step = |turn: &mut Turn<'_>| {
            if !std::mem::replace(&mut is_admitted, true) {
                turn.admit(1)?;
            }
            Ok(turn.index().then(|| act(turn)))
        };
        match in_turn(shared, name, step) {
            Ok(Some(None)) => yield_now().await,
            Ok(Some(found)) => return Ok(found),
            Ok(None) => return Ok(None),
            Err(error) => return Err(told(shared, error).await),
        }
    }
}

/// What an answer must wait for that tells which namespaces there are, and how they are defined.
pub(super) fn defined(shared: &Shared) -> Ticket {
    Ticket::Durable(shared.registry.changed.load(Ordering::Acquire))
}

/// `answer`, which says that there is no namespace, once a power failure cannot make one of it.
pub(super) async fn nothing<T>(shared: &Arc<Shared>, answer: T) -> Result<T, Error> {
    shared.commit.wait_read(defined(shared)).await?;
    Ok(answer)
}

/// `error`, once a power failure cannot belie what it tells of namespaces.
pub(super) async fn told(shared: &Arc<Shared>, error: Error) -> Error {
    match tells_of_namespaces(&error) {
        true => shared.commit.wait_read(defined(shared)).await.err().unwrap_or(error),
        false => error,
    }
}

/// Whether an error tells which namespaces there are, or how they are defined.
pub(super) fn tells_of_namespaces(error: &Error) -> bool {
    matches!(
        error,
        Error::NamespaceNotFound(_)
            | Error::NamespaceExists(_)
            | Error::NamespaceNotEmpty(_)
            | Error::EtagMismatch
            | Error::TooManyNamespaces { .. }
    )
}
